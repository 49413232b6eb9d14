"""Training: the loop, its checkpoints and its pictures."""

from panodeeplab.training.stopping import RunStopped
from panodeeplab.training.trainer import train

__all__ = ["RunStopped", "train"]
