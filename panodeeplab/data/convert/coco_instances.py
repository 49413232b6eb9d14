"""From COCO instance annotations and semantic maps to COCO panoptic.

instances.json             COCO's format for object detection: polygons or run lengths
semantic/{name}.png        gray, 8 or 16 bits: label ids of the class table, 0 void
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from panodeeplab.data.class_table import LabelTable, read_class_table
from panodeeplab.data.coco_dataset import image_file_names
from panodeeplab.data.coco_panoptic import load_coco_json
from panodeeplab.data.coco_writer import PanopticWriter
from panodeeplab.data.convert.coco_masks import segmentation_mask
from panodeeplab.data.convert.combine import combine, read_semantic, stack_masks


def _load(path: Path) -> dict[str, Any]:
    content = load_coco_json(path)
    for key in ("images", "annotations", "categories"):
        value = content.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise ValueError(f"{path} needs {key!r}, a list of objects")
    return content


def _contiguous(path: Path, content: dict[str, Any], labels: LabelTable) -> dict[int, int]:
    """Contiguous class id by category id, for the categories that the class table has."""
    classes = labels.classes
    contiguous = {}
    for category in content["categories"]:
        if category.get("id") not in classes.label_ids:
            continue
        index = classes.label_ids.index(category["id"])
        if index not in classes.thing_ids or classes.names[index] != category.get("name"):
            kind = "thing" if index in classes.thing_ids else "stuff"
            raise ValueError(
                f"{path}: category {category['id']} is {category.get('name')!r}, a thing; in the class table "
                f"{classes.names[index]!r}, {kind}"
            )
        contiguous[category["id"]] = index
    return contiguous


def _by_image(path: Path, content: dict[str, Any], known: dict[int, int], images: set) -> dict[Any, list]:
    """The annotations of each image, each with its place in the JSON."""
    found: dict[Any, list] = {image_id: [] for image_id in images}
    for position, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotations[{position}]"
        if annotation.get("image_id") not in found:
            raise ValueError(
                f"{where} has image_id {annotation.get('image_id')!r}, which 'images' does not list"
            )
        if annotation.get("category_id") not in known:
            raise ValueError(
                f"{where} has category_id {annotation.get('category_id')!r}, which 'categories' and the "
                "class table do not both list"
            )
        found[annotation["image_id"]].append((where, annotation))
    return found


def convert_coco_instances(
    annotations: str | Path,
    semantic: str | Path,
    class_table: str | Path,
    output: str | Path,
    *,
    name: str = "panoptic",
) -> Path:
    """Write COCO panoptic files of COCO instance annotations and semantic maps. Shows a progress bar.

    Instances cover the semantic map; where they overlap, the smaller one is on top, and crowd regions lie
    below all others. Pixels of a countable class without an instance belong to the class's crowd region.

    Args:
        annotations: JSON of the instances.
        semantic: folder of the semantic maps, each named as its picture, with the ending .png.
        class_table: YAML file with every class, see `read_class_table`; things have the JSON's category ids.
        output: folder; receives `{name}.json` and the folder `{name}` of PNGs.
        name: of the JSON.

    Returns:
        Path of the JSON. Its image ids are those of `annotations`.

    Raises:
        FileNotFoundError: a file is missing; the message names it.
        ValueError: the JSON breaks its format or does not fit the class table, or a semantic map has another
            size than the JSON says or a value outside the table; the message names the place.
    """
    path, semantic = Path(annotations), Path(semantic)
    labels = read_class_table(class_table)
    content = _load(path)
    file_names = image_file_names(path, content)
    contiguous = _contiguous(path, content, labels)
    by_image = _by_image(path, content, contiguous, set(file_names))
    writer = PanopticWriter(output, labels.classes, name=name)
    for image in tqdm(content["images"], desc="converting", unit="image"):
        file_name = file_names[image["id"]]
        semantic_file = (semantic / file_name).with_suffix(".png")
        semantic_map = read_semantic(semantic_file, labels)
        height, width = size = semantic_map.shape
        if (image.get("height"), image.get("width")) != size:
            raise ValueError(
                f"{semantic_file} is {height} x {width} pixels (H x W), {path} says "
                f"{image.get('height')} x {image.get('width')}"
            )
        masks, categories, crowds = [], {}, set()
        for where, annotation in by_image[image["id"]]:
            try:
                masks.append(segmentation_mask(annotation.get("segmentation"), height, width))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            categories[len(masks)] = contiguous[annotation["category_id"]]
            if annotation.get("iscrowd"):
                crowds.add(len(masks))
        instances = stack_masks(masks, size, below={value - 1 for value in crowds})
        ids, segments = combine(semantic_map, instances, categories, labels.classes, crowds)
        writer.add_truth(ids, segments, image_id=image["id"], image_file=file_name)
    return writer.write_json()
