"""The network, its checkpoints, and those of others."""

from panodeeplab.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from panodeeplab.model.foreign import import_checkpoint
from panodeeplab.model.initialize import Initialization, initialize_from
from panodeeplab.model.panoptic_deeplab import PanopticDeepLab
from panodeeplab.predictions import STRIDE, Predictions

__all__ = [
    "STRIDE",
    "Checkpoint",
    "Initialization",
    "PanopticDeepLab",
    "Predictions",
    "import_checkpoint",
    "initialize_from",
    "load_checkpoint",
    "save_checkpoint",
]
