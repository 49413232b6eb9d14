"""Results of the post-processing: what they hold, and that they are right at any size of the image."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab import ops
from panodeeplab.classes import CITYSCAPES
from panodeeplab.config import PostprocessConfig
from panodeeplab.model import Predictions
from panodeeplab.postprocess import PanopticSegment, _in_one_copy, postprocess

ROAD, SKY, PERSON, CAR, TRUCK = 0, 10, 11, 13, 14


class Box(NamedTuple):
    """A thing that fills cells y0..y1, x0..x1 of the grid."""

    category: int
    y0: int
    x0: int
    y1: int
    x1: int
    height: float = 0.9  # of the center


def perfect_predictions(grid, things, *, logit=8.0):
    """Sky over road with things on it, as a network without error would predict it, and the map by cells."""
    h, w = grid
    category = torch.full(grid, SKY)
    category[h // 2 :] = ROAD
    panoptic = category * 1000
    center, offset = torch.zeros(1, *grid), torch.zeros(2, *grid)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    count = dict.fromkeys(CITYSCAPES.thing_ids, 0)
    for thing in sorted(things, key=lambda t: ((t.y0 + t.y1) // 2, (t.x0 + t.x1) // 2)):
        inside = (slice(thing.y0, thing.y1), slice(thing.x0, thing.x1))
        middle = ((thing.y0 + thing.y1) // 2, (thing.x0 + thing.x1) // 2)
        count[thing.category] += 1
        category[inside] = thing.category
        panoptic[inside] = thing.category * 1000 + count[thing.category]
        # Off the middle of the cell: upsampled, a peak that is even on all sides is a plateau of four pixels,
        # and the op keeps all four, as the reference implementations do.
        distance = (y - middle[0] - 0.2) ** 2 + (x - middle[1] - 0.1) ** 2
        center[0] = torch.maximum(center[0], thing.height * torch.exp(-distance / 8))
        offset[0][inside], offset[1][inside] = (
            (middle[0] - y)[inside].float(),
            (middle[1] - x)[inside].float(),
        )
    semantic = logit * torch.nn.functional.one_hot(category, len(CITYSCAPES)).permute(2, 0, 1).float()
    return Predictions(semantic[None], center[None], offset[None]), panoptic.numpy()


THINGS = (Box(CAR, 10, 4, 18, 16), Box(CAR, 10, 16, 18, 28, 0.5), Box(PERSON, 8, 32, 20, 36))
GRID, INPUT_SIZE = (24, 40), (96, 160)
CONFIG = PostprocessConfig(stuff_area=64)


def run(predictions, output_size=None, *, input_size=INPUT_SIZE, config=CONFIG):
    return postprocess(
        predictions, input_size=input_size, output_size=output_size, classes=CITYSCAPES, config=config
    )


def check_in_place(panoptic, cells, reach):
    """The map shows the cells, but for pixels within `reach` of an outline: upsampling rounds corners off."""
    y, x = (
        ((np.arange(length) + 0.5) * cells / length).astype(int)
        for length, cells in zip(panoptic.shape, cells.shape, strict=True)
    )
    expected = cells[y][:, x]
    assert np.unique(panoptic).tolist() == np.unique(expected).tolist()
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inner = cv2.erode(expected.astype(np.float32), window) == cv2.dilate(expected.astype(np.float32), window)
    assert inner.mean() > 0.4
    assert (panoptic == expected)[inner].all()


def check_consistent(result):
    """Everything that segments say of the map is true."""
    assert result.panoptic.dtype == np.int32
    ids, areas = np.unique(result.panoptic[result.panoptic != -1], return_counts=True)
    assert [segment.id for segment in result.segments] == ids.tolist()
    assert [segment.area for segment in result.segments] == areas.tolist()
    for segment in result.segments:
        y, x = np.nonzero(result.panoptic == segment.id)
        assert segment.box == (y.min(), x.min(), y.max() + 1, x.max() + 1)
        assert segment.category == CITYSCAPES.names[segment.category_id]
        assert segment.category_id == segment.id // 1000
        assert segment.is_thing == (segment.category_id in CITYSCAPES.thing_ids) == (segment.id % 1000 > 0)
        assert (segment.center is not None) == segment.is_thing
        assert 0 <= segment.score <= 1
        values = (segment.id, segment.area, *segment.box, *(segment.center or ()))
        assert all(type(value) is int for value in values)
        assert type(segment.score) is float


def test_a_scene_at_the_size_of_the_input():
    predictions, cells = perfect_predictions(GRID, THINGS)
    (result,) = run(predictions)
    check_in_place(result.panoptic, cells, 1)
    check_consistent(result)
    first_car = result.segments[3]
    assert first_car == PanopticSegment(
        id=13001,
        category_id=CAR,
        category="car",
        is_thing=True,
        score=first_car.score,
        # Upsampling rounds off two of its corners, by a pixel each.
        area=8 * 12 * 16 - 2,
        box=(40, 16, 72, 64),
        center=first_car.center,
    )
    assert [segment.category for segment in result.segments] == ["road", "sky", "person", "car", "car"]
    for segment, thing in zip(result.segments[2:], (THINGS[2], *THINGS[:2]), strict=True):
        middle = (thing.y0 + thing.y1) // 2 * 4 + 1.5, (thing.x0 + thing.x1) // 2 * 4 + 1.5
        assert np.abs(np.subtract(segment.center, middle)).max() <= 1


def test_score_is_class_probability_times_height_of_the_center():
    predictions, _ = perfect_predictions(GRID, THINGS, logit=30.0)
    person, first, second = run(predictions)[0].segments[2:]
    # Bilinear upsampling by an even stride samples a little beside the peak.
    assert 0.8 < first.score <= 0.9
    assert first.score / second.score == pytest.approx(0.9 / 0.5, rel=1e-3)
    assert person.score == pytest.approx(first.score, rel=1e-3)
    unsure, _ = perfect_predictions(GRID, THINGS, logit=2.0)
    road = run(unsure)[0].segments[0]
    assert 0.2 < road.score < np.exp(2) / (np.exp(2) + 18) + 1e-4
    too_high, _ = perfect_predictions(GRID, [THINGS[0]._replace(height=7.0)], logit=30.0)
    assert run(too_high)[0].segments[2].score == pytest.approx(1.0, abs=0.02)


def test_score_can_be_one_of_its_factors():
    predictions, _ = perfect_predictions(GRID, THINGS, logit=3.0)
    product, semantic, center = (
        [
            s.score
            for s in run(predictions, config=CONFIG.model_copy(update={"instance_score": kind}))[0].segments
        ]
        for kind in ("product", "semantic", "center")
    )
    assert semantic[2:] != center[2:]
    assert product[2:] == pytest.approx(np.multiply(semantic[2:], center[2:]))
    assert product[:2] == semantic[:2] == center[:2]  # stuff has no center


@pytest.mark.parametrize("output_size", [INPUT_SIZE, (131, 187)])
def test_class_map_is_the_best_class_of_every_pixel(output_size):
    predictions, _ = perfect_predictions(GRID, THINGS)
    large = CONFIG.model_copy(update={"stuff_area": 10**6})
    result = postprocess(
        predictions,
        input_size=INPUT_SIZE,
        output_size=output_size,
        classes=CITYSCAPES,
        config=large,
        class_map=True,
    )[0]
    assert result.class_map.dtype == np.int32
    assert result.class_map.shape == output_size
    things = np.isin(result.class_map, CITYSCAPES.thing_ids)
    # Where the panoptic map says something, it says the same; stuff that it dropped has a class here.
    assert (result.class_map[things] == result.semantic[things]).mean() > 0.97
    assert (result.semantic[~things] == -1).all()
    assert set(np.unique(result.class_map[~things])) == {ROAD, SKY}
    assert run(predictions)[0].class_map is None


def test_predictions_of_another_stride():
    predictions, cells = perfect_predictions(GRID, THINGS)
    for stride, size in ((1, GRID), (8, (192, 320))):
        result = postprocess(predictions, input_size=size, classes=CITYSCAPES, config=CONFIG, stride=stride)[
            0
        ]
        check_in_place(result.panoptic, cells, stride)
    with pytest.raises(ValueError, match="do not cover"):
        postprocess(predictions, input_size=(25, 40), classes=CITYSCAPES, config=CONFIG, stride=1)


@pytest.mark.parametrize(
    "output_size",
    [(192, 320), (288, 480), (48, 80), (24, 40), (144, 240), (131, 219), (97, 161), (90, 150), (96, 220)],
)
def test_an_image_of_another_size_keeps_segments_in_place(output_size):
    predictions, cells = perfect_predictions(GRID, THINGS)
    (result,) = run(predictions, output_size)
    assert result.panoptic.shape == output_size
    check_consistent(result)
    check_in_place(result.panoptic, cells, max(1, output_size[1] // (2 * GRID[1])))
    for segment in result.segments[2:]:
        y0, x0, y1, x1 = segment.box
        assert y0 <= segment.center[0] < y1
        assert x0 <= segment.center[1] < x1


def test_offsets_still_reach_their_center_when_cells_are_divided():
    # The ends of the truck would fall to the car before it if offsets kept counting the larger cells.
    predictions, cells = perfect_predictions(GRID, [Box(TRUCK, 10, 0, 18, 26), Box(CAR, 14, 17, 18, 20)])
    for output_size in ((144, 240), (119, 198), (47, 78)):
        (result,) = run(predictions, output_size)
        check_in_place(result.panoptic, cells, 2)


def test_limits_are_in_pixels_of_the_network_input():
    predictions, _ = perfect_predictions(GRID, [Box(CAR, 10, 4, 18, 16)])
    # The sky has 24 x 40 / 2 cells of 16 pixels, less 2 rows of the car.
    sky_area = (12 * 40 - 2 * 12) * 16
    for output_size in ((96, 160), (192, 320), (48, 80)):
        for limit, kept in ((sky_area, True), (sky_area + 16, False)):
            (result,) = run(predictions, output_size, config=PostprocessConfig(stuff_area=limit))
            assert ("sky" in [segment.category for segment in result.segments]) == kept


def test_image_with_cells_cut_by_its_edge():
    predictions, _ = perfect_predictions(GRID, THINGS)
    (result,) = run(predictions, input_size=(93, 158))
    (whole,) = run(predictions)
    assert (result.panoptic == whole.panoptic[:93, :158]).all()
    check_consistent(result)
    (whole,) = run(predictions, (192, 320))
    (result,) = run(predictions, (186, 316), input_size=(93, 158))
    assert (result.panoptic == whole.panoptic[:186, :316]).all()
    check_consistent(result)


def test_images_of_a_batch_do_not_mix():
    first, _ = perfect_predictions(GRID, THINGS)
    second, _ = perfect_predictions(GRID, [Box(PERSON, 2, 2, 8, 8)])
    both = Predictions(*(torch.cat(maps) for maps in zip(first, second, strict=True)))
    for size in (None, (131, 219)):
        for together, alone in zip(run(both, size), run(first, size) + run(second, size), strict=True):
            assert (together.panoptic == alone.panoptic).all()
            assert together.segments == alone.segments


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_tables_come_from_a_device_in_one_copy(batch, monkeypatch):
    torch.manual_seed(0)
    output = ops.panoptic_segmentation(
        torch.randn(batch, 5, 6, 7),
        torch.rand(batch, 1, 6, 7),
        torch.randn(batch, 2, 6, 7),
        stride=4,
        output_size=(24, 28),
        thing_ids=(1, 3),
        semantic_probability=True,
    )
    copies, plain = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: copies.append(self.shape) or plain(self))
    arrays = _in_one_copy(output[1:])
    assert len(copies) == 1
    for array, tensor in zip(arrays, output[1:], strict=True):
        assert torch.equal(torch.from_numpy(array), tensor)
        assert torch.from_numpy(array).dtype == tensor.dtype


def test_an_empty_scene_has_the_same_fields():
    predictions, _ = perfect_predictions(GRID, [Box(CAR, 0, 0, 24, 40, 0.01)])
    (result,) = run(predictions)
    assert (result.panoptic == -1).all()
    assert result.segments == ()
    assert (result.semantic == -1).all()
    assert (result.instance == 0).all()


def test_semantic_and_instance_are_the_halves_of_the_id():
    (result,) = run(perfect_predictions(GRID, THINGS)[0], config=PostprocessConfig(stuff_area=8000))
    assert (result.panoptic == -1).any()
    for part in (result.semantic, result.instance):
        assert part.dtype == np.int32
        assert part.shape == result.panoptic.shape
    void = result.panoptic == -1
    assert (np.where(void, -1, result.semantic * 1000 + result.instance) == result.panoptic).all()
    assert set(np.unique(result.instance)) == {0, 1, 2}


def test_overlay_needs_the_image():
    (result,) = run(perfect_predictions(GRID, THINGS)[0])
    with pytest.raises(ValueError, match="image is None"):
        result.overlay()


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_segments_agree_with_the_map_whatever_the_network_says(data, seed):
    size = st.tuples(st.integers(1, 50), st.integers(1, 50))
    input_size, output_size = data.draw(size), data.draw(size)
    grid = [-(-length // 4) for length in input_size]
    random = torch.Generator().manual_seed(seed)
    predictions = Predictions(
        torch.randn(1, len(CITYSCAPES), *grid, generator=random) * 3,
        torch.rand(1, 1, *grid, generator=random),
        torch.randn(1, 2, *grid, generator=random) * 4,
    )
    (result,) = run(predictions, output_size, input_size=input_size, config=PostprocessConfig(stuff_area=20))
    assert result.panoptic.shape == output_size
    check_consistent(result)


@pytest.mark.parametrize("output_size", [(96, 160), (192, 320), (48, 80)])
def test_centers_may_come_from_votes(output_size):
    predictions, cells = perfect_predictions(GRID, THINGS, logit=30.0)
    blind = predictions._replace(center=torch.zeros_like(predictions.center))
    assert not any(segment.is_thing for segment in run(blind, output_size)[0].segments)
    votes = CONFIG.model_copy(update={"center_source": "votes"})
    (result,) = run(blind, output_size, config=votes)
    check_in_place(result.panoptic, cells, 2)
    check_consistent(result)
    for segment in result.segments:
        assert (segment.support > 0.95) == segment.is_thing
        assert segment.score > 0.9
    # The person has 12 x 4 cells of 16 pixels of the input; the threshold counts those at any size.
    for threshold, people in ((760, 1), (770, 0)):
        (result,) = run(blind, output_size, config=votes.model_copy(update={"vote_threshold": threshold}))
        assert [segment.category for segment in result.segments].count("person") == people


def test_a_center_without_agreement_has_little_support():
    predictions, _ = perfect_predictions(GRID, THINGS, logit=30.0)
    both = CONFIG.model_copy(update={"center_source": "both"})
    noise = torch.randn(predictions.offset.shape, generator=torch.Generator().manual_seed(0))

    def support(strength):
        given = predictions._replace(offset=predictions.offset + strength * noise)
        cars = [s for s in run(given, config=both)[0].segments if s.category_id == CAR]
        return max(cars, key=lambda car: car.area).support

    assert support(0) > 0.95
    assert 0.3 < support(1) < 0.6
    assert all(segment.support == 0 for segment in run(predictions)[0].segments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": (0, 4)}, "input_size must be"),
        ({"output_size": (4, -1)}, "output_size must be"),
        ({"input_size": (97, 160)}, r"do not cover input_size \(97, 160\)"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(perfect_predictions(GRID, THINGS)[0], **arguments)


def test_channels_that_are_not_the_classes_are_refused():
    predictions, _ = perfect_predictions(GRID, THINGS)
    with pytest.raises(ValueError, match=r"19 classes, predictions\.semantic has 18 channels"):
        run(predictions._replace(semantic=predictions.semantic[:, 1:]))


def test_aligned_corners_reach_the_op():
    predictions, _ = perfect_predictions((25, 41), THINGS)
    (result,) = postprocess(
        predictions, input_size=(97, 161), classes=CITYSCAPES, config=CONFIG, align_corners=True
    )
    output = ops.panoptic_segmentation(
        *predictions,
        stride=4,
        align_corners=True,
        thing_ids=CITYSCAPES.thing_ids,
        stuff_area=CONFIG.stuff_area,
    )
    assert np.array_equal(result.panoptic, output.panoptic[0].numpy())
    with pytest.raises(
        ValueError, match=r"predictions of \(24, 41\) cells do not cover input_size \(94, 161\)"
    ):
        postprocess(
            Predictions(*(x[:, :, :24] for x in predictions)),
            input_size=(94, 161),
            classes=CITYSCAPES,
            config=CONFIG,
            align_corners=True,
        )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_an_edge_stays_where_it_is_at_any_size(ratio, align_corners):
    """Road on the left and sky on the right of x = 81.2 pixels of the network's input."""
    height, width = 97, 161
    cells = (25, 41)
    x = torch.arange(cells[1]) * 4 + (0 if align_corners else 1.5)
    semantic = torch.zeros(1, len(CITYSCAPES), *cells)
    semantic[:, SKY], semantic[:, ROAD] = x - 81.2, 81.2 - x
    predictions = Predictions(semantic, torch.zeros(1, 1, *cells), torch.zeros(1, 2, *cells))
    size = (round(height * ratio), round(width * ratio))
    (result,) = postprocess(
        predictions,
        input_size=(height, width),
        output_size=size,
        classes=CITYSCAPES,
        config=CONFIG,
        align_corners=align_corners,
    )
    middle = (np.arange(size[1]) + 0.5) * width / size[1] - 0.5
    clear = np.abs(middle - 81.2) > 1e-3
    expected = np.where(middle > 81.2, SKY, ROAD)
    assert (result.semantic[:, clear] == expected[clear]).all()
