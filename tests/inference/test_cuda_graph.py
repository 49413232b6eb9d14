"""Which shapes get a graph, and that nothing of one run is left in another; tests/gpu has the real graphs.

The graph of these tests is a function that is run again and whose results go to the memory of the first run,
which is what replaying a recording does.
"""

import copy
import threading
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from panodeeplab.inference.cuda_graph import GraphedRuns
from panodeeplab.inference.predictor import Predictor

CPU = torch.device("cpu")


def tensors(made):
    if isinstance(made, Tensor):
        return [made]
    if is_dataclass(made):
        made = [getattr(made, field.name) for field in fields(made)]
    return [tensor for part in made for tensor in tensors(part)] if isinstance(made, list | tuple) else []


class CopiesFromDevice(GraphedRuns):
    """What a predictor does with a graph's tensors, it does with copies: `.cpu()` makes them on CUDA only."""

    def __call__(self, function, images, *, key, finish):
        return super().__call__(function, images, key=key, finish=lambda made: finish(copy.deepcopy(made)))


class Recorder:
    """Counts recordings and replays."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, function, device):
        made = function()
        self.recorded += 1

        def replay():
            self.replayed += 1
            for held, value in zip(tensors(made), tensors(function()), strict=True):
                held.copy_(value)

        return replay, made


def doubled(images):
    return images * 2


def run(graphs, images, key=None):
    return graphs(doubled, images, key=key, finish=lambda made: made.clone())


def of_size(*size):
    return torch.arange(np.prod(size)).reshape(size)


def test_a_shape_that_comes_again_is_recorded_once():
    recorder = Recorder()
    graphs = GraphedRuns(CPU, recorder=recorder)
    for value in range(5):
        images = of_size(2, 3) + value
        before = images.clone()
        assert torch.equal(run(graphs, images), 2 * images)
        assert torch.equal(images, before)
    assert (recorder.recorded, recorder.replayed, len(graphs)) == (1, 4, 1)


def test_shapes_dtypes_and_keys_are_told_apart():
    recorder = Recorder()
    graphs = GraphedRuns(CPU, recorder=recorder)
    for images, key in [(of_size(2), 0), (of_size(3), 0), (of_size(3).float(), 0), (of_size(3), 1)]:
        for _ in range(3):
            assert torch.equal(run(graphs, images, key), 2 * images)
    assert (recorder.recorded, recorder.replayed) == (4, 8)


def test_ever_new_shapes_are_run_without_graphs():
    recorder = Recorder()
    graphs = GraphedRuns(CPU, recorder=recorder)
    for length in range(1, 400):
        assert torch.equal(run(graphs, of_size(length)), 2 * of_size(length))
    assert (recorder.recorded, len(graphs)) == (0, 0)


def test_many_shapes_in_turn_do_not_record_without_end():
    recorder = Recorder()
    graphs = GraphedRuns(CPU, capacity=2, patience=10, recorder=recorder)
    for _ in range(20):
        for length in range(1, 6):
            assert torch.equal(run(graphs, of_size(length)), 2 * of_size(length))
    assert (recorder.recorded, len(graphs)) == (2, 2)
    assert recorder.replayed == 2 * 19


def test_the_graph_that_was_used_longest_ago_makes_room():
    recorder = Recorder()
    graphs = GraphedRuns(CPU, capacity=2, patience=3, recorder=recorder)
    for length in (1, 1, 2, 2):
        run(graphs, of_size(length))
    for _ in range(4):
        run(graphs, of_size(2))
    assert recorder.recorded == 2
    run(graphs, of_size(3))
    run(graphs, of_size(3))  # takes the place of 1
    assert (recorder.recorded, len(graphs)) == (3, 2)
    run(graphs, of_size(2))
    assert recorder.recorded == 3
    run(graphs, of_size(1))  # has to wait: 2 and 3 were used just now
    assert (recorder.recorded, len(graphs)) == (3, 2)


def test_an_error_leaves_the_others_to_run():
    def broken(images):
        raise ValueError("no such images")

    graphs = GraphedRuns(CPU, recorder=Recorder())
    for _ in range(3):
        with pytest.raises(ValueError, match="no such images"):
            graphs(broken, of_size(2), key=0, finish=list)
    assert len(graphs) == 0
    assert torch.equal(run(graphs, of_size(2)), 2 * of_size(2))


def assert_same(result, wanted):
    assert (result.panoptic == wanted.panoptic).all()
    assert (result.class_map == wanted.class_map).all()
    assert result.segments == wanted.segments
    for ours, theirs in zip(result.predictions, wanted.predictions, strict=True):
        assert torch.equal(ours, theirs)


def pictures(*size, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictors(checkpoint):
    """One that records, its recorder, and one that does not."""
    settings = {"backend": "eager", "class_map": True, "keep_predictions": True}
    plain = Predictor.from_checkpoint(checkpoint, **settings)
    graphed = Predictor.from_checkpoint(checkpoint, **settings)
    recorder = Recorder()
    graphed.graphs = CopiesFromDevice(CPU, recorder=recorder)
    return graphed, recorder, plain


def test_results_are_those_without_and_stay(predictors):
    graphed, recorder, plain = predictors
    images = [*pictures(64, 128), *pictures(50, 90), *map(torch.from_numpy, pictures(70, 64))]
    # All are made before any is looked at: a result in memory that is written again would show.
    results = [graphed(image) for image in images]
    assert recorder.recorded == 3
    assert recorder.replayed == 9
    for result, image in zip(results, images, strict=True):
        assert_same(result, plain(image))
        assert list(result.timings_ms) == ["preprocess", "network", "postprocess"]
    batch = pictures(64, 128)
    for _ in range(2):
        # A batch and its images alone are not the same bits on a CPU.
        for result, wanted in zip(graphed(batch), plain(batch), strict=True):
            assert_same(result, wanted)
    assert recorder.recorded == 4


def test_threads_share_graphs_without_mixing_their_images(predictors):
    graphed, _, plain = predictors
    images = [image for size in ((64, 128), (40, 40)) for image in pictures(*size)]
    expected = [plain(image) for image in images]
    wrong = []

    def work(index):
        for _ in range(3):
            result = graphed(images[index])
            if not (result.panoptic == expected[index].panoptic).all():
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_warm_up_records(checkpoint):
    predict = Predictor.from_checkpoint(checkpoint, backend="eager")
    predict.graphs = GraphedRuns(CPU, recorder=Recorder())
    predict.warm_up((64, 128))
    assert len(predict.graphs) == 1


@pytest.mark.parametrize("backend", ["eager", "compile"])
def test_without_cuda_there_are_no_graphs(checkpoint, backend):
    assert Predictor.from_checkpoint(checkpoint, backend=backend).graphs is None
    with pytest.raises(
        ValueError, match=f"cuda_graph goes with backend 'eager' on CUDA, got '{backend}' on cpu"
    ):
        Predictor.from_checkpoint(checkpoint, backend=backend, cuda_graph=True)
