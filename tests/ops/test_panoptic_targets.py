"""The compiled targets have the reference's bits, whatever the map holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from panodeeplab.ops import backend, reference_targets

pytestmark = pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")

NAMES = (
    *("sem_seg", "center", "offset", "sem_seg_weights", "center_weights", "offset_weights"),
    *("centers", "is_instance"),
)
OPTIONS = (255, True, 200, 3.0, False, False)


def assert_same(panoptic: Tensor, segments: Tensor, gaussian: Tensor, *options) -> tuple[Tensor, ...]:
    arguments = (panoptic, segments, gaussian, *options)
    ours = torch.ops.panodeeplab.panoptic_targets(*arguments)
    theirs = reference_targets.panoptic_targets(*arguments)
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        assert (a.dtype, a.shape, a.is_contiguous()) == (b.dtype, b.shape, True), name
        assert torch.equal(a, b), f"{name} differs in {(a != b).sum()} of {a.numel()} places"
    return ours


def bump(reach: int) -> Tensor:
    """A patch as of a Gaussian, but lopsided, so that no mirrored index goes unseen."""
    side = torch.arange(2 * reach + 1, dtype=torch.float32) - reach
    patch = torch.exp(-(side**2 + side[:, None] ** 2) / (reach + 1) ** 2)
    return patch * (1 - 0.01 * torch.rand(patch.shape, generator=torch.Generator().manual_seed(reach)))


@st.composite
def id_maps(draw) -> tuple[Tensor, Tensor]:
    """A map of runs, blocks or noise, with listed and unlisted ids, and segments, some without a pixel."""
    height, width = (
        draw(st.sampled_from([1, 2, 3, 17, 40])),
        draw(st.sampled_from([1, 2, 7, 8, 9, 31, 33, 100])),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.int32] * 3 + [torch.int64, torch.int16, torch.uint8]))
    limits = torch.iinfo(dtype)
    low, high = draw(
        st.sampled_from([(0, 100), (-50, 50), (0, 40_000), (limits.min, limits.max)]),
    )
    low, high = max(low, limits.min), min(high, limits.max)
    count = draw(st.sampled_from([0, 1, 2, 7, 30]))
    ids = {draw(st.integers(low, high)) for _ in range(count)} | ({0, high} if draw(st.booleans()) else set())
    ids = torch.tensor(sorted(ids), dtype=torch.int64)
    ids = ids[torch.randperm(len(ids), generator=generator)]
    segments = torch.stack(
        (
            ids,
            torch.randint(-1, 300, ids.shape, generator=generator),
            torch.rand(ids.shape, generator=generator).lt(0.6).long(),
            torch.rand(ids.shape, generator=generator).lt(0.25).long(),
        ),
        dim=1,
    )
    present = torch.rand(ids.shape, generator=generator) < draw(st.sampled_from([0.0, 0.7, 1.0]))
    unlisted = torch.tensor([draw(st.integers(low, high)) for _ in range(2)])
    palette = torch.cat((ids[present], unlisted))
    runs = draw(st.sampled_from([1, 2, 9, 16, 40]))
    rows = draw(st.sampled_from([1, 4]))
    coarse = torch.randint(0, len(palette), (-(-height // rows), -(-width // runs)), generator=generator)
    panoptic = coarse.repeat_interleave(rows, 0).repeat_interleave(runs, 1)[:height, :width]
    panoptic = palette[panoptic].to(dtype)
    layout = draw(st.sampled_from(["plain", "plain", "transposed", "every other", "expanded"]))
    if layout == "transposed":
        panoptic = panoptic.T
    elif layout == "every other":
        panoptic = panoptic.repeat_interleave(2, 1)[:, ::2]
    elif layout == "expanded":
        panoptic = panoptic[:1].expand(5, width)
    return panoptic, segments


OPTION_CHOICES = st.tuples(
    st.sampled_from([255, -1, 0, 2**40]),
    st.booleans(),
    st.sampled_from([0, 1, 20, 4096]),
    st.sampled_from([3.0, 0.1, math.inf]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(id_maps(), st.sampled_from([0, 1, 4, 25]), OPTION_CHOICES)
def test_any_map(image, reach, options):
    assert_same(*image, bump(reach), *options)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads(threads):
    generator = torch.Generator().manual_seed(0)
    palette = torch.randint(-(2**31), 2**31, (60,), generator=generator)
    blocks = palette[torch.randint(0, 60, (31, 70), generator=generator)].int()
    panoptic = blocks.repeat_interleave(11, 0).repeat_interleave(10, 1)
    assert panoptic.numel() >= 3 << 16
    segments = torch.stack((palette[:50], *torch.randint(0, 2, (3, 50), generator=generator)), dim=1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = assert_same(panoptic, segments, bump(25), *OPTIONS)
    finally:
        torch.set_num_threads(before)
    assert 5 < result[-1].sum() < 45


def test_more_segments_than_any_cache_holds():
    side = 120
    panoptic = torch.randperm(side * side, generator=torch.Generator().manual_seed(1)).view(side, side).int()
    ids = torch.arange(1000, 1000 + side * side // 2)
    segments = torch.stack((ids, ids % 7, ids % 3 > 0, ids % 11 == 0), dim=1)
    result = assert_same(panoptic, segments, bump(2), *OPTIONS)
    assert result[0].eq(255).sum() == side * side // 2


def test_an_id_beyond_32_bits_is_not_its_lower_half():
    panoptic = torch.tensor([[5, 5 + (1 << 32)]])
    segments = torch.tensor([[5, 1, 1, 0]])
    assert assert_same(panoptic, segments, bump(1), *OPTIONS)[0].tolist() == [[1, 255]]
    segments = torch.tensor([[5 + (1 << 32), 1, 1, 0]])
    assert assert_same(panoptic.int(), segments, bump(1), *OPTIONS)[0].tolist() == [[255, 255]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_map_without_pixels(shape):
    segments = torch.tensor([[5, 1, 1, 0], [6, 0, 0, 0]])
    result = assert_same(torch.zeros(shape, dtype=torch.int32), segments, bump(3), *OPTIONS)
    assert result[-2].tolist() == [[0, 0], [0, 0]]
