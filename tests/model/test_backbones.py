"""One contract for every backbone: features by stride at each of its output strides, weights from files."""

import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file

from panodeeplab.config import BACKBONES, DecoderConfig, ModelConfig
from panodeeplab.model import STRIDE, PanopticDeepLab, timm_backbones
from panodeeplab.model.backbones import build_backbone

NARROW = DecoderConfig(aspp_channels=16, channels=16, skip_channels=(8, 8), head_channels=8)
NEEDS_TIMM = ("xception65", "xception71")
# Today's fast ones, each of another kind.
TIMM = (
    "timm/convnext_atto",
    "timm/efficientvit_b0",
    "timm/repvit_m0_9",
    "timm/fastvit_t8",
    "timm/mobilenetv4_conv_small",
    "timm/regnety_002",
    "timm/hgnetv2_b0",
)
# oneDNN (torch 2.15, channels_last) writes past its memory in the backward pass of a 1x1 convolution of
# stride 2 with three input channels, which FastViT starts with: on a CPU it can only be run.
NO_GRADIENT = ("timm/fastvit_t8",)
# Cut an image into patches without a margin: no room for the extra pixel of aligned corners.
PATCHES = ("timm/convnext_atto",)


def settings(backbone, output_stride=32, **changes) -> ModelConfig:
    # An HRNet has nothing that leads to its branch of stride 16 alone: it is trained with all three skips.
    skips = (8, 8, 8) if backbone.startswith("hrnet") else (8, 8)
    branch = NARROW.model_copy(update={"skip_channels": skips})
    return ModelConfig(
        backbone=backbone, output_stride=output_stride, semantic=branch, instance=branch, **changes
    )


def skip_without_timm(backbone):
    if backbone in NEEDS_TIMM or backbone.startswith("timm/"):
        pytest.importorskip("timm")


@pytest.mark.parametrize("backbone", BACKBONES + TIMM)
def test_any_size_and_gradients(backbone):
    skip_without_timm(backbone)
    torch.manual_seed(0)
    model = PanopticDeepLab(settings(backbone), num_classes=5)
    images = torch.randint(0, 256, (2, 3, 33, 70), dtype=torch.uint8)
    with torch.set_grad_enabled(backbone not in NO_GRADIENT):
        predictions = model(images)
    assert [x.shape for x in predictions] == [(2, 5, 9, 18), (2, 1, 9, 18), (2, 2, 9, 18)]
    if backbone not in NO_GRADIENT:
        sum(x.square().sum() for x in predictions).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []
    with torch.inference_mode():
        for height, width in ((1, 1), (31, 65)):
            grid = (-(-height // STRIDE), -(-width // STRIDE))
            for x in model.eval()(torch.full((1, 3, height, width), 100.0)):
                assert x.shape[-2:] == grid
                assert x.isfinite().all()


@pytest.mark.parametrize(("output_stride", "align_corners"), [(8, False), (16, True), (32, True)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_output_stride(backbone, output_stride, align_corners):
    skip_without_timm(backbone)
    config = settings(backbone, output_stride, align_corners=align_corners)
    if (backbone.startswith("hrnet") and output_stride < 32) or (backbone, output_stride) == (
        "xception71",
        8,
    ):
        with pytest.raises(ValueError, match=f"output_stride must be .* for {backbone}, got {output_stride}"):
            build_backbone(config)
        return
    with torch.device("meta"):
        network = build_backbone(config)
        extra = 1 if align_corners else 0
        features = network.eval()(torch.zeros(1, 3, 64 + extra, 128 + extra))
    assert list(features) == [4, 8, 16, 32]
    for stride, feature in features.items():
        grid = min(stride, output_stride)
        assert feature.shape == (1, network.channels[stride], 64 // grid + extra, 128 // grid + extra)


@pytest.mark.parametrize("backbone", ["timm/regnety_002", "timm/mobilenetv4_conv_small"])
def test_timm_dilates(backbone):
    pytest.importorskip("timm")
    features = build_backbone(settings(backbone, 16))(torch.zeros(2, 3, 64, 96))
    assert [feature.shape[2:] for feature in features.values()] == [(16, 24), (8, 12), (4, 6), (4, 6)]


def test_timm_gives_the_normalization(monkeypatch):
    pytest.importorskip("timm")
    network = build_backbone(settings("xception65"))
    assert network.pixel_mean == network.pixel_std == (127.5, 127.5, 127.5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_weights(tmp_path, suffix):
    path = tmp_path / f"mobilenet{suffix}"
    torch.manual_seed(1)
    state = torchvision.models.mobilenet_v2().state_dict()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = build_backbone(settings("mobilenet_v2", backbone_weights=path))
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    ("backbone", "upstream"),
    [
        ("resnet52", "resnet50s"),
        ("hrnet_w18", "hrnet_w18"),
        ("xception65", "xception65"),
        ("timm/regnety_002", "regnety_002"),
    ],
)
def test_local_weights_in_the_naming_of_timm(tmp_path, backbone, upstream):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    theirs = timm.create_model(upstream)
    path = tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    network = build_backbone(settings(backbone, backbone_weights=path))
    first = next(network.parameters())
    assert torch.equal(first, next(theirs.parameters()))
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"backbone_weights.* does not fit the backbone"):
        build_backbone(settings(backbone, backbone_weights=path))


@pytest.mark.parametrize(("backbone", "upstream"), [("resnet52", "resnet50s"), ("hrnet_w18", "hrnet_w18")])
def test_imagenet_weights_come_from_timm(monkeypatch, backbone, upstream):
    timm = pytest.importorskip("timm")
    state = timm.create_model(upstream).state_dict()
    asked = []
    monkeypatch.setattr(timm_backbones, "imagenet_state", lambda name: asked.append(name) or state)
    network = build_backbone(settings(backbone, backbone_weights="imagenet"))
    assert asked == [upstream]
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_resnet52_is_timms():
    """DeepLab's ResNet-50 is timm's resnet50s, whose ImageNet weights it can take."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(2)
    theirs = timm.create_model("resnet50s", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    ours = build_backbone(settings("resnet52")).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for a, b in zip(ours(image).values(), theirs(image), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_imagenet_weights_fit(shared):
    path = shared / "weights" / "mobilenet_v2-b0353104.pth"
    network = build_backbone(settings("mobilenet_v2", backbone_weights=path))
    assert network.channels == {4: 24, 8: 32, 16: 96, 32: 320}


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet50"])
def test_dilation_keeps_the_weights_and_the_features_of_a_constant_image(backbone):
    """Output stride 8, 16 and 32 are one network: where nothing varies, sampling densely changes nothing."""
    torch.manual_seed(2)
    coarse = build_backbone(settings(backbone, 32)).eval()
    image = torch.full((1, 3, 384, 384), 0.5)
    with torch.inference_mode():
        middle_coarse = coarse(image)[32][0, :, 6, 6]
        for output_stride in (8, 16):
            dense = build_backbone(settings(backbone, output_stride)).eval()
            dense.load_state_dict(coarse.state_dict())
            middle_dense = dense(image)[32][0, :, 192 // output_stride, 192 // output_stride]
            assert torch.allclose(middle_coarse, middle_dense, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("backbone", ["resnet50", "resnet52"])
def test_without_stem_pooling_the_first_block_has_its_stride(backbone, align_corners):
    torch.manual_seed(2)
    extra = int(align_corners)
    pooled, strided = (
        build_backbone(settings(backbone, 16, stem_pooling=on, align_corners=align_corners)).eval()
        for on in (True, False)
    )
    strided.load_state_dict(pooled.state_dict())
    image = torch.rand(1, 3, 192 + extra, 256 + extra)
    with torch.inference_mode():
        stem = torch.relu(strided.bn1(strided.conv1(image)))
        first, *rest = strided.layer1
        # The bottleneck, written out.
        x = torch.relu(first.bn1(first.conv1(stem)))
        x = torch.relu(first.bn2(F.conv2d(x, first.conv2.weight, stride=2, padding=1)))
        shortcut = first.downsample[1](F.conv2d(stem, first.downsample[0].weight, stride=2))
        x = torch.relu(first.bn3(first.conv3(x)) + shortcut)
        for block in rest:
            x = block(x)
        features = strided(image)
        assert torch.allclose(features[4], x, atol=1e-5)
        assert features[4].shape == (1, 256, 48 + extra, 64 + extra)
        assert not torch.allclose(features[4], pooled(image)[4], atol=1e-2)


@pytest.mark.parametrize(
    ("backbone", "upstream", "widths", "ends"),
    [
        (
            "mobilenet_v3_large",
            torchvision.models.mobilenet_v3_large,
            {4: 72, 8: 120, 16: 672, 32: 960},
            (3, 6, 12),
        ),
        (
            "mobilenet_v3_small",
            torchvision.models.mobilenet_v3_small,
            {4: 16, 8: 88, 16: 144, 32: 576},
            (1, 3, 8),
        ),
    ],
)
def test_expanded_skips_are_what_the_depthwise_convolution_makes(backbone, upstream, widths, ends):
    torch.manual_seed(2)
    theirs = upstream().eval()
    seen = {}
    for stride, end in zip((4, 8, 16), ends, strict=True):
        (depthwise,) = (
            layer
            for layer in theirs.features[end].block
            if isinstance(layer, torch.nn.Sequential) and layer[0].groups > 1
        )
        depthwise.register_forward_hook(
            lambda _, __, output, stride=stride: seen.update({stride: output.clone()})
        )
    network = build_backbone(settings(backbone, expanded_skips=True)).eval()
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("classifier")}
    network.load_state_dict(state)
    assert network.channels == widths
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        seen[32] = theirs.features(image)
        for stride, feature in network(image).items():
            assert torch.equal(feature, seen[stride]), stride


@pytest.mark.parametrize(
    ("dilations", "expected"), [(None, (2, 2, 2)), ((1, 2, 2), (1, 2, 2)), ((2, 4, 8), (2, 4, 8))]
)
@pytest.mark.parametrize("expanded_skips", [False, True])
@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_dilations_of_the_last_stage_of_mobilenet_v3(backbone, expanded_skips, dilations, expected):
    network = build_backbone(
        settings(backbone, 16, last_stage_dilations=dilations, expanded_skips=expanded_skips)
    )
    depthwise = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert tuple(m.dilation for m in depthwise[-3:]) == tuple((d, d) for d in expected)
    assert all(m.dilation == (1, 1) for m in depthwise[:-3])
    assert network(torch.rand(2, 3, 64, 96))[32].shape[2:] == (4, 6)


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no file"):
        build_backbone(settings("mobilenet_v2", backbone_weights=tmp_path / "absent.pth"))
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(1)}, wrong)
    with pytest.raises(ValueError, match="does not fit the backbone"):
        build_backbone(settings("mobilenet_v2", backbone_weights=wrong))
    with pytest.raises(ValueError, match="mobilenet_v2 is no ResNet"):
        build_backbone(settings("mobilenet_v2", 16, last_stage_dilations=(2, 4, 8)))
    with pytest.raises(ValueError, match="with output_stride 32 nothing is dilated"):
        build_backbone(settings("resnet50", 32, last_stage_dilations=(2, 4, 8)))
    with pytest.raises(ValueError, match="stem_pooling is false, but mobilenet_v2 is no ResNet"):
        build_backbone(settings("mobilenet_v2", stem_pooling=False))
    with pytest.raises(ValueError, match="expanded_skips is true, but resnet50 is no MobileNetV3"):
        build_backbone(settings("resnet50", expanded_skips=True))
    monkeypatch.setitem(sys.modules, "timm", None)
    for backbone in ("timm/convnext_atto", "xception71"):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'panodeeplab\[timm\]'"):
            build_backbone(settings(backbone))


def test_errors_of_timm():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"has no network 'regnety'; there are regnety_0"):
        build_backbone(settings("timm/regnety"))
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 gives features of strides \[16"):
        build_backbone(settings("timm/vit_tiny_patch16_224"))
    with pytest.raises(ValueError, match="swin_tiny_patch4_window7_224 does not take images of any size"):
        build_backbone(settings("timm/swin_tiny_patch4_window7_224"))
    with pytest.raises(ValueError, match="output_stride must be 32 for timm's efficientvit_b0"):
        build_backbone(settings("timm/efficientvit_b0", 16))
    for backbone in PATCHES:
        with pytest.raises(ValueError, match="align_corners needs features of 17 x 17 cells"):
            build_backbone(settings(backbone, align_corners=True))
