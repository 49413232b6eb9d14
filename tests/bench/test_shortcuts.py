"""The short cuts of the compiled post-processing, held against the reference, which takes none."""

import numpy as np
import pytest
import torch

from panodeeplab.bench.shortcuts import (
    MARGIN,
    TILE_SIDE,
    Tiles,
    Work,
    cell_of_pixels,
    cell_work,
    sample_classes,
    sample_votes,
    settled_cells,
)
from panodeeplab.bench.street_outputs import street_outputs
from panodeeplab.ops import panoptic_segmentation
from panodeeplab.ops.reference import nearest_center, output_axis, semantic_argmax, upsample

CPU = torch.device("cpu")


def grid_of(h, w, stride):
    return output_axis(h, stride, False, h * stride, CPU), output_axis(w, stride, False, w * stride, CPU)


def per_pixel(cells, stride):
    """Values of cells, at each pixel."""
    rows, columns = (cell_of_pixels((n - 1) * stride, stride) for n in cells.shape[:2])
    return cells[rows][:, columns]


@pytest.mark.parametrize(
    ("stride", "expected"),
    [(2, [0, 1, 1, 2, 2, 3, 3, 4]), (3, [0, 1, 1, 1, 2, 2, 2, 3]), (4, [0, 0, 1, 1, 1, 1, 2, 2])],
)
def test_a_cell_begins_with_the_first_pixel_that_is_not_before_its_sample(stride, expected):
    assert cell_of_pixels(8, stride).tolist() == expected


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
@pytest.mark.parametrize("whole", [False, True], ids=["smooth", "with ties"])
def test_a_cell_whose_corners_agree_has_one_class_in_the_reference(stride, whole):
    generator = torch.Generator().manual_seed(stride)
    h, w = 12, 17
    semantic = 2 * torch.randn(4, h, w, generator=generator)
    semantic[0, :6] += 3
    semantic[1, :, 9:] += 3
    semantic = semantic.round() if whole else semantic
    label, valid = semantic_argmax(semantic, *grid_of(h, w, stride))
    classes = settled_cells(sample_classes(semantic))
    assert classes.shape == (h + 1, w + 1)
    of_pixels = per_pixel(classes, stride)
    known = of_pixels >= 0
    assert 0.05 < known.double().mean() < 0.9
    assert valid.all()
    assert torch.equal(of_pixels[known], label[known])


def test_a_tie_at_a_corner_settles_no_cell_around_it():
    semantic = torch.zeros(3, 4, 5)
    semantic[1] = 1.0
    assert (settled_cells(sample_classes(semantic)) == 1).all()
    semantic[2, 1, 2] = 1.0
    expected = torch.full((5, 6), 1)
    expected[1:3, 2:4] = -1
    assert torch.equal(settled_cells(sample_classes(semantic)), expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 2e38])
def test_a_logit_that_is_no_ordinary_number_settles_no_cell_around_it(value):
    semantic = torch.zeros(3, 4, 5)
    semantic[1] = 1.0
    semantic[0, 0, 0] = value
    classes = settled_cells(sample_classes(semantic))
    assert (classes[:2, :2] == -1).all()
    assert (classes == 1).sum() == 30 - 4


@pytest.fixture(scope="module")
def centers():
    generator = torch.Generator().manual_seed(1)
    random = torch.randint(0, 256, (40, 2), generator=generator)
    return torch.cat((random, random[:1], torch.tensor([[64, 64], [64, 96], [96, 64], [96, 96]])))


def test_the_nearest_center_is_among_the_candidates_of_the_tile(centers):
    height, width = 200, 256
    tiles = Tiles(centers, height, width)
    generator = torch.Generator().manual_seed(2)
    size = torch.tensor([height + 2 * MARGIN, width + 2 * MARGIN])
    votes = torch.rand(20_000, 2, generator=generator) * size - MARGIN
    votes[:5000] = votes[:5000].floor()  # borders of tiles, and ties
    nearest = nearest_center(votes[:, 0], votes[:, 1], centers)
    places = ((votes + MARGIN) / TILE_SIDE).floor().long().tolist()
    for (i, j), k in zip(places, nearest.tolist(), strict=True):
        assert k in tiles.candidates[i, j]


def test_most_tiles_have_few_candidates(centers):
    counts = Tiles(centers, 200, 256).counts(200, 256)
    assert counts.shape == (13, 16)
    assert counts.min() == 1
    assert 1 < counts.mean() < 4


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_cell_whose_corners_vote_for_one_center_belongs_to_it_in_the_reference(centers, stride):
    generator = torch.Generator().manual_seed(stride)
    h, w = 200 // stride, 256 // stride
    spread = torch.linspace(0, 12, w)  # pixels
    offset = torch.randn(2, h, w, generator=generator) * spread / stride
    tiles = Tiles(centers, h * stride, w * stride)
    votes = sample_votes(offset, stride)
    nearest = torch.tensor(
        [[tiles.clear_center(*votes[:, i, j].tolist()) for j in range(w)] for i in range(h)]
    )
    of_pixels = per_pixel(settled_cells(nearest), stride)
    known = of_pixels >= 0
    inner = slice(stride, -stride)  # at the border positions are clamped
    assert 0.1 < known[inner, inner].double().mean() < 0.9
    grid = grid_of(h, w, stride)
    y, x = torch.meshgrid(torch.arange(h * stride), torch.arange(w * stride), indexing="ij")
    votes_y, votes_x = y + upsample(offset[0], *grid) * stride, x + upsample(offset[1], *grid) * stride
    expected = nearest_center(votes_y.flatten(), votes_x.flatten(), centers).view(y.shape)
    assert torch.equal(
        of_pixels[inner, inner][known[inner, inner]], expected[inner, inner][known[inner, inner]]
    )


def test_a_sample_votes_from_the_middle_of_its_pixels():
    offset = torch.tensor([1.0, -0.5])[:, None, None].expand(2, 2, 3)
    y, x = sample_votes(offset, 4)
    assert y.tolist() == [[5.5] * 3, [9.5] * 3]
    assert x.tolist() == [[-0.5, 3.5, 7.5]] * 2


def test_a_vote_between_two_centers_is_clear_for_none():
    tiles = Tiles(torch.tensor([[50, 20], [50, 60]]), 128, 128)
    assert tiles.clear_center(45.0, 39.0) == 0
    assert tiles.clear_center(45.0, 41.0) == 1
    assert tiles.clear_center(45.0, 40.0) == -1
    assert tiles.clear_center(45.0, 39.99) == 0
    assert tiles.clear_center(45.0, 39.999) == -1  # interpolation may round it to the other side
    assert tiles.clear_center(float(-MARGIN), 0.0) == 0
    assert tiles.clear_center(-MARGIN - 1.0, 0.0) == -1  # beyond the tiles
    assert tiles.clear_center(0.0, np.nan) == tiles.clear_center(np.inf, 0.0) == -1


def test_settled_cells_are_of_one_segment_in_the_result():
    semantic, center, offset, things = street_outputs(128, 256, 4, 19, 12, 0)
    result = panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=things, stuff_area=0)
    centers = result.centers[0, : result.num_centers]
    work, classes, nearest = cell_work(semantic[0], offset[0], centers, stride=4, thing_ids=things)
    assert set(work.unique().tolist()) == set(Work)
    work, classes, nearest = (per_pixel(x, 4) for x in (work, classes, nearest))
    panoptic = result.panoptic[0]
    stuff = work == Work.STUFF
    assert torch.equal(panoptic[stuff], classes[stuff].int() * 1000)
    count = result.num_segments
    ids, of_segments = result.segment_ids[0, :count], result.segment_centers[0, :count]
    center_of_pixels = of_segments[torch.searchsorted(ids, panoptic)]
    thing = work == Work.THING
    assert torch.equal(center_of_pixels[thing].long(), nearest[thing])


def test_cells_at_the_border_of_an_image_are_looked_at_if_they_are_of_things():
    semantic = torch.zeros(2, 4, 5)
    semantic[1] = 1.0
    offset, centers = torch.zeros(2, 4, 5), torch.tensor([[8, 10]])
    work, _, nearest = cell_work(semantic, offset, centers, stride=4, thing_ids=(1,))
    expected = torch.full((5, 6), int(Work.CENTERS))
    expected[1:-1, 1:-1] = int(Work.THING)
    assert torch.equal(work, expected)
    assert torch.equal(nearest, torch.where(work == Work.THING, 0, -1))
    work, *_ = cell_work(semantic, offset, centers, stride=4, thing_ids=(0,))
    assert (work == Work.STUFF).all()
