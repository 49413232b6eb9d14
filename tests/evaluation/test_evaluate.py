"""From a data set and a predictor to all scores."""

import json
import multiprocessing
import sys
import weakref

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.sample import Sample
from panodeeplab.evaluation import InstanceAP, PanopticQuality, SemanticIoU
from panodeeplab.evaluation.coco_ap import CocoMaskAP
from panodeeplab.evaluation.evaluate import evaluate
from panodeeplab.evaluation.semantic import CITYSCAPES_CATEGORIES, CITYSCAPES_INSTANCE_SIZES
from panodeeplab.evaluation.tables import format_evaluation
from panodeeplab.postprocess import PanopticResult


class Numbered:
    """A data set that says in the image which one it is, for predictions that were made before."""

    classes = CITYSCAPES

    def __init__(self, scored):
        self.dataset = CityscapesDataset(scored.root, "val")

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        sample = self.dataset[index]
        return sample._replace(image=np.full_like(sample.image, index))


def run(scored, **options):
    return evaluate(
        lambda image: scored.pairs[image[0, 0, 0]][1], Numbered(scored), progress=False, **options
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_scores_are_those_of_each_metric_and_no_worker_stays(generated, workers):
    quality, ap = PanopticQuality(CITYSCAPES), InstanceAP(CITYSCAPES)
    semantic = SemanticIoU(
        CITYSCAPES, instance_sizes=CITYSCAPES_INSTANCE_SIZES, categories=CITYSCAPES_CATEGORIES
    )
    for sample, result in generated.pairs:
        truth = (sample.panoptic, sample.segments_info)
        quality.update(result.panoptic, *truth)
        semantic.update_segments(result.class_map, *truth)
        ap.update(result.panoptic, *truth, {s.id: s.score for s in result.segments})
    names = []
    result = run(
        generated, ap="cityscapes", workers=workers, write=lambda name, result: names.append((name, result))
    )
    assert result == quality.result() | {"semantic": semantic.result(), "instances": ap.result()}
    assert [name for name, _ in names] == [sample.image_id for sample, _ in generated.pairs]
    assert all(seen is pair[1] for (_, seen), pair in zip(names, generated.pairs, strict=True))
    assert not multiprocessing.active_children()
    json.dumps(result)
    assert "instances" not in run(generated)


def test_workers_end_when_an_image_fails(generated):
    def fail(image):
        raise ValueError("no prediction")

    with pytest.raises(ValueError, match="no prediction"):
        evaluate(fail, Numbered(generated), workers=2, progress=False)
    assert not multiprocessing.active_children()


def test_no_image_is_kept():
    seen = []

    class Held(np.ndarray):
        """An array that can be watched."""

    def watched(array):
        array = array.view(Held)
        seen.append(weakref.ref(array))
        return array

    class Many:
        classes = CITYSCAPES

        def __len__(self):
            return 30

        def __getitem__(self, index):
            panoptic = np.full((16, 16), 7, np.int32)
            segments = [{"id": 7, "category_id": 0, "iscrowd": 0}]
            return Sample(watched(np.zeros((16, 16, 3), np.uint8)), watched(panoptic), segments, str(index))

    most = 0

    def predict(image):
        nonlocal most
        most = max(most, sum(reference() is not None for reference in seen))
        return PanopticResult(watched(np.zeros((16, 16), np.int32)), (), CITYSCAPES)

    assert evaluate(predict, Many(), ap="cityscapes", progress=False)["All"]["pq"] == 1.0
    assert most <= 6  # those of this image and the one before


def test_coco_ap_equals_pycocotools(generated, capsys):
    from pycocotools import mask as masks
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    metric = CocoMaskAP(CITYSCAPES)
    images, truth, results = [], [], []

    def annotation(mask, category, number):
        encoded = masks.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {
            "image_id": number,
            "category_id": category,
            "segmentation": encoded,
            "area": int(mask.sum()),
            "bbox": masks.toBbox(encoded).tolist(),
        }

    for number, (sample, result) in enumerate(generated.pairs):
        scores = {segment.id: segment.score for segment in result.segments}
        metric.update(result.panoptic, sample.panoptic, sample.segments_info, scores)
        images.append({"id": number, "height": sample.panoptic.shape[0], "width": sample.panoptic.shape[1]})
        for s in sample.segments_info:
            if s["category_id"] in CITYSCAPES.thing_ids:
                more = {"iscrowd": s["iscrowd"], "id": len(truth) + 1}
                truth.append(annotation(sample.panoptic == s["id"], s["category_id"], number) | more)
        for s in result.segments:
            if s.is_thing:
                results.append(
                    annotation(result.panoptic == s.id, s.category_id, number) | {"score": s.score}
                )
    coco = COCO()
    categories = [{"id": i, "name": CITYSCAPES.names[i]} for i in CITYSCAPES.thing_ids]
    coco.dataset = {"images": images, "annotations": truth, "categories": categories}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = metric.result()
    assert 0.05 < ours["ap"] < 0.95
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    # -1 stands for nothing to be found.
    expected = [max(value, 0.0) for value in evaluation.stats[:6]]
    assert [ours[name] for name in names] == pytest.approx(expected, abs=1e-9)
    for k, c in enumerate(CITYSCAPES.thing_ids):
        precision = evaluation.eval["precision"][:, :, k, 0, -1]
        row = ours["per_class"][str(c)]
        if (precision > -1).any():
            assert row["ap"] == pytest.approx(precision[precision > -1].mean(), abs=1e-9)
        else:
            assert row is None
    assert run(generated, ap="coco")["instances"] == ours


def test_coco_ap_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'panodeeplab\[coco\]'"):
        CocoMaskAP(CITYSCAPES)


def test_coco_ap_refuses_what_does_not_fit():
    metric = CocoMaskAP(CITYSCAPES)
    with pytest.raises(ValueError, match=r"one shape, got \(4, 4\) and \(4, 5\)"):
        metric.update(np.zeros((4, 4), np.int32), np.zeros((4, 5), np.int32), [], {})
    with pytest.raises(ValueError, match="scores has none for 13001"):
        metric.update(np.full((4, 4), 13001, np.int32), np.zeros((4, 4), np.int32), [], {})
    assert metric.result()["ap"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ap": "voc"}, "ap must be 'cityscapes', 'coco' or None, got 'voc'"),
        ({"workers": -1}, "workers .* -1"),
    ],
)
def test_bad_input_is_refused(generated, options, message):
    with pytest.raises(ValueError, match=message):
        run(generated, **options)


def rows_of(text):
    tables = text.split("\n\n")
    return [
        {line[:14].strip(): line[14:].split() for line in t.splitlines() if line[:1].isalpha()}
        for t in tables
    ]


def test_tables_show_every_class_in_percent(generated):
    result = run(generated, ap="cityscapes")
    text = format_evaluation(result, CITYSCAPES)
    quality, more, categories = rows_of(text)
    assert text.split("\n\n")[1].splitlines()[0].split() == ["IoU", "iIoU", "AP", "AP50"]
    semantic, instances = result["semantic"], result["instances"]
    means = (semantic["miou"], semantic["iiou"], instances["ap"], instances["ap50"])
    assert more["mean"] == [f"{100 * value:.1f}" for value in means]
    assert set(more) == {
        "mean",
        *(CITYSCAPES.names[int(c)] for c, value in semantic["per_class"].items() if value is not None),
    }
    assert more["person"][0] == f"{100 * semantic['per_class']['11']:.1f}"
    assert more["person"][2] == f"{100 * instances['per_class']['11']['ap']:.1f}"
    assert more["road"][1:] == ["-", "-", "-"]
    assert "road" in quality
    assert categories["categories"] == ["IoU", "iIoU"]
    assert categories["mean"] == [f"{100 * semantic[f'category_{key}']:.1f}" for key in ("miou", "iiou")]
    assert categories["flat"] == [f"{100 * semantic['per_category']['flat']:.1f}", "-"]
    assert categories["human"][1] == f"{100 * semantic['iiou_per_category']['human']:.1f}"


def test_tables_of_coco_have_ap_by_size(generated):
    lines = format_evaluation(run(generated, ap="coco"), CITYSCAPES).splitlines()
    assert lines[-1].startswith("AP75 ")
    assert "AP large" in lines[-1]


def test_other_classes_have_no_iiou():
    table = ClassTable("one", ("ground",), ((0, 0, 0),), (), (1,))

    class One:
        classes = table

        def __len__(self):
            return 1

        def __getitem__(self, index):
            segments = [{"id": 1, "category_id": 0, "iscrowd": 0}]
            return Sample(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.int32), segments, "a")

    panoptic = np.array([[0, 0], [0, -1]], np.int32)
    result = evaluate(lambda image: PanopticResult(panoptic, (), table), One(), progress=False)
    assert result["semantic"] == {"miou": 0.75, "n": 1, "per_class": {"0": 0.75}}
    assert format_evaluation(result, table).splitlines()[-1].split() == ["ground", "75.0"]
