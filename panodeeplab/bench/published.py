"""Panoptic quality as others published it: what the accuracy-latency plots set against measured time.

All on the validation set, in percent, one scale, no flip.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """A published result.

    Attributes:
        pq: in percent.
        data: "Cityscapes" or "COCO".
        source: who published it, where.
    """

    pq: float
    data: str
    source: str


_DETECTRON2 = "Detectron2, projects/Panoptic-DeepLab, README"
_ON_DETECTRON2 = "bowenc0221/panoptic-deeplab, tools_d2, README"
_BOWENC = "bowenc0221/panoptic-deeplab, README"
_DEEPLAB2 = "google-research/deeplab2, model zoo"

# By the name of the file in configs/; those that are not here are recipes of this project, trained by nobody.
OF_CONFIG = {
    "cityscapes_bowenc_hrnet48": Published(63.4, "Cityscapes", _BOWENC),
    "cityscapes_bowenc_mobilenet_v2": Published(55.1, "Cityscapes", _BOWENC),
    "cityscapes_bowenc_resnet101": Published(60.3, "Cityscapes", _BOWENC),
    "cityscapes_bowenc_resnet50": Published(59.8, "Cityscapes", _BOWENC),
    "cityscapes_bowenc_resnext101": Published(61.4, "Cityscapes", _BOWENC),
    "cityscapes_bowenc_xception65": Published(61.8, "Cityscapes", _BOWENC),
    "cityscapes_deeplab2_mobilenet_v3_large": Published(55.3, "Cityscapes", _DEEPLAB2),
    "cityscapes_deeplab2_mobilenet_v3_small": Published(48.4, "Cityscapes", _DEEPLAB2),
    "cityscapes_deeplab2_resnet50": Published(59.8, "Cityscapes", _DEEPLAB2),
    "cityscapes_deeplab2_resnet50_beta": Published(60.8, "Cityscapes", _DEEPLAB2),
    "cityscapes_detectron2_hrnet48": Published(63.3, "Cityscapes", _ON_DETECTRON2),
    "cityscapes_detectron2_hrnet48_separable": Published(63.4, "Cityscapes", _ON_DETECTRON2),
    "cityscapes_detectron2_resnet50": Published(58.6, "Cityscapes", _DETECTRON2),
    "cityscapes_detectron2_resnet52": Published(60.3, "Cityscapes", _DETECTRON2),
    "cityscapes_detectron2_resnet52_separable": Published(60.3, "Cityscapes", _DETECTRON2),
    "cityscapes_detectron2_xception65": Published(62.6, "Cityscapes", _ON_DETECTRON2),
    "cityscapes_detectron2_xception65_separable": Published(61.4, "Cityscapes", _ON_DETECTRON2),
    "coco_deeplab2_resnet50_beta_os16": Published(35.2, "COCO", _DEEPLAB2),
    "coco_deeplab2_resnet50_beta_os32": Published(34.6, "COCO", _DEEPLAB2),
    "coco_deeplab2_resnet50_os16": Published(35.1, "COCO", _DEEPLAB2),
    "coco_deeplab2_resnet50_os32": Published(34.1, "COCO", _DEEPLAB2),
    "coco_detectron2_resnet52_separable": Published(35.5, "COCO", _DETECTRON2),
}

# By the name in `panodeeplab.bench.peers`.
OF_PEER = {
    "mask2former-resnet50": Published(62.1, "Cityscapes", "facebookresearch/Mask2Former, MODEL_ZOO.md"),
    "mask2former-swin-tiny": Published(63.9, "Cityscapes", "facebookresearch/Mask2Former, MODEL_ZOO.md"),
    "oneformer-swin-large": Published(67.2, "Cityscapes", "SHI-Labs/OneFormer, README"),
    "maskformer-swin-tiny": Published(47.7, "COCO", "facebookresearch/MaskFormer, MODEL_ZOO.md"),
    "detr-resnet50": Published(44.0, "COCO", "facebookresearch/detr, README"),
}
