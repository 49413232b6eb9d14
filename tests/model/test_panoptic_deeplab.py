"""One contract for every model: any size, gradients everywhere, weights from a file."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from panodeeplab.config import DecoderConfig, ModelConfig
from panodeeplab.model import STRIDE, PanopticDeepLab
from panodeeplab.model.backbones import Backbone

BACKBONES = ("mobilenet_v2", "mobilenet_v3_large", "resnet50")
NARROW = DecoderConfig(aspp_channels=16, channels=16, skip_channels=(8, 8), head_channels=8)


def build(backbone="mobilenet_v2", output_stride=16, separable=True) -> PanopticDeepLab:
    config = ModelConfig(
        backbone=backbone, output_stride=output_stride, separable=separable, semantic=NARROW, instance=NARROW
    )
    torch.manual_seed(0)
    return PanopticDeepLab(config, num_classes=5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("output_stride", [16, 32])
@pytest.mark.parametrize("separable", [True, False])
def test_shapes_and_gradients(backbone, output_stride, separable):
    model = build(backbone, output_stride, separable)
    images = torch.randint(0, 256, (2, 3, 70, 97), dtype=torch.uint8)
    predictions = model(images)
    assert predictions.semantic.shape == (2, 5, 18, 25)
    assert predictions.center.shape == (2, 1, 18, 25)
    assert predictions.offset.shape == (2, 2, 18, 25)
    sum(x.square().sum() for x in predictions).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (64, 65), (127, 3)])
@pytest.mark.parametrize("output_stride", [16, 32])
def test_any_size(size, output_stride):
    model = build(output_stride=output_stride).eval()
    with torch.inference_mode():
        predictions = model(torch.full((1, 3, *size), 100.0))
    grid = tuple(-(-length // STRIDE) for length in size)
    assert all(x.shape[-2:] == grid and x.isfinite().all() for x in predictions)


def test_padding_is_the_mean_colour():
    """An image whose size is no multiple of the stride equals the same image padded by hand."""
    model = build(output_stride=32).eval()
    image = torch.rand(1, 3, 50, 70) * 255
    padded = model.pixel_mean.expand(1, 3, 64, 96).clone()
    padded[..., :50, :70] = image
    with torch.inference_mode():
        for small, large in zip(model(image), model(padded), strict=True):
            assert torch.allclose(small, large[..., :13, :18], atol=1e-5)


def test_bytes_and_floats_are_the_same_image():
    model = build().eval()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        for a, b in zip(model(image), model(image.float()), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_output_stride(backbone):
    for output_stride, strides in ((16, [4, 8, 16]), (32, [4, 8, 16, 32])):
        network = Backbone(backbone, output_stride=output_stride)
        features = network.eval()(torch.zeros(1, 3, 64, 64))
        assert sorted(features) == strides
        for stride, feature in features.items():
            assert feature.shape == (1, network.channels[stride], 64 // stride, 64 // stride)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_backbone_weights(tmp_path, suffix):
    path = tmp_path / f"mobilenet{suffix}"
    torch.manual_seed(1)
    state = torchvision.models.mobilenet_v2().state_dict()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = Backbone("mobilenet_v2", output_stride=16, weights=path)
    first = next(network.stages[0].parameters())
    assert torch.equal(first, state["features.0.0.weight"])


def test_dilation_keeps_the_weights_and_the_features_of_a_constant_image():
    """Output stride 16 and 32 are one network: where nothing varies, sampling densely changes nothing."""
    torch.manual_seed(2)
    coarse = Backbone("mobilenet_v2", output_stride=32).eval()
    dense = Backbone("mobilenet_v2", output_stride=16).eval()
    dense.load_state_dict(coarse.state_dict())
    image = torch.full((1, 3, 512, 512), 0.5)
    with torch.inference_mode():
        middle_coarse = coarse(image)[32][0, :, 8, 8]
        middle_dense = dense(image)[16][0, :, 16, 16]
    assert torch.allclose(middle_coarse, middle_dense, atol=1e-4)


def test_imagenet_weights_fit(shared):
    network = Backbone(
        "mobilenet_v2", output_stride=32, weights=shared / "weights" / "mobilenet_v2-b0353104.pth"
    )
    assert network.channels == {4: 24, 8: 32, 16: 96, 32: 320}


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="name must be one of"):
        Backbone("resnet18", output_stride=16)
    with pytest.raises(ValueError, match="output_stride must be 16 or 32, got 8"):
        Backbone("resnet50", output_stride=8)
    with pytest.raises(FileNotFoundError, match="no file"):
        Backbone("mobilenet_v2", output_stride=16, weights=tmp_path / "absent.pth")
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(1)}, wrong)
    with pytest.raises(ValueError, match="does not fit the backbone"):
        Backbone("mobilenet_v2", output_stride=16, weights=wrong)
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\)"):
        build()(torch.zeros(3, 8, 8))
