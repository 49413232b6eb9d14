"""The classes of a data set: name, color, and which of them are countable things."""

import json
from dataclasses import asdict, dataclass


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

    def to_json(self) -> str:
        """The table as files of models carry it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ClassTable":
        """The table that `to_json` wrote."""
        table = json.loads(text)
        for key in ("names", "thing_ids", "label_ids"):
            table[key] = tuple(table[key])
        return cls(**table | {"colors": tuple(map(tuple, table["colors"]))})


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

# COCO's panoptic classes (panopticapi, panoptic_coco_categories.json): name, color, label id, in the order of
# their label ids, which is that of the contiguous ids in Detectron2 and bowenc0221. The things come first.
_COCO = (
    ("person", (220, 20, 60), 1),
    ("bicycle", (119, 11, 32), 2),
    ("car", (0, 0, 142), 3),
    ("motorcycle", (0, 0, 230), 4),
    ("airplane", (106, 0, 228), 5),
    ("bus", (0, 60, 100), 6),
    ("train", (0, 80, 100), 7),
    ("truck", (0, 0, 70), 8),
    ("boat", (0, 0, 192), 9),
    ("traffic light", (250, 170, 30), 10),
    ("fire hydrant", (100, 170, 30), 11),
    ("stop sign", (220, 220, 0), 13),
    ("parking meter", (175, 116, 175), 14),
    ("bench", (250, 0, 30), 15),
    ("bird", (165, 42, 42), 16),
    ("cat", (255, 77, 255), 17),
    ("dog", (0, 226, 252), 18),
    ("horse", (182, 182, 255), 19),
    ("sheep", (0, 82, 0), 20),
    ("cow", (120, 166, 157), 21),
    ("elephant", (110, 76, 0), 22),
    ("bear", (174, 57, 255), 23),
    ("zebra", (199, 100, 0), 24),
    ("giraffe", (72, 0, 118), 25),
    ("backpack", (255, 179, 240), 27),
    ("umbrella", (0, 125, 92), 28),
    ("handbag", (209, 0, 151), 31),
    ("tie", (188, 208, 182), 32),
    ("suitcase", (0, 220, 176), 33),
    ("frisbee", (255, 99, 164), 34),
    ("skis", (92, 0, 73), 35),
    ("snowboard", (133, 129, 255), 36),
    ("sports ball", (78, 180, 255), 37),
    ("kite", (0, 228, 0), 38),
    ("baseball bat", (174, 255, 243), 39),
    ("baseball glove", (45, 89, 255), 40),
    ("skateboard", (134, 134, 103), 41),
    ("surfboard", (145, 148, 174), 42),
    ("tennis racket", (255, 208, 186), 43),
    ("bottle", (197, 226, 255), 44),
    ("wine glass", (171, 134, 1), 46),
    ("cup", (109, 63, 54), 47),
    ("fork", (207, 138, 255), 48),
    ("knife", (151, 0, 95), 49),
    ("spoon", (9, 80, 61), 50),
    ("bowl", (84, 105, 51), 51),
    ("banana", (74, 65, 105), 52),
    ("apple", (166, 196, 102), 53),
    ("sandwich", (208, 195, 210), 54),
    ("orange", (255, 109, 65), 55),
    ("broccoli", (0, 143, 149), 56),
    ("carrot", (179, 0, 194), 57),
    ("hot dog", (209, 99, 106), 58),
    ("pizza", (5, 121, 0), 59),
    ("donut", (227, 255, 205), 60),
    ("cake", (147, 186, 208), 61),
    ("chair", (153, 69, 1), 62),
    ("couch", (3, 95, 161), 63),
    ("potted plant", (163, 255, 0), 64),
    ("bed", (119, 0, 170), 65),
    ("dining table", (0, 182, 199), 67),
    ("toilet", (0, 165, 120), 70),
    ("tv", (183, 130, 88), 72),
    ("laptop", (95, 32, 0), 73),
    ("mouse", (130, 114, 135), 74),
    ("remote", (110, 129, 133), 75),
    ("keyboard", (166, 74, 118), 76),
    ("cell phone", (219, 142, 185), 77),
    ("microwave", (79, 210, 114), 78),
    ("oven", (178, 90, 62), 79),
    ("toaster", (65, 70, 15), 80),
    ("sink", (127, 167, 115), 81),
    ("refrigerator", (59, 105, 106), 82),
    ("book", (142, 108, 45), 84),
    ("clock", (196, 172, 0), 85),
    ("vase", (95, 54, 80), 86),
    ("scissors", (128, 76, 255), 87),
    ("teddy bear", (201, 57, 1), 88),
    ("hair drier", (246, 0, 122), 89),
    ("toothbrush", (191, 162, 208), 90),
    ("banner", (255, 255, 128), 92),
    ("blanket", (147, 211, 203), 93),
    ("bridge", (150, 100, 100), 95),
    ("cardboard", (168, 171, 172), 100),
    ("counter", (146, 112, 198), 107),
    ("curtain", (210, 170, 100), 109),
    ("door-stuff", (92, 136, 89), 112),
    ("floor-wood", (218, 88, 184), 118),
    ("flower", (241, 129, 0), 119),
    ("fruit", (217, 17, 255), 122),
    ("gravel", (124, 74, 181), 125),
    ("house", (70, 70, 70), 128),
    ("light", (255, 228, 255), 130),
    ("mirror-stuff", (154, 208, 0), 133),
    ("net", (193, 0, 92), 138),
    ("pillow", (76, 91, 113), 141),
    ("platform", (255, 180, 195), 144),
    ("playingfield", (106, 154, 176), 145),
    ("railroad", (230, 150, 140), 147),
    ("river", (60, 143, 255), 148),
    ("road", (128, 64, 128), 149),
    ("roof", (92, 82, 55), 151),
    ("sand", (254, 212, 124), 154),
    ("sea", (73, 77, 174), 155),
    ("shelf", (255, 160, 98), 156),
    ("snow", (255, 255, 255), 159),
    ("stairs", (104, 84, 109), 161),
    ("tent", (169, 164, 131), 166),
    ("towel", (225, 199, 255), 168),
    ("wall-brick", (137, 54, 74), 171),
    ("wall-stone", (135, 158, 223), 175),
    ("wall-tile", (7, 246, 231), 176),
    ("wall-wood", (107, 255, 200), 177),
    ("water-other", (58, 41, 149), 178),
    ("window-blind", (183, 121, 142), 180),
    ("window-other", (255, 73, 97), 181),
    ("tree-merged", (107, 142, 35), 184),
    ("fence-merged", (190, 153, 153), 185),
    ("ceiling-merged", (146, 139, 141), 186),
    ("sky-other-merged", (70, 130, 180), 187),
    ("cabinet-merged", (134, 199, 156), 188),
    ("table-merged", (209, 226, 140), 189),
    ("floor-other-merged", (96, 36, 108), 190),
    ("pavement-merged", (96, 96, 96), 191),
    ("mountain-merged", (64, 170, 64), 192),
    ("grass-merged", (152, 251, 152), 193),
    ("dirt-merged", (208, 229, 228), 194),
    ("paper-merged", (206, 186, 171), 195),
    ("food-other-merged", (152, 161, 64), 196),
    ("building-other-merged", (116, 112, 0), 197),
    ("rock-merged", (0, 114, 143), 198),
    ("wall-other-merged", (102, 102, 156), 199),
    ("rug-merged", (250, 141, 255), 200),
)

COCO = ClassTable(
    name="coco",
    names=tuple(name for name, _, _ in _COCO),
    colors=tuple(color for _, color, _ in _COCO),
    thing_ids=tuple(range(80)),
    label_ids=tuple(label_id for _, _, label_id in _COCO),
)
