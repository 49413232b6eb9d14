"""The reader of pickled arrays: all that NumPy writes for numbers, and nothing else."""

import os
import pickle
import struct

import numpy as np
import pytest

from panodeeplab.model.pickled import load_arrays


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", ">f4"])
def test_arrays_come_back(tmp_path, protocol, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    tree = {
        "model": {"a": array, "f": np.asfortranarray(array), "zero": np.array(3, dtype)},
        "n": 1,
        "t": "x",
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    read = load_arrays(path)
    for key, value in tree["model"].items():
        assert np.array_equal(read["model"][key], value)
        assert read["model"][key].dtype == value.dtype.newbyteorder("=")
    assert (read["n"], read["t"]) == (1, "x")


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_files_of_numpy_before_and_since_2(tmp_path, core):
    # Protocol 2 writes names without their length.
    content = pickle.dumps({"a": np.arange(3.0), "b": np.float32(2)}, protocol=2)
    content = content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    path = tmp_path / "arrays.pkl"
    path.write_bytes(content)
    read = load_arrays(path)
    assert read["a"].tolist() == [0, 1, 2]
    assert read["b"] == 2


def test_scalars(tmp_path):
    path = tmp_path / "scalar.pkl"
    path.write_bytes(pickle.dumps({"a": np.float32(0.5), "b": np.int64(7)}))
    assert load_arrays(path) == {"a": 0.5, "b": 7}


class Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        Calls(os.system, "true"),
        Calls(eval, "1"),
        Calls(getattr, "a", "upper"),
        Calls(np.load, "file.npy"),
        Calls(np.frombuffer, b"12345678"),
        np.array([Calls(os.system, "true")], dtype=object),
        np.array([None]),
        np.array(["text"]),
        np.zeros(1, [("a", "f4")]),
        object(),
        {1: {2: Calls(os.getcwd)}},
    ],
    ids=lambda content: type(content).__name__,
)
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps({"model": content}))
    with pytest.raises(ValueError, match="is not a pickle of arrays"):
        load_arrays(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"junk", pickle.dumps({"a": np.zeros(9)})[:-40], b"\x80\x04" + b"(" * 100_000, b"R."],
    ids=range(6),
)
def test_damaged_files(tmp_path, content):
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a pickle of arrays"):
        load_arrays(path)


def test_an_array_that_is_smaller_than_it_says(tmp_path):
    whole = pickle.dumps(np.zeros(4, np.uint8), protocol=2)
    assert whole.count(struct.pack("<BB", ord("K"), 4)) == 1
    path = tmp_path / "short.pkl"
    path.write_bytes(whole.replace(b"K\x04", b"K\x7f"))
    with pytest.raises(ValueError, match="is not a pickle of arrays"):
        load_arrays(path)
