"""Prediction of image files: overlays and COCO panoptic files, or what Cityscapes' server takes."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from panodeeplab.data.coco_dataset import image_file_names
from panodeeplab.data.coco_panoptic import load_coco_json
from panodeeplab.files import replacing
from panodeeplab.inference.backends import Backend, Precision
from panodeeplab.inference.images import read_image
from panodeeplab.inference.predictor import Predictor
from panodeeplab.inference.results import CityscapesWriter, CocoWriter, check_image_id

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


def predict_files(
    source: str | Path,
    output: str | Path,
    *,
    checkpoint: str | Path = "street-tiny",
    device: str = "cpu",
    size: tuple[int, int] | Literal["trained", "native"] = "trained",
    format: Literal["coco", "cityscapes"] = "coco",
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    backend: Backend = "auto",
    precision: Precision = "auto",
    images_from: str | Path | None = None,
) -> int:
    """Predict one image, or every image below a folder, and write what was seen.

    Writes `output/overlay/NAME.jpg` to look at and, in COCO panoptic format, `output/panoptic.json` with
    `output/panoptic/NAME.png`. NAME, the `image_id` of the JSON, is the image's file name without its ending
    (and without Cityscapes' `_leftImg8bit`); where two images share it, their folders come first. With
    `images_from` it is the id of the image in that JSON, by which COCO's scores find it. A file that cannot
    be read is reported on standard error and skipped.

    With `format` "cityscapes" it writes the folders of `CityscapesWriter` instead, for images that are named
    as Cityscapes' are. The split in the names of the files is the folder of the images' cities if that is
    train, val or test, else val.

    Args:
        source: an image, or a folder that is searched with its subfolders; hidden files are left out.
        output: folder to write to; it is made if need be. It may lie in `source`: it is not read.
        checkpoint: see `Predictor.from_checkpoint`.
        device: see `Predictor`.
        size: see `Predictor.from_checkpoint`.
        format: of the files.
        scales: test-time augmentation, see `Predictor.from_checkpoint`.
        flip: likewise.
        backend: see `Predictor`.
        precision: likewise.
        images_from: a COCO JSON of any kind (panoptic, instances, or the image list of a test set), whose
            `images` say which files of the folder `source` to predict, and the ids of their results.

    Returns:
        Exit status: 0, or 1 if a file was skipped.

    Raises:
        FileNotFoundError: no such source, checkpoint or JSON, or an image of the JSON is not in `source`.
        ValueError: `images_from` lists no image, or comes with Cityscapes' format; `source` holds no image;
            its images or the model's classes are not Cityscapes' where its format is asked for; or an
            argument is wrong.
    """
    if format not in ("coco", "cityscapes"):
        raise ValueError(f"format must be 'coco' or 'cityscapes', got {format!r}")
    source, output = Path(source), Path(output)
    if images_from is None:
        paths = find_images(source, exclude=output)
        names: Sequence[int | str] = _output_names(paths, source if source.is_dir() else source.parent)
    elif format == "cityscapes":
        raise ValueError(
            "images_from goes with COCO's format; Cityscapes' results are named as its images are"
        )
    else:
        names, paths = _listed_images(source, Path(images_from))
    predictor = Predictor.from_checkpoint(
        checkpoint,
        device=device,
        size=size,
        scales=scales,
        flip=flip,
        class_map=format == "cityscapes",
        backend=backend,
        precision=precision,
    )
    if format == "cityscapes":
        for name in names:
            check_image_id(name)
        files = CityscapesWriter(
            output, predictor.classes, split=_split(paths), label_divisor=predictor.config.label_divisor
        )
    else:
        (output / "overlay").mkdir(parents=True, exist_ok=True)
        files = CocoWriter(output, predictor.classes, label_divisor=predictor.config.label_divisor)
    skipped = 0
    with files, tqdm(zip(paths, names, strict=True), total=len(paths), unit="image") as progress:
        for path, name in progress:
            try:
                image = read_image(path)
            # ValueError for damaged files, OSError for those that may not be read.
            except (ValueError, OSError) as error:
                skipped += 1
                progress.write(f"skipped {path}: {error}", file=sys.stderr)
                continue
            result = predictor(image)
            if format == "cityscapes":
                files.add(result, image_id=name)
            else:
                file_name = path.name if images_from is None else path.relative_to(source).as_posix()
                files.add(result, image_id=name, image_file=file_name)
                overlay = output / "overlay" / f"{name}.jpg"
                overlay.parent.mkdir(parents=True, exist_ok=True)  # an id of a JSON may hold a "/"
                write_picture(overlay, result.overlay())
    if skipped:
        print(f"skipped {skipped} of {len(paths)} files, which could not be read", file=sys.stderr)
    return 1 if skipped else 0


def find_images(source: Path, *, exclude: Path | None = None) -> list[Path]:
    """The image files of a path: itself, or all below a folder, sorted.

    Args:
        source: an image file or a folder.
        exclude: a folder that is not searched.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no image there, or a video.
    """
    if not source.exists():
        raise FileNotFoundError(f"source: no file or folder {source}")
    if source.is_file():
        if source.suffix.lower() in _VIDEO_SUFFIXES:
            raise ValueError(f"source must be an image or a folder of images, got the video {source}")
        return [source]
    excluded = exclude.resolve() if exclude is not None else None
    found = []
    for folder, subfolders, files in os.walk(source):
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and (Path(folder) / name).resolve() != excluded
        ]
        found += [
            Path(folder) / name
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not found:
        raise ValueError(f"source: no image below {source}; looked for {', '.join(IMAGE_SUFFIXES)}")
    return sorted(found)


def _listed_images(folder: Path, json_path: Path) -> tuple[list[int | str], list[Path]]:
    """Ids and files of the images that a COCO JSON lists."""
    if not folder.is_dir():
        raise FileNotFoundError(f"source: no folder {folder} with the images of {json_path}")
    file_names = image_file_names(json_path, load_coco_json(json_path))
    if not file_names:
        raise ValueError(f"images_from: {json_path} lists no image")
    paths = [folder / name for name in file_names.values()]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        named = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise FileNotFoundError(
            f"source: {len(missing)} of {len(paths)} images of {json_path} are not there: {named}"
        )
    return list(file_names), paths


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture in the format of the path's ending; it appears whole or not at all.

    Args:
        path: of the file, .png or .jpg.
        picture: (H, W, 3) uint8, RGB.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    written, encoded = cv2.imencode(path.suffix, bgr, options)
    if not written:
        raise ValueError(f"picture of {picture.shape} cannot be written as {path.suffix}")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)


def _split(paths: Sequence[Path]) -> str:
    """The folder above the cities', if all images have one, else val."""
    splits = {path.absolute().parent.parent.name for path in paths}
    return splits.pop() if len(splits) == 1 and splits <= {"train", "val", "test"} else "val"


def _output_names(paths: Sequence[Path], root: Path) -> list[str]:
    """A short name for each image, no two alike even where upper and lower case are one."""
    names = [path.stem.removesuffix("_leftImg8bit") for path in paths]
    parts = [path.relative_to(root).parts for path in paths]
    for longer in (
        ["_".join((*folders, name)) for (*folders, _), name in zip(parts, names, strict=True)],
        ["_".join(p).replace(".", "_") for p in parts],
    ):
        count = Counter(name.casefold() for name in names)
        names = [
            name if count[name.casefold()] == 1 else full for name, full in zip(names, longer, strict=True)
        ]
    taken: set[str] = set()
    for index, name in enumerate(names):
        number = 2
        while names[index].casefold() in taken:
            names[index] = f"{name}_{number}"
            number += 1
        taken.add(names[index].casefold())
    return names
