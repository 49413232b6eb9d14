"""Channels and pipelines: order, bounds, dropping, and an end without a hang whatever fails."""

import itertools
import threading
import time

import pytest

from panodeeplab.stream.channel import Channel, Closed
from panodeeplab.stream.pipeline import Pipeline, StageError


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_channel_gives_items_in_order_and_ends_after_the_last():
    channel = Channel(3)
    for item in range(3):
        assert channel.put(item) == 0
    channel.close()
    assert [channel.get() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Closed):
        channel.get()
    with pytest.raises(Closed):
        channel.put(3)


def test_a_full_channel_makes_its_giver_wait():
    channel = Channel(1)
    channel.put(0)
    given = threading.Event()

    def give():
        channel.put(1)
        given.set()

    thread = threading.Thread(target=give)
    thread.start()
    assert not given.wait(0.05)
    assert channel.get() == 0
    assert given.wait(5)
    thread.join()
    assert channel.get() == 1


def test_a_full_channel_of_the_newest_drops_the_oldest():
    channel = Channel(2, newest=True)
    assert [channel.put(item) for item in range(5)] == [0, 0, 1, 1, 1]
    assert [channel.get(), channel.get()] == [3, 4]


def test_an_empty_channel_times_out_and_an_aborted_one_wakes_who_waits():
    channel = Channel(1)
    with pytest.raises(TimeoutError):
        channel.get(timeout=0.01)
    woken = []

    def wait():
        try:
            channel.get()
        except Closed:
            woken.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    channel.abort()
    thread.join(5)
    assert woken == [True]


def test_results_come_in_order_through_all_stages():
    with Pipeline(range(200), [("double", lambda n: 2 * n), ("next", lambda n: n + 1)]) as pipeline:
        assert list(pipeline) == [2 * n + 1 for n in range(200)]
    assert (pipeline.emitted, pipeline.dropped) == (200, 0)
    assert not names() & {"double", "next", "decode"}


def test_stages_run_side_by_side():
    """Both stages wait until the other has an item too, which only works if they are at it at once."""
    meeting = threading.Barrier(2, timeout=20)

    def first(n):
        if n > 0:  # while item n is here, item n - 1 is there
            meeting.wait()
        return n

    def second(n):
        if n < 9:
            meeting.wait()
        return n

    with Pipeline(range(10), [("first", first), ("second", second)]) as pipeline:
        assert list(pipeline) == list(range(10))


def test_never_more_than_the_capacity_waits():
    given = itertools.count()
    with Pipeline(given, [("copy", lambda n: n)], capacity=2) as pipeline:
        results = iter(pipeline)
        assert next(results) == 0
        time.sleep(0.1)
        # Two in each of the queues, one in the hands of the source, one of the stage, and what was taken.
        assert pipeline.emitted <= 1 + 2 + 1 + 2 + 1


def test_newest_drops_before_the_first_stage_and_never_reorders():
    begun = threading.Event()

    def source():
        yield 0
        begun.wait(5)
        yield from range(1, 50)

    def slow(n):
        begun.set()
        time.sleep(0.01)
        return n

    with Pipeline(source(), [("slow", slow)], capacity=1, newest=True) as pipeline:
        seen = list(pipeline)
    assert seen == sorted(seen)
    assert seen[-1] == 49
    assert pipeline.dropped == 50 - len(seen) > 0


@pytest.mark.parametrize("place", ["decode", "first", "last"])
@pytest.mark.parametrize("after", [0, 20])
def test_a_stage_that_raises_ends_everything_and_says_which(place, after):
    def broken(n):
        if n == after:
            raise KeyError("the cause")
        return n

    def source():
        for n in itertools.count():
            yield broken(n) if place == "decode" else n

    stages = [
        ("first", broken if place == "first" else lambda n: n),
        ("last", broken if place == "last" else lambda n: n),
    ]
    with (
        Pipeline(source(), stages) as pipeline,
        pytest.raises(StageError, match=f"stage {place} failed: KeyError") as caught,
    ):
        for _ in pipeline:
            pass
    assert isinstance(caught.value.__cause__, KeyError)
    assert not names() & {"first", "last", "decode"}


def test_leaving_early_ends_the_threads():
    with Pipeline(itertools.count(), [("stage", lambda n: n)]) as pipeline:
        for n in pipeline:
            if n == 5:
                break
    assert not names() & {"stage", "decode"}


def test_after_stop_what_is_on_its_way_still_comes():
    with Pipeline(itertools.count(), [("stage", lambda n: n)]) as pipeline:
        seen = []
        for n in pipeline:
            seen.append(n)
            if n == 5:
                pipeline.stop()
    assert seen == list(range(pipeline.emitted))


def test_times_of_all_stages_are_told():
    told = []
    with Pipeline(
        range(3), [("stage", lambda n: n)], on_time=lambda name, time_ms: told.append((name, time_ms >= 0))
    ) as pipeline:
        list(pipeline)
    assert sorted(told) == [("decode", True)] * 3 + [("stage", True)] * 3
