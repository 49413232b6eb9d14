"""The network and its checkpoints."""

from panodeeplab.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from panodeeplab.model.panoptic_deeplab import STRIDE, PanopticDeepLab, Predictions

__all__ = ["STRIDE", "Checkpoint", "PanopticDeepLab", "Predictions", "load_checkpoint", "save_checkpoint"]
