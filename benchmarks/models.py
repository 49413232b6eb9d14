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
from panodeeplab.bench.published import OF_CONFIG
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


def published(name: str, recipe: str, source: str, imports: str) -> Row:
    """The model of a recipe, before any weights, and what was published of it."""
    recipe = f"cityscapes_{recipe}"
    config = configuration.load(CONFIGS / f"{recipe}.yaml", ["model.backbone_weights=null"])
    return Row(name, config.model, str(OF_CONFIG[recipe].pq), source, imports)


_YES, _EQUAL, _PARTS = "yes, not compared", "yes, equal to 1e-4", "yes, in parts"
_DETECTRON2, _ON_D2, _OWN = "Detectron2", "bowenc0221 on Detectron2", "bowenc0221"
_DEEPLAB2 = "DeepLab2"
ROWS = (
    published("Detectron2 R52", "detectron2_resnet52", _DETECTRON2, _EQUAL),
    published("Detectron2 R52, separable", "detectron2_resnet52_separable", _DETECTRON2, _EQUAL),
    published("Detectron2 R50", "detectron2_resnet50", _DETECTRON2, _YES),
    published("Detectron2 X65", "detectron2_xception65", _ON_D2, _YES),
    published("Detectron2 X65, separable", "detectron2_xception65_separable", _ON_D2, _YES),
    published("Detectron2 H48", "detectron2_hrnet48", _ON_D2, _YES),
    published("Detectron2 H48, separable", "detectron2_hrnet48_separable", _ON_D2, _YES),
    published("bowenc0221 MNV2", "bowenc_mobilenet_v2", _OWN, _EQUAL),
    published("bowenc0221 R50", "bowenc_resnet50", _OWN, _EQUAL),
    published("bowenc0221 R101", "bowenc_resnet101", _OWN, _PARTS),
    published("bowenc0221 X101", "bowenc_resnext101", _OWN, _PARTS),
    published("bowenc0221 X65", "bowenc_xception65", _OWN, _EQUAL),
    published("bowenc0221 H48", "bowenc_hrnet48", _OWN, _EQUAL),
    published("DeepLab2 MNV3-S", "deeplab2_mobilenet_v3_small", _DEEPLAB2, "no"),
    published("DeepLab2 MNV3-L", "deeplab2_mobilenet_v3_large", _DEEPLAB2, "no"),
    published("DeepLab2 R50", "deeplab2_resnet50", _DEEPLAB2, "no"),
    published("DeepLab2 R50 beta", "deeplab2_resnet50_beta", _DEEPLAB2, "no"),
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
