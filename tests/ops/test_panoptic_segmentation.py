"""What `panoptic_segmentation` means, on maps to check by hand, and against other implementations.

Most tests run both on the reference and on the backend in use.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from calls import BACKENDS
from street import THINGS, street

from panodeeplab.ops import panoptic_segmentation


@pytest.fixture(params=BACKENDS)
def segment(request):
    return BACKENDS[request.param]


def logits(label: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(label, classes).permute(2, 0, 1)[None].float()


def spots(height: int, width: int, points: dict[tuple[int, int], float]) -> torch.Tensor:
    center = torch.zeros(1, 1, height, width)
    for (y, x), value in points.items():
        center[0, 0, y, x] = value
    return center


@pytest.mark.parametrize(
    "name",
    [
        "coco_133_classes",
        "no_centres",
        "odd_size",
        "plateau_and_corner",
        "street_align_corners",
        "street_halfpixel",
        "stride8_wide_nms",
        "stuff_only",
        "thing_everywhere",
        "top_k_cut",
        "votes_outside",
    ],
)
def test_equals_detectron2_in_every_pixel(golden, segment, name):
    data = np.load(golden / f"postprocess_{name}.npz", allow_pickle=False)
    maps = (torch.from_numpy(data[key])[None] for key in ("semantic", "center", "offset"))
    integers = ("stride", "nms_kernel", "top_k", "stuff_area", "label_divisor", "void_label")
    result = segment(
        *maps,
        align_corners=bool(data["align_corners"]),
        thing_ids=data["thing_ids"].tolist(),
        center_threshold=float(data["center_threshold"]),
        **{key: int(data[key]) for key in integers},
    )
    count = len(data["center_points"])
    assert result.num_centers.tolist() == [count]
    assert np.array_equal(result.centers[0, :count], data["center_points"])
    assert np.array_equal(result.panoptic[0], data["panoptic"])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_agrees_with_dense_tensors(segment, stride, align_corners):
    """F.interpolate and the whole distance matrix; rounding may decide a pixel between classes or centres."""
    semantic, center, offset = street(seed=stride)
    h, w = semantic.shape[2:]
    size = ((h - 1) * stride + 1, (w - 1) * stride + 1) if align_corners else (h * stride, w * stride)
    result = segment(
        semantic,
        center,
        offset,
        stride=stride,
        align_corners=align_corners,
        thing_ids=THINGS,
        stuff_area=0,
        center_threshold=0.3,
    )
    dense = [
        F.interpolate(m, size, mode="bilinear", align_corners=align_corners)[0]
        for m in (semantic, center, offset)
    ]
    heat = dense[1][0]
    peak = (heat > 0.3) & (heat == F.max_pool2d(heat[None], 7, 1, 3)[0])
    points = peak.nonzero()
    assert torch.equal(result.centers[0, : len(points)], points.int())
    assert len(points) >= 4

    votes = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")) + dense[2] * stride
    nearest = (votes.flatten(1).T[None] - points[:, None]).norm(dim=-1).argmin(0).view(size)
    label = dense[0].argmax(0)
    thing = torch.isin(label, torch.tensor(THINGS))
    expected = torch.where(thing, 0, label * 1000)
    counters = dict.fromkeys(THINGS, 0)
    for k in range(len(points)):
        inside = thing & (nearest == k)
        if inside.any():
            category = label[inside].mode().values.item()
            counters[category] += 1
            expected[inside] = category * 1000 + counters[category]
    assert (result.panoptic[0] != expected).float().mean() < 1e-3


def test_segments_describe_the_map(segment):
    maps = street(seed=3)
    result = segment(*maps, stride=4, thing_ids=THINGS, stuff_area=1500, semantic_probability=True)
    panoptic, count = result.panoptic[0], result.num_segments[0]
    ids = panoptic[panoptic >= 0].unique()
    assert torch.equal(result.segment_ids[0, :count], ids)
    assert (result.segment_ids[0, count:] == -1).all()
    probability = maps[0].double()[0].softmax(0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    for row, index in enumerate(ids.tolist()):
        inside = panoptic == index
        y, x = inside.nonzero(as_tuple=True)
        assert result.segment_areas[0, row] == inside.sum()
        assert result.segment_boxes[0, row].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        mean = probability[index // 1000][inside].mean().item()
        assert result.segment_probabilities[0, row].item() == pytest.approx(mean, abs=2e-5)
        center = result.segment_centers[0, row].item()
        assert (center >= 0) == (index // 1000 in THINGS)
        if center >= 0:
            cy, cx = result.centers[0, center].tolist()
            assert math.hypot(y.float().mean().item() - cy, x.float().mean().item() - cx) < 12
    assert (result.segment_areas[0, count:] == 0).all()
    assert (result.segment_boxes[0, count:] == 0).all()
    assert (result.segment_centers[0, count:] == -1).all()
    assert (result.segment_probabilities[0, count:] == 0).all()
    plain = segment(*maps, stride=4, thing_ids=THINGS, stuff_area=1500)
    assert torch.equal(plain.panoptic, result.panoptic)
    assert (plain.segment_probabilities == 0).all()


def test_class_ties_go_to_the_lowest_index(segment):
    semantic = torch.ones(1, 3, 4, 5)
    result = segment(
        semantic, torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 4, 5), stride=2, thing_ids=(), stuff_area=1
    )
    assert (result.panoptic == 0).all()
    assert result.segment_ids[0].tolist()[:2] == [0, -1]


def test_equal_heat_gives_all_centers_in_raster_order(segment):
    semantic = logits(torch.ones(6, 9, dtype=torch.long), 2)
    center = spots(6, 9, {(1, 2): 0.5, (1, 3): 0.5, (4, 7): 0.5, (4, 1): 0.1})
    result = segment(semantic, center, torch.zeros(1, 2, 6, 9), stride=1, thing_ids=(1,), nms_kernel=3)
    assert result.centers[0, :3].tolist() == [[1, 2], [1, 3], [4, 7]]
    assert result.center_scores[0, :4].tolist() == [0.5, 0.5, 0.5, 0.0]
    assert result.num_centers.tolist() == [3]
    assert (result.centers[0, 3:] == -1).all()


@pytest.mark.parametrize(
    ("top_k", "expected"), [(5, [0.5, 0.7, 0.7, 0.9]), (4, [0.7, 0.7, 0.9]), (3, [0.9]), (1, [])]
)
def test_at_top_k_only_scores_above_the_last_stay(segment, top_k, expected):
    center = spots(1, 30, {(0, 0): 0.5, (0, 9): 0.7, (0, 18): 0.7, (0, 27): 0.9})
    semantic = torch.zeros(1, 2, 1, 30)
    result = segment(semantic, center, torch.zeros(1, 2, 1, 30), stride=1, thing_ids=(1,), top_k=top_k)
    assert result.num_centers.item() == len(expected)
    assert result.center_scores[0, : len(expected)].tolist() == pytest.approx(expected)


def test_a_vote_between_two_centers_goes_to_the_first(segment):
    semantic = logits(torch.ones(1, 9, dtype=torch.long), 2)
    center = spots(1, 9, {(0, 0): 0.9, (0, 8): 0.5})
    result = segment(semantic, center, torch.zeros(1, 2, 1, 9), stride=1, thing_ids=(1,))
    assert result.panoptic.tolist() == [[[1001] * 5 + [1002] * 4]]


def test_a_thing_takes_the_class_of_most_of_its_pixels(segment):
    """A tie goes to the smallest class; each class numbers its things in raster order of their centres."""
    label = torch.tensor([[1, 1, 2, 2, 2, 3, 3, 1, 2, 0]])
    offset = torch.zeros(1, 2, 1, 10)
    offset[0, 1, 0] = torch.tensor([4.0, 3, 2, 1, 0, -1, 3, 2, 1, 0])
    semantic, center = logits(label, 4), spots(1, 10, {(0, 4): 0.9, (0, 9): 0.9})
    result = segment(semantic, center, offset, stride=1, thing_ids=(1, 2, 3), stuff_area=0, nms_kernel=3)
    assert result.panoptic.tolist() == [[[2001] * 6 + [1001] * 3 + [0]]]
    assert result.segment_centers[0, :3].tolist() == [-1, 1, 0]


@pytest.mark.parametrize(("stuff_area", "left"), [(6, [0, 1000]), (7, [1000])])
def test_stuff_of_exactly_the_area_stays(segment, stuff_area, left):
    label = torch.ones(4, 4, dtype=torch.long)
    label[:2, :3] = 0
    result = segment(
        logits(label, 2),
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 2, 4, 4),
        stride=1,
        thing_ids=(),
        stuff_area=stuff_area,
        void_label=77,
    )
    assert result.segment_ids[0, : len(left)].tolist() == left
    assert (result.panoptic == 77).sum() == (0 if 0 in left else 6)


def test_without_centers_things_are_void(segment):
    semantic = logits(torch.tensor([[0, 0, 1, 1]]), 2)
    result = segment(
        semantic, torch.zeros(1, 1, 1, 4), torch.zeros(1, 2, 1, 4), stride=1, thing_ids=(1,), stuff_area=0
    )
    assert result.panoptic.tolist() == [[[0, 0, -1, -1]]]
    assert result.num_segments.tolist() == [1]


def test_what_is_not_a_number_is_void(segment):
    semantic = logits(torch.tensor([[0, 0, 1, 1, 1, 1]]), 3)
    semantic[0, 2, 0, 1] = torch.nan
    semantic[0, 2, 0, 0] = -torch.inf
    center = spots(1, 6, {(0, 2): 0.9, (0, 3): torch.nan})
    offset = torch.zeros(1, 2, 1, 6)
    offset[0, 0, 0, 3] = torch.nan
    offset[0, 1, 0, 4] = torch.inf
    offset[0, 1, 0, 5] = 3e38
    result = segment(
        semantic, center, offset, stride=1, thing_ids=(1,), stuff_area=0, semantic_probability=True
    )
    assert result.panoptic.tolist() == [[[0, -1, 1001, -1, -1, 1001]]]
    assert result.segment_areas[0, :2].tolist() == [1, 2]
    assert result.segment_probabilities[0, 0].item() == pytest.approx(torch.e / (torch.e + 1), abs=2e-5)


def test_a_class_of_minus_infinity_never_wins_and_hurts_nobody(segment):
    semantic, center, offset = street(seed=5)
    masked = semantic.clone()
    masked[:, 2] = -torch.inf
    without = torch.cat((semantic[:, :2], semantic[:, 3:]), 1)
    result = segment(masked, center, offset, stride=4, thing_ids=THINGS, stuff_area=0)
    fewer = segment(without, center, offset, stride=4, thing_ids=(2, 3), stuff_area=0)
    renamed = torch.where(fewer.panoptic >= 2000, fewer.panoptic + 1000, fewer.panoptic)
    assert torch.equal(result.panoptic, renamed)


@pytest.mark.parametrize("align_corners", [False, True])
def test_output_size_crops_before_anything_is_found(segment, align_corners):
    """At stride 1 a crop of the maps is the same; at others, whatever lies outside must not matter."""
    maps = street(seed=2)
    arguments = {"thing_ids": THINGS, "stuff_area": 100, "align_corners": align_corners}
    cropped = segment(*maps, stride=1, output_size=(17, 31), **arguments)
    for ours, theirs in zip(
        cropped, segment(*(m[..., :17, :31] for m in maps), stride=1, **arguments), strict=True
    ):
        assert torch.equal(ours, theirs)

    cropped = segment(*maps, stride=4, output_size=(50, 70), **arguments)
    assert cropped.panoptic.shape == (1, 50, 70)
    changed = [m.clone() for m in maps]
    for m in changed:
        m[..., 15:, :] = 50
        m[..., 20:] = 50
    for ours, theirs in zip(
        cropped, segment(*changed, stride=4, output_size=(50, 70), **arguments), strict=True
    ):
        assert torch.equal(ours, theirs)
    whole = segment(*maps, stride=4, **arguments)
    assert whole.segment_areas.sum() > cropped.segment_areas.sum()


def test_images_of_a_batch_do_not_touch(segment):
    first, second = street(seed=6), street(seed=7)
    both = segment(
        *map(torch.cat, zip(first, second, strict=True)), stride=4, thing_ids=THINGS, stuff_area=50
    )
    for n, maps in enumerate((first, second)):
        alone = segment(*maps, stride=4, thing_ids=THINGS, stuff_area=50)
        for ours, theirs in zip(both, alone, strict=True):
            assert torch.equal(ours[n], theirs[0])


def test_no_image_gives_no_result(segment):
    maps = (m[:0] for m in street())
    result = segment(*maps, stride=4, thing_ids=THINGS)
    assert result.panoptic.shape == (0, 96, 160)
    assert result.segment_ids.shape == (0, 205)


def test_an_id_may_equal_the_void_label_of_stuff(segment):
    """Detectron2's own COCO setting for void 0; areas and probabilities still count the class only."""
    maps = street(seed=8)
    maps[1].zero_()
    arguments = {"stride": 4, "thing_ids": THINGS, "stuff_area": 0, "semantic_probability": True}
    zero, minus = segment(*maps, void_label=0, **arguments), segment(*maps, void_label=-1, **arguments)
    assert torch.equal(zero.panoptic, minus.panoptic.clamp(min=0))
    assert (minus.panoptic == -1).any()
    for name in ("segment_areas", "segment_boxes", "segment_probabilities", "num_segments"):
        assert torch.equal(getattr(zero, name), getattr(minus, name))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"semantic": torch.zeros(5, 6, 8)}, r"semantic has shape \(5, 6, 8\), wanted \(N,C,h,w\)"),
        ({"semantic": torch.zeros(1, 0, 6, 8)}, "at least 1"),
        ({"semantic": torch.zeros(1, 5, 0, 8)}, "center has shape"),
        (
            {"semantic": torch.zeros(1, 5, 6, 8, dtype=torch.float64)},
            "semantic is torch.float64, wanted float32",
        ),
        ({"semantic": np.zeros((1, 5, 6, 8))}, "semantic is a ndarray, wanted a tensor"),
        ({"center": torch.zeros(1, 2, 6, 8)}, r"center has shape \(1, 2, 6, 8\), wanted \(N,1,h,w\)"),
        ({"center": torch.zeros(2, 1, 6, 8)}, r"wanted N, h and w of semantic, \(1, 5, 6, 8\)"),
        ({"offset": torch.zeros(1, 2, 6, 7)}, "offset has shape"),
        ({"offset": torch.zeros(1, 2, 6, 8, dtype=torch.int32)}, "offset is torch.int32"),
        (
            {"offset": torch.zeros(1, 2, 6, 8, device="meta")},
            "offset is on meta, wanted the device of semantic, cpu",
        ),
        ({"stride": 0}, "stride is 0"),
        ({"stride": 4.0}, "stride is 4.0"),
        ({"output_size": (25, 8)}, r"output_size is \(25, 8\), wanted .* upsampled size \(24, 32\)"),
        ({"output_size": (0, 8)}, r"output_size is \(0, 8\)"),
        ({"output_size": (8,)}, r"output_size is \(8,\)"),
        ({"thing_ids": (5,)}, "thing_ids has 5, wanted classes from 0 to 4"),
        ({"thing_ids": (-1,)}, "thing_ids has -1"),
        ({"thing_ids": (3, 3)}, "each class once"),
        ({"center_threshold": float("nan")}, "center_threshold is nan"),
        ({"nms_kernel": 4}, "nms_kernel is 4, wanted an odd number"),
        ({"nms_kernel": 257}, "nms_kernel is 257"),
        ({"top_k": 0}, "top_k is 0"),
        ({"stuff_area": -1}, "stuff_area is -1"),
        ({"label_divisor": 0}, "label_divisor is 0"),
        ({"label_divisor": 100}, "label_divisor is 100, wanted at least top_k, 200"),
        ({"label_divisor": 600_000_000}, "within int32; the largest would be 2400000199"),
        ({"void_label": 2**31}, "void_label is 2147483648"),
        ({"void_label": 3001}, "void_label is 3001, wanted a value that no instance can have"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    given = {
        "semantic": torch.zeros(1, 5, 6, 8),
        "center": torch.zeros(1, 1, 6, 8),
        "offset": torch.zeros(1, 2, 6, 8),
        "stride": 4,
        "thing_ids": (3, 4),
    }
    with pytest.raises(ValueError, match=message):
        panoptic_segmentation(**(given | changed))


def test_an_output_too_large_for_its_coordinates_is_refused():
    maps = (torch.zeros(1, channels, 1, 1).expand(1, channels, 60_000, 60_000) for channels in (1, 1, 2))
    with pytest.raises(ValueError, match="60000 x 60000"):
        panoptic_segmentation(*maps, stride=1, thing_ids=())
