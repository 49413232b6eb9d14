"""Centres by voting: what they mean, on maps to check by hand, and equal bits of kernel and reference."""

import math

import pytest
import torch
import torch.nn.functional as F
from calls import BACKENDS, by_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from street import THINGS, street
from test_backends_agree import calls

from panodeeplab.ops import backend, panoptic_segmentation

SOURCES = ("heatmap", "votes", "both")


@st.composite
def calls_with_votes(draw):
    """Most have nothing but things that point nearby, and want few votes: else centres are rare."""
    maps, arguments = draw(calls())
    arguments["center_source"] = draw(st.sampled_from(SOURCES[1:]))
    arguments["vote_threshold"] = draw(st.sampled_from([0, 1, 3, 10, 64, 2**31 - 1]))
    arguments["class_aware_votes"] = draw(st.booleans())
    if draw(st.sampled_from([True, True, False])):
        maps[2] = maps[2].fmod(draw(st.sampled_from([2, 20])))
        arguments |= {"thing_ids": list(range(maps[0].shape[1])), "top_k": 200, "void_label": -1}
        arguments["vote_threshold"] = draw(st.sampled_from([0, 1, 3, 10]))
    return maps, arguments


@pytest.fixture(params=BACKENDS)
def segment(request):
    return BACKENDS[request.param]


def blobs(things, size=(32, 48), classes=4):
    """Network outputs with rectangles on class 0 that vote without error: class, y0, x0, y1, x1, (cy, cx)."""
    label = torch.zeros(size, dtype=torch.long)
    offset = torch.zeros(1, 2, *size)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    for index, y0, x0, y1, x1, (center_y, center_x) in things:
        inside = (slice(y0, y1), slice(x0, x1))
        label[inside] = index
        offset[0, 0][inside], offset[0, 1][inside] = (center_y - y)[inside], (center_x - x)[inside]
    semantic = 9 * F.one_hot(label, classes).permute(2, 0, 1)[None].float()
    return semantic, torch.zeros(1, 1, *size), offset


def found(result, image=0):
    """{(y, x): votes} of an image."""
    count = result.num_centers[image]
    return dict(
        zip(
            map(tuple, result.centers[image, :count].tolist()),
            result.center_votes[image, :count].tolist(),
            strict=True,
        )
    )


TWO = ((1, 4, 4, 12, 12, (8, 8)), (1, 10, 20, 20, 40, (15, 30)))


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("align_corners", [False, True])
def test_two_blobs_vote_for_two_centers_without_a_heatmap(segment, stride, align_corners):
    maps = blobs(TWO)
    result = segment(
        *maps,
        stride=stride,
        align_corners=align_corners,
        thing_ids=(1,),
        center_source="votes",
        vote_threshold=63,
        stuff_area=0,
    )
    # Every pixel of a blob votes for the middle of one cell.
    middle = 0 if align_corners else (stride - 1) / 2
    points = [tuple(math.floor(c * stride + middle + 0.5) for c in thing[-1]) for thing in TWO]
    votes = [64 * stride**2, 200 * stride**2]
    assert found(result) == dict(zip(points, votes, strict=True))
    assert (result.center_scores == 0).all()
    ids, areas = result.segment_ids[0, :3].tolist(), result.segment_areas[0, 1:3].tolist()
    assert ids == [0, 1001, 1002]
    assert areas == pytest.approx(votes, rel=0.2 if stride > 1 else 0)
    assert result.segment_centers[0, :3].tolist() == [-1, 0, 1]
    heatmap = segment(*maps, stride=stride, align_corners=align_corners, thing_ids=(1,), stuff_area=0)
    assert heatmap.num_centers.item() == 0


def test_a_vote_between_cells_is_shared_and_the_center_lies_between(segment):
    maps = blobs([(1, 4, 4, 12, 12, (8.25, 9.5))])
    result = segment(*maps, stride=4, thing_ids=(1,), center_source="votes")
    # (8.25, 9.5) cells are (34.5, 39.5) pixels; halves go up. Of the cells (8, 9) and (8, 10), which have as
    # many votes, the first counts; the vote reaches it at a quarter and a half of a cell:
    share = (0.75 + 0.25 * 4 / 6) * (0.5 + 0.5 * 4 / 6)
    assert found(result) == {(35, 40): math.floor(64 * 16 * share)}


def test_a_center_needs_more_votes_than_the_threshold(segment):
    maps = blobs(TWO)
    for threshold, count in ((0, 2), (63, 2), (64, 1), (199, 1), (200, 0)):
        result = segment(
            *maps, stride=1, thing_ids=(1,), center_source="votes", vote_threshold=threshold, stuff_area=0
        )
        assert result.num_centers.item() == count
    assert (result.panoptic[result.panoptic != 0] == -1).all()


def test_top_k_keeps_centers_with_the_most_votes(segment):
    things = [
        (1, 2, 2, 6, 6, (4, 4)),
        (1, 2, 12, 6, 16, (4, 14)),
        (1, 12, 2, 20, 6, (16, 4)),
        (1, 12, 12, 20, 20, (16, 16)),
    ]
    maps = blobs(things)
    for top_k, left in ((5, {16, 32, 64}), (4, {32, 64}), (3, {32, 64}), (2, {64}), (1, set())):
        result = segment(
            *maps, stride=1, thing_ids=(1,), center_source="votes", vote_threshold=1, top_k=top_k
        )
        assert set(found(result).values()) == left


def test_peaks_closer_than_the_window_are_one(segment):
    maps = blobs([(1, 2, 2, 12, 10, (8, 14)), (1, 2, 20, 12, 30, (8, 19))])
    for nms_kernel, points in ((3, {(8, 14), (8, 19)}), (9, {(8, 14), (8, 19)}), (11, {(8, 19)})):
        result = segment(*maps, stride=1, thing_ids=(1,), center_source="votes", nms_kernel=nms_kernel)
        assert set(found(result)) == points


def test_a_plateau_has_one_center(segment):
    """Things that point nowhere: each votes for itself, and all cells inside have the same votes."""
    maps = blobs([(1, 4, 4, 20, 30, (0, 0))])
    maps[2].zero_()
    result = segment(*maps, stride=1, thing_ids=(1,), center_source="votes", vote_threshold=5)
    # The first cell whose smoothing reaches no edge.
    assert list(found(result)) == [(6, 6)]


def heat(maps, points, stride=4):
    """The maps with a heatmap whose peaks lie in these cells."""
    center = maps[1].clone()
    for y, x in points:
        center[0, 0, y, x] = 0.9
    return maps[0], center, maps[2]


def test_both_drops_heatmap_peaks_without_votes_and_adds_peaks_of_votes(segment):
    maps = heat(blobs(TWO), [(9, 9), (25, 10)])
    arguments = {"stride": 1, "thing_ids": (1,), "nms_kernel": 3, "vote_threshold": 63}
    assert set(found(segment(*maps, **arguments))) == {(9, 9), (25, 10)}
    result = segment(*maps, **arguments, center_source="both")
    # The peak of the heatmap a cell beside that of the votes stays where it is, with their votes.
    assert found(result) == {(9, 9): 64, (15, 30): 200}
    assert result.center_scores[0, :2].tolist() == pytest.approx([0.9, 0])
    votes_only = segment(*maps, **arguments, center_source="votes")
    assert found(votes_only) == {(8, 8): 64, (15, 30): 200}
    # A quarter of the threshold supports a heatmap peak.
    for threshold, left in ((199, {(9, 9), (15, 30)}), (200, {(9, 9)}), (255, {(9, 9)}), (256, set())):
        result = segment(*maps, **(arguments | {"center_source": "both", "vote_threshold": threshold}))
        assert set(found(result)) == left


RIDER, BICYCLE = (2, 4, 10, 12, 16, (9, 13)), (3, 12, 8, 18, 18, (10, 13))


def test_a_rider_and_a_bicycle_share_no_peak_if_classes_vote_apart(segment):
    maps = blobs([RIDER, BICYCLE])
    arguments = {"stride": 1, "thing_ids": (2, 3), "vote_threshold": 20, "stuff_area": 0, "nms_kernel": 3}
    together = segment(*maps, **arguments, center_source="votes")
    assert together.num_centers.item() == 1
    assert together.segment_ids[0, :3].tolist() == [0, 3001, -1]
    apart = segment(*maps, **arguments, center_source="votes", class_aware_votes=True)
    assert found(apart) == {(9, 13): 48, (10, 13): 60}
    assert apart.segment_ids[0, :3].tolist() == [0, 2001, 3001]
    assert apart.segment_areas[0, 1:3].tolist() == [48, 60]


def test_a_heatmap_peak_stands_for_the_class_that_supports_it_most(segment):
    maps = heat(blobs([RIDER, BICYCLE]), [(10, 13)])
    arguments = {"stride": 1, "thing_ids": (2, 3), "vote_threshold": 20, "nms_kernel": 3}
    together = segment(*maps, **arguments, center_source="both")
    assert list(found(together)) == [(10, 13)]
    apart = segment(*maps, **arguments, center_source="both", class_aware_votes=True)
    assert found(apart) == {(9, 13): 48, (10, 13): 60}
    assert apart.center_scores[0, :2].tolist() == pytest.approx([0, 0.9])


def test_there_may_be_more_centers_than_pixels(segment):
    """Both pixels are peaks of the heatmap and stand for the first class; the second has its own peak."""
    maps = (torch.eye(2)[None, :, None], torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, 2, 1, 2))
    arguments = {"stride": 1, "thing_ids": (0, 1), "vote_threshold": 0, "nms_kernel": 1}
    result = segment(*maps, **arguments, center_source="both", class_aware_votes=True)
    assert result.centers[0, :4].tolist() == [[0, 0], [0, 1], [0, 1], [-1, -1]]
    assert result.center_scores[0, :3].tolist() == [0.5, 0.5, 0.5]


def test_only_things_with_a_class_and_a_place_vote(segment):
    maps = blobs([(1, 0, 0, 4, 40, (8, 24))], size=(16, 48))
    semantic, center, offset = maps
    semantic[0, 2, 0, :5] = torch.nan  # no class
    semantic[0, 0, 1, :4] = torch.inf  # stuff
    semantic[0, 1, 1, 4:6] = torch.inf
    semantic[0, 2, 1, 4] = torch.inf  # tied with class 1, which is the lower
    offset[0, 0, 2, :3] = torch.nan
    offset[0, 1, 2, 3:5] = torch.inf
    offset[0, 1, 2, 5:7] = -3e38
    offset[0, 1, 3, 0] = 23.5  # the last place in the image is that far to the right of its last cell
    offset[0, 0, 3, 0] = 4.0
    offset[0, 1, 3, 1] = 46.6  # outside
    result = segment(
        semantic, center, offset, stride=1, thing_ids=(1,), center_source="votes", vote_threshold=5
    )
    assert found(result) == {(8, 24): 160 - 5 - 4 - 3 - 2 - 2 - 2}


def test_votes_for_places_outside_of_the_crop_are_lost(segment):
    maps = blobs(TWO)
    arguments = {"thing_ids": (1,), "center_source": "votes", "stuff_area": 0}
    whole = segment(*maps, stride=4, **arguments)
    cropped = segment(*maps, stride=4, output_size=(60, 110), **arguments)
    # The second blob's centre is at (61.5, 121.5).
    assert found(whole) == {(34, 34): 64 * 16, (62, 122): 200 * 16}
    assert found(cropped) == {(34, 34): 64 * 16}
    cropped = segment(*maps, stride=4, output_size=(68, 128), **arguments)
    rows, columns = 68 // 4 - 10, 128 // 4 - 20  # of cells of the second blob in the crop
    assert found(cropped) == {(34, 34): 64 * 16, (62, 122): rows * columns * 16}


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("align_corners", [False, True])
def test_what_lies_beyond_the_crop_does_not_matter(segment, source, align_corners):
    maps = street(seed=2)
    arguments = {
        "stride": 4,
        "thing_ids": THINGS,
        "align_corners": align_corners,
        "center_source": source,
        "output_size": (50, 70),
    }
    cropped = segment(*maps, **arguments)
    changed = [m.clone() for m in maps]
    for m in changed:
        m[..., 15:, :] = 50
        m[..., 20:] = 50
    for ours, theirs in zip(cropped, segment(*changed, **arguments), strict=True):
        assert torch.equal(ours, theirs)


def test_votes_are_as_many_as_things_have_pixels(segment):
    """A crop and aligned corners cut the cells at the edges; each sample has the pixels that are left."""
    size = (9, 14)
    for stride, align_corners, output_size in ((4, False, (33, 50)), (4, True, (30, 53)), (3, True, None)):
        maps = blobs([(1, 0, 0, *size, (4, 7))], size=size)
        result = segment(
            *maps,
            stride=stride,
            align_corners=align_corners,
            output_size=output_size,
            thing_ids=(1,),
            center_source="votes",
        )
        assert list(found(result).values()) == [result.panoptic.numel()]


def test_the_heatmap_counts_no_votes(segment):
    maps = street(seed=6)
    plain = segment(*maps, stride=4, thing_ids=THINGS)
    assert plain.num_centers.item() > 0
    assert (plain.center_votes == 0).all()
    other = segment(*maps, stride=4, thing_ids=THINGS, vote_threshold=3, class_aware_votes=True)
    for ours, theirs in zip(other, plain, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("source", SOURCES[1:])
def test_a_street_without_its_heatmap_is_found_by_votes(segment, source):
    maps = street(h=48, w=80, instances=8, seed=3)
    arguments = {"stride": 4, "thing_ids": THINGS, "center_threshold": 0.3}
    truth = segment(*maps, **arguments)
    result = segment(maps[0], torch.zeros_like(maps[1]), maps[2], **arguments, center_source=source)
    assert (result.center_votes[0, : result.num_centers[0]] > 64).all()
    assert (result.panoptic == truth.panoptic).float().mean() > 0.97


@pytest.mark.parametrize("source", SOURCES[1:])
def test_no_image_and_no_things(segment, source):
    maps = street(seed=1)
    empty = segment(*(m[:0] for m in maps), stride=4, thing_ids=THINGS, center_source=source)
    assert empty.center_votes.shape == (0, 200)
    for things in ((), (0, 1, 2, 3, 4)):
        result = segment(*maps, stride=4, thing_ids=things, center_source=source, stuff_area=0)
        assert (result.num_centers.item() > 0) == bool(things)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"center_source": "offsets"}, "center_source is 'offsets', wanted one of"),
        ({"vote_threshold": -1}, "vote_threshold is -1, wanted a whole number from 0"),
        ({"vote_threshold": 0.5}, "vote_threshold is 0.5"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        panoptic_segmentation(*street(), stride=4, thing_ids=THINGS, **changed)


compiled = pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")


def assert_same(maps, **arguments):
    ours, theirs = panoptic_segmentation(*maps, **arguments), by_reference(*maps, **arguments)
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        assert torch.equal(a, b), f"{name} differs in {(a != b).sum()} of {a.numel()} places"
    return ours


@compiled
@settings(max_examples=150, deadline=None)
@given(calls_with_votes())
def test_any_maps(call):
    maps, arguments = call
    assert_same(maps, **arguments)


@compiled
@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.3, 4.0])
def test_noisy_streets(noise, class_aware):
    semantic, center, offset = street(h=60, w=90, instances=15, seed=4)
    offset += noise * torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    for source in SOURCES[1:]:
        result = assert_same(
            (semantic, center, offset),
            stride=4,
            thing_ids=THINGS,
            center_source=source,
            vote_threshold=16,
            class_aware_votes=class_aware,
        )
        assert result.num_centers.item() > 3


@compiled
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("source", SOURCES[1:])
def test_any_number_of_threads(threads, source):
    maps = street(h=120, w=90, instances=20, seed=4)
    arguments = {"stride": 4, "thing_ids": THINGS, "center_source": source, "class_aware_votes": threads == 3}
    expected = by_reference(*maps, **arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = panoptic_segmentation(*maps, **arguments)
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)
