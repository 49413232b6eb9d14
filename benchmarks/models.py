"""The models by size and work: the table of docs/models.md, in Markdown.

    python benchmarks/models.py > table.md

Multiply-adds are those of one image of 1024 x 2048 (1025 x 2049 with aligned corners): convolutions and
matrix products as PyTorch's flop counter has them, on tensors without memory; resizing, norms and activations
are not counted. Needs timm.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from panodeeplab.config import ModelConfig
from panodeeplab.model import PanopticDeepLab

# How the published models are set up; `import_checkpoint` reads the same off their weights.
_D2_BRANCHES = {
    "semantic": {"channels": 256, "skip_channels": (64, 32), "head_channels": 256},
    "instance": {"channels": 128, "skip_channels": (64, 32), "head_channels": 32},
}
_D2_HRNET = {
    "output_stride": 32,
    "semantic": _D2_BRANCHES["semantic"] | {"skip_channels": (128, 64, 32)},
    "instance": _D2_BRANCHES["instance"] | {"skip_channels": (128, 64, 32)},
}
_D2 = {
    "output_stride": 16,
    "skip_first": True,
    "separable_center_head": False,
    **_D2_BRANCHES,
}
_D2_FULL = _D2 | {"separable": False, "separable_aspp": False}
_D2_RESNET = {"last_stage_dilations": (2, 4, 8)}
_BOWENC = {
    "output_stride": 32,
    "align_corners": True,
    "pooling_conv": "plain",
    "separable_aspp": False,
    "semantic": {"channels": 256, "skip_channels": (128, 64, 32), "head_channels": 256},
    "instance": {"channels": 128, "skip_channels": (64, 32, 16), "head_channels": 32},
}


@dataclass(frozen=True)
class Row:
    name: str
    settings: dict[str, Any]
    pq: str = "-"
    source: str = "-"
    imports: str = "-"


_YES, _EQUAL = "yes, not compared", "yes, equal to 1e-4"
_DETECTRON2, _ON_D2, _OWN = "Detectron2", "bowenc0221 on Detectron2", "bowenc0221"
ROWS = (
    Row("Detectron2 R52", {"backbone": "resnet52"} | _D2_FULL | _D2_RESNET, "60.3", _DETECTRON2, _EQUAL),
    Row(
        "Detectron2 R52, separable", {"backbone": "resnet52"} | _D2 | _D2_RESNET, "60.3", _DETECTRON2, _EQUAL
    ),
    Row("Detectron2 R50", {"backbone": "resnet50"} | _D2_FULL | _D2_RESNET, "58.6", _DETECTRON2, _YES),
    Row("Detectron2 X65", {"backbone": "xception65"} | _D2_FULL, "62.6", _ON_D2, _YES),
    Row("Detectron2 X65, separable", {"backbone": "xception65"} | _D2, "61.4", _ON_D2, _YES),
    Row("Detectron2 H48", {"backbone": "hrnet_w48"} | _D2_FULL | _D2_HRNET, "63.3", _ON_D2, _YES),
    Row("Detectron2 H48, separable", {"backbone": "hrnet_w48"} | _D2 | _D2_HRNET, "63.4", _ON_D2, _YES),
    Row("bowenc0221 MNV2", {"backbone": "mobilenet_v2"} | _BOWENC, "55.1", _OWN, _EQUAL),
    Row("bowenc0221 R50", {"backbone": "resnet50"} | _BOWENC, "59.8", _OWN, _EQUAL),
    Row("bowenc0221 R101", {"backbone": "resnet101"} | _BOWENC, "60.3", _OWN, _YES),
    Row("bowenc0221 X101", {"backbone": "resnext101_32x8d"} | _BOWENC, "61.4", _OWN, _YES),
    Row("bowenc0221 X65", {"backbone": "xception65"} | _BOWENC, "61.8", _OWN, _EQUAL),
    Row("bowenc0221 H48", {"backbone": "hrnet_w48"} | _BOWENC, "63.4", _OWN, _EQUAL),
    *(
        Row("default", {"backbone": backbone, "output_stride": output_stride})
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
        config = ModelConfig.model_validate(row.settings)
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
