"""Every backend gives the maps of the network as it was trained."""

import functools
import threading

import numpy as np
import pytest
import torch
from torch import nn

from panodeeplab.bundled import model_path
from panodeeplab.config import ModelConfig, validate
from panodeeplab.export.exported import open_exported
from panodeeplab.inference import backends
from panodeeplab.inference.backends import choose, load_network
from panodeeplab.inference.demo import CLIP, read_clip
from panodeeplab.inference.eager import fold_batch_norm, with_precision
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import PanopticDeepLab, load_checkpoint

CPU = torch.device("cpu")


def batch(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def assert_same_maps(maps, expected, tolerance):
    for name, ours, wanted in zip(expected._fields, maps, expected, strict=True):
        assert ours.shape == wanted.shape
        assert (ours.float() - wanted).abs().max() <= tolerance * wanted.abs().max(), name


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_checkpoint(checkpoint).model


@pytest.fixture(scope="module")
def openvino_network(model):
    pytest.importorskip("openvino")
    return load_network(model, "openvino", "float32", CPU)


@pytest.mark.parametrize("size", [(1, 64, 128), (2, 37, 53), (3, 1, 1), (1, 1, 90), (1, 130, 64)])
def test_openvino_gives_the_maps_of_pytorch(model, openvino_network, size):
    images = batch(*size)
    with torch.inference_mode():
        assert_same_maps(openvino_network(images), model(images), 1e-4)


@pytest.mark.parametrize("align_corners", [False, True])
def test_openvino_pads_to_a_pooling_window_as_pytorch_does(align_corners):
    pytest.importorskip("openvino")
    window = (129, 193) if align_corners else (128, 192)
    options = {"backbone": "mobilenet_v3_small", "pooling_window": window, "align_corners": align_corners}
    torch.manual_seed(0)
    model = PanopticDeepLab(ModelConfig(**options), num_classes=19).eval()
    network = load_network(model, "openvino", "float32", CPU)
    with torch.inference_mode():
        for size in [(1, 65, 129), (1, 97, 301), (2, 129, 193), (1, 200, 100)]:
            images = batch(*size)
            assert_same_maps(network(images), model(images), 1e-4)


@pytest.fixture
def compiled(monkeypatch):
    """What OpenVINO has compiled for: (H, W) of the images, or None for any."""
    openvino = pytest.importorskip("openvino")
    sizes, plain = [], openvino.Core.compile_model

    def compile_model(self, network, *settings):
        sizes.append(None if network.is_dynamic() else tuple(network.input(0).shape)[1:3])
        return plain(self, network, *settings)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    return sizes


def test_openvino_compiles_for_the_first_shape_and_once_for_all_others(model, compiled):
    network = load_network(model, "openvino", "float32", CPU)
    counts = []
    with torch.inference_mode():
        for shape in [(1, 64, 128), (1, 64, 128), (2, 64, 128), (1, 37, 53), (1, 64, 128), (3, 64, 128)]:
            images = batch(*shape)
            assert_same_maps(network(images), model(images), 1e-4)
            counts.append(len(compiled))
    assert counts == [1, 1, 2, 2, 2, 2]
    assert compiled == [(64, 128), None]


def test_openvino_compiles_int8_for_each_shape_where_the_cpu_has_amx(monkeypatch, compiled):
    monkeypatch.setattr("panodeeplab.inference.openvino.has_amx", lambda: True)
    network = load_network(open_exported(model_path("street-tiny-int8")), "openvino", "int8", CPU)
    sizes = [(32, 64), (40, 64), (32, 64), (48, 64), (56, 64), (32, 64), (64, 64), (32, 64), (40, 64)]
    with torch.inference_mode():
        for size in sizes:
            assert network(batch(1, *size)).semantic.shape[2:] == (size[0] // 4, size[1] // 4)
    # Four are kept; the one that was not used for longest goes.
    assert compiled == [(32, 64), (40, 64), (48, 64), (56, 64), (64, 64), (40, 64)]


def test_threads_share_a_network_without_mixing_their_images(openvino_network):
    images = [batch(1, 40 + 8 * i, 64, seed=i) for i in range(4)]
    alone = [openvino_network(x) for x in images]
    wrong = []

    def run(index):
        for _ in range(5):
            maps = openvino_network(images[index])
            if not all(torch.equal(a, b) for a, b in zip(maps, alone[index], strict=True)):
                wrong.append(index)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("mobilenet_v3_small", {}),
        ("resnet50", {"separable": False, "align_corners": True}),
        ("resnet52", {"pooling_window": (64, 128), "pooling_conv": "batch_norm"}),
        ("hrnet_w18", {"output_stride": 32}),
        ("xception65", {}),
    ],
)
def test_folding_leaves_no_batch_norm_and_the_same_maps(backbone, options):
    if backbone == "xception65":
        pytest.importorskip("timm")
    branch = {"aspp_channels": 8, "channels": 8, "skip_channels": (4, 4), "head_channels": 4}
    section = {"backbone": backbone, "semantic": branch, "instance": branch, **options}
    config = validate(
        {
            "data": {"dataset": "scenes", "image_size": (64, 128)},
            "augmentation": {"crop_size": (64, 128)},
            "model": section,
            "training": {"iterations": 1, "batch_size": 1},
        }
    )
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        model = PanopticDeepLab(config.model, num_classes=5).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
        images = batch(1, 75, 90)
        folded = fold_batch_norm(model)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        assert_same_maps(folded(images), model(images), 1e-4)


def test_bfloat16_keeps_the_colors_and_comes_close(model):
    images = batch(1, 64, 128)
    with torch.inference_mode():
        exact = model(images)
        maps = load_network(model, "eager", "bfloat16", CPU)(images)
    assert all(x.dtype == torch.bfloat16 for x in maps)
    assert_same_maps(maps, exact, 0.1)
    assert with_precision(fold_batch_norm(model), torch.bfloat16).pixel_mean.dtype == torch.float32


def test_auto_is_openvino_for_our_network_on_a_cpu_and_pytorch_elsewhere(model, monkeypatch):
    installed = {"openvino", "onnxruntime"}
    monkeypatch.setattr(backends, "_installed", lambda module: module in installed)
    monkeypatch.setattr(backends, "has_fast_bfloat16", lambda: False)
    assert choose(model, "auto", "auto", CPU) == ("openvino", "float32")
    assert choose(nn.Conv2d(3, 3, 1), "auto", "auto", CPU) == ("eager", "float32")
    assert choose(model, "auto", "auto", torch.device("cuda")) == ("eager", "float16")
    installed.discard("openvino")
    assert choose(model, "auto", "auto", CPU) == ("eager", "float32")
    monkeypatch.setattr(backends, "has_fast_bfloat16", lambda: True)
    assert choose(model, "auto", "auto", CPU) == ("eager", "bfloat16")
    assert choose(model, "onnxruntime", "auto", CPU) == ("onnxruntime", "float32")
    installed.clear()
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(ModuleNotFoundError, match=rf'backend is \'{name}\'.*pip install "panodeeplab\['):
            choose(model, name, "auto", CPU)


@pytest.mark.parametrize(
    ("backend", "precision", "device", "message"),
    [
        ("fastest", "auto", "cpu", "backend must be one of auto, .*, got 'fastest'"),
        ("auto", "int8", "cpu", "precision must be one of auto, .*, got 'int8'"),
        ("eager", "float16", "cpu", "one of float32, bfloat16 for backend 'eager' on cpu, got 'float16'"),
        ("onnxruntime", "bfloat16", "cpu", "precision must be one of float32 for backend 'onnxruntime'"),
        ("openvino", "auto", "cuda", "backend 'openvino' does not run on device 'cuda'"),
    ],
)
def test_what_does_not_go_together_is_refused(model, monkeypatch, backend, precision, device, message):
    monkeypatch.setattr(backends, "_installed", lambda module: True)
    with pytest.raises(ValueError, match=message):
        choose(model, backend, precision, torch.device(device))


def test_a_foreign_module_runs_in_its_own_precision():
    with pytest.raises(ValueError, match="precision must be float32 for a Conv2d, got 'bfloat16'"):
        choose(nn.Conv2d(3, 3, 1), "eager", "bfloat16", CPU)


def test_predictor_says_what_it_chose_and_gives_one_map_whatever_runs(checkpoint):
    pytest.importorskip("openvino")
    image = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    eager = Predictor.from_checkpoint(checkpoint, backend="eager", precision="float32")
    other = Predictor.from_checkpoint(checkpoint, backend="openvino", precision="float32")
    assert (eager.backend, other.backend) == ("eager", "openvino")
    assert other.precision == "float32"
    ours, theirs = eager(image), other(image)
    assert (ours.panoptic != theirs.panoptic).mean() < 1e-3
    assert [s.category for s in ours.segments] == [s.category for s in theirs.segments]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_bundled_model_in_8_bits_says_nearly_the_same(backend):
    pytest.importorskip(backend)
    street = next(read_clip(CLIP))[0]
    eager = Predictor.from_checkpoint("street-tiny", backend="eager", precision="float32")
    small = Predictor.from_checkpoint("street-tiny-int8", backend=backend)
    assert (small.backend, small.precision, small.size) == (backend, "int8", eager.size)
    ours, theirs = small(street), eager(street)
    assert (ours.semantic == theirs.semantic).mean() > 0.97
    assert {s.category for s in theirs.segments if s.area > 500} <= {s.category for s in ours.segments}


def test_images_of_many_sizes_are_compiled_for_a_few_times(monkeypatch):
    """The first shape, any other of one image, any other of several: a compilation takes a minute."""
    compiled = []

    def counting(graph, _):
        compiled.append(graph)
        return graph.forward

    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 2, 3, stride=2, padding=1)

        def forward(self, images):
            return self.convolution(images.float())

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counting))
    torch.compiler.reset()
    module = Halved().eval()
    network = load_network(module, "compile", "float32", CPU)
    shapes = [(1, 64, 128), (1, 50, 90), (1, 64, 128), (1, 33, 128), (1, 64, 77), (1, 200, 31)]
    shapes += [(2, 64, 128), (3, 40, 40), (9, 50, 90), (2, 51, 33)]
    counts = []
    with torch.inference_mode():
        for shape in shapes:
            images = batch(*shape)
            assert torch.allclose(network(images), module(images), rtol=1e-4, atol=1e-4)
            counts.append(len(compiled))
    assert counts == [1, 2, 2, 2, 2, 2, 3, 3, 3, 3]


@pytest.mark.slow
def test_compiled_network_gives_the_maps_of_pytorch(model):
    torch.compiler.reset()
    network = load_network(model, "compile", "float32", CPU)
    with torch.inference_mode():
        for size in ((1, 64, 128), (1, 75, 90), (1, 64, 96)):
            assert_same_maps(network(batch(*size)), model(batch(*size)), 1e-4)
