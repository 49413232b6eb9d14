"""The network around the backbone: sizes, padding, and every switch between the published implementations."""

import pytest
import torch

from panodeeplab.config import DecoderConfig, ModelConfig
from panodeeplab.model import STRIDE, PanopticDeepLab

NARROW = DecoderConfig(aspp_channels=16, channels=16, skip_channels=(8, 8), head_channels=8)


def build(backbone="mobilenet_v2", output_stride=16, **settings) -> PanopticDeepLab:
    branches = {"semantic": NARROW, "instance": NARROW}
    config = ModelConfig(backbone=backbone, output_stride=output_stride, **(branches | settings))
    torch.manual_seed(0)
    return PanopticDeepLab(config, num_classes=5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"separable": False},
        {"separable": False, "separable_aspp": False, "separable_center_head": False},
        {"separable_center_head": False},
        {"skip_first": True},
        {"semantic": NARROW.model_copy(update={"skip_channels": (8, 6, 4)})},
        {"pooling_conv": "plain"},
        {"pooling_conv": "batch_norm"},
        {"pooling_window": (64, 96)},
        {"aspp_dilations": (1, 2, 3)},
        {"backbone": "resnet50", "last_stage_dilations": (2, 4, 8)},
        {"output_stride": 32},
        {"output_stride": 8},
    ],
    ids=str,
)
def test_shapes_and_gradients(settings):
    model = build(**settings)
    images = torch.randint(0, 256, (2, 3, 70, 97), dtype=torch.uint8)
    for predictions in (model(images), model.eval()(images)):
        assert predictions.semantic.shape == (2, 5, 18, 25)
        assert predictions.center.shape == (2, 1, 18, 25)
        assert predictions.offset.shape == (2, 2, 18, 25)
        model.zero_grad()
        sum(x.square().sum() for x in predictions).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (64, 65), (127, 3)])
@pytest.mark.parametrize("output_stride", [16, 32])
@pytest.mark.parametrize("align_corners", [False, True])
def test_any_size(size, output_stride, align_corners):
    model = build(output_stride=output_stride, align_corners=align_corners).eval()
    with torch.inference_mode():
        predictions = model(torch.full((1, 3, *size), 100.0))
    extra = 1 if align_corners else 0
    grid = tuple(-(-(length - extra) // STRIDE) + extra for length in size)
    assert all(x.shape[-2:] == grid and x.isfinite().all() for x in predictions)


@pytest.mark.parametrize("align_corners", [False, True])
def test_padding_is_the_mean_color(align_corners):
    """An image whose size is no multiple of the stride equals the same image padded by hand."""
    extra = 1 if align_corners else 0
    model = build(output_stride=32, align_corners=align_corners).eval()
    image = torch.rand(1, 3, 50, 70) * 255
    padded = model.pixel_mean.expand(1, 3, 64 + extra, 96 + extra).clone()
    padded[..., :50, :70] = image
    with torch.inference_mode():
        for small, large in zip(model(image), model(padded), strict=True):
            assert torch.allclose(small, large[..., : small.shape[2], : small.shape[3]], atol=1e-5)


def test_bytes_and_floats_are_the_same_image():
    model = build().eval()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        for a, b in zip(model(image), model(image.float()), strict=True):
            assert torch.equal(a, b)


def test_batch_norm_settings_reach_every_layer():
    model = build(backbone="mobilenet_v3_small", batch_norm_eps=1e-4, batch_norm_momentum=0.02)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) > 50
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-4, 0.02)}
    assert (
        len({norm.eps for norm in build(backbone="mobilenet_v3_small").modules() if hasattr(norm, "eps")})
        == 2
    )


def test_a_window_as_large_as_the_image_is_the_whole_image():
    whole, window = build().eval(), build(pooling_window=(64, 96)).eval()
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        for a, b in zip(whole(image), window(image), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "padded"), [((40, 50), (65, 97)), ((33, 120), (65, 129)), ((90, 97), (97, 97))]
)
def test_aligned_images_are_padded_to_the_window(size, padded):
    """The pooling then averages over as much mean color as in a crop of training."""
    model = build(output_stride=16, pooling_window=(65, 97), align_corners=True).eval()
    image = torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    by_hand = model.pixel_mean.expand(1, 3, *padded).clone()
    by_hand[..., : size[0], : size[1]] = image
    h, w = (-(-(n - 1) // 4) + 1 for n in size)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    with torch.inference_mode():
        for ours, theirs in zip(model(image), model(by_hand), strict=True):
            assert torch.equal(ours, theirs[..., :h, :w])
    assert seen == [padded, padded]


def test_a_window_sees_its_part():
    """Left and right half of an image do not hear of one another where the window is half as wide."""
    model = build(pooling_window=(32, 32), backbone="resnet50").eval()
    pool = model.semantic_decoder.aspp.pool
    x = torch.zeros(1, 2048, 2, 8)
    changed = x.clone()
    changed[..., 6:] = 1
    with torch.inference_mode():
        difference = (pool(changed) - pool(x)).abs().sum(1)[0]
    assert (difference[:, :3] == 0).all()
    assert (difference[:, 6:] > 0).all()


def test_errors():
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\)"):
        build()(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        PanopticDeepLab(ModelConfig(backbone="mobilenet_v2"), num_classes=0)
    with pytest.raises(
        ValueError, match=r"pooling_window is \(65, 96\) pixels, wanted multiples of output_stride, 16"
    ):
        build(pooling_window=(65, 96))


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_pooling_window_grows_with_the_zoom(align_corners):
    """The pooling sees the same part of an image at every size, padding included."""
    extra = int(align_corners)
    windows = [(n + extra, 2 * n + extra) for n in (64, 128, 32)]
    model, doubled, halved = (build(pooling_window=w, align_corners=align_corners).eval() for w in windows)
    for twin in (doubled, halved):
        twin.load_state_dict(model.state_dict())
    images = torch.randint(0, 256, (1, 3, 150, 300), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        for twin, zoom in ((model, 1.0), (doubled, 2.0), (halved, 0.5)):
            for ours, theirs in zip(model(images, (zoom, zoom)), twin(images), strict=True):
                assert torch.equal(ours, theirs)
        assert not torch.equal(model(images, (0.5, 0.5)).semantic, model(images).semantic)
