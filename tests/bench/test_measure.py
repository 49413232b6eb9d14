import cv2
import numpy as np
import pytest
import torch
import yaml
from results import FAST, check_result

from panodeeplab import Predictor
from panodeeplab.bench import measure
from panodeeplab.bench import streets as street_module
from panodeeplab.bench.environment import differences
from panodeeplab.bench.measure import measure_all, measure_setting
from panodeeplab.bench.predictor_stages import PredictorPipeline
from panodeeplab.bench.run import headline
from panodeeplab.bench.stages import Run, Setting, measure_stages
from panodeeplab.bench.streets import (
    class_in,
    decode,
    generated_streets,
    image_file,
    street_predictions,
    street_queries,
)
from panodeeplab.classes import CITYSCAPES, COCO
from panodeeplab.config import PostprocessConfig
from panodeeplab.data.scenes import render_scene
from panodeeplab.inference.predictor import Predictor as PredictorClass
from panodeeplab.postprocess import postprocess


def test_a_result_has_what_scripts_rely_on(trained, random):
    check_result(trained)
    check_result(random)
    assert (trained["weights"], random["weights"]) == ("trained", "random")
    assert trained["runs"] == 2
    assert trained["warmup"] == 1
    assert trained["environment"]["threads"] == trained["threads"] == 1
    assert not any("random" in note for note in trained["notes"])
    assert any("random" in note for note in random["notes"])


def test_random_weights_do_not_empty_the_streets(random):
    assert random["segments"] > 5


def test_parts_add_up():
    runs = iter(
        Run({"decode": 1.0, "network": 5.0, "postprocess": 3.0, "draw": 2.0}, total, 4.0, 20.0, 5.0)
        for total in (99.0, 9.0, 8.0, 12.0)
    )

    class Pipeline:
        facts: dict = {}  # noqa: RUF012
        notes = ("a note",)
        seen: list = []  # noqa: RUF012

        def __call__(self, streets):
            self.seen.append([street.encoded for street in streets])
            return next(runs)

    streets = [street_module.Street(bytes([i]), None) for i in range(3)]
    pipeline = Pipeline()
    setting = Setting(warmup=1, runs=3, batch=2)
    result = measure_stages(pipeline, streets, setting)
    assert result["end_to_end"]["median_ms"] == 9.0
    assert result["end_to_end"]["fps"] == pytest.approx(2 / 9e-3)
    assert result["file_to_picture"]["median_ms"] == 9.0 + 1.0 + 2.0
    assert result["postprocess_share"] == pytest.approx(3 / 9)
    assert result["processor"] == {"end_to_end_ms": 20.0, "outside_network_share": 0.25}
    assert pipeline.seen == [[b"\0", b"\1"], [b"\2", b"\0"], [b"\1", b"\2"], [b"\0", b"\1"]]
    assert "a note" in result["notes"]


def test_as_many_runs_as_fill_the_time_and_a_busy_machine_is_told_of():
    times = iter([5.0, 5.0, 5.0, 5.0, 50.0, *[5.0] * 10_000_000])

    class Pipeline:
        facts: dict = {}  # noqa: RUF012
        notes = ()

        def __call__(self, streets):
            return Run({"postprocess": 1.0}, next(times), 1.0, 1.0, None)

    street = street_module.Street(b"", None)
    result = measure_stages(Pipeline(), [street], Setting(warmup=0, seconds=1e-9))
    assert result["runs"] == 5
    assert "outside_network_share" not in result["processor"]
    assert any("10.0 times the median" in warning for warning in result["warnings"])
    assert any("p99 of 5 runs" in warning for warning in result["warnings"])


def test_the_same_seed_gives_the_same_files():
    first, second = generated_streets((64, 128), 3), generated_streets((64, 128), 3)
    assert [s.encoded for s in first] == [s.encoded for s in second]
    assert len({s.encoded for s in first}) == street_module.STREETS
    assert generated_streets((64, 128), 4)[0].encoded == first[1].encoded
    image = decode(first[0].encoded)
    # RGB, not BGR, but for JPEG's losses.
    as_rgb, as_bgr = (np.abs(x.astype(int) - first[0].sample.image).mean() for x in (image, image[..., ::-1]))
    assert as_rgb < 0.5 * as_bgr


def test_an_image_of_the_users_is_read_at_its_size(tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), render_scene(0, (70, 90)).image[..., ::-1])
    result = measure_setting(Setting(image=path, **FAST | {"size": None}))
    check_result(result)
    assert result["image"] == str(path)
    assert result["size"] is None
    assert any("the image file" in note for note in result["notes"])


def test_a_batch_counts_all_of_its_images():
    result = measure_setting(Setting(**FAST | {"batch": 3, "runs": 1}))
    check_result(result)
    assert result["batch"] == 3


@pytest.mark.parametrize("classes", [CITYSCAPES, COCO], ids=["cityscapes", "coco"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_prepared_predictions_give_the_street_back(classes, align_corners):
    sample = render_scene(5, (128, 256))
    predictions = street_predictions(sample, classes, align_corners=align_corners)
    (result,) = postprocess(
        predictions,
        input_size=(128, 256),
        classes=classes,
        config=PostprocessConfig(stuff_area=16),
        align_corners=align_corners,
    )
    truth = np.full(sample.panoptic.shape, -1)
    for segment in sample.segments_info:
        truth[sample.panoptic == segment["id"]] = class_in(classes, segment["category_id"])
    known = truth >= 0
    assert (result.semantic[known] == truth[known]).mean() > 0.9
    things = [s for s in sample.segments_info if s["category_id"] in CITYSCAPES.thing_ids]
    found = sum(segment.is_thing for segment in result.segments)
    assert 0.5 * len(things) <= found <= 1.3 * len(things)


def test_prepared_queries_hold_a_segment_each():
    sample = render_scene(5, (128, 256))
    logits, masks = street_queries(sample, COCO, queries=100, grid=(32, 64))
    assert logits.shape == (1, 100, 134)
    assert masks.shape == (1, 100, 32, 64)
    count = len(sample.segments_info)
    assert (logits[0, :count].argmax(-1) < 133).all()
    assert (logits[0, count:].argmax(-1) == 133).all()
    areas = (masks[0, :count] > 0).flatten(1).sum(1)
    assert areas[0] == areas.max() > 0
    few, _ = street_queries(sample, CITYSCAPES, queries=2, grid=(8, 8))
    assert few.shape == (1, 2, 20)


def test_prepared_predictions_of_another_shape_are_refused(recipe):
    setting = Setting(model=str(recipe), **FAST)
    streets = generated_streets((64, 128), 0)
    pipeline = PredictorPipeline(setting, streets)
    wrong = generated_streets((128, 128), 0)[0]
    said = street_predictions(wrong.sample, CITYSCAPES, align_corners=False)
    pipeline.predictor.network.prepared[streets[0].encoded] = said
    with pytest.raises(RuntimeError, match="another shape"):
        pipeline(streets[:1])


def test_watching_a_trained_network_changes_nothing():
    street = generated_streets((64, 128), 0)[0]
    pipeline = PredictorPipeline(Setting(**FAST), [street])
    assert isinstance(pipeline.predictor, PredictorClass)
    alone = Predictor.from_checkpoint("street-tiny", size=(64, 128), backend="eager")
    image = decode(street.encoded)
    assert torch.equal(
        torch.from_numpy(pipeline.predictor(image).panoptic), torch.from_numpy(alone(image).panoptic)
    )


def test_what_cannot_run_is_left_out(recipe, random, capsys, monkeypatch):
    monkeypatch.setattr(measure, "_in_fresh_process", lambda setting: _in_this_process(setting, random))
    models = ("absent.yaml", str(recipe), "absent.safetensors")
    kept = []
    results = measure_all(
        [Setting(model=model, **FAST) for model in models], lambda results: kept.append(len(results))
    )
    assert results == [random]
    assert kept == [1]
    said = capsys.readouterr().err
    for model in (models[0], models[2]):
        assert f"left out {model}" in said
    with pytest.raises(ValueError, match="none of the settings can run here"):
        measure_all([Setting(model=model, **FAST) for model in (models[0], models[2])])


def _in_this_process(setting: Setting, measured: dict) -> dict:
    return measured if setting.model == measured["model"] else measure_setting(setting)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"runs": 0}, "runs is 0"),
        ({"warmup": -1}, "warmup is -1"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"size": (16, 512)}, "size is 16x512"),
        ({"size": None}, "size is None"),
    ],
)
def test_a_setting_that_cannot_be(changed, message):
    with pytest.raises(ValueError, match=message):
        Setting(**changed)


def test_wrong_files(tmp_path, recipe):
    with pytest.raises(FileNotFoundError, match="image: no file"):
        image_file(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="cannot decode"):
        image_file(tmp_path / "text.png")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="random: generated streets only"):
        measure_setting(Setting(model=str(recipe), image=tmp_path / "image.png", **FAST))
    other = yaml.safe_load(recipe.read_text()) | {"data": {"dataset": "bdd100k", "root": "absent"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(ValueError, match="is a run for bdd100k"):
        measure_setting(Setting(model=str(tmp_path / "other.yaml"), **FAST))


@pytest.mark.parametrize("device", ["gpu", "meta:x"])
def test_a_device_that_torch_does_not_have(device):
    with pytest.raises(ValueError, match=f"device is '{device}'"):
        measure_setting(Setting(model="mask2former-swin-tiny", device=device))


def test_environments_differ_in_what_matters():
    old = {"processor": "a", "torch": "1", "load_average": [0.1], "clock_mhz": 1}
    assert differences(old, old | {"load_average": [9.0], "clock_mhz": 2}) == []
    assert differences(old, old | {"torch": "2"}) == ["torch was '1', is '2'"]
    assert differences(old, old | {"gpu": "b"}) == ["gpu was None, is 'b'"]


def test_a_cuda_graph_is_refused_on_a_cpu():
    with pytest.raises(ValueError, match="cuda_graph goes with backend 'eager' on CUDA, got 'eager' on cpu"):
        measure_setting(Setting(**FAST | {"cuda_graph": True, "backend": "eager"}))


def test_the_headline_does_without_shares_that_are_not_known():
    result = {
        "model": "street-tiny",
        "device": "cuda",
        "postprocess_share": 0.01,
        "processor": {"end_to_end_ms": 1.0},
    }
    assert headline([result]) == "post-processing is at most 1.0 % of end to end, in street-tiny"
