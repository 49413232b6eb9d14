"""Overlaps of things and new ids: the rule by hand, and equal numbers from both backends."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.ops import reference_tracking, renumber_, thing_overlaps


def int32(*values):
    return torch.tensor(values, dtype=torch.int32)


@pytest.fixture(params=["reference", "chosen"])
def overlaps(request):
    if request.param == "chosen":
        return thing_overlaps
    return lambda *maps, last_count, step=1: reference_tracking.thing_overlaps(*maps, last_count, step)


@pytest.fixture(params=["reference", "chosen"])
def replace_ids(request):
    return {"reference": reference_tracking.renumber_, "chosen": renumber_}[request.param]


def test_pairs_of_things_are_counted_and_what_is_none_has_the_last_place(overlaps):
    panoptic = torch.tensor([[13002, 13002, 0, 13001], [-1, 13002, 13001, 13001]], dtype=torch.int32)
    last = torch.tensor([[0, 1, 1, 0], [2, 2, -1, 7]], dtype=torch.int32)
    places, counts = overlaps(panoptic, int32(13001, 13002), last, last_count=2)
    assert places.tolist() == [[1, 1, 2, 0], [2, 1, 0, 0]]
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1], [2, 1, 1]]
    assert (places.dtype, counts.dtype) == (torch.int32, torch.int64)


def test_every_step_th_pixel_is_looked_at_from_the_middle_of_a_step_on(overlaps):
    panoptic = torch.arange(70, dtype=torch.int32).view(7, 10)
    places, counts = overlaps(
        panoptic, int32(11, 18), torch.zeros(2, 3, dtype=torch.int32), last_count=0, step=3
    )
    # 11, 14, 17 of row 1 and 41, 44, 47 of row 4.
    assert places.tolist() == [[0, 2, 2], [2, 2, 2]]
    assert counts.tolist() == [[1, 0, 5]]


def test_without_things_all_is_none(overlaps):
    places, counts = overlaps(
        torch.ones(2, 3, dtype=torch.int32), int32(), int32(0, 0, 0, 0, 1, 2).view(2, 3), last_count=2
    )
    assert places.tolist() == [[0] * 3] * 2
    assert counts.tolist() == [[4], [1], [1]]
    for size in ((0, 5), (5, 0)):
        nothing = torch.zeros(size, dtype=torch.int32)
        places, counts = overlaps(nothing, int32(3), nothing, last_count=1)
        assert places.shape == size
        assert counts.tolist() == [[0, 0], [0, 0]]


def test_ids_are_replaced_all_at_once_and_others_stay(replace_ids):
    panoptic = torch.tensor([[1, 1, 2, 3], [-1, 3, 2, 9], [2**31 - 1, -(2**31), 0, 1]], dtype=torch.int32)
    assert replace_ids(panoptic, int32(1, 2, 3, 2**31 - 1), int32(2, 3, 1, -5)) is None
    assert panoptic.tolist() == [[2, 2, 3, 1], [-1, 1, 3, 9], [-5, -(2**31), 0, 2]]


def some_map(height, width, values, run, generator):
    ids = torch.randint(0, len(values), (height * width // run + 1,), generator=generator)
    return values[ids].repeat_interleave(run)[: height * width].view(height, width)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_backends_and_threads_give_the_same_numbers(data):
    height, width = (data.draw(st.sampled_from([1, 2, 9, 40, 300])) for _ in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    count, run, step = (
        data.draw(st.sampled_from(choice)) for choice in ([0, 1, 4, 200], [1, 7, 60], [1, 2, 3, 5, 400])
    )
    spread = data.draw(st.sampled_from([600, 2**31 - 1]))
    values = (
        torch.randint(-spread, spread, (count + 3,), generator=generator, dtype=torch.int64).unique().int()
    )
    values = values[torch.randperm(len(values), generator=generator)]
    panoptic = some_map(height, width, values, run, generator)
    layout = data.draw(st.sampled_from(["rows", "turned", "part"]))
    if layout == "turned":
        panoptic = some_map(width, height, values, run, generator).T
    elif layout == "part":
        panoptic = some_map(height + 3, width + 5, values, run, generator)[2:-1, 1:-4]
    ids, new_ids = values[:count], values.flip(0)[:count]
    last_count = data.draw(st.sampled_from([0, 1, 50]))
    small = panoptic[step // 2 :: step, step // 2 :: step].shape
    last = some_map(*small, torch.arange(-1, last_count + 2, dtype=torch.int32), run, generator)

    expected = reference_tracking.thing_overlaps(panoptic, ids, last, last_count, step)
    replaced = panoptic.clone()
    reference_tracking.renumber_(replaced, ids, new_ids)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found = thing_overlaps(panoptic, ids, last, last_count=last_count, step=step)
            assert all(map(torch.equal, found, expected))
            # In place: around a part nothing may change.
            whole = panoptic.new_full((height + 2, width + 4), 77)
            part = whole[1:-1, 3:-1].copy_(panoptic)
            renumber_(part, ids, new_ids)
            assert part.equal(replaced)
            assert (whole == 77).sum() - (part == 77).sum() == whole.numel() - part.numel()
            turned = panoptic.T.clone(memory_format=torch.contiguous_format).T
            renumber_(turned, ids, new_ids)
            assert turned.equal(replaced)
    finally:
        torch.set_num_threads(before)


MAP = torch.zeros(4, 6, dtype=torch.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"panoptic": MAP.long()},
            r"panoptic is torch.int64 of shape \(4, 6\), wanted int32 with 2 dimensions",
        ),
        ({"panoptic": None}, "panoptic is a NoneType"),
        ({"ids": MAP}, "ids is torch.int32 of shape"),
        ({"last": MAP[:3]}, r"last has shape \(3, 6\), wanted \(4, 6\) for step 1"),
        ({"step": 3}, r"last has shape \(4, 6\), wanted \(1, 2\) for step 3"),
        ({"step": 0}, "step is 0"),
        ({"last_count": -1}, "last_count is -1"),
        ({"last": MAP.to("meta")}, "last is on meta, wanted the device of panoptic, cpu"),
    ],
)
def test_bad_arguments_of_overlaps_are_named(change, message):
    arguments = {"panoptic": MAP, "ids": int32(1), "last": MAP, "last_count": 1, **change}
    with pytest.raises(ValueError, match=message):
        thing_overlaps(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panoptic": MAP[0]}, r"panoptic is torch.int32 of shape \(6,\)"),
        ({"ids": [1]}, "ids is a list"),
        ({"new_ids": int32(1, 2)}, "new_ids has 2 entries, wanted one for each of 1 ids"),
    ],
)
def test_bad_arguments_of_renumbering_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        renumber_(**{"panoptic": MAP, "ids": int32(1), "new_ids": int32(2), **change})
