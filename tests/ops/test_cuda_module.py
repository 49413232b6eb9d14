"""The CUDA module and the choice of it, as far as a machine without a GPU can tell."""

import sys
from types import ModuleType

import pytest
import torch
from street import THINGS, street

from panodeeplab.ops import _cuda

VOTES = ("both", 64, True)  # center_source, vote_threshold, class_aware_votes


@pytest.fixture
def fresh():
    """The choice is made anew, and once more after the test."""
    _cuda.load.cache_clear()
    yield
    _cuda.load.cache_clear()


class FakeModule(ModuleType):
    """Takes the place of the compiled module and keeps what it was called with."""

    def __init__(self, version):
        super().__init__("_panodeeplab_cuda")
        self.__file__ = "somewhere/_panodeeplab_cuda.abi3.so"
        if version is not None:
            self.ABI_VERSION = version


@pytest.mark.parametrize("version", [0, None])
def test_a_module_of_another_version_raises(monkeypatch, fresh, version):
    monkeypatch.setitem(sys.modules, "_panodeeplab_cuda", FakeModule(version))
    with pytest.raises(ImportError, match=r"somewhere/_panodeeplab_cuda.abi3.so was built .* install"):
        _cuda.load()


def test_without_the_module_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(_cuda, "load", lambda: None)
    maps = street()
    with pytest.raises(RuntimeError, match=r"without its CUDA kernels.*nvcc.*PANODEEPLAB_BACKEND=reference"):
        _cuda.panoptic_segmentation(
            (), *maps, 4, False, list(THINGS), 0.1, 7, 200, 2048, 1000, -1, False, *VOTES
        )


def test_more_counts_than_can_be_numbered_raise(monkeypatch):
    monkeypatch.setattr(_cuda, "load", lambda: FakeModule(_cuda.ABI_VERSION))
    maps = [torch.empty(1, c, 2000, 2000, device="meta") for c in (1000, 1, 2)]
    result = [torch.empty(1, 8000, 8000, device="meta")]

    def call(top_k, *votes):
        sizes = (4, False, list(range(600)), 0.1, 7, top_k, 2048, 1000, -1, False)
        _cuda.panoptic_segmentation(result, *maps, *sizes, *votes)

    with pytest.raises(ValueError, match="top_k is 3000000 with 1000 classes"):
        call(3_000_000, "heatmap", 64, False)
    with pytest.raises(ValueError, match="600 classes of things vote apart on a grid of 2000 x 2000"):
        call(200, "votes", 64, True)


def test_a_missing_module_is_none(monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "_panodeeplab_cuda", None)
    assert _cuda.load() is None


def test_layouts_are_taken_as_they_are_and_others_copied():
    maps = torch.zeros(2, 3, 4, 5)
    last = maps.contiguous(memory_format=torch.channels_last)
    assert _cuda.with_one_dtype(maps, last) == (maps, last)
    assert _cuda.strides_of(maps) == (60, 20, 1)
    assert _cuda.strides_of(last) == (60, 1, 3)
    (copied,) = _cuda.with_one_dtype(maps.transpose(2, 3))
    assert copied.is_contiguous()
    mixed = _cuda.with_one_dtype(maps, last.half())
    assert [x.dtype for x in mixed] == [torch.float32, torch.float32]
    assert mixed[1].is_contiguous(memory_format=torch.channels_last)


def test_the_compiled_module_refuses_what_would_crash_it():
    module = pytest.importorskip("_panodeeplab_cuda", reason="built without the CUDA kernels")
    assert module.ABI_VERSION == _cuda.ABI_VERSION
    asked = []

    def call(
        address=4096,
        shape=(1, 2, 4, 4),
        size=(4, 4),
        stride=1,
        things=(1,),
        nms_kernel=3,
        dtype=0,
        top_k=5,
        threshold=0,
    ):
        maps = [(address, 32, 16, 1)] * 3
        options = (0.1, nms_kernel, top_k, 0, 1000, -1, False, "both", threshold, True)
        module.panoptic_segmentation(
            *maps,
            dtype,
            shape,
            size,
            stride,
            False,
            things,
            *options,
            (4096,) * 11,
            lambda n: asked.append(n) or 0,
            0,
        )

    for bad in (
        {"size": (5, 4)},
        {"stride": 0},
        {"nms_kernel": 2},
        {"shape": (1, 0, 4, 4)},
        {"dtype": 3},
        {"shape": (1, 16384, 400, 400), "size": (400, 400), "top_k": 160000},
        {"shape": (1, 600, 2000, 2000), "things": range(600)},
        {"threshold": -1},
    ):
        with pytest.raises(ValueError, match="out of range"):
            call(**bad)
    with pytest.raises(ValueError, match="thing_ids"):
        call(things=(2,))
    with pytest.raises(ValueError, match="without memory"):
        call(address=0)
    assert asked == []
    with pytest.raises(ValueError, match="without memory"):
        call()
    assert len(asked) == 1
    assert asked[0] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_error_of_cuda_is_an_exception():
    module = pytest.importorskip("_panodeeplab_cuda", reason="built without the CUDA kernels")
    maps = [(4096, 32, 16, 1)] * 3
    options = (0.1, 3, 5, 0, 1000, -1, False, *VOTES)
    with pytest.raises(RuntimeError, match="could not be launched: "):
        module.panoptic_segmentation(
            *maps, 0, (1, 2, 4, 4), (4, 4), 1, False, (1,), *options, (4096,) * 11, lambda n: 4096, 0
        )
