"""Says what is wrong with a data set, file by file, and counts what is in it."""

from panodeeplab.data.check.cityscapes import check_cityscapes
from panodeeplab.data.check.coco_panoptic import check_coco_panoptic
from panodeeplab.data.check.report import Report, format_report, number
from panodeeplab.data.check.run import check_run, dataset_of_run

__all__ = [
    "Report",
    "check_cityscapes",
    "check_coco_panoptic",
    "check_run",
    "dataset_of_run",
    "format_report",
    "number",
]
