"""Results as files: what Cityscapes' server and cityscapesScripts read, and COCO panoptic format."""

import re
from pathlib import Path

import cv2
import numpy as np

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.coco_writer import PanopticWriter
from panodeeplab.files import replacing
from panodeeplab.postprocess import VOID_LABEL, PanopticResult

# {city}_{sequence}_{frame}: the server finds a result by the name of its image.
_IMAGE_ID = re.compile(r"[^_\s/]+_\d{6}_\d{6}")


class CocoWriter:
    """Writes COCO panoptic format with scores: `panoptic.json`, and `panoptic/{image_id}.png`.

    Use it as a context manager: the JSON is written when the block ends, and lists what was done.

    Args:
        output_dir: made if it does not exist.
        classes: of the predictions.
        label_divisor: of the panoptic ids.
    """

    def __init__(self, output_dir: str | Path, classes: ClassTable, *, label_divisor: int = 1000) -> None:
        self._panoptic = PanopticWriter(
            output_dir, classes, label_divisor=label_divisor, void_label=VOID_LABEL
        )

    def add(self, result: PanopticResult, *, image_id: int | str, image_file: str | None = None) -> None:
        """Write the PNG of one image and keep what the JSON says of it.

        Args:
            result: of the image.
            image_id: of the image in the ground truth's JSON; names the PNG.
            image_file: name of the picture, for the JSON's `images`; `image_id` by default.

        Raises:
            ValueError: an `image_id` that was added before.
        """
        self._panoptic.add(
            result.panoptic,
            image_id=image_id,
            image_file=str(image_id) if image_file is None else image_file,
            scores={segment.id: segment.score for segment in result.segments},
        )

    def __enter__(self) -> "CocoWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._panoptic.write_json()


class CityscapesWriter:
    """Writes one folder for each of Cityscapes' benchmarks, each to be zipped and handed in by itself.

        semantic/{image_id}_pred_labelIds.png             pixel level: label ids, 8 bits
        instance/{image_id}_pred.txt                      instance level: mask file, label id, score
        instance/masks/{image_id}/{panoptic id}.png       its masks, not 0 where the instance is
        panoptic/cityscapes_panoptic_{split}.json         panoptic: COCO panoptic format
        panoptic/cityscapes_panoptic_{split}/{image_id}.png

    Use it as a context manager: the JSON is written when the block ends, and lists what was done.

    Args:
        output_dir: made if it does not exist.
        classes: of the predictions; Cityscapes' 19.
        split: of the data, as in the file names of the panoptic ground truth: "val" or "test".
        label_divisor: of the panoptic ids.

    Raises:
        ValueError: other classes.
    """

    def __init__(
        self, output_dir: str | Path, classes: ClassTable, *, split: str = "val", label_divisor: int = 1000
    ) -> None:
        if classes.label_ids != CITYSCAPES.label_ids or classes.thing_ids != CITYSCAPES.thing_ids:
            raise ValueError(
                f"classes must be the {len(CITYSCAPES)} of Cityscapes for results in its format, "
                f"got {classes.name!r} with {len(classes)}"
            )
        output_dir = Path(output_dir)
        self.semantic_dir, self.instance_dir = output_dir / "semantic", output_dir / "instance"
        self._panoptic = PanopticWriter(
            output_dir / "panoptic",
            classes,
            name=f"cityscapes_panoptic_{split}",
            label_divisor=label_divisor,
            void_label=VOID_LABEL,
        )
        self.json_path, self.png_dir = self._panoptic.json_path, self._panoptic.png_dir
        for folder in (self.semantic_dir, self.instance_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, result: PanopticResult, *, image_id: str) -> None:
        """Write the files of one image.

        Args:
            result: of the image. Its `class_map` is written for the pixel level, as published results are; a
                result without one gives the classes of its panoptic map.
            image_id: {city}_{sequence}_{frame}, such as frankfurt_000000_000294.

        Raises:
            ValueError: another `image_id`, or one that was added before.
        """
        check_image_id(image_id)
        self._panoptic.add(
            result.panoptic,
            image_id=image_id,
            image_file=f"{image_id}_leftImg8bit.png",
            scores={segment.id: segment.score for segment in result.segments},
        )
        label_of = np.array([*CITYSCAPES.label_ids, 0], np.uint8)  # void, -1, is label 0
        classes = result.semantic if result.class_map is None else result.class_map
        _write_png(self.semantic_dir / f"{image_id}_pred_labelIds.png", label_of[classes])

        mask_dir = self.instance_dir / "masks" / image_id
        mask_dir.mkdir(parents=True, exist_ok=True)
        for left_over in mask_dir.glob("*.png"):  # of an earlier run
            left_over.unlink()
        lines = []
        for segment in result.segments:
            if segment.is_thing:
                mask = mask_dir / f"{segment.id}.png"
                _write_png(mask, np.where(result.panoptic == segment.id, np.uint8(255), np.uint8(0)), bits=1)
                label_id = CITYSCAPES.label_ids[segment.category_id]
                lines.append(
                    f"{mask.relative_to(self.instance_dir).as_posix()} {label_id} {segment.score!r}\n"
                )
        with replacing(self.instance_dir / f"{image_id}_pred.txt") as temporary:
            temporary.write_text("".join(lines))

    def __enter__(self) -> "CityscapesWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._panoptic.write_json()


def check_image_id(image_id: str) -> None:
    """Refuse a name by which the server would not find the image.

    Raises:
        ValueError: not {city}_{sequence}_{frame}.
    """
    if not _IMAGE_ID.fullmatch(image_id):
        raise ValueError(
            "image_id must be CITY_SEQUENCE_FRAME with six digits each, such as frankfurt_000000_000294, for "
            f"results in Cityscapes' format, got {image_id!r}"
        )


def _write_png(path: Path, pixels: np.ndarray, bits: int = 8) -> None:
    options = [cv2.IMWRITE_PNG_BILEVEL, 1] if bits == 1 else []
    _, encoded = cv2.imencode(".png", pixels, options)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
