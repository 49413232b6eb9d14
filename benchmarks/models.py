"""The models by size and work: the table of docs/models.md, in Markdown.

    python benchmarks/models.py > table.md

Multiply-adds are those of one image of 1024 x 2048 (1025 x 2049 with aligned corners): convolutions and
matrix products as PyTorch's flop counter has them, on tensors without memory; resizing, norms and activations
are not counted. Needs timm.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from panodeeplab import config as configuration
from panodeeplab.config import ModelConfig
from panodeeplab.model import PanopticDeepLab

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


@dataclass(frozen=True)
class Row:
    name: str
    config: ModelConfig
    pq: str = "-"
    source: str = "-"
    imports: str = "-"


def published(name: str) -> ModelConfig:
    """The model of a recipe, before any weights."""
    config = configuration.load(CONFIGS / f"cityscapes_{name}.yaml", ["model.backbone_weights=null"])
    return config.model


_YES, _EQUAL, _PARTS = "yes, not compared", "yes, equal to 1e-4", "yes, in parts"
_DETECTRON2, _ON_D2, _OWN = "Detectron2", "bowenc0221 on Detectron2", "bowenc0221"
ROWS = (
    Row("Detectron2 R52", published("detectron2_resnet52"), "60.3", _DETECTRON2, _EQUAL),
    Row("Detectron2 R52, separable", published("detectron2_resnet52_separable"), "60.3", _DETECTRON2, _EQUAL),
    Row("Detectron2 R50", published("detectron2_resnet50"), "58.6", _DETECTRON2, _YES),
    Row("Detectron2 X65", published("detectron2_xception65"), "62.6", _ON_D2, _YES),
    Row("Detectron2 X65, separable", published("detectron2_xception65_separable"), "61.4", _ON_D2, _YES),
    Row("Detectron2 H48", published("detectron2_hrnet48"), "63.3", _ON_D2, _YES),
    Row("Detectron2 H48, separable", published("detectron2_hrnet48_separable"), "63.4", _ON_D2, _YES),
    Row("bowenc0221 MNV2", published("bowenc_mobilenet_v2"), "55.1", _OWN, _EQUAL),
    Row("bowenc0221 R50", published("bowenc_resnet50"), "59.8", _OWN, _EQUAL),
    Row("bowenc0221 R101", published("bowenc_resnet101"), "60.3", _OWN, _PARTS),
    Row("bowenc0221 X101", published("bowenc_resnext101"), "61.4", _OWN, _PARTS),
    Row("bowenc0221 X65", published("bowenc_xception65"), "61.8", _OWN, _EQUAL),
    Row("bowenc0221 H48", published("bowenc_hrnet48"), "63.4", _OWN, _EQUAL),
    Row("DeepLab2 R50", published("deeplab2_resnet50"), "59.8", "DeepLab2", "no"),
    *(
        Row("default", ModelConfig(backbone=backbone, output_stride=output_stride))
        for backbone, output_stride in (
            ("mobilenet_v2", 32),
            ("mobilenet_v3_small", 16),
            ("mobilenet_v3_large", 16),
            ("resnet50", 32),
            ("resnet50", 16),
            ("resnet52", 16),
            ("resnet101", 32),
            ("resnext101_32x8d", 32),
            ("xception65", 32),
            ("xception71", 16),
            ("hrnet_w18", 32),
            ("hrnet_w32", 32),
            ("hrnet_w48", 32),
            ("timm/convnext_tiny", 32),
            ("timm/efficientvit_b1", 32),
            ("timm/repvit_m1_1", 32),
            ("timm/fastvit_sa12", 32),
            ("timm/mobilenetv4_conv_medium", 32),
            ("timm/regnety_032", 32),
            ("timm/hgnetv2_b4", 32),
        )
    ),
)


def cost(config: ModelConfig, *, num_classes: int = 19) -> tuple[int, int]:
    """Parameters, and multiply-adds for an image of 1024 x 2048."""
    extra = 1 if config.align_corners else 0
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.inference_mode():
        model = PanopticDeepLab(config, num_classes=num_classes).eval()
        images = torch.zeros(1, 3, 1024 + extra, 2048 + extra)
        with counter:
            model(images)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def main() -> None:
    print("| model | backbone | stride | parameters | multiply-adds | published PQ | source | import |")
    print("|---|---|---:|---:|---:|---:|---|---|")
    for row in ROWS:
        config = row.config
        parameters, multiply_adds = cost(config)
        cells = (
            row.name,
            f"`{config.backbone}`",
            config.output_stride,
            f"{parameters / 1e6:.1f} M",
            f"{multiply_adds / 1e9:.0f} G",
            row.pq,
            row.source,
            row.imports,
        )
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
