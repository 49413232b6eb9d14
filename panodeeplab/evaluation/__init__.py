"""Metrics: panoptic quality and semantic IoU."""

from panodeeplab.evaluation.panoptic_quality import PanopticQuality
from panodeeplab.evaluation.score import format_table, score
from panodeeplab.evaluation.semantic import SemanticIoU

__all__ = ["PanopticQuality", "SemanticIoU", "format_table", "score"]
