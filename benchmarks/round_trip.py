"""How much an output stride costs: ground truth → perfect network outputs → post-processing → PQ.

    python benchmarks/round_trip.py                           # 20 generated streets
    python benchmarks/round_trip.py --cityscapes PATH         # all labelled frames of a Cityscapes folder

The first table changes one thing at a time; what PQ gains says what that part costs. The second shows which
true segments are found, by their size in pixels. The least area of stuff is 2048 pixels at 1024 x 2048 and in
proportion at other sizes.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.data.cityscapes import CityscapesDataset, find_splits
from panodeeplab.data.sample import Sample
from panodeeplab.data.scenes import StreetScenes
from panodeeplab.evaluation import PanopticQuality, format_table
from panodeeplab.evaluation.oracle import OracleOutputs, oracle_outputs
from panodeeplab.ops import pair_counts, panoptic_segmentation

PARTS = ("semantic", "center", "offset")
AREAS = (0, 64, 256, 1024, 2048, 4096, 16384, 2**31)


def upsampled(outputs: OracleOutputs, stride: int) -> OracleOutputs:
    """The same maps at stride 1, as the op itself would upsample them."""
    semantic, center, offset = (
        F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False) for x in outputs
    )
    return OracleOutputs(semantic, center, offset * stride)


def variants(
    sample: Sample, classes: ClassTable, stride: int
) -> Iterable[tuple[str, OracleOutputs, int, dict]]:
    """Name, outputs, their stride and parameters of the op, for each row of the first table."""

    def oracle(stride: int, segments_info: list) -> OracleOutputs:
        return oracle_outputs(
            sample.panoptic,
            segments_info,
            num_classes=len(classes),
            thing_ids=classes.thing_ids,
            stride=stride,
        )

    coarse = oracle(stride, sample.segments_info)
    yield f"stride {stride}", coarse, stride, {}
    yield "  no least stuff area", coarse, stride, {"stuff_area": 0}
    yield "  1000 centres instead of 200", coarse, stride, {"top_k": 1000}
    instances = [segment for segment in sample.segments_info if not segment["iscrowd"]]
    yield (
        "  no centre in crowd regions",
        oracle(stride, instances)._replace(semantic=coarse.semantic),
        stride,
        {},
    )
    if stride == 1:
        return
    height, width = sample.panoptic.shape
    fine = oracle(1, sample.segments_info)
    spread = OracleOutputs(*(x[..., :height, :width] for x in upsampled(coarse, stride)))
    for part in PARTS:
        yield f"  {part} of stride 1", spread._replace(**{part: getattr(fine, part)}), 1, {}
    yield "  center and offset of stride 1", fine._replace(semantic=spread.semantic), 1, {}


def found_by_area(
    target: np.ndarray, prediction: np.ndarray, segments_info: list, classes: ClassTable
) -> Counter:
    """Numbers of true segments and of found ones, by (things or stuff, least area of the bin)."""
    pairs, counts = (x.numpy() for x in pair_counts(torch.from_numpy(target), torch.from_numpy(prediction)))
    void = ~np.isin(pairs[:, 0], [segment["id"] for segment in segments_info])
    tally: Counter = Counter()
    for segment in segments_info:
        mine = pairs[:, 0] == segment["id"]
        area = counts[mine].sum()
        if segment["iscrowd"] or area == 0:
            continue
        kind = "things" if segment["category_id"] in classes.thing_ids else "stuff"
        least = max(a for a in AREAS if a <= area)
        tally[kind, least, "all"] += 1
        for predicted, both in zip(pairs[mine, 1], counts[mine], strict=True):
            union = counts[(pairs[:, 1] == predicted) & ~void].sum() + area - both
            if predicted // 1000 == segment["category_id"] and both / union > 0.5:
                tally[kind, least, "found"] += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cityscapes", help="Cityscapes folder; generated streets by default")
    parser.add_argument("--count", type=int, default=20, help="number of generated streets")
    parser.add_argument("--stride", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    if arguments.cityscapes:
        datasets = [CityscapesDataset(arguments.cityscapes, s) for s in find_splits(arguments.cityscapes)]
    else:
        datasets = [StreetScenes(arguments.count)]
    classes = datasets[0].classes
    for stride in arguments.stride:
        qualities: dict[str, PanopticQuality] = {}
        tally: Counter = Counter()
        samples = chain.from_iterable((dataset[i] for i in range(len(dataset))) for dataset in datasets)
        for sample in tqdm(samples, f"stride {stride}", sum(map(len, datasets)), unit="image", leave=False):
            for name, outputs, at, parameters in variants(sample, classes, stride):
                height, width = sample.panoptic.shape
                parameters = {"stuff_area": round(2048 * height * width / (1024 * 2048)), **parameters}
                result = panoptic_segmentation(
                    *outputs,
                    stride=at,
                    thing_ids=classes.thing_ids,
                    output_size=sample.panoptic.shape,
                    **parameters,
                )
                prediction = result.panoptic[0].numpy()
                qualities.setdefault(name, PanopticQuality(classes)).update(
                    prediction, sample.panoptic, sample.segments_info
                )
                if name == f"stride {stride}":
                    tally += found_by_area(sample.panoptic, prediction, sample.segments_info, classes)
        print(f"\n{'':40}   PQ  things  stuff")
        for name, quality in qualities.items():
            pq = [100 * quality.result()[group]["pq"] for group in ("All", "Things", "Stuff")]
            print(f"{name:38}{pq[0]:7.2f}{pq[1]:8.2f}{pq[2]:7.2f}")
        print(f"\n{'area from':>10}{'things':>18}{'stuff':>18}")
        for least in AREAS[:-1]:
            cells = [
                f"{tally[kind, least, 'found']} of {tally[kind, least, 'all']}"
                for kind in ("things", "stuff")
            ]
            print(f"{least:10}{cells[0]:>18}{cells[1]:>18}")
        first = qualities[f"stride {stride}"]
        print("\n" + format_table(first.result(), first.categories), flush=True)


if __name__ == "__main__":
    main()
