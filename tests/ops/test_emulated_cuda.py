"""The bodies of the CUDA kernels, run on the host, give the reference's bits: a proof without a GPU.

Blocks and threads run in several orders between barriers, none of which may matter.
"""

import math

import emulated
import pytest
import torch
from calls import by_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from street import THINGS, street
from test_backends_agree import calls
from test_votes import SOURCES, calls_with_votes

from panodeeplab.ops._cuda import with_one_dtype


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return emulated.build(tmp_path_factory.mktemp("emulated"))


def assert_same(kernels, maps, order="forward", seed=0, **arguments):
    ours = kernels(*with_one_dtype(*maps), order=order, seed=seed, **arguments)
    theirs = by_reference(*maps, **arguments)
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        assert torch.equal(a, b), f"{name} differs in {(a != b).sum()} of {a.numel()} places"
    return ours


@settings(max_examples=150, deadline=None)
@given(call=calls(), order=st.sampled_from(list(emulated.ORDERS)), seed=st.integers(0, 1000))
def test_any_maps(kernels, call, order, seed):
    maps, arguments = call
    assert_same(kernels, maps, order, seed, **arguments)


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 4, 7, 8])
def test_a_street_of_several_tiles(kernels, stride, align_corners, order):
    maps = street(h=30, w=90, instances=15, seed=stride)
    result = assert_same(
        kernels,
        maps,
        order,
        stride=stride,
        align_corners=align_corners,
        thing_ids=THINGS,
        stuff_area=100,
        semantic_probability=True,
    )
    assert result.num_segments.item() > 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "odd_width", "offset_address"])
def test_dtypes_and_layouts(kernels, dtype, layout):
    maps = street(h=20, w=39 if layout == "odd_width" else 40, seed=3)
    maps = [torch.cat((m, m.flip(3))).to(dtype) for m in maps]
    if layout == "channels_last":
        maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    if layout == "offset_address":  # no longer fit for reading four samples at once
        maps = [torch.cat((m.flatten()[:1], m.flatten()))[1:].view(m.shape) for m in maps]
    assert_same(kernels, maps, stride=4, thing_ids=THINGS, semantic_probability=True)


def test_maps_of_several_dtypes(kernels):
    maps = [m.to(d) for m, d in zip(street(), (torch.float16, torch.float32, torch.bfloat16), strict=True)]
    assert_same(kernels, maps, stride=4, thing_ids=THINGS)


def test_every_half_is_read_exactly(kernels):
    """As heat of centres: each value above the threshold is a centre of its own with its own score."""
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    maps = (
        torch.zeros(1, 1, 256, 256).half(),
        every.view(1, 1, 256, 256),
        torch.zeros(1, 2, 256, 256).half(),
    )
    result = kernels(*maps, stride=1, thing_ids=(), nms_kernel=1, top_k=70000, center_threshold=-1e9)
    expected = every.float()[every.float() > -1e9]
    assert result.num_centers.item() == len(expected)
    assert torch.equal(result.center_scores[0, : len(expected)], expected)


@pytest.mark.parametrize(("top_k", "expected"), [(1024, 0), (1500, 0), (1501, 1500), (5000, 1500)])
@pytest.mark.parametrize("order", emulated.ORDERS)
def test_a_plateau_has_more_peaks_than_are_sorted_at_once(kernels, order, top_k, expected):
    maps = [torch.zeros(1, c, 30, 50) for c in (2, 1, 2)]
    maps[0][:, 1] = 1
    maps[1].fill_(0.5)
    result = assert_same(kernels, maps, order, stride=1, thing_ids=(1,), top_k=top_k, label_divisor=9999)
    assert result.num_centers.item() == expected


@pytest.mark.parametrize("top_k", [1, 2, 700, 1024, 1025, 1600])
def test_the_top_k_of_many_peaks(kernels, top_k):
    """Scores over many magnitudes and of both signs, some of them equal."""
    generator = torch.Generator().manual_seed(top_k)
    center = torch.randn(1, 1, 60, 80, generator=generator) * 10 ** torch.randn(
        1, 1, 60, 80, generator=generator
    )
    center = torch.where(torch.rand(center.shape, generator=generator) < 0.3, center.round(), center)
    maps = (torch.zeros(1, 1, 60, 80), center, torch.zeros(1, 2, 60, 80))
    result = assert_same(
        kernels,
        maps,
        stride=1,
        thing_ids=(0,),
        nms_kernel=1,
        top_k=top_k,
        center_threshold=-20.0,
        label_divisor=10000,
    )
    assert 0 <= result.num_centers.item() < top_k


@pytest.mark.parametrize("nms_kernel", [1, 3, 41, 255])
def test_windows_of_peaks(kernels, nms_kernel):
    maps = street(h=30, w=40, instances=12, seed=5)
    result = assert_same(kernels, maps, stride=4, thing_ids=THINGS, nms_kernel=nms_kernel, top_k=300)
    assert result.num_centers.item() > 0


@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.5, 40.0, 1e5])
@pytest.mark.parametrize("every", [2, 4, 16])
def test_votes_between_a_lattice_of_centers(kernels, every, spread):
    """With a centre every 2 pixels no list of a tile holds all that may be nearest."""
    h, w = 36, 70
    center = torch.zeros(1, 1, h, w)
    center[..., every // 2 :: every, every // 2 :: every] = 0.5
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    offset = torch.stack((-(y % 4), -(x % 4)))[None].float()
    offset += spread * torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    semantic = torch.zeros(1, 2, h, w)
    semantic[:, 1] = 1
    arguments = {"stride": 1, "thing_ids": (1,), "nms_kernel": 1, "top_k": 2000, "label_divisor": 2000}
    result = assert_same(kernels, (semantic, center, offset), **arguments)
    assert result.num_centers.item() == center.count_nonzero()


def test_more_pairs_than_the_table_of_a_tile_holds(kernels):
    """Every pixel of a tile in an instance of its own."""
    maps = [torch.zeros(1, c, 16, 64) for c in (3, 1, 2)]
    maps[0][:, 1] = torch.rand(16, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    maps[1].fill_(0.5)
    arguments = {"stride": 3, "thing_ids": (0, 1), "nms_kernel": 1, "top_k": 10000, "label_divisor": 10000}
    result = assert_same(kernels, maps, **arguments)
    assert result.num_segments.item() == 16 * 64 * 9


@pytest.mark.parametrize("classes", [33, 300, 1000])
def test_many_classes(kernels, classes):
    generator = torch.Generator().manual_seed(classes)
    maps = (
        torch.randn(1, classes, 9, 40, generator=generator),
        torch.rand(1, 1, 9, 40, generator=generator),
        torch.randn(1, 2, 9, 40, generator=generator),
    )
    things = range(1, classes, 3)
    result = assert_same(
        kernels, maps, stride=4, thing_ids=things, stuff_area=0, nms_kernel=3, semantic_probability=True
    )
    assert result.num_segments.item() > 30


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(3))
def test_whole_maps_of_what_is_not_a_number(kernels, which, value):
    maps = list(street(h=10, w=36))
    maps[which] = torch.full_like(maps[which], value)
    assert_same(kernels, maps, stride=4, thing_ids=THINGS, stuff_area=0, semantic_probability=True)


@settings(max_examples=150, deadline=None)
@given(call=calls_with_votes(), order=st.sampled_from(list(emulated.ORDERS)), seed=st.integers(0, 1000))
def test_any_maps_with_votes(kernels, call, order, seed):
    maps, arguments = call
    assert_same(kernels, maps, order, seed, **arguments)


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("noise", [0.0, 0.3, 4.0])
def test_votes_on_a_street_of_several_tiles(kernels, noise, source, class_aware, order):
    semantic, center, offset = street(h=60, w=90, instances=15, seed=4)
    offset += noise * torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    result = assert_same(
        kernels,
        (semantic, center, offset),
        order,
        stride=4,
        thing_ids=THINGS,
        center_source=source,
        vote_threshold=16,
        class_aware_votes=class_aware,
    )
    assert result.num_centers.item() > 3


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 7, 8])
def test_votes_at_any_stride(kernels, stride, align_corners, source):
    """With a crop, which leaves samples without a vote."""
    maps = street(h=30, w=70, instances=12, seed=stride)
    result = assert_same(
        kernels,
        maps,
        stride=stride,
        align_corners=align_corners,
        output_size=(25 * stride - 1, 60 * stride - 2),
        thing_ids=THINGS,
        center_source=source,
        vote_threshold=4 * stride,
        stuff_area=0,
    )
    assert result.num_centers.item() > 3


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("nms_kernel", [1, 3, 7, 41, 255])
def test_windows_of_peaks_of_votes(kernels, nms_kernel, source):
    semantic, center, offset = street(h=40, w=70, instances=20, seed=5)
    offset += torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    arguments = {"thing_ids": THINGS, "nms_kernel": nms_kernel, "vote_threshold": 3, "center_source": source}
    result = assert_same(kernels, (semantic, center, offset), stride=1, **arguments)
    assert result.num_centers.item() > 0


def crowd(h, w, seed=0):
    """A thing in every four by four cells, of one to nine samples that vote for its middle."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    share = torch.rand(h // 4, w // 4, generator=generator).repeat_interleave(4, 0).repeat_interleave(4, 1)
    middle = (y % 4 == 1) & (x % 4 == 1)
    inside = (y % 4 < 3) & (x % 4 < 3) & (torch.rand(h, w, generator=generator) < share)
    thing = inside | middle
    offset = torch.stack((1 - y % 4, 1 - x % 4))[None].float()
    center = 0.5 * (middle & (torch.rand(h, w, generator=generator) < 0.5))[None, None]
    return torch.stack((~thing, thing))[None].float(), center, offset


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("nms_kernel", [3, 9, 11, 41])
def test_of_equal_peaks_of_votes_in_a_window_the_first_counts(kernels, nms_kernel, source):
    arguments = {"stride": 1, "thing_ids": (1,), "vote_threshold": 0, "top_k": 500}
    result = assert_same(kernels, crowd(40, 64), **arguments, nms_kernel=nms_kernel, center_source=source)
    assert (result.num_centers.item() == 10 * 16) == (nms_kernel < 9)


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("top_k", [1, 2, 300, 1100, 2000])
def test_the_top_k_of_more_voted_centers_than_are_sorted_at_once(kernels, order, source, top_k):
    result = assert_same(
        kernels,
        crowd(132, 136),
        order,
        stride=1,
        thing_ids=(1,),
        nms_kernel=3,
        vote_threshold=0,
        top_k=top_k,
        label_divisor=9999,
        center_source=source,
    )
    count = result.num_centers.item()
    assert count < top_k
    assert (count == 33 * 34) == (top_k == 2000)


@pytest.mark.parametrize("source", SOURCES[1:])
def test_classes_that_vote_for_one_place(kernels, source):
    """Of centres at one pixel that of the heatmap comes first, then the classes in order."""
    semantic, center, offset = torch.zeros(1, 5, 12, 12), torch.zeros(1, 1, 12, 12), torch.zeros(1, 2, 12, 12)
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    semantic.scatter_(1, (1 + y // 3)[None, None], 5.0)
    offset[0, 0], offset[0, 1] = 6 - y, 6 - x
    center[0, 0, 6, 6] = 0.9
    arguments = {"stride": 2, "align_corners": True, "thing_ids": (1, 3, 4), "class_aware_votes": True}
    result = assert_same(kernels, (semantic, center, offset), **arguments, center_source=source)
    assert result.num_centers.item() == 3
    assert result.centers[0, :3].unique(dim=0).shape == (1, 2)


@pytest.mark.parametrize("classes", [33, 70, 200])
def test_many_classes_with_votes_of_their_own(kernels, classes):
    generator = torch.Generator().manual_seed(classes)
    h, w = 20, 40
    index = torch.randint(classes, (1, 1, h // 4, w // 4), generator=generator)
    index = index.repeat_interleave(4, 2).repeat_interleave(4, 3)
    maps = (
        torch.zeros(1, classes, h, w).scatter_(1, index, 5.0),
        torch.rand(1, 1, h, w, generator=generator),
        torch.randn(1, 2, h, w, generator=generator),
    )
    result = assert_same(
        kernels,
        maps,
        stride=4,
        thing_ids=range(1, classes, 2),
        nms_kernel=3,
        vote_threshold=20,
        center_source="both",
        class_aware_votes=True,
    )
    assert result.num_centers.item() > 5


@pytest.mark.parametrize("source", SOURCES[1:])
def test_more_places_than_the_table_of_a_block_holds(kernels, source):
    """Every sample votes for a place of its own, all over the image."""
    generator = torch.Generator().manual_seed(1)
    h, w = 64, 96
    place = torch.rand(1, 2, h, w, generator=generator) * torch.tensor([h - 1.0, w - 1.0]).view(1, 2, 1, 1)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    maps = (torch.zeros(1, 1, h, w), torch.rand(1, 1, h, w, generator=generator), place - torch.stack((y, x)))
    arguments = {"stride": 1, "thing_ids": (0,), "nms_kernel": 5, "vote_threshold": 0, "top_k": 1000}
    assert assert_same(kernels, maps, **arguments, center_source=source).num_centers.item() > 100


@pytest.mark.parametrize("align_corners", [False, True])
def test_votes_for_so_many_pixels_that_a_count_has_two_parts(kernels, align_corners):
    maps = (torch.zeros(1, 1, 5, 6), torch.zeros(1, 1, 5, 6), torch.zeros(1, 2, 5, 6))
    y, x = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
    maps[2][0] = torch.stack((2 - y, 3 - x)) + 0.3
    arguments = {"stride": 40, "align_corners": align_corners, "thing_ids": (0,), "center_source": "votes"}
    result = assert_same(kernels, maps, **arguments)
    assert result.num_centers.item() == 1
    assert result.center_votes[0, 0] > 20000


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("things", [(), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (24, 40)])
def test_no_things_and_nothing_else(kernels, size, things, source, class_aware):
    maps = street(*size, seed=1)
    result = assert_same(
        kernels,
        maps,
        stride=4,
        thing_ids=things,
        stuff_area=0,
        vote_threshold=1,
        center_source=source,
        class_aware_votes=class_aware,
    )
    assert (result.num_centers.item() > 0) == bool(things)


def test_more_centers_than_pixels(kernels):
    """All are peaks of the heatmap, which every third sample supports; each other sample is a class."""
    x = torch.arange(60)
    own = x % 3 != 1
    semantic = torch.zeros(1, 41, 1, 60).scatter_(1, (own.cumsum(0) * own)[None, None, None], 1.0)
    offset = torch.stack((0 * x, torch.where(own, 30 - x, 0))).view(1, 2, 1, 60).float()
    result = assert_same(
        kernels,
        (semantic, torch.full((1, 1, 1, 60), 0.5), offset),
        stride=1,
        thing_ids=range(41),
        nms_kernel=1,
        vote_threshold=0,
        center_source="both",
        class_aware_votes=True,
    )
    assert result.num_centers.item() == 60 + 40


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("source", SOURCES[1:])
def test_votes_of_whole_maps_of_what_is_not_a_number(kernels, source, which, value):
    maps = list(street(h=10, w=36))
    maps[which] = torch.full_like(maps[which], value)
    # Where all logits tie the first class wins, a thing, and not the last one.
    assert_same(kernels, maps, stride=4, thing_ids=(0, 3), stuff_area=0, center_source=source)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "odd_width"])
def test_votes_of_any_dtype_and_layout(kernels, dtype, layout):
    maps = street(h=20, w=39 if layout == "odd_width" else 40, seed=3)
    maps = [torch.cat((m, m.flip(3))).to(dtype) for m in maps]
    if layout == "channels_last":
        maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    votes = {"center_source": "both", "class_aware_votes": True}
    result = assert_same(kernels, maps, stride=4, thing_ids=THINGS, **votes)
    assert (result.num_centers > 0).all()
