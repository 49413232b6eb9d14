"""The network and its checkpoints."""

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .panoptic_deeplab import STRIDE, PanopticDeepLab, Predictions

__all__ = ["STRIDE", "Checkpoint", "PanopticDeepLab", "Predictions", "load_checkpoint", "save_checkpoint"]
