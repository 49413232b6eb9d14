"""The pictures of docs/post-processing.md (which work is skipped, on a generated street) and of README.md.

    python benchmarks/pictures.py [--output docs]

writes them and prints the shares that they show, of a street that the bundled model sees, and of the street
of 1024 x 2048 that `panodeeplab bench postprocess` times. What is drawn follows the compiled kernel's rules
(`panodeeplab.bench.shortcuts` has them in PyTorch), and is checked against the kernel's panoptic map.
"""

import argparse
import colorsys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from canvas import BLACK, WHITE, Box, Color, Entry, Place, View, dimmed, legend, stacked
from PIL import Image
from torch import Tensor

from panodeeplab.bench.shortcuts import (
    TILE_SIDE,
    CellWork,
    Tiles,
    Work,
    cell_of_pixels,
    cell_work,
    sample_votes,
)
from panodeeplab.bench.street_outputs import street_outputs
from panodeeplab.classes import ClassTable
from panodeeplab.data.scenes import StreetScenes
from panodeeplab.files import replacing
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import STRIDE, load_checkpoint
from panodeeplab.ops import PanopticOutput, panoptic_segmentation
from panodeeplab.ops.reference import output_axis, upsample
from panodeeplab.visualize import color_panoptic

SIZE = (256, 512)  # of the street, what the bundled model was trained for
SEED, NUMBER = 2, 7  # of streets that it was not trained on
# What is shown from near: y0, x0, y1, x1 in pixels; and cells whose votes are drawn, row and column.
CELLS_ZOOM = (156, 376, 188, 456)
VOTES_ZOOM = (122, 376, 182, 504)
EXAMPLES = ((34, 96), (35, 107), (39, 107), (33, 121), (43, 106))
ORANGE, PINK, LIGHT = (255, 150, 0), (255, 70, 160), (200, 200, 200)
# By the number of centers that can be nearest: 1, 2, 3, 4 and more.
HEAT = ((60, 160, 90), (250, 215, 70), (245, 140, 40), (215, 40, 40))


class Street(NamedTuple):
    """A street, what the network says of it, and what the post-processing makes of that."""

    image: np.ndarray  # (H,W,3) uint8
    semantic: Tensor  # (C,h,w)
    offset: Tensor  # (2,h,w)
    classes: ClassTable
    output: PanopticOutput

    @property
    def centers(self) -> Tensor:
        return self.output.centers[0, : self.output.num_centers.item()]

    @property
    def panoptic(self) -> np.ndarray:
        return self.output.panoptic[0].numpy()

    def work(self) -> CellWork:
        return cell_work(
            self.semantic, self.offset, self.centers, stride=STRIDE, thing_ids=self.classes.thing_ids
        )


def see_street(seed: int, number: int) -> Street:
    checkpoint = load_checkpoint("street-tiny")
    image = StreetScenes(number + 1, size=SIZE, seed=seed)[number].image
    with torch.inference_mode():
        maps = checkpoint.model.eval()(torch.from_numpy(image).permute(2, 0, 1)[None])
    config = checkpoint.config.postprocess
    output = panoptic_segmentation(
        *maps,
        stride=STRIDE,
        thing_ids=checkpoint.classes.thing_ids,
        center_threshold=config.center_threshold,
        nms_kernel=config.nms_kernel,
        top_k=config.top_k,
        stuff_area=config.stuff_area,
    )
    return Street(image, maps.semantic[0].float(), maps.offset[0].float(), checkpoint.classes, output)


def cell_box(street: Street, i: int, j: int) -> Box:
    """The pixels of a cell."""
    ends = []
    for index, size in zip((i, j), street.image.shape[:2], strict=True):
        begin = index * STRIDE - STRIDE + STRIDE // 2
        ends.append((max(begin, 0), min(begin + STRIDE, size)))
    (y0, y1), (x0, x1) = ends
    return y0, x0, y1, x1


def check_cells(street: Street, work: CellWork) -> None:
    """Raises if a cell that is said to need no look at its pixels has pixels of several segments."""
    rows, columns = (cell_of_pixels(n, STRIDE) for n in street.image.shape[:2])
    cells = rows[:, None] * work.work.shape[1] + columns
    ids = torch.from_numpy(street.panoptic).long()
    least, most = (
        torch.zeros(work.work.numel(), dtype=torch.long).scatter_reduce(
            0, cells.flatten(), ids.flatten(), reduce, include_self=False
        )
        for reduce in ("amin", "amax")
    )
    settled = (work.work <= Work.THING).flatten()
    if not torch.equal(least[settled], most[settled]):
        raise AssertionError("a cell was called settled whose pixels differ")


def draw_cells(street: Street, work: CellWork, zoom: Box) -> Image.Image:
    """The cells whose pixels are looked at one by one; below, some of them from near."""
    height, width = street.image.shape[:2]
    whole = View(dimmed(street.image, 0.6), (0, 0, height, width))
    colors = {Work.CLASSES: ORANGE, Work.CENTERS: PINK}
    for i, j in (work.work >= Work.CLASSES).nonzero().tolist():
        whole.fill(cell_box(street, i, j), colors[Work(work.work[i, j].item())])
    whole.frame(zoom, WHITE, 3)

    near = View(color_panoptic(street.panoptic, street.classes), zoom, smooth=False)
    y0, x0, y1, x1 = zoom
    rows, columns = (cell_of_pixels(n, STRIDE) for n in (height, width))
    cells = list(product(rows[y0:y1].unique().tolist(), columns[x0:x1].unique().tolist()))
    for i, j in cells:
        near.frame(cell_box(street, i, j), (*WHITE, 110), 1)
    unsettled = {cell: colors[kind] for cell in cells if (kind := Work(work.work[cell].item())) in colors}
    for cell in unsettled:
        top, left, bottom, right = cell_box(street, *cell)
        for y, x in product(range(top, bottom), range(left, right)):
            near.frame((y, x, y + 1, x + 1), (*BLACK, 120), 1)
    for cell, color in unsettled.items():
        near.frame(cell_box(street, *cell), color, 4)
    for i, j in cells:  # a sample lies where four cells meet
        near.dot(*cell_box(street, i, j)[:2], 4, WHITE, 2)
    shares = work.shares()
    strip = legend(
        [
            Entry(ORANGE, f"several classes possible: {shares[Work.CLASSES]:.1%} of the cells"),
            Entry(PINK, f"several centers possible: {shares[Work.CENTERS]:.1%}"),
            Entry(WHITE, "sample of the maps", "dot"),
        ]
    )
    return stacked((whole.picture, near.picture, strip))


def center_colors(count: int) -> list[Color]:
    """Bright hues, those of consecutive centers far apart."""
    hues = (np.arange(count) * 0.6180339887) % 1.0
    return [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, 1.0)) for hue in hues]


def draw_votes(street: Street, work: CellWork, zoom: Box, examples: Iterable[tuple[int, int]]) -> Image.Image:
    """Where the samples on things vote, in the color of their center; below, some cells from near."""
    height, width = street.image.shape[:2]
    colors = center_colors(len(street.centers))
    whole = View(dimmed(street.image, 0.6), (0, 0, height, width))
    near = View(dimmed(street.image, 0.9), zoom)
    for i, j, k in samples_of_things(street):
        for view, strength in ((whole, 130), (near, 70)):
            view.line(*vote_of_sample(street, i, j), (*colors[k], strength), 1)
    draw_borders(near, street, LIGHT)
    votes = [votes_of_pixels(street, axis) for axis in range(2)]
    for i, j in examples:
        k = work.centers[i, j].item()
        color, cell = colors[k] if k >= 0 else PINK, cell_box(street, i, j)
        lines = [vote_of_sample(street, *corner) for corner in product((i - 1, i), (j - 1, j))]
        for line in lines:
            near.line(*line, color, 2)
        near.hull([vote for _, vote in lines], (*color, 110))
        near.fill(cell, (*color, 150))
        near.frame(cell, color, 3)
        pixels = np.s_[cell[0] : cell[2], cell[1] : cell[3]]
        for y, x in zip(*(v[pixels].flatten().tolist() for v in votes), strict=True):
            near.dot(*on_edge((y, x)), 1.5, WHITE)
        for place, vote in lines:
            near.dot(*place, 4, color, 2)
            near.dot(*vote, 4, color, 2)
    whole.frame(zoom, WHITE, 3)
    for (y, x), color in zip(street.centers.tolist(), colors, strict=True):
        whole.dot(y + 0.5, x + 0.5, 6, color, 3)
        near.dot(y + 0.5, x + 0.5, 10, color, 4)
    strip = legend(
        [
            Entry(colors[0], "center", "dot"),
            Entry(colors[0], "sample, and its vote", "small dot"),
            Entry(WHITE, "vote of a pixel", "point"),
            Entry(LIGHT, "beyond it another center is nearest", "line"),
        ]
    )
    return stacked((whole.picture, near.picture, strip))


def vote_of_sample(street: Street, i: int, j: int) -> tuple[Place, Place]:
    """Where a sample lies, and the place that it votes for."""
    place = tuple(n * STRIDE + (STRIDE - 1) / 2 for n in (i, j))
    vote = sample_votes(street.offset, STRIDE)[:, i, j].tolist()
    return on_edge(place), on_edge(vote)


def votes_of_pixels(street: Street, axis: int) -> Tensor:
    """(H,W) y or x of the votes."""
    grid = [output_axis(n, STRIDE, False, n * STRIDE, torch.device("cpu")) for n in street.offset.shape[1:]]
    position = torch.meshgrid(*(torch.arange(n) for n in street.image.shape[:2]), indexing="ij")[axis]
    return position + STRIDE * upsample(street.offset[axis], *grid)


def draw_borders(view: View, street: Street, color: Color) -> None:
    """Lines where the nearest center changes."""
    nearest = nearest_centers(street.centers, *street.image.shape[:2])
    for y, x in np.argwhere(nearest[:, 1:] != nearest[:, :-1]).tolist():
        view.line((y, x + 1), (y + 1, x + 1), color, 2)
    for y, x in np.argwhere(nearest[1:] != nearest[:-1]).tolist():
        view.line((y + 1, x), (y + 1, x + 1), color, 2)


def on_edge(place: Place) -> Place:
    """A position that counts from the middle of the first pixel, as one that counts from its edge."""
    return place[0] + 0.5, place[1] + 0.5


def samples_of_things(street: Street) -> Iterator[tuple[int, int, int]]:
    """Row and column of each sample on a thing, and the center that the pixel there went to."""
    count = street.output.num_segments.item()
    ids = street.output.segment_ids[0, :count].tolist()
    center_of_id = dict(zip(ids, street.output.segment_centers[0, :count].tolist(), strict=True))
    for i in range(street.semantic.shape[1]):
        for j in range(street.semantic.shape[2]):
            k = center_of_id.get(int(street.panoptic[i * STRIDE + 1, j * STRIDE + 1]), -1)
            if k >= 0:
                yield i, j, k


def draw_tiles(street: Street) -> Image.Image:
    """How many centers can be nearest to a vote, tile by tile."""
    height, width = street.image.shape[:2]
    view = View(dimmed(street.image, 0.8), (0, 0, height, width))
    counts = Tiles(street.centers, height, width).counts(height, width)
    for (i, j), count in np.ndenumerate(counts):
        y, x = i * TILE_SIDE, j * TILE_SIDE
        box = (y, x, y + TILE_SIDE, x + TILE_SIDE)
        view.fill(box, (*HEAT[min(count, len(HEAT)) - 1], 70 if count == 1 else 150))
        view.frame(box, (*WHITE, 60), 1)
    draw_borders(view, street, BLACK)
    for (i, j), count in np.ndenumerate(counts):
        if count > 1:
            view.text((i + 0.5) * TILE_SIDE, (j + 0.5) * TILE_SIDE, str(count), 18, WHITE)
    for y, x in street.centers.tolist():
        view.dot(y + 0.5, x + 0.5, 6, WHITE, 3)
    entries = []
    for n, color in enumerate(HEAT, 1):
        last = n == len(HEAT)
        share = ((counts >= n) if last else (counts == n)).mean()
        words = "1 center can be nearest" if n == 1 else f"{n} or more" if last else str(n)
        entries.append(Entry(color, f"{words}: {share:.0%}" + (" of the tiles" if n == 1 else "")))
    entries.append(Entry(WHITE, "center", "dot"))
    return stacked((view.picture, legend(entries)))


def nearest_centers(centers: Tensor, height: int, width: int) -> np.ndarray:
    """(H,W) index of the center nearest to each pixel."""
    y, x = np.mgrid[:height, :width]
    places = centers.numpy()[:, :, None, None]
    return ((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2).argmin(0)


def print_shares(name: str, work: CellWork, tiles: np.ndarray) -> None:
    """What the pictures show, in figures."""
    shares = work.shares()
    print(f"{name}: {work.work.numel()} cells")
    for kind, words in {
        Work.STUFF: "one stuff class",
        Work.THING: "one thing class and one center",
        Work.CLASSES: "pixel by pixel, several classes possible",
        Work.CENTERS: "pixel by pixel, several centers possible",
    }.items():
        print(f"  {shares[kind]:6.1%}  {words}")
    print(f"  {(tiles == 1).mean():6.1%}  of the tiles list one center; {tiles.mean():.2f} on average")


def draw_seen(seed: int, number: int) -> Image.Image:
    """A street twice as large as the bundled model takes it in, and below it what the model sees."""
    image = StreetScenes(number + 1, size=tuple(2 * side for side in SIZE), seed=seed)[number].image
    predictor = Predictor.from_checkpoint("street-tiny", backend="eager", precision="float32")
    return Image.fromarray(np.concatenate([image, predictor(image).overlay()]))


def save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, quality=80, subsampling=0, optimize=True)
    print(f"wrote {path}, {path.stat().st_size // 1000} kB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.output.is_dir():
        raise SystemExit(f"output: no folder {arguments.output}")

    save(draw_seen(SEED, NUMBER), arguments.output / "street.jpg")
    street = see_street(SEED, NUMBER)
    work = street.work()
    check_cells(street, work)
    pictures = {
        "cells": draw_cells(street, work, CELLS_ZOOM),
        "votes": draw_votes(street, work, VOTES_ZOOM, EXAMPLES),
        "tiles": draw_tiles(street),
    }
    for name, picture in pictures.items():
        save(picture, arguments.output / f"post-processing-{name}.jpg")
    print_shares("the street of the pictures, 256 x 512", work, Tiles(street.centers, *SIZE).counts(*SIZE))

    size = (1024, 2048)
    semantic, center, offset, things = street_outputs(*size, STRIDE, 19, 50, 0)
    output = panoptic_segmentation(semantic, center, offset, stride=STRIDE, thing_ids=things)
    centers = output.centers[0, : output.num_centers.item()]
    work = cell_work(semantic[0], offset[0], centers, stride=STRIDE, thing_ids=things)
    print_shares(
        "the street of `panodeeplab bench postprocess`, 1024 x 2048",
        work,
        Tiles(centers, *size).counts(*size),
    )


if __name__ == "__main__":
    main()
