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
