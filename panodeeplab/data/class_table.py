"""The classes of your own data, from a YAML file.

    name: warehouse              # may be left out: the name of the file
    classes:
      - {id: 1, name: floor, isthing: false, color: [128, 64, 128]}
      - {id: 2, name: box, isthing: true}     # without a color one is chosen
    ignore: [255]                # other ids in the files, which are void; may be left out

An id is the number that the label files hold. 0 is void and needs no entry.
"""

import colorsys
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from panodeeplab.classes import ClassTable

_Byte = Annotated[int, Field(ge=0, le=255)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int = Field(..., ge=1)
    name: str = Field(..., min_length=1)
    isthing: bool
    color: tuple[_Byte, _Byte, _Byte] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    classes: list[_Entry] = Field(..., min_length=1)
    ignore: list[Annotated[int, Field(ge=0)]] = []


@dataclass(frozen=True)
class LabelTable:
    """What the numbers of label files mean.

    Attributes:
        classes: the classes; their contiguous ids follow the order of the file.
        ignore: numbers that are void, beside 0.
    """

    classes: ClassTable
    ignore: tuple[int, ...] = ()


def class_color(index: int) -> tuple[int, int, int]:
    """A color (R, G, B), 0-255, for a class that has none: distinct for neighboring indices."""
    # Steps of the golden ratio spread any number of hues evenly.
    hue = (0.07 + index * 0.6180339887) % 1.0
    rgb = colorsys.hsv_to_rgb(hue, (0.85, 0.55, 0.7)[index % 3], (0.9, 0.75, 0.55)[index // 3 % 3])
    return tuple(round(255 * value) for value in rgb)


def _key(location: Sequence[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = _key(problem["loc"])
        if problem["type"] == "extra_forbidden":
            names = list((_Entry if problem["loc"][0] == "classes" else _File).model_fields)
            nearest = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1, cutoff=0.0)[0]
            lines.append(f"unknown key {key!r}; the nearest known one is {nearest!r}")
        elif problem["type"] == "missing":
            lines.append(f"{key} is missing")
        else:
            lines.append(f"{key or 'the file'}: {problem['msg']}, got {problem['input']!r}")
    return "; ".join(lines)


def _repeated(values: Sequence[Any]) -> list[tuple[int, Any]]:
    """Positions and values that stand in a list before."""
    return [(i, value) for i, value in enumerate(values) if value in values[:i]]


def read_class_table(path: str | Path) -> LabelTable:
    """Read the classes of your own data from a YAML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or a key that is unknown, missing or illegal; the message names file and key.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no class table at {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold the keys 'classes' and, if need be, 'name' and 'ignore'")
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error)}") from None
    for key in ("id", "name"):
        for position, value in _repeated([getattr(entry, key) for entry in file.classes]):
            raise ValueError(f"{path}: classes[{position}].{key} {value!r} stands in the table before")
    for position, value in enumerate(file.ignore):
        for index, entry in enumerate(file.classes):
            if entry.id == value:
                raise ValueError(f"{path}: ignore[{position}] is {value}, the id of classes[{index}]")
    classes = ClassTable(
        name=file.name or path.stem,
        names=tuple(entry.name for entry in file.classes),
        colors=tuple(entry.color or class_color(i) for i, entry in enumerate(file.classes)),
        thing_ids=tuple(i for i, entry in enumerate(file.classes) if entry.isthing),
        label_ids=tuple(entry.id for entry in file.classes),
    )
    return LabelTable(classes, tuple(file.ignore))
