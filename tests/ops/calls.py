"""One signature for the public op and for its reference, whichever backend is in use."""

from torch import Tensor

from panodeeplab.ops import PanopticOutput, panoptic_segmentation, reference

DEFAULTS = {
    "align_corners": False,
    "output_size": None,
    "center_threshold": 0.1,
    "nms_kernel": 7,
    "top_k": 200,
    "stuff_area": 2048,
    "label_divisor": 1000,
    "void_label": -1,
    "semantic_probability": False,
    "center_source": "heatmap",
    "vote_threshold": 64,
    "class_aware_votes": False,
}


def by_reference(semantic: Tensor, center: Tensor, offset: Tensor, **arguments) -> PanopticOutput:
    """As `panoptic_segmentation`, without checks, always in plain PyTorch."""
    given = DEFAULTS | arguments
    stride, low = given.pop("stride"), semantic.shape[2:]
    full = [(n - 1) * stride + 1 if given["align_corners"] else n * stride for n in low]
    given["thing_ids"] = list(given["thing_ids"])
    height, width = given.pop("output_size") or full
    return PanopticOutput(
        *reference.panoptic_segmentation(
            semantic, center, offset, stride, height=height, width=width, **given
        )
    )


BACKENDS = {"reference": by_reference, "chosen": panoptic_segmentation}
