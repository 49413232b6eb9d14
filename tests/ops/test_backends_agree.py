"""The compiled kernels give the reference's bits, whatever they are fed."""

import math

import pytest
import torch
import torch.nn.functional as F
from calls import by_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from street import THINGS, street

from panodeeplab.ops import backend, panoptic_segmentation

pytestmark = pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")

HOSTILE = (math.nan, math.inf, -math.inf, 3e38, -3.4e38, 1e30, 1e-42, -0.0)


def assert_same(maps, **arguments):
    ours, theirs = panoptic_segmentation(*maps, **arguments), by_reference(*maps, **arguments)
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        assert torch.equal(a, b), f"{name} differs in {(a != b).sum()} of {a.numel()} places"
    return ours


@st.composite
def network_maps(draw):
    """Smooth, noisy or quantised maps (ties, plateaus), here and there with values no network should give."""
    batch, classes = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 2, 3, 5, 19]))
    h, w = draw(st.sampled_from([1, 2, 3, 7, 16, 33])), draw(st.sampled_from([1, 2, 5, 20, 47]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def chance(probability):
        return torch.rand((), generator=generator).item() < probability

    def smooth(channels, scale):
        cells = draw(st.sampled_from([1, 2, 4, 8]))
        coarse = torch.randn(batch, channels, h // cells + 1, w // cells + 1, generator=generator) * scale
        x = F.interpolate(coarse, (h, w), mode="bilinear", align_corners=True)
        if chance(0.35):
            x = (x * 4).round() / draw(st.sampled_from([1, 3, 4]))
        if chance(0.3):
            places = torch.randint(0, x.numel(), (draw(st.sampled_from([1, 3, 20])),), generator=generator)
            x.flatten()[places] = draw(st.sampled_from(HOSTILE))
        return x

    maps = [
        smooth(classes, draw(st.sampled_from([1.0, 5.0, 1e-6, 1e4]))),
        smooth(1, 0.5),
        smooth(2, draw(st.sampled_from([0.5, 5.0, 50.0, 1e9]))),
    ]
    if chance(0.1):
        maps[0][:, -1] = -math.inf
    if chance(0.1):
        maps[1].fill_(draw(st.sampled_from([0.3, 1 / 3, math.nan])))
    if chance(0.2):
        dtype = draw(st.sampled_from([torch.float16, torch.bfloat16]))
        maps = [m.to(dtype) for m in maps]
    if chance(0.2):
        maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    elif chance(0.2):
        maps = [m.flip(3) for m in maps]
    return maps


@st.composite
def calls(draw):
    maps = draw(network_maps())
    classes, h, w = maps[0].shape[1:]
    stride, align_corners = draw(st.sampled_from([1, 2, 3, 4, 4, 5, 8])), draw(st.booleans())
    full = [(n - 1) * stride + 1 if align_corners else n * stride for n in (h, w)]
    arguments = {
        "stride": stride,
        "align_corners": align_corners,
        "output_size": draw(st.none() | st.tuples(*(st.integers(1, n) for n in full))),
        "thing_ids": draw(st.sets(st.integers(0, classes - 1)).map(sorted)),
        "center_threshold": draw(st.sampled_from([0.1, 0.0, -1.0, 0.5])),
        "nms_kernel": draw(st.sampled_from([1, 3, 7, 41])),
        "top_k": draw(st.sampled_from([1, 2, 5, 50, 200])),
        "stuff_area": draw(st.sampled_from([0, 1, 10, 200])),
        "label_divisor": draw(st.sampled_from([200, 1000])),
        "void_label": draw(st.sampled_from([-1, 0, 999_999])),
        "semantic_probability": draw(st.booleans()),
    }
    if 0 in arguments["thing_ids"] and arguments["void_label"] == 0:
        arguments["void_label"] = -1
    return maps, arguments


@settings(max_examples=150, deadline=None)
@given(calls())
def test_any_maps(call):
    maps, arguments = call
    assert_same(maps, **arguments)


@pytest.mark.parametrize("stride", [2, 3, 4, 7])
@pytest.mark.parametrize("align_corners", [False, True])
def test_leads_that_rounding_may_turn_into_ties(stride, align_corners):
    """All corners of most cells agree on a class that leads a lower one by a few units in the last place."""
    generator = torch.Generator().manual_seed(stride)
    size = (1, 1, 40, 60)
    base = torch.randn(size, generator=generator) * torch.tensor(10.0) ** torch.randint(
        -3, 4, size, generator=generator
    )
    ulps = torch.randint(0, 4, (1, 4, 40, 60), generator=generator)
    ulps[:, 2] += 1 << torch.randint(0, 8, (40, 60), generator=generator)
    step = torch.nextafter(base.abs(), torch.tensor(torch.inf)) - base.abs()
    semantic = base + ulps * step
    maps = (semantic, torch.zeros(size), torch.zeros(1, 2, 40, 60))
    result = assert_same(maps, stride=stride, align_corners=align_corners, thing_ids=(), stuff_area=0)
    assert result.num_segments.item() == 4


@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.5, 40.0])
def test_votes_on_the_borders_between_centers(spread):
    """A lattice of centres and votes on its symmetry lines: most pixels have two or four nearest centres."""
    h, w = 40, 48
    center = torch.zeros(1, 1, h, w)
    center[..., 4::8, 4::8] = 0.5
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    offset = torch.stack((-(y % 4), -(x % 4)))[None].float()
    offset += spread * torch.randn(offset.shape, generator=torch.Generator().manual_seed(0))
    semantic = torch.zeros(1, 2, h, w)
    semantic[:, 1] = 1
    for stride, expected in ((1, 30), (4, 120)):  # at stride 4 the four samples around a spot are equal
        result = assert_same((semantic, center, offset), stride=stride, thing_ids=(1,), nms_kernel=3)
        assert result.num_centers.item() == expected


def test_centers_so_dense_that_no_tile_can_list_them():
    semantic, center, offset = street(seed=1)
    semantic[:, 3] += 20
    center[..., 4:8, 4:9] = 0.95
    result = assert_same((semantic, center, offset), stride=4, thing_ids=THINGS, center_threshold=0.3)
    assert result.num_centers.item() > 50


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads(threads):
    maps = street(h=120, w=90, instances=20, seed=4)
    expected = by_reference(*maps, stride=4, thing_ids=THINGS, semantic_probability=True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = panoptic_segmentation(*maps, stride=4, thing_ids=THINGS, semantic_probability=True)
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_is_read_exactly(dtype):
    """All 65,536 values as the one logit of a sample beside a class that float32 puts just above or below."""
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(1, 1, 256, 256)
    halves = bits.view(dtype)
    other = halves.float().roll(1, 3).nan_to_num(0, 0, 0).to(dtype)
    maps = (torch.cat((halves, other), 1), torch.zeros(1, 1, 256, 256), torch.zeros(1, 2, 256, 256))
    result = assert_same(maps, stride=1, thing_ids=(), stuff_area=0)
    assert result.num_segments.item() == 2
    void = (result.panoptic == -1).sum().item()
    assert void == halves.isnan().sum().item()


@pytest.mark.parametrize("layout", ["channels last", "part of a larger map", "expanded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_logits_are_read_as_they_lie(layout, dtype):
    semantic, center, offset = street(seed=9)
    semantic = semantic.to(dtype)
    plain = semantic.clone()
    if layout == "channels last":
        semantic = semantic.contiguous(memory_format=torch.channels_last)
    elif layout == "part of a larger map":
        semantic = torch.nn.functional.pad(semantic, (1, 2, 3, 4))[:, :, 3:-4, 1:-2]
    else:
        semantic = plain = semantic[..., :1].expand_as(semantic)
    assert not semantic.is_contiguous()
    ours = assert_same((semantic, center, offset), stride=4, thing_ids=THINGS)
    theirs = panoptic_segmentation(plain.contiguous(), center, offset, stride=4, thing_ids=THINGS)
    assert torch.equal(ours.panoptic, theirs.panoptic)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly(dtype):
    maps = [m.to(dtype) for m in street(seed=9)]
    half = panoptic_segmentation(*maps, stride=4, thing_ids=THINGS)
    single = panoptic_segmentation(*(m.float() for m in maps), stride=4, thing_ids=THINGS)
    for ours, theirs in zip(half, single, strict=True):
        assert torch.equal(ours, theirs)
