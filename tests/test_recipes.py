"""The published recipes in configs/: each is the model that it names, and trains as its formulas say."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from panodeeplab import config as configuration
from panodeeplab.losses import panoptic_losses
from panodeeplab.model import PanopticDeepLab, Predictions
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.step import learning_rate

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*_detectron2_*.yaml")) + sorted(
    path.stem for kind in ("bowenc", "deeplab2") for path in CONFIGS.glob(f"*_{kind}_*.yaml")
)

# Millions, as the original code has them.
PARAMETERS = {
    "cityscapes_detectron2_resnet52": 59.77,
    "cityscapes_detectron2_resnet52_separable": 30.27,
    "cityscapes_bowenc_resnet50": 55.3,
    "cityscapes_bowenc_mobilenet_v2": 7.7,
    "cityscapes_bowenc_xception65": 69.6,
}


def load(name, *overrides):
    return configuration.load(CONFIGS / f"{name}.yaml", list(overrides))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_its_score_and_source(name):
    head = (CONFIGS / f"{name}.yaml").read_text().split("data:")[0]
    assert re.search(r"Published: PQ \d\d\.\d on (Cityscapes val|COCO val)", head)
    assert ("Detectron2" in head) or ("bowenc0221" in head) or ("DeepLab2" in head)


@pytest.mark.parametrize(("name", "millions"), PARAMETERS.items())
def test_a_recipe_builds_the_published_model(name, millions):
    if "xception" in name:
        pytest.importorskip("timm")
    config = load(name, "model.backbone_weights=null").model
    with torch.device("meta"):
        model = PanopticDeepLab(config, num_classes=19)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def published_loss(predictions, targets, *, top_k, sum_axes, align_corners):
    """What both implementations compute, line by line."""
    less = 3 if align_corners else 0
    size = [4 * n - less for n in predictions.semantic.shape[2:]]
    semantic, center, offset = (
        F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners) for x in predictions
    )
    pixel = F.cross_entropy(semantic, targets.sem_seg, ignore_index=255, reduction="none")
    pixel = (pixel * targets.sem_seg_weights).view(-1)
    semantic_loss = pixel.mean() if top_k == 1 else pixel.topk(int(top_k * pixel.numel()))[0].mean()
    squares = (center - targets.center[:, None]) ** 2 * targets.center_weights
    center_loss = 200 * squares.sum() / targets.center_weights.sum()
    distances = (4 * offset - targets.offset).abs() * targets.offset_weights
    count = targets.offset_weights.sum() * (1 if sum_axes else 2)
    return semantic_loss + center_loss + 0.01 * distances.sum() / count


def published_loss_of_deeplab2(predictions, targets):
    """DeepLab2's: an image at a time, each loss divided by the number of pixels where it is not 0."""

    def mean(losses):
        count = (losses != 0).sum()
        return losses.sum() / count if count else losses.sum()

    size = [4 * n - 3 for n in predictions.semantic.shape[2:]]
    total = 0
    for i in range(len(targets.sem_seg)):
        semantic, center, offset = (
            F.interpolate(x[i : i + 1], size=size, mode="bilinear", align_corners=True)[0]
            for x in predictions
        )
        pixel = F.cross_entropy(
            semantic[None], targets.sem_seg[i : i + 1], ignore_index=255, reduction="none"
        )
        pixel = (pixel[0] * targets.sem_seg_weights[i]).flatten().sort(descending=True)[0]
        squares = (center[0] - targets.center[i]) ** 2 * targets.center_weights[i, 0]
        distances = (4 * offset - targets.offset[i]).abs().mean(0) * targets.offset_weights[i, 0]
        total += mean(pixel[: round(0.2 * len(pixel))]) + 200 * mean(squares) + 0.01 * mean(distances)
    return total / len(targets.sem_seg)


def published_rate(iteration, *, base, total, warmup):
    rate = base * (1 - iteration / total) ** 0.9
    return rate * (iteration + 1) / warmup if iteration < warmup else rate


PUBLISHED_RATES = {  # at the published batch: base, iterations, warm-up
    "detectron2": {"base": 1e-3, "total": 90_000, "warmup": 1000},
    "detectron2_coco": {"base": 5e-4, "total": 200_000, "warmup": 1000},
    "deeplab2": {"base": 2.5e-4, "total": 60_000, "warmup": 0},
    "bowenc": {"base": 5e-5, "total": 90_000, "warmup": 0},
    "bowenc_mobilenet_v2": {"base": 1e-4, "total": 90_000, "warmup": 0},
    "bowenc_xception65": {"base": 5e-4, "total": 90_000, "warmup": 0},
}


def rates_of(name):
    if name.startswith("coco_detectron2"):
        return PUBLISHED_RATES["detectron2_coco"]
    if "_detectron2_" in name:
        return PUBLISHED_RATES["detectron2"]
    if "_deeplab2_" in name:
        return PUBLISHED_RATES["deeplab2"]
    return PUBLISHED_RATES.get(name.removeprefix("cityscapes_"), PUBLISHED_RATES["bowenc"])


@pytest.mark.parametrize("name", RECIPES)
def test_loss_gradients_and_a_step_are_the_published_ones(name):
    config = load(name)
    align_corners, coco = config.model.align_corners, name.startswith("coco")
    generator = torch.Generator().manual_seed(0)
    height, width = (33, 65) if align_corners else (32, 64)
    grid = (9, 17) if align_corners else (8, 16)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    things = draw(2, 1, height, width) > 0.3
    labels = torch.randint(0, 5, (2, height, width), generator=generator)
    targets = PanopticTargets(
        sem_seg=labels.masked_fill(draw(2, height, width) > 1.2, 255),
        center=draw(2, height, width).sigmoid(),
        offset=10 * draw(2, 2, height, width),
        sem_seg_weights=torch.where(draw(2, height, width) > 1, 3.0, 1.0),
        center_weights=(draw(2, 1, height, width) < 1).float(),
        offset_weights=things.float(),
        center_points=torch.empty(0, 2, dtype=torch.float64),
    )
    start = [draw(2, channels, *grid) for channels in (5, 1, 2)]
    ours = [x.clone().requires_grad_() for x in start]
    theirs = [x.clone().requires_grad_() for x in start]

    loss = panoptic_losses(Predictions(*ours), targets, config.loss, align_corners=align_corners)["total"]
    if "_deeplab2_" in name:
        wanted = published_loss_of_deeplab2(Predictions(*theirs), targets)
    else:
        wanted = published_loss(
            Predictions(*theirs),
            targets,
            top_k=1.0 if coco else 0.2,
            sum_axes="_detectron2_" in name,
            align_corners=align_corners,
        )
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=0)
    loss.backward()
    wanted.backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-8)

    iteration = 700
    rate = learning_rate(iteration, config.training)
    assert rate == pytest.approx(published_rate(iteration, **rates_of(name)))
    torch.optim.Adam(ours, lr=rate, weight_decay=config.training.weight_decay).step()
    for x, before, y in zip(ours, start, theirs, strict=True):
        # Adam's first step: both moments are those of one gradient.
        step = rate * y.grad / (y.grad.abs() + 1e-8)
        torch.testing.assert_close(x.detach(), before - step, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", RECIPES)
def test_the_learning_rate_follows_the_batch(name):
    published = load(name).training
    half = load(name, f"training.batch_size={published.batch_size // 2}").training
    assert half.peak_learning_rate == pytest.approx(published.peak_learning_rate / 2)
    assert published.peak_learning_rate == published.learning_rate


def test_without_a_base_batch_the_learning_rate_stands():
    training = load("street_tiny", "training.batch_size=64").training
    assert training.peak_learning_rate == training.learning_rate
