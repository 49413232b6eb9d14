"""How the ops are registered: the choice of backend, fakes, compilation and export."""

import sys
from types import ModuleType

import pytest
import torch
from street import THINGS, street
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from panodeeplab.ops import _cpu, backend, pair_counts, panoptic_segmentation, reference

MAPS = (torch.arange(30, dtype=torch.int32).view(5, 6) // 4, torch.ones(5, 6, dtype=torch.int32))
# id, category, is_thing, is_crowd
SEGMENTS = torch.tensor([[3, 11, 1, 0], [0, 2, 0, 0], [5, 12, 1, 1], [77, 13, 1, 0]])
OPTIONS = (255, True, 4096, 3.0, False, False)  # of panoptic_targets


def segment(semantic, center, offset):
    return panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=THINGS, stuff_area=100)


def test_backend_is_one_of_two():
    assert backend() in ("compiled", "reference")
    assert backend("cuda") in ("compiled", "reference", "none")
    assert backend("meta") == "reference"


@pytest.mark.parametrize(
    ("wanted", "module"), [("reference", None), ("", "there"), ("compiled", "there"), ("", None)]
)
def test_backend_may_be_chosen(monkeypatch, wanted, module):
    compiled = None
    if module:
        compiled = ModuleType("_panodeeplab_cpu")
        compiled.ABI_VERSION = _cpu.ABI_VERSION
    monkeypatch.setitem(sys.modules, "_panodeeplab_cpu", compiled)
    monkeypatch.setenv("PANODEEPLAB_BACKEND", wanted)
    if module is None:
        monkeypatch.setattr(_cpu, "load_module", lambda name, version: None)
    assert _cpu.choose_backend() is compiled


def test_a_missing_backend_raises(monkeypatch):
    monkeypatch.setattr(_cpu, "load_module", lambda name, version: None)
    monkeypatch.setenv("PANODEEPLAB_BACKEND", "compiled")
    with pytest.raises(ImportError, match="_panodeeplab_cpu is not installed"):
        _cpu.choose_backend()


def test_an_unknown_backend_raises(monkeypatch):
    monkeypatch.setenv("PANODEEPLAB_BACKEND", "fast")
    with pytest.raises(ValueError, match="PANODEEPLAB_BACKEND is 'fast', wanted 'reference' or 'compiled'"):
        _cpu.choose_backend()


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
        _cpu.choose_backend()


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_opcheck_of_panoptic_segmentation(batch, dtype):
    maps = [torch.cat([m] * batch).to(dtype) if batch else m[:0] for m in street(8, 9)]
    arguments = (*maps, 4, False, 31, 36, list(THINGS), 0.1, 7, 200, 100, 1000, -1, True)
    arguments += ("both", 9, True)
    torch.library.opcheck(torch.ops.panodeeplab.panoptic_segmentation.default, arguments)


@pytest.mark.parametrize(
    "maps",
    [
        MAPS,
        (MAPS[0].T, MAPS[1].T),
        (MAPS[0][:0], MAPS[1][:0]),
        [x[..., None].repeat(1, 1, 3).to(torch.uint8) for x in MAPS],
    ],
)
def test_opcheck_of_pair_counts(maps):
    torch.library.opcheck(torch.ops.panodeeplab.pair_counts.default, (*maps, 0))


@pytest.mark.parametrize("segments", [SEGMENTS, SEGMENTS[:0], SEGMENTS[:, [0, 1, 3, 2]]])
@pytest.mark.parametrize(
    "panoptic", [MAPS[0], MAPS[0].T, MAPS[0].long(), MAPS[0].to(torch.uint8), MAPS[0][:0]]
)
def test_opcheck_of_panoptic_targets(panoptic, segments):
    torch.library.opcheck(
        torch.ops.panodeeplab.panoptic_targets.default, (panoptic, segments, torch.ones(5, 5), *OPTIONS)
    )


def test_compiles_as_one_graph_for_any_size():
    def doubled(semantic, center, offset):
        return segment(semantic * 2, center, offset)

    torch.compiler.reset()
    compiled = torch.compile(doubled, fullgraph=True, backend="aot_eager", dynamic=True)
    for maps in (street(seed=11), street(13, 30, seed=12), (m.repeat(3, 1, 1, 1) for m in street(seed=13))):
        maps = list(maps)
        for ours, theirs in zip(compiled(*maps), doubled(*maps), strict=True):
            assert torch.equal(ours, theirs)


def test_targets_compile_as_one_graph_for_any_size():
    def centers_and_weights(panoptic, segments, gaussian):
        targets = torch.ops.panodeeplab.panoptic_targets(panoptic + 1, segments, gaussian, *OPTIONS)
        return targets[0] * 2, targets[2].sum(0), targets[-2][targets[-1]]

    torch.compiler.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(centers_and_weights, fullgraph=True, backend="aot_eager", dynamic=True)
        for panoptic, segments in ((MAPS[0] - 1, SEGMENTS), (MAPS[0].T - 1, SEGMENTS[:2])):
            arguments = (panoptic, segments, torch.ones(5, 5))
            assert all(map(torch.equal, compiled(*arguments), centers_and_weights(*arguments)))


class Head(torch.nn.Module):
    def forward(self, semantic, center, offset):
        return segment(semantic, center, offset)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_dynamic_sizes(strict):
    dynamic = {0: Dim("n", max=64), 2: Dim("h", max=512), 3: Dim("w", max=1024)}
    maps = tuple(map(torch.cat, zip(street(seed=12), street(seed=13), strict=True)))
    program = torch.export.export(Head(), maps, dynamic_shapes=(dynamic,) * 3, strict=strict)
    assert any("panoptic_segmentation" in str(node.target) for node in program.graph.nodes)
    for other in (maps, street(13, 30, seed=14)):
        for ours, theirs in zip(program.module()(*other), segment(*other), strict=True):
            assert torch.equal(ours, theirs)


def test_exports_with_a_crop_of_dynamic_size():
    class Cropped(torch.nn.Module):
        def forward(self, semantic, center, offset, image):
            return panoptic_segmentation(
                semantic, center, offset, stride=4, thing_ids=THINGS, output_size=image.shape[2:]
            )

    maps, image = street(seed=15), torch.zeros(1, 3, 90, 150)
    dynamic = {2: Dim("height", min=85, max=96), 3: Dim("width", min=100, max=160)}
    program = torch.export.export(Cropped(), (*maps, image), dynamic_shapes=({}, {}, {}, dynamic))
    other = torch.zeros(1, 3, 88, 101)
    for ours, theirs in zip(program.module()(*maps, other), Cropped()(*maps, other), strict=True):
        assert torch.equal(ours, theirs)


def test_counts_and_targets_export_with_dynamic_sizes():
    class Both(torch.nn.Module):
        def forward(self, first, second, segments, gaussian):
            targets = torch.ops.panodeeplab.panoptic_targets(first, segments, gaussian, *OPTIONS)
            return *pair_counts(first, second), *targets

    size = {0: Dim("height", max=512), 1: Dim("width", max=512)}
    given = (*MAPS, SEGMENTS, torch.ones(5, 5))
    program = torch.export.export(
        Both(), given, dynamic_shapes=(size, size, {0: Dim("segments", max=99)}, {})
    )
    for rows in (5, 3):
        other = (MAPS[0][:rows, 1:], MAPS[1][:rows, 1:], SEGMENTS[:rows], torch.ones(5, 5))
        assert all(map(torch.equal, program.module()(*other), Both()(*other)))


def test_gradients_stop_here():
    maps = [m.requires_grad_() for m in street(seed=13)]
    result = segment(*maps)
    assert not any(x.requires_grad for x in result)


def test_fake_tensors_have_the_shapes_of_real_ones():
    real = segment(*street())
    with FakeTensorMode() as mode:
        fake = segment(*(mode.from_tensor(m) for m in street()))
    for ours, theirs in zip(fake, real, strict=True):
        assert (ours.shape, ours.dtype, ours.stride()) == (theirs.shape, theirs.dtype, theirs.stride())


def test_fake_targets_have_the_shapes_of_real_ones():
    arguments = (MAPS[0].T, SEGMENTS, torch.ones(5, 5))
    real = torch.ops.panodeeplab.panoptic_targets(*arguments, *OPTIONS)
    with FakeTensorMode() as mode:
        given = [mode.from_tensor(x) for x in arguments]
        fake = torch.ops.panodeeplab.panoptic_targets(*given, *OPTIONS)
    for ours, theirs in zip(fake, real, strict=True):
        assert (ours.shape, ours.dtype, ours.stride()) == (theirs.shape, theirs.dtype, theirs.stride())


@pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")
def test_the_compiled_module_refuses_what_would_crash_it():
    module = _cpu.COMPILED
    x = torch.zeros(64, dtype=torch.int32)
    with pytest.raises(ValueError, match="without memory"):
        module.pair_counts(0, x.data_ptr(), 4, 4, 1, 4, x.data_ptr(), x.data_ptr())
    maps = [torch.zeros(64)] * 3
    result = [torch.zeros(4096, dtype=torch.int32)] * 11

    def call(shape=(1, 2, 4, 4), size=(4, 4), stride=1, things=(1,), nms_kernel=3, threshold=0):
        module.panoptic_segmentation(
            *(m.data_ptr() for m in maps),
            *(0, (32, 16, 4, 1), shape, size, stride, False, things, 0.1, nms_kernel, 5, 0, 1000, -1, False),
            *("both", threshold, True, 1),
            *(r.data_ptr() for r in result),
        )

    call()
    for bad in (
        {"size": (5, 4)},
        {"stride": 0},
        {"nms_kernel": 2},
        {"shape": (1, 0, 4, 4)},
        {"threshold": -1},
    ):
        with pytest.raises(ValueError, match="out of range"):
            call(**bad)
    with pytest.raises(ValueError, match="thing_ids"):
        call(things=(2,))

    here = x.data_ptr()

    def make_targets(address=here, id_bytes=4, shape=(2, 4), count=1, reach=0):
        module.panoptic_targets(
            *(address, id_bytes, shape, here, count, here, reach, *OPTIONS, 1),
            *(r.data_ptr() for r in result[:8]),
        )

    make_targets()
    with pytest.raises(ValueError, match="without memory"):
        make_targets(address=0)
    for bad in ({"id_bytes": 2}, {"shape": (-1, 4)}, {"shape": (2, 1 << 31)}, {"count": -1}, {"reach": -1}):
        with pytest.raises(ValueError, match="out of range"):
            make_targets(**bad)


def test_opcheck_of_panoptic_overlay():
    image = torch.arange(90, dtype=torch.uint8).view(5, 6, 3)
    colors = torch.arange(24, dtype=torch.uint8).view(6, 4)
    torch.library.opcheck(
        torch.ops.panodeeplab.panoptic_overlay.default, (image, MAPS[0], colors, 99, 2, 200)
    )


@pytest.mark.parametrize("ids", [torch.tensor([1, 3], dtype=torch.int32), torch.zeros(0, dtype=torch.int32)])
@pytest.mark.parametrize("panoptic", [MAPS[0], MAPS[0].T, MAPS[0][:0]])
def test_opcheck_of_the_ops_of_a_tracker(panoptic, ids):
    last = torch.zeros_like(panoptic[1::2, 1::2])
    torch.library.opcheck(torch.ops.panodeeplab.thing_overlaps.default, (panoptic, ids, last, 2, 2))
    torch.library.opcheck(torch.ops.panodeeplab.renumber_.default, (panoptic.clone(), ids, ids.flip(0)))


def test_pair_counts_traces_with_an_unknown_number_of_pairs():
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda a, b: pair_counts(a, b)[1].sum(), fullgraph=True, backend="aot_eager")
        assert compiled(*MAPS) == 30
    assert all(map(torch.equal, pair_counts(*MAPS), reference.pair_counts(*MAPS)))
