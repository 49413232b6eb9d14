"""Training: the loop, its checkpoints and its pictures."""

from panodeeplab.training.trainer import train

__all__ = ["train"]
