"""The scores of an evaluation as text."""

from typing import Any

from panodeeplab.classes import ClassTable
from panodeeplab.evaluation.score import format_table

_TITLES = {"iou": "IoU", "iiou": "iIoU", "ap": "AP", "ap50": "AP50"}
_COCO = {"ap75": "AP75", "ap_small": "AP small", "ap_medium": "AP medium", "ap_large": "AP large"}


def format_evaluation(result: dict[str, Any], classes: ClassTable) -> str:
    """The tables of an evaluation, in percent: panoptic quality, then IoU and AP, both with every class.

    Args:
        result: of `evaluate`.
        classes: of the data set.

    Returns:
        Lines of text, without a final newline. A class without a segment or pixel has no row, a figure that
        it cannot have is "-".
    """
    categories = [
        {"id": i, "name": name, "isthing": int(i in classes.thing_ids)}
        for i, name in enumerate(classes.names)
    ]
    semantic, instances = result["semantic"], result.get("instances", {})
    mean: dict[str, float | None] = {"iou": semantic["miou"]}
    if "iiou" in semantic:
        mean["iiou"] = semantic["iiou"]
    mean |= {key: instances[key] for key in ("ap", "ap50") if key in instances}
    width = max(len(name) for name in ("mean", *classes.names))

    def row(name: str, values: dict[str, float | None]) -> str:
        cells = ("-" if values.get(key) is None else f"{100 * values[key]:.1f}" for key in mean)
        return f"{name:{width}}" + "".join(f"{cell:>7}" for cell in cells)

    rows = []
    for index, name in enumerate(classes.names):
        values = {
            "iou": semantic["per_class"][str(index)],
            "iiou": semantic.get("iiou_per_class", {}).get(str(index)),
            **(instances.get("per_class", {}).get(str(index)) or {}),
        }
        if any(value is not None for value in values.values()):
            rows.append(row(name, values))
    header = " " * width + "".join(f"{_TITLES[key]:>7}" for key in mean)
    rule = "-" * len(header)
    lines = [format_table(result, categories), "", header, rule, row("mean", mean), rule, *rows]
    if "per_category" in semantic:
        lines += ["", *_category_lines(semantic, width)]
    more = [f"{title} {100 * instances[key]:.1f}" for key, title in _COCO.items() if key in instances]
    return "\n".join(lines + ([", ".join(more)] if more else []))


def _category_lines(semantic: dict[str, Any], width: int) -> list[str]:
    """IoU of the categories, and iIoU where it was counted."""
    columns = {"IoU": semantic["per_category"] | {"mean": semantic["category_miou"]}}
    if "iiou_per_category" in semantic:
        columns["iIoU"] = semantic["iiou_per_category"] | {"mean": semantic["category_iiou"]}

    def row(name: str) -> str:
        values = (column.get(name) for column in columns.values())
        return f"{name:{width}}" + "".join(f"{'-' if v is None else f'{100 * v:.1f}':>7}" for v in values)

    header = f"{'categories':{width}}" + "".join(f"{title:>7}" for title in columns)
    rule = "-" * len(header)
    seen = [name for name, iou in semantic["per_category"].items() if iou is not None]
    return [header, rule, row("mean"), rule, *map(row, seen)]
