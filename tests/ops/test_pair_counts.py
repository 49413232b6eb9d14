from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.ops import pair_counts, reference


@pytest.fixture(params=["reference", "chosen"])
def count(request):
    return {"reference": reference.pair_counts, "chosen": pair_counts}[request.param]


def test_counts_every_pair_in_ascending_order(count):
    first = torch.tensor([[5, 5, -1], [-1, 5, 2**31 - 1]], dtype=torch.int32)
    second = torch.tensor([[7, 7, 0], [-(2**31), -7, 1]], dtype=torch.int32)
    pairs, counts = count(first, second)
    assert pairs.tolist() == [[-1, -(2**31)], [-1, 0], [5, -7], [5, 7], [2**31 - 1, 1]]
    assert counts.tolist() == [1, 1, 1, 2, 1]
    assert (pairs.dtype, counts.dtype) == (torch.int32, torch.int64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**31))
def test_agrees_with_a_dictionary(height, width, values, run, seed):
    generator = torch.Generator().manual_seed(seed)
    palette = torch.randint(-(2**31), 2**31, (values,), generator=generator, dtype=torch.int64).int()
    maps = [
        palette[torch.randint(0, values, (height * width // run + 1,), generator=generator)]
        .repeat_interleave(run)[: height * width]
        .view(height, width)
        for _ in range(2)
    ]
    expected = Counter(zip(maps[0].flatten().tolist(), maps[1].flatten().tolist(), strict=True))
    for function in (pair_counts, reference.pair_counts):
        pairs, counts = function(*maps)
        assert [tuple(pair) for pair in pairs.tolist()] == sorted(expected)
        assert counts.tolist() == [expected[pair] for pair in sorted(expected)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 70), st.integers(1, 9), st.integers(1, 90), st.integers(0, 2**31))
def test_colors_count_as_the_ids_that_they_hold(height, width, values, run, seed):
    generator = torch.Generator().manual_seed(seed)
    # Ids that differ in one byte only, too.
    palette = torch.tensor([0, 1, 256, 65536, 2**24 - 1, 0x7F0080, 0x010101, 0x800000, 0x0000FF])[:values]
    ids = [
        palette[torch.randint(0, values, (height * width // run + 1,), generator=generator)]
        .repeat_interleave(run)[: height * width]
        .view(height, width)
        for _ in range(2)
    ]
    colors = [torch.stack([x >> shift & 255 for shift in (0, 8, 16)], -1).to(torch.uint8) for x in ids]
    expected = reference.pair_counts(*(x.int() for x in ids))
    for function in (pair_counts, reference.pair_counts):
        pairs, counts = function(*colors)
        assert (pairs.dtype, counts.dtype) == (torch.int32, torch.int64)
        assert torch.equal(pairs, expected[0])
        assert torch.equal(counts, expected[1])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads):
    first = torch.arange(600 * 700, dtype=torch.int32).view(600, 700) // 90 % 50
    second = first.flip(1).contiguous()
    expected = reference.pair_counts(first, second)
    assert all(map(torch.equal, pair_counts(first, second, threads=threads), expected))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = pair_counts(first, second)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, result, expected))


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_cannot_count(threads):
    x = torch.zeros(2, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match=f"threads must be at least 1, got {threads}"):
        pair_counts(x, x, threads=threads)


@pytest.mark.parametrize("kind", ["all distinct", "one cache slot"])
def test_more_pairs_than_anything_holds(kind):
    height, width = (1400, 1500) if kind == "all distinct" else (700, 600)  # more than the first buffer holds
    size = height * width
    first = torch.randperm(size, generator=torch.Generator().manual_seed(0)).int().view(height, width)
    # A multiple of 2^32 / the golden ratio lands near where the last one did in a multiplicative hash.
    second = first if kind == "all distinct" else (first.long() * 2654435769 % 2**31).int()
    pairs, counts = pair_counts(first, second)
    assert torch.equal(pairs[:, 0], torch.arange(size, dtype=torch.int32))
    assert torch.equal(pairs[:, 1], second.flatten()[first.flatten().argsort()])
    assert (counts == 1).all()


def test_many_pairs_of_any_values():
    """Enough to be sorted digit by digit, negative ones and repeats among them."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randint(-(2**31), 2**31, (40_000,), generator=generator).int()
    maps = [values[torch.randint(0, size, (300, 500), generator=generator)] for size in (40_000, 3)]
    assert all(map(torch.equal, pair_counts(*maps), reference.pair_counts(*maps)))


def test_maps_may_be_empty_or_strided(count):
    pairs, counts = count(torch.zeros(0, 5, dtype=torch.int32), torch.zeros(0, 5, dtype=torch.int32))
    assert pairs.shape == (0, 2)
    assert counts.shape == (0,)
    base = torch.arange(24, dtype=torch.int32).view(4, 6) // 5
    pairs, counts = count(base.T, base.flip(1).T)
    assert counts.sum() == 24
    assert torch.equal(pairs, count(base.T.contiguous(), base.flip(1).T.contiguous())[0])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int32), "first is torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, 3, dtype=torch.int64), "second is torch.int64"),
        (
            torch.zeros(6, dtype=torch.int32),
            torch.zeros(6, dtype=torch.int32),
            r"shape \(6,\), wanted int32 \(H,W\)",
        ),
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(3, 2, dtype=torch.int32), "that of first"),
        (
            torch.zeros(2, 3, 4, dtype=torch.uint8),
            torch.zeros(2, 3, 4, dtype=torch.uint8),
            r"shape \(2, 3, 4\), wanted int32 \(H,W\) or uint8 \(H,W,3\)",
        ),
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, 3, 3, dtype=torch.uint8), "that of first"),
        ([[1]], [[1]], "first is a list"),
    ],
)
def test_bad_arguments_are_named(first, second, message):
    with pytest.raises(ValueError, match=message):
        pair_counts(first, second)


def test_a_run_may_cross_the_threads_ranges():
    """One value in the whole map is one pair, however many threads count it."""
    ones = torch.ones(512, 513, dtype=torch.int32)
    pairs, counts = pair_counts(ones, ones)
    assert pairs.tolist() == [[1, 1]]
    assert counts.tolist() == [512 * 513]
