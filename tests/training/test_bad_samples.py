"""The list of bad samples: each once, whoever finds it, and a stop where there are too many."""

import json

import pytest

from panodeeplab.data.training_set import BadSample
from panodeeplab.training.bad_samples import BadSamples


def _bad(index: int) -> BadSample:
    return BadSample(index, f"{index}.png cannot be decoded")


def _listed(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_is_listed_once(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    samples = BadSamples(path, limit=5)
    assert not path.exists()
    samples.add([_bad(3), _bad(4), _bad(3)])
    # Another process of the run, and the run after it was resumed.
    other = BadSamples(path, limit=5)
    samples.add([_bad(5)])
    other.add([_bad(4), _bad(5), _bad(6)])
    assert _listed(path) == [_bad(i)._asdict() for i in (3, 4, 5, 6)]
    assert len(other) == 4


def test_one_more_than_the_limit_stops(tmp_path):
    samples = BadSamples(tmp_path / "bad.jsonl", limit=1)
    samples.add([_bad(3), _bad(3)])
    message = r"2 training samples cannot be read, .*max_bad_samples is 1: 9.png .*lists them"
    with pytest.raises(ValueError, match=message):
        samples.add([_bad(9)])
    with pytest.raises(ValueError, match=r"1 training sample cannot be read, .* is 0: 2.png .*lists it"):
        BadSamples(tmp_path / "first.jsonl", limit=0).add([_bad(2)])


def test_half_a_line_of_a_killed_process_is_passed_over(tmp_path):
    path = tmp_path / "bad.jsonl"
    BadSamples(path, limit=9).add([_bad(3)])
    with path.open("a") as file:
        file.write('{"index": 4, "rea')
    samples = BadSamples(path, limit=9)
    assert len(samples) == 1
    samples.add([_bad(4)])
    assert _listed(path) == [_bad(i)._asdict() for i in (3, 4)]
