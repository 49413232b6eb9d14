"""Results for the tools of roboflow/supervision: annotators, zones, counters."""

from typing import TYPE_CHECKING

import numpy as np

from panodeeplab.postprocess import PanopticResult

if TYPE_CHECKING:
    import supervision


def to_supervision(result: PanopticResult, *, stuff: bool = False) -> "supervision.Detections":
    """The segments of a result as `supervision.Detections`.

    Args:
        result: of an image; one that a `Tracker` has seen gives `tracker_id` too.
        stuff: whether stuff is listed as well. It has no object, so its `tracker_id` is -1.

    Returns:
        N detections, in the order of the segments: `xyxy` (N, 4) float32 pixels, `mask` (N, H, W) bool,
        `confidence` (N,) float32, `class_id` (N,) int, `tracker_id` (N,) int or None, and in `data`
        "class_name" (N,).

    Raises:
        ModuleNotFoundError: supervision is not installed.
    """
    try:
        import supervision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_supervision needs supervision: pip install supervision") from error
    segments = [segment for segment in result.segments if stuff or segment.is_thing]
    boxes = np.array([segment.box for segment in segments], np.float32).reshape(-1, 4)
    ids = np.array([segment.id for segment in segments], np.int32)
    tracked = any(segment.track_id is not None for segment in segments)
    return supervision.Detections(
        xyxy=boxes[:, [1, 0, 3, 2]],
        mask=result.panoptic == ids[:, None, None],
        confidence=np.array([segment.score for segment in segments], np.float32),
        class_id=np.array([segment.category_id for segment in segments], int),
        tracker_id=np.array([s.track_id or -1 for s in segments], int) if tracked else None,
        data={"class_name": np.array([segment.category for segment in segments], dtype=str)},
    )
