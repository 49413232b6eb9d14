"""Mapillary Vistas, research edition, with the 65 classes of version 1.2: panoptic files in COCO's format.

    {training,validation}/images/{name}.jpg
    {training,validation}/v1.2/panoptic/{name}.png, panoptic_2018.json     or without the folder v1.2

Version 2.0 has other classes, which its JSON says: read it as COCO panoptic.
"""

from pathlib import Path

from panodeeplab.classes import ClassTable
from panodeeplab.data.coco_dataset import CocoPanopticDataset

# Name, color and whether it is countable, by category id, from 1.
_CLASSES = (
    ("Bird", (165, 42, 42), True),
    ("Ground Animal", (0, 192, 0), True),
    ("Curb", (196, 196, 196), False),
    ("Fence", (190, 153, 153), False),
    ("Guard Rail", (180, 165, 180), False),
    ("Barrier", (90, 120, 150), False),
    ("Wall", (102, 102, 156), False),
    ("Bike Lane", (128, 64, 255), False),
    ("Crosswalk - Plain", (140, 140, 200), True),
    ("Curb Cut", (170, 170, 170), False),
    ("Parking", (250, 170, 160), False),
    ("Pedestrian Area", (96, 96, 96), False),
    ("Rail Track", (230, 150, 140), False),
    ("Road", (128, 64, 128), False),
    ("Service Lane", (110, 110, 110), False),
    ("Sidewalk", (244, 35, 232), False),
    ("Bridge", (150, 100, 100), False),
    ("Building", (70, 70, 70), False),
    ("Tunnel", (150, 120, 90), False),
    ("Person", (220, 20, 60), True),
    ("Bicyclist", (255, 0, 0), True),
    ("Motorcyclist", (255, 0, 100), True),
    ("Other Rider", (255, 0, 200), True),
    ("Lane Marking - Crosswalk", (200, 128, 128), True),
    ("Lane Marking - General", (255, 255, 255), False),
    ("Mountain", (64, 170, 64), False),
    ("Sand", (230, 160, 50), False),
    ("Sky", (70, 130, 180), False),
    ("Snow", (190, 255, 255), False),
    ("Terrain", (152, 251, 152), False),
    ("Vegetation", (107, 142, 35), False),
    ("Water", (0, 170, 30), False),
    ("Banner", (255, 255, 128), True),
    ("Bench", (250, 0, 30), True),
    ("Bike Rack", (100, 140, 180), True),
    ("Billboard", (220, 220, 220), True),
    ("Catch Basin", (220, 128, 128), True),
    ("CCTV Camera", (222, 40, 40), True),
    ("Fire Hydrant", (100, 170, 30), True),
    ("Junction Box", (40, 40, 40), True),
    ("Mailbox", (33, 33, 33), True),
    ("Manhole", (100, 128, 160), True),
    ("Phone Booth", (142, 0, 0), True),
    ("Pothole", (70, 100, 150), False),
    ("Street Light", (210, 170, 100), True),
    ("Pole", (153, 153, 153), True),
    ("Traffic Sign Frame", (128, 128, 128), True),
    ("Utility Pole", (0, 0, 80), True),
    ("Traffic Light", (250, 170, 30), True),
    ("Traffic Sign (Back)", (192, 192, 192), True),
    ("Traffic Sign (Front)", (220, 220, 0), True),
    ("Trash Can", (140, 140, 20), True),
    ("Bicycle", (119, 11, 32), True),
    ("Boat", (150, 0, 255), True),
    ("Bus", (0, 60, 100), True),
    ("Car", (0, 0, 142), True),
    ("Caravan", (0, 0, 90), True),
    ("Motorcycle", (0, 0, 230), True),
    ("On Rails", (0, 80, 100), False),
    ("Other Vehicle", (128, 64, 64), True),
    ("Trailer", (0, 0, 110), True),
    ("Truck", (0, 0, 70), True),
    ("Wheeled Slow", (0, 0, 192), True),
    ("Car Mount", (32, 32, 32), False),
    ("Ego Vehicle", (120, 10, 10), False),
)

MAPILLARY_VISTAS = ClassTable(
    name="mapillary_vistas",
    names=tuple(name for name, _, _ in _CLASSES),
    colors=tuple(color for _, color, _ in _CLASSES),
    thing_ids=tuple(i for i, (_, _, isthing) in enumerate(_CLASSES) if isthing),
    label_ids=tuple(range(1, 66)),
)


def mapillary_files(root: str | Path, split: str) -> tuple[Path, Path, Path]:
    """Folder of pictures, JSON and folder of PNGs of one split, "training" or "validation".

    Raises:
        ValueError: there is no JSON where it should be.
    """
    folder = Path(root) / split
    places = [folder / "v1.2" / "panoptic", folder / "panoptic"]
    for pngs in places:
        if (pngs / "panoptic_2018.json").is_file():
            return folder / "images", pngs / "panoptic_2018.json", pngs
    raise ValueError(f"there is no {places[0]}/panoptic_2018.json, nor {places[1]}/panoptic_2018.json")


def mapillary_vistas(root: str | Path, split: str) -> CocoPanopticDataset:
    """The images of one split.

    Args:
        root: folder that holds training and validation.
        split: "training" or "validation".

    Raises:
        ValueError: the JSON, a folder or a file is missing, or the JSON has other classes.
    """
    return CocoPanopticDataset(*mapillary_files(root, split), MAPILLARY_VISTAS)
