"""Where centres should come from: PQ of the three sources, for a model and for perfect outputs made noisier.

    python benchmarks/centers.py                                  # 40 generated streets, the bundled model
    python benchmarks/centers.py --checkpoint FILE --count 200    # another model, more streets
    python benchmarks/centers.py --plot docs/centers.png          # also draws the figure
    python benchmarks/centers.py --cityscapes FOLDER              # the labels of Cityscapes frames, no model

Perfect outputs are made from the ground truth (`panodeeplab.evaluation.oracle`), then spoiled:

- heatmap noise n: each peak is dropped with probability n / 2, n / 2 false peaks for each instance stand on
  random things, and all are moved by 2 n cells (one standard deviation on each axis);
- offset noise n: smooth noise of 0.5 n cells plus 6 % of the offset's length times n on each axis, about what
  a small network has at n = 1, and a third as much without neighbors that agree.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from panodeeplab.bench.plot import Panel, line_plot
from panodeeplab.classes import ClassTable
from panodeeplab.config import PostprocessConfig
from panodeeplab.data.cityscapes import CityscapesDataset, find_splits
from panodeeplab.data.sample import Sample
from panodeeplab.data.scenes import StreetScenes
from panodeeplab.evaluation import PanopticQuality
from panodeeplab.evaluation.oracle import oracle_outputs
from panodeeplab.model import STRIDE, Predictions, load_checkpoint
from panodeeplab.postprocess import postprocess
from panodeeplab.targets import panoptic_targets

SOURCES = {
    "heatmap": {"center_source": "heatmap"},
    "votes": {"center_source": "votes"},
    "both": {"center_source": "both"},
    "votes, class-aware": {"center_source": "votes", "class_aware_votes": True},
    "both, class-aware": {"center_source": "both", "class_aware_votes": True},
}
HEATMAP_NOISE = (0.0, 0.25, 0.5, 0.75, 1.0)
OFFSET_NOISE = (0.0, 0.5, 1.0, 2.0, 3.0)
# What one panel of the figure holds still while the other noise grows.
STILL_HEATMAP, STILL_OFFSET = 0.25, 1.0


def noisy_heatmap(
    points: Tensor,
    things: Tensor,
    size: tuple[int, int],
    noise: float,
    sigma: int,
    generator: torch.Generator,
) -> Tensor:
    """Gaussians at (K,2) true centres in pixels and at false ones on (M,2) cells of things, (h,w)."""
    middle = (STRIDE - 1) / 2
    kept = points[torch.rand(len(points), generator=generator) >= noise / 2]
    if len(things) > 0:
        count = int(torch.poisson(torch.tensor(noise / 2 * len(points)), generator=generator))
        chosen = torch.randint(0, len(things), (count,), generator=generator)
        kept = torch.cat((kept, things[chosen] * STRIDE + middle))
    kept = kept + 2 * noise * STRIDE * torch.randn(kept.shape, generator=generator)
    y, x = (torch.arange(n) * STRIDE + middle for n in size)
    heatmap = torch.zeros(size)
    for center_y, center_x in kept.tolist():
        squared = (y[:, None] - center_y) ** 2 + (x - center_x) ** 2
        heatmap = torch.maximum(heatmap, torch.exp(-squared / (2 * sigma**2)))
    return heatmap


def noisy_offset(offset: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """(2,h,w) offsets in cells, spoiled."""
    h, w = offset.shape[1:]
    coarse = torch.randn(1, 2, h // 6 + 2, w // 6 + 2, generator=generator)
    shared = F.interpolate(coarse, (h, w), mode="bicubic")[0]
    alone = torch.randn(2, h, w, generator=generator) / 3
    return offset + noise * (0.5 + 0.06 * offset.norm(dim=0)) * (shared + alone)


def noisy_oracle(
    sample: Sample, classes: ClassTable, levels: Iterable[tuple[float, float]], sigma: int, seed: int
) -> Iterator[Predictions]:
    """Perfect outputs with each level of (heatmap, offset) noise; the same noise, more or less of it."""
    semantic, _, offset = oracle_outputs(
        sample.panoptic,
        sample.segments_info,
        num_classes=len(classes),
        thing_ids=classes.thing_ids,
        stride=STRIDE,
    )
    points = panoptic_targets(
        sample.panoptic, sample.segments_info, thing_ids=classes.thing_ids
    ).center_points
    things = torch.isin(semantic[0].argmax(0), torch.tensor(classes.thing_ids)).nonzero()
    for heatmap_noise, offset_noise in levels:
        generator = torch.Generator().manual_seed(seed)
        spoiled = noisy_offset(offset[0], offset_noise, generator)
        heatmap = noisy_heatmap(points.float(), things, semantic.shape[2:], heatmap_noise, sigma, generator)
        yield Predictions(semantic, heatmap[None, None], spoiled[None])


class Scores:
    """PQ and numbers of things found, by any key and source."""

    def __init__(self, classes: ClassTable, config: PostprocessConfig) -> None:
        self.classes, self.config = classes, config
        self.qualities: dict[tuple, PanopticQuality] = {}
        self.found: dict[tuple, int] = {}

    def update(
        self, key: object, predictions: Predictions, sample: Sample, *, align_corners: bool = False
    ) -> None:
        for name, settings in SOURCES.items():
            (result,) = postprocess(
                predictions,
                input_size=sample.panoptic.shape,
                classes=self.classes,
                config=PostprocessConfig(**(self.config.model_dump() | settings)),
                align_corners=align_corners,
            )
            quality = self.qualities.setdefault((key, name), PanopticQuality(self.classes))
            quality.update(result.panoptic, sample.panoptic, sample.segments_info)
            things = sum(segment.is_thing for segment in result.segments)
            self.found[key, name] = self.found.get((key, name), 0) + things

    def pq(self, key: object, name: str, group: str = "Things") -> float:
        return 100 * self.qualities[key, name].result()[group]["pq"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="street-tiny", help="a file or the name of a bundled model")
    parser.add_argument("--count", type=int, default=40, help="number of generated streets")
    parser.add_argument("--seed", type=int, default=2, help="of the streets; training used others")
    parser.add_argument("--cityscapes", help="a Cityscapes folder in place of streets; its labels only")
    parser.add_argument("--vote-threshold", type=int, help="in place of the checkpoint's")
    parser.add_argument("--plot", help="PNG to draw")
    arguments = parser.parse_args()

    checkpoint = load_checkpoint(arguments.checkpoint)
    config, classes = checkpoint.config.postprocess, checkpoint.classes
    if arguments.cityscapes:
        datasets = [CityscapesDataset(arguments.cityscapes, s) for s in find_splits(arguments.cityscapes)]
        model, config, sigma = None, PostprocessConfig(), 8
    else:
        size = checkpoint.config.inference.input_size or (256, 512)
        datasets = [StreetScenes(arguments.count, size=size, seed=arguments.seed)]
        model, sigma = checkpoint.model.eval(), checkpoint.config.targets.sigma
    if arguments.vote_threshold is not None:
        config = config.model_copy(update={"vote_threshold": arguments.vote_threshold})
    levels = sorted(
        {(noise, STILL_OFFSET) for noise in HEATMAP_NOISE}
        | {(STILL_HEATMAP, noise) for noise in OFFSET_NOISE}
        | {(0.0, 0.0)}
    )
    scores = Scores(classes, config)
    count, instances = sum(map(len, datasets)), 0
    samples = chain.from_iterable((dataset[i] for i in range(len(dataset))) for dataset in datasets)
    with torch.inference_mode():
        for seed, sample in enumerate(tqdm(samples, "images", count, disable=not sys.stderr.isatty())):
            things = [s["id"] for s in sample.segments_info if s["category_id"] in classes.thing_ids]
            instances += len(np.intersect1d(things, sample.panoptic))
            if model is not None:
                image = torch.from_numpy(sample.image).permute(2, 0, 1)[None]
                scores.update("model", model(image), sample, align_corners=model.align_corners)
            outputs = noisy_oracle(sample, classes, levels, sigma, seed)
            for level, predictions in zip(levels, outputs, strict=True):
                scores.update(level, predictions, sample)

    height, width = sample.panoptic.shape
    print(
        f"{count} images of {height} x {width}, {instances / count:.1f} instances each, "
        f"vote_threshold {config.vote_threshold}"
    )
    if model is not None:
        print(f"\n{arguments.checkpoint:24}{'PQ':>8}{'things':>8}{'found':>8}")
        for name in SOURCES:
            every, things = (scores.pq("model", name, group) for group in ("All", "Things"))
            print(f"{name:24}{every:8.1f}{things:8.1f}{scores.found['model', name] / count:8.1f}")
    print(f"\n{'PQ of things, oracle':24}" + "".join(f"{name:>20}" for name in SOURCES))
    for level in levels:
        cells = "".join(f"{scores.pq(level, name):20.1f}" for name in SOURCES)
        print(f"heatmap {level[0]:.2f} offset {level[1]:.1f} {cells}")
    if arguments.plot:
        along = {
            "heatmap noise": (
                f"offset noise {STILL_OFFSET:g}",
                {x: (x, STILL_OFFSET) for x in HEATMAP_NOISE},
            ),
            "offset noise": (
                f"heatmap noise {STILL_HEATMAP:g}",
                {x: (STILL_HEATMAP, x) for x in OFFSET_NOISE},
            ),
        }
        panels = [
            Panel(
                title,
                axis,
                "PQ of things",
                {name: [(x, scores.pq(level, name)) for x, level in places.items()] for name in SOURCES},
            )
            for axis, (title, places) in along.items()
        ]
        line_plot(arguments.plot, panels)


if __name__ == "__main__":
    main()
