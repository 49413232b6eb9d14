"""Targets: equal to the reference implementation's, and right where it is not."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.ops import reference_targets
from panodeeplab.targets import panoptic_targets

THINGS = (11, 12, 13, 14, 15, 16, 17, 18)
OPTIONS = (
    "ignore_label",
    "sigma",
    "ignore_stuff_in_offset",
    "small_instance_area",
    "small_instance_weight",
    "ignore_crowd_in_semantic",
)


@pytest.fixture(params=["chosen", "reference"], scope="module", autouse=True)
def _every_test_with_both_backends(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "reference":
            patch.setattr(torch.ops.panodeeplab, "panoptic_targets", reference_targets.panoptic_targets)
        yield


def _scene():
    """Road, a car of 2 x 4 pixels at rows 2-3, columns 5-8, a crowd of people, and void."""
    panoptic = np.zeros((20, 30), np.int32)
    panoptic[10:] = 7
    panoptic[2:4, 5:9] = 26000
    panoptic[6:8, 20:26] = 24
    segments = [
        {"id": 7, "category_id": 0, "iscrowd": 0},
        {"id": 26000, "category_id": 13, "iscrowd": 0},
        {"id": 24, "category_id": 11, "iscrowd": 1},
    ]
    return panoptic, segments


@pytest.mark.parametrize("index", [0, 1, 2])
def test_equal_to_detectron2(golden, index):
    expected = np.load(golden / f"targets_{index}.npz", allow_pickle=False)
    targets = panoptic_targets(
        expected["panoptic"],
        json.loads(str(expected["segments_info"])),
        thing_ids=expected["thing_ids"].tolist(),
        crowd_as_instance=True,
        **{name: expected[name].item() for name in OPTIONS},
    )
    for name, value in targets._asdict().items():
        assert torch.equal(value, torch.from_numpy(expected[name])), name


def test_values_of_a_small_scene():
    panoptic, segments = _scene()
    targets = panoptic_targets(panoptic, segments, thing_ids=THINGS, sigma=1, small_instance_area=9)
    assert targets.sem_seg.dtype == torch.int64
    assert targets.sem_seg[0, 0] == 255
    assert targets.sem_seg[10, 0] == 0
    assert targets.sem_seg[6, 20] == 11
    assert targets.center_points.tolist() == [[2.5, 6.5]]
    # Python rounds halves to even, so the peak of (2.5, 6.5) stands at (2, 6).
    assert targets.center[2, 6] == 1
    assert targets.center[3, 6] == pytest.approx(np.exp(-0.5))
    assert targets.offset[:, 3, 8].tolist() == [-0.5, -1.5]
    assert targets.offset[:, 12, 3].tolist() == [0, 0]
    assert targets.sem_seg_weights[2, 5] == 3
    assert targets.sem_seg_weights[10, 0] == 1
    assert targets.center_weights[0, 0, 0] == 0
    assert targets.center_weights[0, 10, 0] == 1
    assert targets.offset_weights[0, 2, 5] == 1
    assert targets.offset_weights[0, 10, 0] == 0


def test_crowd_stamps_nothing_unless_asked():
    panoptic, segments = _scene()
    right = panoptic_targets(panoptic, segments, thing_ids=THINGS, sigma=2)
    leaking = panoptic_targets(panoptic, segments, thing_ids=THINGS, sigma=2, crowd_as_instance=True)
    # The crowd has no weight in the centre loss, but what lies beside it has: there the Gaussian leaks.
    assert right.center[4:10, 16:30].max() < leaking.center[4:10, 16:30].max() == 1
    assert not right.offset[:, 6, 20].any()
    assert leaking.offset[:, 6, 20].any()
    assert right.sem_seg_weights[6, 20] == 1
    assert right.center_weights[0, 6, 20] == leaking.center_weights[0, 6, 20] == 0


def test_crowd_can_leave_the_semantic_loss():
    panoptic, segments = _scene()
    targets = panoptic_targets(panoptic, segments, thing_ids=THINGS, ignore_crowd_in_semantic=True)
    assert (targets.sem_seg[panoptic == 24] == 255).all()
    assert (targets.sem_seg[panoptic == 26000] == 13).all()


@settings(deadline=None, max_examples=50)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    count=st.integers(0, 12),
    seed=st.integers(0, 2**31),
    high_ids=st.booleans(),
    sigma=st.integers(1, 12),
)
def test_each_instance_has_its_centre_and_offsets(size, count, seed, high_ids, sigma):
    rng = np.random.default_rng(seed)
    ids = rng.choice(1 << 24 if high_ids else 1000, count, replace=False) + 1
    categories = rng.integers(0, 19, count)
    crowd = rng.random(count) < 0.2
    values = np.concatenate([[0], ids])
    panoptic = values[rng.integers(0, count + 1, size)].astype(np.int32)
    segments = [
        {"id": int(i), "category_id": int(c), "iscrowd": int(w)}
        for i, c, w in zip(ids, categories, crowd, strict=True)
    ]
    targets = panoptic_targets(panoptic, segments, thing_ids=THINGS, sigma=sigma)
    rows, columns = np.mgrid[: size[0], : size[1]]
    seen = 0
    covered = np.zeros(size, bool)
    for i, c, w in zip(ids, categories, crowd, strict=True):
        mask = panoptic == i
        covered |= mask
        assert (targets.sem_seg.numpy()[mask] == c).all()
        assert (targets.center_weights.numpy()[0][mask] == (not w)).all()
        if mask.any() and c in THINGS and not w:
            point = np.array([rows[mask].mean(), columns[mask].mean()])
            assert np.allclose(targets.center_points[seen].numpy(), point)
            reached = targets.offset.numpy()[:, mask] + np.stack([rows[mask], columns[mask]])
            assert np.allclose(reached, point[:, None], atol=1e-4)
            assert targets.center[round(point[0]), round(point[1])] == 1
            seen += 1
    assert len(targets.center_points) == seen
    assert (targets.sem_seg.numpy()[~covered] == 255).all()
    assert (targets.center.max() == 1) == (seen > 0)


@pytest.mark.parametrize(
    ("panoptic", "options", "message"),
    [
        (np.zeros((2, 2, 2), np.int32), {}, r"panoptic must be an \(H, W\)"),
        (np.zeros((2, 2), np.float32), {}, "float32"),
        (torch.zeros((2, 2), dtype=torch.bool), {}, r"shape \(2, 2\) of torch.bool"),
        (np.zeros((2, 2), np.int32), {"sigma": 0}, "sigma"),
    ],
)
def test_bad_input(panoptic, options, message):
    with pytest.raises(ValueError, match=message):
        panoptic_targets(panoptic, [], thing_ids=THINGS, **options)


def test_an_id_listed_twice():
    segment = {"id": 5, "category_id": 0, "iscrowd": 0}
    with pytest.raises(ValueError, match=r"twice: \[5\]"):
        panoptic_targets(np.zeros((2, 2), np.int32), [segment, segment], thing_ids=THINGS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.int64, ">i4"])
def test_any_integers(dtype):
    """As a map of int32 gives, from NumPy or, where there is such a tensor, from torch."""
    panoptic, segments = _scene()
    segments[1]["id"] = 250
    panoptic[panoptic == 26000] = 250
    expected = panoptic_targets(panoptic, segments, thing_ids=THINGS)
    given = panoptic.astype(dtype)
    for one in [given] if dtype == ">i4" else [given, torch.from_numpy(given)]:
        targets = panoptic_targets(one, segments, thing_ids=THINGS)
        assert all(map(torch.equal, targets, expected))


@pytest.mark.parametrize("change", ["flipped", "transposed", "every other", "read-only"])
def test_any_layout(change):
    panoptic, segments = _scene()
    view = {
        "flipped": panoptic[::-1, ::-1],
        "transposed": panoptic.T,
        "every other": panoptic[::2, 1::2],
        "read-only": panoptic,
    }[change]
    if change == "read-only":
        view.flags.writeable = False
    expected = panoptic_targets(view.copy(), segments, thing_ids=THINGS, sigma=2)
    targets = panoptic_targets(view, segments, thing_ids=THINGS, sigma=2)
    assert all(map(torch.equal, targets, expected))


def test_centers_come_in_the_order_of_segments():
    panoptic, segments = _scene()
    panoptic[0, :3] = 5
    segments = [
        {"id": 9, "category_id": 13, "iscrowd": 0},  # without a pixel
        *segments,
        {"id": 5, "category_id": 12, "iscrowd": 0},
    ]
    points = panoptic_targets(panoptic, segments, thing_ids=THINGS).center_points
    assert points.tolist() == [[2.5, 6.5], [0, 1]]
    again = panoptic_targets(panoptic, segments[::-1], thing_ids=THINGS).center_points
    assert torch.equal(again, points.flip(0))


def test_a_map_without_segments_is_void():
    targets = panoptic_targets(np.ones((3, 4), np.int32), [], thing_ids=THINGS, ignore_label=7)
    assert (targets.sem_seg == 7).all()
    assert (targets.sem_seg_weights == 1).all()
    assert not torch.cat((targets.center[None], targets.offset, targets.center_weights)).any()
    assert targets.center_points.shape == (0, 2)
