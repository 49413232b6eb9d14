"""Metrics: panoptic quality, semantic IoU and instance AP."""

from panodeeplab.evaluation.instance_ap import InstanceAP
from panodeeplab.evaluation.panoptic_quality import PanopticQuality
from panodeeplab.evaluation.score import format_table, score
from panodeeplab.evaluation.semantic import SemanticIoU

__all__ = ["InstanceAP", "PanopticQuality", "SemanticIoU", "format_table", "score"]
