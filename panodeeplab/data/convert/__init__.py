"""Makes COCO panoptic files from what annotation tools write."""

from panodeeplab.data.convert.coco_instances import convert_coco_instances
from panodeeplab.data.convert.masks import convert_masks

__all__ = ["convert_coco_instances", "convert_masks"]
