"""Scores the results of any system against a ground truth, both as COCO panoptic files."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from panodeeplab.data.coco_panoptic import load_panoptic_json, read_panoptic_rgb
from panodeeplab.evaluation.panoptic_quality import (
    MatchCounts,
    PredictedSegments,
    TruthSegments,
    match_segments,
    panoptic_quality,
)
from panodeeplab.ops import pair_counts


def score(
    gt_json: str | Path,
    pred_json: str | Path,
    gt_dir: str | Path | None = None,
    pred_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Panoptic quality of a result in COCO panoptic format, equal to panopticapi's.

    Areas are counted in the PNGs; those that the JSON states are not used. A prediction of an image that the
    ground truth does not have is not scored.

    Args:
        gt_json: ground truth.
        pred_json: prediction; must have every image of the ground truth.
        gt_dir: folder of the ground truth's PNGs; the path of its JSON without ".json" by default.
        pred_dir: the same for the prediction.

    Returns:
        {"All" | "Things" | "Stuff": {"pq", "sq", "rq", "n"}, "per_class": {...}, "counts": {...}}, keyed by
        category id as text; see `panoptic_quality`.

    Raises:
        FileNotFoundError: a JSON, a folder or a PNG is not there.
        ValueError: names the file and the image or segment: an image without prediction, PNGs of different
            size, a segment in the PNG that the JSON does not list or (prediction) the reverse, an unknown
            category.
    """
    truth, prediction = load_panoptic_json(gt_json), load_panoptic_json(pred_json, prediction=True)
    gt_dir, pred_dir = _png_folder(gt_json, gt_dir), _png_folder(pred_json, pred_dir)
    class_of = {category["id"]: i for i, category in enumerate(truth["categories"])}
    predicted = {annotation["image_id"]: annotation for annotation in prediction["annotations"]}
    missing = [a["image_id"] for a in truth["annotations"] if a["image_id"] not in predicted]
    if missing:
        shown = ", ".join(repr(image_id) for image_id in missing[:5]) + (", ..." if len(missing) > 5 else "")
        message = (
            f"{pred_json} has no prediction for {len(missing)} of {len(truth['annotations'])} images: {shown}"
        )
        if len(missing) == len(truth["annotations"]) and predicted:
            # Names of files where the ground truth has numbers.
            message += (
                f"; its own have image ids such as {next(iter(predicted))!r} "
                "(panodeeplab predict --images-from takes the ids of the ground truth)"
            )
        raise ValueError(message)

    def count(annotation: dict[str, Any]) -> MatchCounts:
        result = predicted[annotation["image_id"]]
        return _count_image(annotation, result, gt_dir, pred_dir, class_of)

    total = MatchCounts.zeros(len(class_of))
    # Threads suffice: reading PNGs and counting pairs release the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            images = pool.map(count, truth["annotations"])
            for counts in tqdm(images, "score", len(truth["annotations"]), unit="image"):
                total += counts
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return panoptic_quality(total, truth["categories"])


def _png_folder(json_path: str | Path, folder: str | Path | None) -> Path:
    folder = Path(json_path).with_suffix("") if folder is None else Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} with the PNGs of {json_path}")
    return folder


def _count_image(
    truth: dict[str, Any],
    prediction: dict[str, Any],
    gt_dir: Path,
    pred_dir: Path,
    class_of: dict[int, int],
) -> MatchCounts:
    gt_path, pred_path = gt_dir / truth["file_name"], pred_dir / prediction["file_name"]
    gt_map, pred_map = read_panoptic_rgb(gt_path), read_panoptic_rgb(pred_path)
    if gt_map.shape != pred_map.shape:
        raise ValueError(
            f"{pred_path} is {pred_map.shape[1]} x {pred_map.shape[0]} pixels, "
            f"the ground truth {gt_path} is {gt_map.shape[1]} x {gt_map.shape[0]}"
        )
    # One thread: there are as many callers as processors.
    counted = pair_counts(torch.from_numpy(gt_map), torch.from_numpy(pred_map), threads=1)
    pairs, counts = (result.numpy() for result in counted)
    gt_segments, pred_segments = truth["segments_info"], prediction["segments_info"]
    gt_ids = np.array([segment["id"] for segment in gt_segments], np.int64)
    pred_ids = np.array([segment["id"] for segment in pred_segments], np.int64)
    for path, listed, column in ((gt_path, gt_ids, 0), (pred_path, pred_ids, 1)):
        unlisted = np.setdiff1d(pairs[:, column], np.append(listed, 0))
        if unlisted.size:
            raise ValueError(f"{path} has segments that the JSON does not list: {_shown(unlisted)}")
    unseen = np.setdiff1d(pred_ids, pairs[:, 1])
    if unseen.size:
        raise ValueError(f"{pred_path} has no pixel of segments that the JSON lists: {_shown(unseen)}")
    for segment in pred_segments:
        if segment["category_id"] not in class_of:
            raise ValueError(
                f"{pred_path}: segment {segment['id']} has category_id {segment['category_id']}, "
                "which the ground truth does not list"
            )
    return match_segments(
        pairs,
        counts,
        TruthSegments(
            gt_ids,
            np.array([class_of[segment["category_id"]] for segment in gt_segments], np.int64),
            np.array([segment["iscrowd"] for segment in gt_segments], bool),
        ),
        PredictedSegments(
            pred_ids, np.array([class_of[segment["category_id"]] for segment in pred_segments], np.int64)
        ),
        len(class_of),
    )


def _shown(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (f" and {ids.size - 5} more" if ids.size > 5 else "")


def format_table(result: dict[str, Any], categories: Sequence[dict[str, Any]]) -> str:
    """A result as a table in percent: the three means, then every class that has a segment.

    Args:
        result: of `score` or `PanopticQuality.result`.
        categories: {"id", "name", "isthing"} of each class: `categories` of the ground truth's JSON, or
            `PanopticQuality.categories`.

    Returns:
        Lines of text, without a final newline.
    """
    groups = [(f"{name} ({result[name]['n']} classes)", name) for name in ("All", "Things", "Stuff")]
    width = max(len(name) for name in [*(name for name, _ in groups), *(c["name"] for c in categories)])
    header = f"{'':{width}}     PQ     SQ     RQ      TP      FP      FN"

    def row(name: str, quality: dict[str, float], members: Sequence[dict[str, Any]]) -> str:
        counts = [result["counts"][str(category["id"])] for category in members]
        return (
            f"{name:{width}}"
            + "".join(f"{100 * quality[key]:7.1f}" for key in ("pq", "sq", "rq"))
            + "".join(f"{sum(c[key] for c in counts):8d}" for key in ("tp", "fp", "fn"))
        )

    members = {
        "All": categories,
        "Things": [c for c in categories if c["isthing"]],
        "Stuff": [c for c in categories if not c["isthing"]],
    }
    rule = "-" * len(header)
    return "\n".join(
        [
            header,
            rule,
            *(row(title, result[name], members[name]) for title, name in groups),
            rule,
            *(
                row(c["name"], result["per_class"][str(c["id"])], [c])
                for c in categories
                if any(result["counts"][str(c["id"])][key] for key in ("tp", "fp", "fn"))
            ),
        ]
    )
