"""From instance masks and semantic maps to COCO panoptic.

images/{name}.jpg          or any other kind of picture, in folders or not
semantic/{name}.png        gray, 8 or 16 bits: label ids of the class table, 0 void
instances/{name}.png       gray, 8 or 16 bits: number of the object, 0 none
instances/{name}/*.png     or one mask for each object, not 0 where it is
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.data.class_table import read_class_table
from panodeeplab.data.coco_writer import PanopticWriter
from panodeeplab.data.convert.combine import combine, read_gray, read_semantic, stack_masks
from panodeeplab.data.image import check_same_size, read_image

_IMAGE_TYPES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def _read_instances(folder: Path, name: Path, image: np.ndarray) -> tuple[np.ndarray, dict[int, Path]]:
    """(H, W) int32 map of an image's objects, and the file that each of its values comes from."""
    file = folder / name.with_name(f"{name.name}.png")
    if file.is_file():
        instances = read_gray(file).astype(np.int32)
        check_same_size(file, instances, image)
        return instances, dict.fromkeys(np.unique(instances[instances > 0]).tolist(), file)
    if not (folder / name).is_dir():
        raise FileNotFoundError(
            f"instances: neither {file} nor a folder {folder / name}; an image without objects needs an "
            "empty folder, or a PNG of zeros"
        )
    files = sorted((folder / name).glob("*.png"))
    masks = [read_gray(path) > 0 for path in files]
    for path, mask in zip(files, masks, strict=True):
        check_same_size(path, mask, image)
    return stack_masks(masks, image.shape[:2]), dict(enumerate(files, 1))


def _categories(
    semantic: np.ndarray, instances: np.ndarray, files: dict[int, Path], classes: ClassTable
) -> dict[int, int]:
    """Class of each object: the countable class of most of its pixels in the semantic map."""
    # One histogram of object and class; column 0 is void.
    columns = len(classes) + 1
    pairs = (instances * columns + semantic + 1)[instances > 0]
    pixels = np.bincount(pairs, minlength=(instances.max() + 1) * columns).reshape(-1, columns)
    things = np.array(classes.thing_ids, np.int64)
    names = ("void", *classes.names)
    categories = {}
    for value in np.flatnonzero(pixels.any(1)).tolist():
        of_things = pixels[value, things + 1]
        if not of_things.any():
            found = ", ".join(names[i] for i in np.flatnonzero(pixels[value]))
            raise ValueError(
                f"{files[value]}: object {value} lies on no pixel of a countable class, but on {found}"
            )
        categories[value] = int(things[of_things.argmax()])
    return categories


def convert_masks(
    images: str | Path,
    semantic: str | Path,
    instances: str | Path,
    class_table: str | Path,
    output: str | Path,
    *,
    name: str = "panoptic",
) -> Path:
    """Write COCO panoptic files of images with a semantic map and instance masks. Shows a progress bar.

    An object has the countable class of most of its pixels in the semantic map, and covers it; where masks
    overlap, the smaller one is on top. Pixels of a countable class without an object become a crowd region.

    Args:
        images: folder of the pictures, searched with its subfolders.
        semantic: folder of the semantic maps.
        instances: folder of the instance masks.
        class_table: YAML file, see `read_class_table`.
        output: folder; receives `{name}.json` and the folder `{name}` of PNGs.
        name: of the JSON.

    Returns:
        Path of the JSON. Images are numbered from 1 in the order of their names.

    Raises:
        FileNotFoundError: a file is missing; the message names it.
        ValueError: no images, files that are damaged or differ in size, a value outside the class table, or
            an object without a countable class.
    """
    images, semantic, instances = Path(images), Path(semantic), Path(instances)
    labels = read_class_table(class_table)
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in _IMAGE_TYPES)
    if not paths:
        raise ValueError(f"images: no picture in {images}")
    names = [path.relative_to(images).with_suffix("") for path in paths]
    first: dict[Path, Path] = {}
    for path, stem in zip(paths, names, strict=True):
        if (other := first.setdefault(stem, path)) != path:
            raise ValueError(f"images: {other} and {path} have one name")
    writer = PanopticWriter(output, labels.classes, name=name)
    bar = tqdm(paths, desc="converting", unit="image")
    for image_id, (path, stem) in enumerate(zip(bar, names, strict=True), 1):
        image = read_image(path)
        semantic_file = semantic / stem.with_name(f"{stem.name}.png")
        semantic_map = read_semantic(semantic_file, labels)
        check_same_size(semantic_file, semantic_map, image)
        objects, files = _read_instances(instances, stem, image)
        categories = _categories(semantic_map, objects, files, labels.classes)
        ids, segments = combine(semantic_map, objects, categories, labels.classes)
        writer.add_truth(
            ids,
            segments,
            image_id=image_id,
            image_file=path.relative_to(images).as_posix(),
        )
    return writer.write_json()
