"""How the ops are registered: the choice of backend, fakes, compilation and export."""

import sys
from types import ModuleType

import pytest
import torch
from street import THINGS, street
from torch._subclasses.fake_tensor import FakeTensorMode

from panodeeplab.ops import _library, backend, pair_counts, panoptic_segmentation, reference


def segment(semantic, center, offset):
    return panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=THINGS, stuff_area=100)


def test_backend_is_one_of_two():
    assert backend() in ("compiled", "reference")
    assert backend("cuda") == "reference"


@pytest.mark.parametrize(
    ("wanted", "module"), [("reference", None), ("", "there"), ("compiled", "there"), ("", None)]
)
def test_backend_may_be_chosen(monkeypatch, wanted, module):
    compiled = None
    if module:
        compiled = ModuleType("_panodeeplab_cpu")
        compiled.ABI_VERSION = _library.ABI_VERSION
    monkeypatch.setitem(sys.modules, "_panodeeplab_cpu", compiled)
    monkeypatch.setenv("PANODEEPLAB_BACKEND", wanted)
    if module is None:
        monkeypatch.setattr(_library, "_load_compiled", lambda: None)
    assert _library._choose_backend() is compiled


def test_a_missing_backend_raises(monkeypatch):
    monkeypatch.setattr(_library, "_load_compiled", lambda: None)
    monkeypatch.setenv("PANODEEPLAB_BACKEND", "compiled")
    with pytest.raises(ImportError, match="_panodeeplab_cpu is not installed"):
        _library._choose_backend()


def test_an_unknown_backend_raises(monkeypatch):
    monkeypatch.setenv("PANODEEPLAB_BACKEND", "fast")
    with pytest.raises(ValueError, match="PANODEEPLAB_BACKEND is 'fast', wanted 'reference' or 'compiled'"):
        _library._choose_backend()


@pytest.mark.parametrize("version", [0, None])
def test_a_module_of_another_version_raises(monkeypatch, version):
    old = ModuleType("_panodeeplab_cpu")
    old.__file__ = "somewhere/_panodeeplab_cpu.abi3.so"
    if version is not None:
        old.ABI_VERSION = version
    monkeypatch.setitem(sys.modules, "_panodeeplab_cpu", old)
    monkeypatch.setenv("PANODEEPLAB_BACKEND", "compiled")
    with pytest.raises(
        ImportError, match=r"somewhere/_panodeeplab_cpu.abi3.so was built .* install panodeeplab again"
    ):
        _library._choose_backend()


def test_opcheck():
    arguments = (*street(8, 9), 4, False, 32, 36, list(THINGS), 0.1, 7, 200, 100, 1000, -1, True)
    torch.library.opcheck(torch.ops.panodeeplab.panoptic_segmentation.default, arguments)
    maps = (torch.arange(30, dtype=torch.int32).view(5, 6) // 4, torch.ones(5, 6, dtype=torch.int32))
    torch.library.opcheck(torch.ops.panodeeplab.pair_counts.default, maps)


def test_compiles_as_one_graph():
    maps = street(seed=11)

    def doubled(semantic, center, offset):
        return segment(semantic * 2, center, offset)

    torch.compiler.reset()
    compiled = torch.compile(doubled, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(compiled(*maps), doubled(*maps), strict=True):
        assert torch.equal(ours, theirs)


def test_exports():
    class Head(torch.nn.Module):
        def forward(self, semantic, center, offset):
            return segment(semantic, center, offset)

    maps = street(seed=12)
    program = torch.export.export(Head(), maps)
    assert any("panoptic_segmentation" in str(node.target) for node in program.graph.nodes)
    for ours, theirs in zip(program.module()(*maps), segment(*maps), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_stop_here():
    maps = [m.requires_grad_() for m in street(seed=13)]
    result = segment(*maps)
    assert not any(x.requires_grad for x in result)


def test_fake_tensors_have_the_shapes_of_real_ones():
    real = segment(*street())
    with FakeTensorMode() as mode:
        fake = segment(*(mode.from_tensor(m) for m in street()))
    for ours, theirs in zip(fake, real, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)


@pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")
def test_the_compiled_module_refuses_what_would_crash_it():
    module = _library._COMPILED
    x = torch.zeros(64, dtype=torch.int32)
    with pytest.raises(ValueError, match="without memory"):
        module.pair_counts(0, x.data_ptr(), 4, 1, 4, x.data_ptr(), x.data_ptr())
    maps = [torch.zeros(64)] * 3
    result = [torch.zeros(4096, dtype=torch.int32)] * 10

    def call(shape=(1, 2, 4, 4), size=(4, 4), stride=1, things=(1,), nms_kernel=3):
        module.panoptic_segmentation(
            *(m.data_ptr() for m in maps),
            *(0, (32, 16, 4, 1), shape, size, stride, False, things, 0.1, nms_kernel, 5, 0, 1000, -1, False, 1),
            *(r.data_ptr() for r in result),
        )

    call()
    for bad in ({"size": (5, 4)}, {"stride": 0}, {"nms_kernel": 2}, {"shape": (1, 0, 4, 4)}):
        with pytest.raises(ValueError, match="out of range"):
            call(**bad)
    with pytest.raises(ValueError, match="thing_ids"):
        call(things=(2,))


def test_pair_counts_traces_with_an_unknown_number_of_pairs():
    maps = (torch.arange(30, dtype=torch.int32).view(5, 6) // 4, torch.ones(5, 6, dtype=torch.int32))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda a, b: pair_counts(a, b)[1].sum(), fullgraph=True, backend="aot_eager")
        assert compiled(*maps) == 30
    assert all(map(torch.equal, pair_counts(*maps), reference.pair_counts(*maps)))
