"""Drawing: the right colors in the right pixels, and no input that breaks it."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from panodeeplab.classes import CITYSCAPES
from panodeeplab.visualize import (
    color_panoptic,
    draw_center_heatmap,
    draw_offset,
    draw_panoptic,
    panoptic_from_segments,
)

ROAD, SKY, CAR, BICYCLE = 0, 10, 13, 18


class Scored(NamedTuple):
    id: int
    score: float


def street(height=128, width=256):
    """A gray picture, and a map of sky over road with two cars side by side and a void strip below."""
    panoptic = np.full((height, width), SKY * 1000, np.int32)
    panoptic[height // 2 :] = ROAD
    panoptic[height // 3 : height * 3 // 4, width // 8 : width // 2] = CAR * 1000 + 1
    panoptic[height // 3 : height * 3 // 4, width // 2 : width * 7 // 8] = CAR * 1000 + 2
    panoptic[-height // 16 :] = -1
    return np.full((height, width, 3), 128, np.uint8), panoptic


def test_stuff_has_its_class_color_and_void_is_black():
    _, panoptic = street()
    colors = color_panoptic(panoptic, CITYSCAPES)
    assert (colors[panoptic == ROAD] == CITYSCAPES.colors[ROAD]).all()
    assert (colors[panoptic == SKY * 1000] == CITYSCAPES.colors[SKY]).all()
    assert (colors[panoptic == -1] == 0).all()


@pytest.mark.parametrize("category", CITYSCAPES.thing_ids)
def test_instances_of_a_class_are_told_apart_and_keep_to_its_hue(category):
    ids = category * 1000 + np.arange(1, 21, dtype=np.int32)[None]
    colors = color_panoptic(ids, CITYSCAPES)
    assert len(np.unique(colors[0], axis=0)) == 20
    neighbors = np.abs(np.diff(colors[0].astype(int), axis=0)).sum(1)
    assert neighbors.min() >= 30
    hue = cv2.cvtColor(colors.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0, :, 0]
    base = np.float32(CITYSCAPES.colors[category])[None, None] / 255
    difference = (hue - cv2.cvtColor(base, cv2.COLOR_RGB2HSV)[0, 0, 0] + 180) % 360 - 180
    assert np.abs(difference).max() <= 25


def test_color_depends_on_the_id_alone():
    ids = np.array([[CAR * 1000 + 7]], np.int32)
    _, panoptic = street()
    panoptic[5, 9] = CAR * 1000 + 7
    assert (color_panoptic(panoptic, CITYSCAPES)[5, 9] == color_panoptic(ids, CITYSCAPES)[0, 0]).all()


@given(
    panoptic=hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.integers(-(2**31), 2**31 - 2),
    )
)
@settings(max_examples=40, deadline=None)
def test_any_ids_can_be_drawn_and_unknown_ones_are_black(panoptic):
    colors = color_panoptic(panoptic, CITYSCAPES)
    unknown = (panoptic < 0) | (panoptic >= len(CITYSCAPES) * 1000)
    assert (colors[unknown] == 0).all()
    assert colors[~unknown].any(axis=-1).all()
    picture = draw_panoptic(np.zeros((*panoptic.shape, 3), np.uint8), panoptic, CITYSCAPES)
    assert picture.shape == colors.shape


def test_overlay_blends_by_alpha_away_from_outlines():
    image, panoptic = street()
    for alpha in (0.0, 0.25, 1.0):
        picture = draw_panoptic(image, panoptic, CITYSCAPES, alpha=alpha, labels=False)
        expected = 128 * (1 - alpha) + alpha * np.array(CITYSCAPES.colors[SKY])
        assert np.abs(picture[3, 3] - expected).max() <= 1
    assert (image == 128).all()


def test_only_things_are_outlined():
    image, panoptic = street()
    picture = draw_panoptic(image, panoptic, CITYSCAPES, labels=False)
    plain = cv2.addWeighted(image, 0.5, color_panoptic(panoptic, CITYSCAPES), 0.5, 0)
    changed = cv2.absdiff(picture, plain).max(-1) > 1
    assert (picture[changed] >= 200).all()
    things = panoptic // 1000 == CAR
    near = cv2.dilate(things.astype(np.uint8), np.ones((3, 3), np.uint8)) == 1
    assert not changed[~near].any()
    # The line between the two cars runs from top to bottom.
    assert changed[panoptic.shape[0] // 3 : panoptic.shape[0] * 3 // 4, 127:129].any(axis=1).all()


def test_labels_are_written_on_large_segments_only_and_show_the_score():
    image, panoptic = street()
    panoptic[2:5, 2:5] = BICYCLE * 1000 + 1
    unlabelled = draw_panoptic(image, panoptic, CITYSCAPES, labels=False)
    low = draw_panoptic(image, panoptic, CITYSCAPES, segments=[Scored(CAR * 1000 + 1, 0.1)])
    high = draw_panoptic(image, panoptic, CITYSCAPES, segments=[Scored(CAR * 1000 + 1, 0.9)])
    labelled = (low != unlabelled).any(-1)
    for segment_id in (ROAD, SKY * 1000, CAR * 1000 + 1, CAR * 1000 + 2):
        assert labelled[panoptic == segment_id].any()
    assert not labelled[panoptic == BICYCLE * 1000 + 1].any()
    differs = (low != high).any(-1)
    assert differs.any()
    assert differs.sum() == differs[panoptic == CAR * 1000 + 1].sum()


def test_a_label_gives_way_to_that_of_a_larger_segment():
    # Two narrow things side by side: the word is wider than both, and the right one is a little larger.
    panoptic = np.full((200, 200), -1, np.int32)
    panoptic[60:140, 80:98] = BICYCLE * 1000 + 1
    panoptic[60:141, 98:117] = BICYCLE * 1000 + 2
    image = np.zeros((*panoptic.shape, 3), np.uint8)

    def label_pixels(panoptic):
        without = draw_panoptic(image, panoptic, CITYSCAPES, labels=False, alpha=0.0)
        return (draw_panoptic(image, panoptic, CITYSCAPES, alpha=0.0) != without).any(-1)

    larger_alone = label_pixels(np.where(panoptic == BICYCLE * 1000 + 1, -1, panoptic))
    smaller_alone = label_pixels(np.where(panoptic == BICYCLE * 1000 + 2, -1, panoptic))
    assert (larger_alone & smaller_alone).any()
    assert (smaller_alone & ~larger_alone)[:, :80].any()
    both = label_pixels(panoptic)
    assert both.any()
    assert not (both & ~larger_alone)[:, :80].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (37, 53), (300, 20)])
def test_any_size(size):
    panoptic = np.full(size, CAR * 1000 + 1, np.int32)
    panoptic[: size[0] // 2] = ROAD
    picture = draw_panoptic(np.zeros((*size, 3), np.uint8), panoptic, CITYSCAPES)
    assert picture.shape == (*size, 3)
    assert picture.dtype == np.uint8


def test_empty_scene_is_the_darkened_image():
    image, panoptic = street()
    picture = draw_panoptic(image, np.full_like(panoptic, -1), CITYSCAPES, segments=[])
    assert (picture == 64).all()


def test_ground_truth_is_numbered_and_drawn_like_a_prediction():
    truth = np.array([[7, 7, 26000, 26001, 26, 0, 9]], np.int32)
    info = [
        {"id": 7, "category_id": ROAD, "iscrowd": 0},
        {"id": 26000, "category_id": CAR, "iscrowd": 0},
        {"id": 26001, "category_id": CAR, "iscrowd": 0},
        {"id": 26, "category_id": CAR, "iscrowd": 1},
    ]
    panoptic = panoptic_from_segments(truth, info, CITYSCAPES)
    assert panoptic.dtype == np.int32
    assert panoptic.tolist() == [[0, 0, 13001, 13002, 13000, -1, -1]]
    assert panoptic_from_segments(truth, [], CITYSCAPES).tolist() == [[-1] * 7]
    # Ids as COCO's pictures have them, up to three bytes.
    truth[truth == 7] = 2**24 - 1
    info[0]["id"] = 2**24 - 1
    assert (panoptic_from_segments(truth, info, CITYSCAPES) == panoptic).all()


def test_ground_truth_with_unknown_category_or_too_many_instances_is_refused():
    truth = np.ones((1, 1), np.int32)
    with pytest.raises(ValueError, match=r"category_id 19, wanted 0\.\.18"):
        panoptic_from_segments(truth, [{"id": 1, "category_id": 19, "iscrowd": 0}], CITYSCAPES)
    cars = [{"id": n, "category_id": CAR, "iscrowd": 0} for n in range(1, 11)]
    with pytest.raises(ValueError, match="10 instances of car"):
        panoptic_from_segments(truth, cars, CITYSCAPES, label_divisor=10)


def test_heatmap_is_brighter_where_it_is_higher():
    center = np.linspace(-0.5, 1.5, 21, dtype=np.float32)[None]
    brightness = draw_center_heatmap(center).sum(-1)[0].astype(int)
    assert (np.diff(brightness) >= 0).all()
    assert brightness[-1] > brightness[0] + 300
    assert brightness[0] == brightness[5]
    over = draw_center_heatmap(center[None], image=np.full((8, 84, 3), 90, np.uint8))
    assert over.shape == (8, 84, 3)
    assert over[4, 0].max() < over[4, -1].max()


def test_offset_direction_is_hue_and_length_is_saturation():
    offset = np.zeros((2, 1, 6), np.float32)
    offset[1, 0, :3] = (0.0, 2.0, 4.0)
    offset[0, 0, 3:] = (4.0, -4.0, np.nan)
    picture = draw_offset(offset, max_length=4.0)[0].astype(int)
    assert picture[0].tolist() == [255, 255, 255]
    assert np.abs(picture[1] - [255, 128, 128]).max() <= 1
    assert picture[2].tolist() == [255, 0, 0]
    assert np.abs(picture[3] - [127, 255, 0]).max() <= 1
    assert np.abs(picture[4] - [127, 0, 255]).max() <= 1
    mask = np.array([[True, False, True, True, True, True]])
    assert draw_offset(offset, mask=mask)[0, 1].tolist() == [0, 0, 0]
    assert (draw_offset(np.zeros((2, 3, 4), np.float32)) == 255).all()
    assert (draw_offset(offset, mask=np.zeros((1, 6), bool)) == 0).all()


IMAGE, MAP = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: color_panoptic(MAP.astype(float), CITYSCAPES), r"panoptic must be \(H, W\) integer"),
        (lambda: color_panoptic(MAP[:0], CITYSCAPES), "panoptic must be"),
        (lambda: draw_panoptic(IMAGE / 255, MAP, CITYSCAPES), r"image must be .* got \(4, 6, 3\) float64"),
        (lambda: draw_panoptic(IMAGE[..., 0], MAP, CITYSCAPES), "image must be"),
        (lambda: draw_panoptic(IMAGE, MAP[:2], CITYSCAPES), "size of the image"),
        (lambda: draw_panoptic(IMAGE, MAP, CITYSCAPES, alpha=1.5), "alpha"),
        (lambda: draw_center_heatmap(MAP), "center must be"),
        (lambda: draw_center_heatmap(np.zeros((2, 4, 6), np.float32)), "center must be"),
        (lambda: draw_offset(np.zeros((4, 6, 2), np.float32)), "offset must be"),
        (lambda: draw_offset(np.zeros((2, 4, 6), np.float32), mask=np.ones((4, 6))), "mask must be"),
        (lambda: draw_offset(np.zeros((2, 4, 6), np.float32), max_length=0.0), "max_length"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
