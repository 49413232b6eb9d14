"""The CUDA kernels on the host, for tests: their bodies as a C++ compiler sees them, on CPU tensors."""

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from calls import DEFAULTS
from torch import Tensor

from panodeeplab.ops import PanopticOutput
from panodeeplab.ops._cuda import DTYPES, strides_of
from panodeeplab.ops._outputs import empty_result

ROOT = Path(__file__).resolve().parent.parent.parent
ORDERS = {"forward": 0, "backward": 1, "shuffled": 2}
SOURCES = {"heatmap": 0, "votes": 1, "both": 2}  # PDL_CUDA_CENTERS_HEATMAP ...


class _Map(ctypes.Structure):
    _fields_ = [("values", ctypes.c_void_p)] + [
        (name, ctypes.c_int64) for name in ("image_stride", "channel_stride", "sample_stride")
    ]


class _Arguments(ctypes.Structure):
    """pdl_cuda_arguments of ext/panoptic_cuda.h."""

    _fields_ = [
        *((name, _Map) for name in ("semantic", "center", "offset")),
        *(
            (name, ctypes.c_int64)
            for name in ("batch", "classes", "low_height", "low_width", "height", "width", "stride")
        ),
        ("is_thing", ctypes.c_char_p),
        *((name, ctypes.c_int64) for name in ("top_k", "nms_kernel", "stuff_area", "label_divisor")),
        ("center_threshold", ctypes.c_float),
        *(
            (name, ctypes.c_int32)
            for name in (
                *("void_label", "align_corners", "semantic_probability", "dtype"),
                *("center_source", "vote_threshold", "class_aware_votes"),
            )
        ),
        ("scratch", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    ]


class EmulatedKernels:
    """`panoptic_segmentation` of a library built from emulate_cuda.cpp."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.pdl_cuda_scratch_bytes.restype = ctypes.c_int64

    def __call__(self, *maps: Tensor, order: str = "forward", seed: int = 0, **arguments) -> PanopticOutput:
        given = DEFAULTS | arguments
        semantic = maps[0]
        batch, classes, low_height, low_width = semantic.shape
        stride, low = given["stride"], (low_height, low_width)
        full = [(n - 1) * stride + 1 if given["align_corners"] else n * stride for n in low]
        height, width = given["output_size"] or full
        a = _Arguments(
            *(_Map(x.data_ptr(), *strides_of(x)) for x in maps), batch, classes, *low, height, width, stride
        )
        a.is_thing = bytes(c in given["thing_ids"] for c in range(classes))
        a.dtype = DTYPES[semantic.dtype]
        a.center_source = SOURCES[given["center_source"]]
        for name, _ in _Arguments._fields_:
            if name in given and name not in ("stride", "thing_ids", "center_source"):
                setattr(a, name, given[name])
        result = empty_result(semantic, height, width, given["top_k"])
        for x in result:
            x.view(torch.uint8).fill_(0xA5)  # what is not written shows
        size = self._library.pdl_cuda_scratch_bytes(ctypes.byref(a))
        assert size >= 0
        scratch = torch.full((size,), 0xA5, dtype=torch.uint8)
        a.scratch = scratch.data_ptr()
        addresses = (ctypes.c_void_p * len(result))(*(x.data_ptr() for x in result))
        status = self._library.pdl_panoptic_segmentation_emulated(
            ctypes.byref(a), addresses, ORDERS[order], seed
        )
        assert status == 0
        return PanopticOutput(*result)


def build(folder: Path) -> EmulatedKernels:
    """Compiles the kernels into `folder`; skips the test that asks for them if there is no compiler."""
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C++ compiler: {compiler[0]} was not found")
    library = folder / "emulated.so"
    command = [
        *compiler,
        *("-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"),
        f"-I{ROOT / 'ext'}",
        str(ROOT / "tests/ops/emulate_cuda.cpp"),
        "-o",
        str(library),
        "-lpthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return EmulatedKernels(library)
