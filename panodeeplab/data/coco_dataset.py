"""COCO panoptic as a data set: COCO itself, or your own images in its format."""

from pathlib import Path

import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.coco_panoptic import classes_of_categories, load_panoptic_json, read_panoptic_png
from panodeeplab.data.image import check_same_size, read_image
from panodeeplab.data.sample import Sample, Segment

# Of missing files, how many are named.
_NAMED_FILES = 3


def image_file_names(annotations: str | Path, content: dict) -> dict[int | str, str]:
    """File name of each image of a COCO JSON, by image id.

    Args:
        annotations: path of the JSON, for messages.
        content: of it.

    Raises:
        ValueError: no `images`, or an entry without `id` or `file_name`.
    """
    images = content.get("images")
    if not isinstance(images, list):
        raise ValueError(f"{annotations} has no 'images' (a list of {{'id', 'file_name'}})")
    names: dict[int | str, str] = {}
    for position, image in enumerate(images):
        where = f"{annotations}: images[{position}]"
        if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
            raise ValueError(f"{where} needs 'id', an integer or text")
        if not isinstance(image.get("file_name"), str):
            raise ValueError(f"{where} (id {image['id']!r}) needs 'file_name', the name of its picture")
        if image["id"] in names:
            raise ValueError(f"{where} repeats id {image['id']!r}")
        names[image["id"]] = image["file_name"]
    return names


def png_folder(annotations: str | Path, pngs: str | Path | None) -> Path:
    """Folder of the PNGs of a COCO panoptic JSON: `pngs`, or the JSON's path without its ending.

    Raises:
        ValueError: no such folder.
    """
    folder = Path(annotations).with_suffix("") if pngs is None else Path(pngs)
    if not folder.is_dir():
        raise ValueError(f"pngs: no folder {folder} with the panoptic PNGs of {annotations}")
    return folder


def contiguous_ids(annotations: str | Path, content: dict, classes: ClassTable) -> dict[int, int]:
    """Contiguous class id by category id.

    Raises:
        ValueError: the JSON has a category that `classes` has not.
    """
    contiguous = {label_id: index for index, label_id in enumerate(classes.label_ids)}
    for category in content["categories"]:
        if category["id"] not in contiguous:
            raise ValueError(
                f"{annotations}: category {category['id']} ({category['name']!r}) is not one of "
                f"{classes.name}"
            )
    return contiguous


class CocoPanopticDataset:
    """Images with ground truth in COCO panoptic format, in the order of the JSON's annotations.

    Segment ids are those of the files, kept; `category_id` becomes contiguous, see `classes_of_categories`.
    Crowd regions keep `iscrowd` 1. A pixel of an id that the JSON does not list is void.

    Attributes:
        classes: of the JSON's categories, or as given.
        image_ids: of the JSON, in order.

    Args:
        images: folder of the pictures.
        annotations: the panoptic JSON.
        pngs: folder of the panoptic PNGs; None: the path of the JSON without its ending.
        classes: the classes to use, by their label ids; None: all categories of the JSON.

    Raises:
        FileNotFoundError: no JSON.
        ValueError: the JSON breaks the format, has no image, or a category that `classes` has not; or a
            folder or file is missing. The message names it.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        pngs: str | Path | None = None,
        classes: ClassTable | None = None,
    ) -> None:
        content = load_panoptic_json(annotations)
        self.annotations = Path(annotations)
        file_names = image_file_names(annotations, content)
        folder = png_folder(annotations, pngs)
        self.classes = classes or classes_of_categories(content["categories"])
        contiguous = contiguous_ids(annotations, content, self.classes)
        entries = content["annotations"]
        if not entries:
            raise ValueError(f"{annotations} has no image in 'annotations'")
        self.image_ids: list[int | str] = [entry["image_id"] for entry in entries]
        for image_id in self.image_ids:
            if image_id not in file_names:
                raise ValueError(
                    f"{annotations}: image {image_id!r} has an annotation, but is not in 'images'"
                )
        self.images = [Path(images) / file_names[image_id] for image_id in self.image_ids]
        self.pngs = [folder / entry["file_name"] for entry in entries]
        for kind, paths in (("images", self.images), ("pngs", self.pngs)):
            absent = [path for path in paths if not path.is_file()]
            if absent:
                named = ", ".join(map(str, absent[:_NAMED_FILES]))
                more = f" and {len(absent) - _NAMED_FILES} more" if len(absent) > _NAMED_FILES else ""
                raise ValueError(
                    f"{kind}: {len(absent)} of {len(paths)} files of {annotations} are missing: {named}{more}"
                )
        # One array for all, not a dictionary for each segment: COCO has more than a million, and processes
        # that load data would each end up with a copy of theirs.
        self._segments = np.array(
            [
                (segment["id"], contiguous[segment["category_id"]], segment["iscrowd"])
                for entry in entries
                for segment in entry["segments_info"]
            ],
            np.int32,
        ).reshape(-1, 3)
        self._first = np.cumsum([0] + [len(entry["segments_info"]) for entry in entries])

    def __len__(self) -> int:
        return len(self.images)

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of an image, contiguous categories, in the order of the JSON."""
        rows = self._segments[self._first[index] : self._first[index + 1]].tolist()
        return [Segment(id=i, category_id=category, iscrowd=crowd) for i, category, crowd in rows]

    def files(self, index: int) -> list[Path]:
        """Picture, panoptic PNG, and the JSON."""
        return [self.images[index], self.pngs[index], self.annotations]

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its ground truth.

        Raises:
            ValueError: a file is damaged, or the two differ in size; the message names the file.
        """
        index = range(len(self))[index]
        image = read_image(self.images[index])
        panoptic = read_panoptic_png(self.pngs[index])
        check_same_size(self.pngs[index], panoptic, image)
        return Sample(image, panoptic, self.segments_info(index), self.image_ids[index])
