"""A predictor gives the same bits with CUDA graphs as without: sizes, batches, kinds of images, threads."""

import threading

import numpy as np
import pytest
import torch

from panodeeplab.bench.measure import measure_setting
from panodeeplab.bench.stages import Setting
from panodeeplab.inference.predictor import Predictor


def pictures(*size, count=4, seed=0):
    """Streets would do as well; noise differs everywhere."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def predictors(**settings):
    settings = {"device": "cuda", "backend": "eager", "class_map": True, "keep_predictions": True} | settings
    return (
        Predictor.from_checkpoint("street-tiny", cuda_graph=True, **settings),
        Predictor.from_checkpoint("street-tiny", **settings),
    )


def assert_same(result, wanted):
    assert (result.panoptic == wanted.panoptic).all()
    assert (result.class_map == wanted.class_map).all()
    assert result.segments == wanted.segments
    for ours, theirs in zip(result.predictions, wanted.predictions, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size", ["trained", "native", (192, 400)])
def test_same_bits_for_several_sizes_and_batches(gpu, precision, size):
    graphed, plain = predictors(precision=precision, size=size)
    images = [*pictures(256, 512), *pictures(300, 411, seed=1)]
    # On the GPU they are scaled there, as part of the graph.
    images += [torch.from_numpy(image).to(gpu) for image in pictures(600, 700, seed=2)]
    results = [graphed(image) for image in images]
    assert len(graphed.graphs) == 3
    for result, image in zip(results, images, strict=True):
        assert_same(result, plain(image))
    batch = pictures(256, 512, seed=3)
    for _ in range(3):
        for result, wanted in zip(graphed(batch), plain(batch), strict=True):
            assert_same(result, wanted)
    assert len(graphed.graphs) == 4


def test_same_bits_when_graphs_make_room(gpu):
    graphed, plain = predictors(size="native")
    for height in (64, 96, 128, 160, 192, 224):
        images = pictures(height, 128, seed=height, count=110)
        results = [graphed(image) for image in images]
        for index in (0, 1, 2, 109):
            assert_same(results[index], plain(images[index]))
    assert len(graphed.graphs) == 4
    assert_same(graphed(pictures(64, 128)[0]), plain(pictures(64, 128)[0]))


@pytest.mark.parametrize("own_stream", [False, True])
def test_threads_share_a_predictor_while_it_records(gpu, own_stream):
    graphed, plain = predictors()
    images = [
        image for seed, width in enumerate((512, 300, 256)) for image in pictures(256, width, seed=seed)
    ]
    expected = [plain(image) for image in images]
    wrong = []

    def work(index):
        with torch.cuda.stream(torch.cuda.Stream() if own_stream else None):
            for _ in range(10):
                try:
                    assert_same(graphed(images[index]), expected[index])
                except Exception as error:
                    wrong.append((index, error))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_memory_of_graphs_that_made_room_comes_back(gpu):
    graphed, _ = predictors(size="native")
    taken = []
    for height in range(64, 64 + 32 * 12, 32):
        for image in pictures(height, 512, count=102):
            graphed(image)
        torch.cuda.empty_cache()
        taken.append(torch.cuda.memory_reserved(gpu))
    # Images become larger all the time; were all graphs kept, twelve would be held and not four.
    assert taken[-1] < 3 * taken[3]


def test_a_network_that_waits_for_the_gpu_is_an_error(gpu):
    graphed, _ = predictors()
    network = graphed.network
    graphed.network = lambda images: (images.float().mean().item(), network(images))[1]
    graphed(pictures(256, 512)[0])
    with pytest.raises(ValueError, match="cuda_graph must be False for this model, which cannot be recorded"):
        graphed(pictures(256, 512)[0])


@pytest.mark.parametrize("settings", [{"flip": True}, {"scales": (1.0, 1.5)}])
def test_test_time_augmentation_goes_without(gpu, settings):
    with pytest.raises(ValueError, match="cuda_graph goes without test-time augmentation"):
        Predictor.from_checkpoint("street-tiny", device="cuda", cuda_graph=True, **settings)


@pytest.mark.parametrize("model", ["street-tiny", "configs/cityscapes_bowenc_resnet50.yaml"])
def test_bench_measures_a_graph(gpu, model):
    setting = Setting(
        model=model, size=(128, 256), device="cuda", cuda_graph=True, warmup=2, runs=3, threads=1
    )
    result = measure_setting(setting)
    assert result["backend"] == "CUDA graph"
    assert any("launched as one" in note for note in result["notes"])
    assert "outside_network_share" not in result["processor"]
    assert result["end_to_end"]["median_ms"] > 0
