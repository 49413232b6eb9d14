"""The classes of a data set: name, color, and which of them are countable things."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassTable:
    """Classes by contiguous id 0..C-1, the ids that the network predicts.

    Attributes:
        name: of the data set.
        names: of the classes, index = contiguous id.
        colors: (R, G, B), 0-255, one per class.
        thing_ids: contiguous ids of the countable classes.
        label_ids: the data set's own id of each class, as its files write it (Cityscapes: 7, 8, 11, ...).
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    thing_ids: tuple[int, ...]
    label_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.names), len(self.colors), len(self.label_ids)}
        if len(sizes) != 1:
            raise ValueError(
                f"names, colors and label_ids must be of one length, got {len(self.names)}, "
                f"{len(self.colors)} and {len(self.label_ids)}"
            )
        if any(not 0 <= i < len(self.names) for i in self.thing_ids):
            raise ValueError(f"thing_ids must lie in 0..{len(self.names) - 1}, got {self.thing_ids}")

    def __len__(self) -> int:
        return len(self.names)


# Cityscapes' evaluation classes (cityscapesScripts, helpers/labels.py): name, color, label id, by train id.
_CITYSCAPES = (
    ("road", (128, 64, 128), 7),
    ("sidewalk", (244, 35, 232), 8),
    ("building", (70, 70, 70), 11),
    ("wall", (102, 102, 156), 12),
    ("fence", (190, 153, 153), 13),
    ("pole", (153, 153, 153), 17),
    ("traffic light", (250, 170, 30), 19),
    ("traffic sign", (220, 220, 0), 20),
    ("vegetation", (107, 142, 35), 21),
    ("terrain", (152, 251, 152), 22),
    ("sky", (70, 130, 180), 23),
    ("person", (220, 20, 60), 24),
    ("rider", (255, 0, 0), 25),
    ("car", (0, 0, 142), 26),
    ("truck", (0, 0, 70), 27),
    ("bus", (0, 60, 100), 28),
    ("train", (0, 80, 100), 31),
    ("motorcycle", (0, 0, 230), 32),
    ("bicycle", (119, 11, 32), 33),
)

CITYSCAPES = ClassTable(
    name="cityscapes",
    names=tuple(name for name, _, _ in _CITYSCAPES),
    colors=tuple(color for _, color, _ in _CITYSCAPES),
    thing_ids=tuple(range(11, 19)),
    label_ids=tuple(label_id for _, _, label_id in _CITYSCAPES),
)
