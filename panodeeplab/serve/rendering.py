"""What is kept of a frame: everything that the page shows or hands out, encoded, so that it stays small."""

import gzip
import json
import time
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.coco_panoptic import id2rgb
from panodeeplab.data.coco_writer import coco_categories, segments_to_annotation
from panodeeplab.postprocess import VOID_LABEL, PanopticResult, PanopticSegment
from panodeeplab.serve.media import Decoded
from panodeeplab.visualize import color_panoptic, draw_center_heatmap, draw_offset


@dataclass(frozen=True)
class Frame:
    """One segmented frame.

    Attributes:
        detail: what the page is told: size, time in the clip, stage times, segments.
        files: name → encoded file: image.jpg, overlay.png, heatmap.png, offsets.png, and segments.bin: (H, W)
            little-endian uint16, gzipped, 0 where void, else 1 + the index in the list of segments.
    """

    detail: dict[str, Any]
    files: dict[str, bytes]
    segments: tuple[PanopticSegment, ...]
    classes: ClassTable
    label_divisor: int

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return sum(map(len, self.files.values()))

    def panoptic_png(self) -> bytes:
        """The panoptic map as a PNG in COCO panoptic format, see `segments_to_annotation`."""
        ids, _ = self._annotation()
        return _encoded(".png", id2rgb(ids))

    def panoptic_json(self) -> bytes:
        """The JSON in COCO panoptic format that belongs to `panoptic_png`."""
        ids, annotation = self._annotation()
        image = {"id": 1, "file_name": "image.png", "height": ids.shape[0], "width": ids.shape[1]}
        content = {
            "images": [image],
            "annotations": [annotation],
            "categories": coco_categories(self.classes),
        }
        return json.dumps(content, indent=1).encode()

    def _annotation(self) -> tuple[np.ndarray, dict[str, Any]]:
        index = np.frombuffer(gzip.decompress(self.files["segments.bin"]), "<u2")
        index = index.reshape(self.detail["height"], self.detail["width"])
        id_of = np.array([VOID_LABEL, *(segment.id for segment in self.segments)], np.int32)
        return segments_to_annotation(
            id_of[index],
            self.classes,
            image_id=1,
            file_name="panoptic.png",
            scores={segment.id: segment.score for segment in self.segments},
            label_divisor=self.label_divisor,
            void_label=VOID_LABEL,
        )


def render(result: PanopticResult, decoded: Decoded) -> Frame:
    """Draw and encode a result that keeps its image and its predictions."""
    start = time.perf_counter()
    overlay = result.overlay()
    draw_ms = 1000.0 * (time.perf_counter() - start)
    ids = np.array([[segment.id for segment in result.segments]], np.int32)
    shades = color_panoptic(ids, result.classes, label_divisor=result.label_divisor)[0] if ids.size else ()
    # Segments are in the order of their ids.
    index = np.where(result.panoptic < 0, 0, np.searchsorted(ids[0], result.panoptic) + 1).astype("<u2")
    height, width = index.shape
    center = result.predictions.center.float().numpy()
    offset = result.predictions.offset.float().numpy()
    detail = {
        "width": width,
        "height": height,
        "time_s": decoded.time_s,
        "stride": result.stride,
        "timings_ms": {"decode": decoded.decode_ms, **result.timings_ms, "draw": draw_ms},
        "segments": [
            {
                "id": segment.id,
                "category": segment.category,
                "category_id": segment.category_id,
                "is_thing": segment.is_thing,
                "score": segment.score,
                "area": segment.area,
                "box": segment.box,
                "center": segment.center,
                "color": shade.tolist(),
                "class_color": result.classes.colors[segment.category_id],
            }
            for segment, shade in zip(result.segments, shades, strict=True)
        ],
    }
    files = {
        "image.jpg": _encoded(".jpg", result.image, [cv2.IMWRITE_JPEG_QUALITY, 95]),
        "overlay.png": _encoded(".png", overlay, [cv2.IMWRITE_PNG_COMPRESSION, 1]),
        "heatmap.png": _encoded(".png", draw_center_heatmap(center)),
        "offsets.png": _encoded(".png", _draw_offsets(offset, _thing_cells(result, offset.shape[1:]))),
        "segments.bin": gzip.compress(index.tobytes(), compresslevel=1, mtime=0),
    }
    return Frame(detail, files, result.segments, result.classes, result.label_divisor)


def _thing_cells(result: PanopticResult, grid: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: whether the pixel in the middle of a cell is part of a thing."""
    height, width = result.panoptic.shape
    y, x = (
        np.minimum(np.arange(cells) * result.stride + result.stride // 2, length - 1)
        for cells, length in zip(grid, (height, width), strict=True)
    )
    things = np.array([segment.id for segment in result.segments if segment.is_thing], np.int32)
    return np.isin(result.panoptic[np.ix_(y, x)], things)


def _draw_offsets(offset: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 RGBA, transparent where there is no thing."""
    alpha = np.where(mask, np.uint8(255), np.uint8(0))
    return np.dstack([draw_offset(offset, mask=mask), alpha])


def _encoded(suffix: str, picture: np.ndarray, options: list[int] | None = None) -> bytes:
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture, code), options or [])
    return data.tobytes()
