"""Our scores are those of the benchmarks: cityscapesScripts reads the files that we write, and hotcoco too.

cityscapesScripts 2.3 does not run with NumPy 2.4 as it is: `np.in1d` is gone, so the tests lend it `np.isin`,
and `np.count_nonzero` gives NumPy integers, which its record of the matches cannot be written with.
"""

import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.evaluation import InstanceAP, PanopticQuality, SemanticIoU, score
from panodeeplab.evaluation.semantic import CITYSCAPES_CATEGORIES, CITYSCAPES_INSTANCE_SIZES
from panodeeplab.inference.results import CityscapesWriter

NAMES = dict(zip(map(str, range(19)), CITYSCAPES.names, strict=True))


@pytest.fixture(scope="module", params=["generated", "real"])
def pairs(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def written(pairs, tmp_path_factory):
    """The folders for the server."""
    output = tmp_path_factory.mktemp("results")
    with CityscapesWriter(output, CITYSCAPES, split="val") as writer:
        for sample, result in pairs.pairs:
            writer.add(result, image_id=sample.image_id)
    return output


@pytest.fixture
def lend_in1d(monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)


def settings(module, root, results, **more):
    """The evaluator's own settings, with our folders."""
    values = {name: value for name, value in vars(module.args).items()}
    values |= {
        "cityscapesPath": str(root),
        "predictionPath": str(results),
        "predictionWalk": None,
        "quiet": True,
        "JSONOutput": False,
    }
    return SimpleNamespace(**values | more)


def assert_all_close(ours, theirs):
    """Equal to 1e-9, None standing for NaN."""
    assert len(ours) == len(theirs) > 0
    for key, value in ours.items():
        other = theirs[NAMES[key]]
        assert np.isnan(other) if value is None else value == pytest.approx(other, abs=1e-9), NAMES[key]


def test_miou_and_iiou_equal_the_pixel_level_evaluator(pairs, written, lend_in1d):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluator

    args = settings(evaluator, pairs.root, written / "semantic")
    truth = [str(p) for p in sorted(pairs.root.glob("gtFine/val/*/*_labelIds.png"))]
    theirs = evaluator.evaluateImgLists([evaluator.getPrediction(args, t) for t in truth], truth, args)

    iou = SemanticIoU(CITYSCAPES, instance_sizes=CITYSCAPES_INSTANCE_SIZES, categories=CITYSCAPES_CATEGORIES)
    for sample, result in pairs.pairs:
        iou.update_segments(result.class_map, sample.panoptic, sample.segments_info)
    ours = iou.result()
    assert 0.1 < ours["miou"] < 0.95
    assert 0.1 < ours["iiou"] < 0.95
    assert ours["miou"] == pytest.approx(theirs["averageScoreClasses"], abs=1e-9)
    assert ours["iiou"] == pytest.approx(theirs["averageScoreInstClasses"], abs=1e-9)
    assert_all_close(
        ours["per_class"], {k: v for k, v in theirs["classScores"].items() if k in CITYSCAPES.names}
    )
    things = [CITYSCAPES.names[i] for i in CITYSCAPES.thing_ids]
    assert_all_close(ours["iiou_per_class"], {k: theirs["classInstScores"][k] for k in things})
    assert 0.1 < ours["category_miou"] < 0.98
    assert ours["category_miou"] > ours["miou"]
    assert ours["category_miou"] == pytest.approx(theirs["averageScoreCategories"], abs=1e-9)
    assert ours["category_iiou"] == pytest.approx(theirs["averageScoreInstCategories"], abs=1e-9)
    for key, name, keys in (
        ("per_category", "categoryScores", set(CITYSCAPES_CATEGORIES)),
        ("iiou_per_category", "categoryInstScores", {"human", "vehicle"}),
    ):
        assert set(ours[key]) == keys
        for category, value in ours[key].items():
            other = theirs[name][category]
            assert np.isnan(other) if value is None else value == pytest.approx(other, abs=1e-9)


def test_ap_equals_the_instance_level_evaluator(pairs, written, lend_in1d, tmp_path, monkeypatch):
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as evaluator

    monkeypatch.setattr(evaluator, "writeDict2JSON", lambda content, path: None)
    absent = str(tmp_path / "gtInstances.json")
    args = settings(evaluator, pairs.root, written / "instance", gtInstancesFile=absent)
    truth = [str(p) for p in sorted(pairs.root.glob("gtFine/val/*/*_instanceIds.png"))]
    results = [evaluator.getPrediction(t, args) for t in truth]
    theirs = evaluator.evaluateImgLists(results, truth, args)["averages"]

    ap = InstanceAP(CITYSCAPES)
    for sample, result in pairs.pairs:
        scores = {segment.id: segment.score for segment in result.segments}
        ap.update(result.panoptic, sample.panoptic, sample.segments_info, scores)
    ours = ap.result()
    assert 0.05 < ours["ap"] < ours["ap50"] < 0.95
    assert ours["ap"] == pytest.approx(theirs["allAp"], abs=1e-9)
    assert ours["ap50"] == pytest.approx(theirs["allAp50%"], abs=1e-9)
    for key, name in (("ap", "ap"), ("ap50", "ap50%")):
        assert_all_close(
            {c: None if row is None else row[key] for c, row in ours["per_class"].items()},
            {c: row[name] for c, row in theirs["classes"].items()},
        )


@pytest.fixture(scope="module")
def panoptic_truth(pairs, tmp_path_factory):
    """The truth in COCO panoptic format, made by cityscapesScripts."""
    from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

    output = tmp_path_factory.mktemp("panoptic")
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(str(pairs.root / "gtFine"), str(output), setNames=["val"])
    return output / "cityscapes_panoptic_val.json"


def our_quality(pairs):
    quality = PanopticQuality(CITYSCAPES)
    for sample, result in pairs.pairs:
        quality.update(result.panoptic, sample.panoptic, sample.segments_info)
    return quality.result()


def assert_same_quality(ours, theirs, key_of=str):
    for name in ("All", "Things", "Stuff"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9)
    for index, label_id in enumerate(CITYSCAPES.label_ids):
        mine, other = ours["per_class"][str(index)], theirs["per_class"][key_of(label_id)]
        assert mine == pytest.approx({name: other[name] for name in mine}, abs=1e-9)


def test_pq_equals_the_panoptic_evaluator(pairs, written, panoptic_truth, tmp_path, monkeypatch, capsys):
    from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as evaluator

    # One process: the pool that it opens is never closed.
    monkeypatch.setattr(
        evaluator,
        "pq_compute_multi_core",
        lambda annotations, *more: evaluator.pq_compute_single_core(0, annotations, *more),
    )
    results = written / "panoptic/cityscapes_panoptic_val.json"
    theirs = evaluator.evaluatePanoptic(
        str(panoptic_truth),
        str(panoptic_truth.with_suffix("")),
        str(results),
        str(results.with_suffix("")),
        str(tmp_path / "scores.json"),
    )
    ours = our_quality(pairs)
    assert 0.1 < ours["All"]["pq"] < 0.95
    assert_same_quality(ours, theirs, int)
    # From the files as from memory.
    files = score(panoptic_truth, results)
    assert_same_quality(ours, files)


def numbered(path, output, keys):
    """The JSON with numbers for image ids, as hotcoco wants them."""
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["id"] = keys[image["id"]]
    for annotation in content["annotations"]:
        annotation["image_id"] = keys[annotation["image_id"]]
    output.write_text(json.dumps(content))
    return str(output)


def test_pq_equals_hotcoco(pairs, written, panoptic_truth, tmp_path, capfd):
    from hotcoco.panoptic import pq_compute

    keys = {sample.image_id: number for number, (sample, _) in enumerate(pairs.pairs)}
    results = written / "panoptic/cityscapes_panoptic_val.json"
    theirs = pq_compute(
        numbered(panoptic_truth, tmp_path / "truth.json", keys),
        numbered(results, tmp_path / "results.json", keys),
        str(panoptic_truth.with_suffix("")),
        str(results.with_suffix("")),
    )
    # It gives -1 to a class that occurs nowhere, panopticapi 0.
    theirs["per_class"] = {
        key: {name: max(value, 0.0) for name, value in row.items()}
        for key, row in theirs["per_class"].items()
    }
    assert_same_quality(our_quality(pairs), theirs, type(next(iter(theirs["per_class"]))))


def test_golden_pq_equals_hotcoco(golden, capfd):
    from hotcoco.panoptic import pq_compute

    truth, results = golden / "pq/gt.json", golden / "pq/pred.json"
    theirs, ours = pq_compute(str(truth), str(results)), score(truth, results)
    for name in ("All", "Things", "Stuff"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9)
