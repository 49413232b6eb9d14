"""Reading pickled NumPy arrays, as in Detectron2's .pkl checkpoints, without running what is in the file.

A pickle is a program: whoever unpickles it lets it import and call what it names. Detectron2's hold nothing
but dictionaries, numbers, text and arrays of numbers. Here every name that NumPy writes for its arrays leads
to a stand-in that checks what it is given, every other name is refused, and none of NumPy's own unpickling,
which trusts its input, takes part.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class _Dtype:
    """A dtype of plain numbers; NumPy states its byte order after the fact."""

    __slots__ = ("value",)

    def __init__(self, code: str, *_: Any) -> None:
        value = np.dtype(code) if isinstance(code, str) else None
        if value is None or value.kind not in "biuf":
            raise pickle.UnpicklingError(f"a dtype {code!r}, wanted one of plain numbers")
        self.value = value

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array; it is created empty and then given its content."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _numbers(content, dtype, shape, "F" if fortran else "C")


def _numbers(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError(f"an array of {type(dtype).__name__}, wanted one of plain numbers")
    if isinstance(content, str):  # bytes of Python 2
        content = content.encode("latin1")
    numbers = np.frombuffer(content, dtype.value).astype(dtype.value.newbyteorder("="))
    return numbers.reshape(shape, order=order).copy(order="C")


def _scalar(dtype: Any, content: Any) -> np.generic:
    return _numbers(content, dtype, (), "C")[()]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: str) -> _Array:
    array = _Array()
    array.value = _numbers(content, dtype, shape, order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, and only arrays, numbers, text and dictionaries are read"
            ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


def load_arrays(path: Path) -> Any:
    """Read a pickle of dictionaries, numbers, text and NumPy arrays.

    Raises:
        ValueError: the file holds anything else, or is damaged; nothing of it was run.
    """
    with path.open("rb") as file:
        try:
            return _plain(_Unpickler(file, encoding="latin1").load())
        # A damaged or hostile file makes the machine of pickle stumble in any of these ways.
        except (
            pickle.UnpicklingError,
            EOFError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(f"source: {path} is not a pickle of arrays: {error}") from None
        except (ImportError, MemoryError, RecursionError, OverflowError) as error:
            raise ValueError(f"source: {path} is not a pickle of arrays: {error!r}") from None
