"""Augmentation: image and id map stay on each other, padding is void, the generator decides everything."""

import random

import numpy as np
import pytest

from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.transforms import MEAN_COLOR, EvalTransform, TrainTransform

# Ids beyond 16 bits and beyond what a float32 can hold.
BASE = 1 << 25


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _blocks(height: int, width: int, block: int = 16) -> Sample:
    """Squares, each a segment of its own with a color of its own: red its row, green its column."""
    rows, columns = np.arange(height)[:, None] // block, np.arange(width) // block
    red, green = np.broadcast_arrays(50 + 10 * rows, 50 + 10 * columns)
    image = np.stack([red, green, np.full_like(red, 7)], -1).astype(np.uint8)
    panoptic = (BASE + 100 * rows + columns).astype(np.int32)
    crowd = int(panoptic.max())
    segments = [
        Segment(id=i, category_id=i % 19, iscrowd=int(i == crowd)) for i in np.unique(panoptic).tolist()
    ]
    return Sample(image, panoptic, segments, "blocks")


def _ramp(height: int, width: int, axis: int) -> Sample:
    """A gradient along one axis: the image is twice the coordinate, the id the coordinate plus one."""
    along = np.broadcast_to(np.expand_dims(np.arange((height, width)[axis]), 1 - axis), (height, width))
    image = np.repeat((2 * along).astype(np.uint8)[..., None], 3, -1)
    segments = [Segment(id=i + 1, category_id=0, iscrowd=0) for i in range((height, width)[axis])]
    return Sample(image, (along + 1).astype(np.int32), segments, "ramp")


def _interior(panoptic: np.ndarray, reach: int = 3) -> np.ndarray:
    """Pixels whose whole neighborhood has their id, and that are not void."""
    inside = panoptic != 0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            inside &= np.roll(panoptic, (dy, dx), (0, 1)) == panoptic
    return inside


def _equal(a: Sample, b: Sample) -> bool:
    return (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.panoptic, b.panoptic)
        and a.segments_info == b.segments_info
    )


@pytest.mark.parametrize(
    ("crop_size", "image_size"),
    [((64, 96), None), ((200, 33), None), ((64, 96), (48, 200)), ((64, 96), (256, 300))],
)
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_image_and_ids_stay_on_each_other(crop_size, image_size, flip):
    source = _blocks(96, 160)
    transform = TrainTransform(crop_size, flip=flip, image_size=image_size)
    checked = 0
    for n in range(40):
        sample = transform(source, _rng(n))
        assert sample.image.shape == (*crop_size, 3)
        assert sample.panoptic.shape == crop_size
        assert (sample.image.dtype, sample.panoptic.dtype) == (np.uint8, np.int32)
        inside = _interior(sample.panoptic)
        rows, columns = np.divmod(sample.panoptic[inside] - BASE, 100)
        np.testing.assert_array_equal(
            sample.image[inside], np.stack([50 + 10 * rows, 50 + 10 * columns, 7 + 0 * rows], -1)
        )
        checked += inside.sum()
    assert checked > 10_000


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.6, 0.8, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_ids_are_those_nearest_to_where_the_image_is_sampled(axis, scale, flip):
    source = _ramp(100, 120, axis)
    transform = TrainTransform((40, 48), scale=(scale, scale), flip=flip)
    signed = []
    for n in range(10):
        sample = transform(source, _rng(n))
        error = sample.image[..., 0] / 2.0 - (sample.panoptic - 1)
        assert np.abs(error).max() <= 0.76  # half a pixel, and the image's rounding
        signed.append(error.mean())
    # At half size every sample lies right between two pixels. Elsewhere errors cancel, unless ids are those
    # nearest to pixels' corners.
    assert scale == 0.5 or abs(np.mean(signed)) < 0.26


@pytest.mark.parametrize("color_jitter", [0.0, 0.5])
def test_padding_is_void_around_one_whole_image(color_jitter):
    source = _blocks(64, 128)
    transform = TrainTransform((64, 160), scale=(0.5, 0.5), color_jitter=color_jitter)
    places = set()
    for n in range(30):
        sample = transform(source, _rng(n))
        rows, columns = np.nonzero(sample.panoptic)
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert sample.panoptic[box].shape == (32, 64)
        assert sample.panoptic[box].all()
        padding = np.ones((64, 160), bool)
        padding[box] = False
        # One color: jitter may shift it, and it is ImageNet's mean without.
        assert len(np.unique(sample.image[padding], axis=0)) == 1
        if not color_jitter:
            np.testing.assert_array_equal(sample.image[padding][0], MEAN_COLOR)
        assert sample.segments_info == source.segments_info
        places.add((rows.min(), columns.min()))
    assert len(places) > 15


def test_scales_are_the_recipes_steps():
    source = _ramp(64, 128, axis=1)
    transform = TrainTransform((20, 40), flip=0)
    widths = [len(transform(source, _rng(n)).segments_info) for n in range(400)]
    # From scale 1 on every source column inside the window is seen, so their number gives the scale away.
    expected = {round(40 / scale) for scale in np.arange(10, 21) / 10}
    assert {w for w in widths if w < 40} | {40} == expected
    # Below, the window is sampled with gaps: all 40 output columns show another source column.
    assert 0.25 < np.mean([w == 40 for w in widths]) < 0.5
    spans = [np.ptp(transform(source, _rng(n)).panoptic) + 1 for n in range(400)]
    assert max(spans) == 79  # 80 columns at half size; the outermost lie between two
    assert min(spans) == 20


@pytest.mark.parametrize("scale", [(0.5, 0.7), (0.5, 0.75), (0.3, 0.6), (0.7, 0.7)])
def test_scales_reach_both_ends_in_steps(scale):
    transform = TrainTransform((1, 100), scale=scale)
    widths = {np.count_nonzero(transform(_ramp(1, 100, 1), _rng(n)).panoptic) for n in range(60)}
    low, high = (round(100 * s) for s in scale)
    assert widths == set(range(low, high + 1, 10))


def test_every_position_can_be_drawn():
    source = _ramp(20, 30, axis=1)
    transform = TrainTransform((20, 25), scale=(1, 1), flip=0)
    assert {int(transform(source, _rng(n)).panoptic[0, 0]) for n in range(100)} == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("image_size", [None, (50, 70)])
def test_flip_is_an_exact_mirror(image_size):
    source = _blocks(96, 160)
    size = {"crop_size": (80, 90), "image_size": image_size}
    for n in range(10):
        plain = TrainTransform(**size, flip=0)(source, _rng(n))
        mirrored = TrainTransform(**size, flip=1)(source, _rng(n))
        np.testing.assert_array_equal(mirrored.image, plain.image[:, ::-1])
        np.testing.assert_array_equal(mirrored.panoptic, plain.panoptic[:, ::-1])
        assert mirrored.segments_info == plain.segments_info


def test_flip_at_its_probability():
    source = _ramp(20, 30, axis=1)
    transform = TrainTransform((20, 30), scale=(1, 1), flip=0.25)
    flipped = [transform(source, _rng(n)).panoptic[0, 0] == 30 for n in range(400)]
    assert 0.17 < np.mean(flipped) < 0.33


def test_segments_that_vanished_are_dropped():
    source = _blocks(96, 160)
    crowds = 0
    for n in range(100):
        sample = TrainTransform((40, 40), scale=(1, 2))(source, _rng(n))
        visible = set(np.unique(sample.panoptic).tolist()) - {0}
        assert 0 < len(visible) < len(source.segments_info)
        assert sample.segments_info == [s for s in source.segments_info if s["id"] in visible]
        crowds += sum(s["iscrowd"] for s in sample.segments_info)
    assert crowds > 0


def test_ids_without_a_segment_stay_void():
    source = _blocks(32, 32)
    source = source._replace(segments_info=source.segments_info[1:])
    sample = TrainTransform((32, 32), scale=(1, 1), flip=0)(source, _rng(0))
    assert sample.segments_info == source.segments_info
    np.testing.assert_array_equal(sample.panoptic, source.panoptic)


def test_the_generator_decides_everything():
    source = _blocks(96, 160)
    before = Sample(source.image.copy(), source.panoptic.copy(), list(source.segments_info), source.image_id)
    transform = TrainTransform((64, 96), color_jitter=0.4)
    first = [transform(source, _rng(5, n)) for n in range(8)]
    random.seed(1)
    np.random.seed(1)
    fresh = TrainTransform((64, 96), color_jitter=0.4)
    for n in reversed(range(8)):
        assert _equal(fresh(source, _rng(5, n)), first[n])
    for n in range(7):
        assert not _equal(first[n], first[n + 1])
    assert _equal(source, before)


def test_color_jitter_leaves_geometry_alone():
    source = _blocks(96, 160)
    changed = []
    for n in range(10):
        plain = TrainTransform((64, 96))(source, _rng(n))
        jittered = TrainTransform((64, 96), color_jitter=0.3)(source, _rng(n))
        np.testing.assert_array_equal(jittered.panoptic, plain.panoptic)
        changed.append(np.abs(jittered.image.astype(int) - plain.image).mean())
    assert 1 < np.mean(changed) < 60
    assert len(set(changed)) == 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (17, 29), (301, 5)])
@pytest.mark.parametrize("crop_size", [(1, 1), (33, 65)])
def test_any_size(shape, crop_size):
    source = _blocks(*shape)
    for n in range(20):
        sample = TrainTransform(crop_size, color_jitter=0.2)(source, _rng(n))
        assert sample.image.shape == (*crop_size, 3)
        assert sample.panoptic.shape == crop_size
        assert sample.segments_info  # some of the image is always in the crop


def test_image_size_is_what_scale_one_means():
    noise = _rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    source = _blocks(80, 120)._replace(image=noise)
    at_once = TrainTransform((40, 60), scale=(1, 1), flip=0, image_size=(40, 60))(source, _rng(0))
    assert _equal(at_once, EvalTransform((40, 60))(source))


@pytest.mark.parametrize(
    ("shape", "limit", "size"),
    [((80, 120), (40, 50), (33, 50)), ((120, 80), (60, 90), (60, 40)), ((30, 40), (96, 96), (72, 96))],
)
def test_images_fit_into_their_size_undistorted(shape, limit, size):
    source = _blocks(*shape)
    assert EvalTransform(limit)(source).panoptic.shape == size
    padded = TrainTransform((200, 200), scale=(1, 1), flip=0, image_size=limit)(source, _rng(0))
    rows, columns = np.nonzero(padded.panoptic)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == size


def test_eval_transform_resizes():
    source = _blocks(96, 160)
    sample = EvalTransform((48, 80))(source)
    np.testing.assert_array_equal(sample.panoptic, _blocks(48, 80, 8).panoptic)
    np.testing.assert_array_equal(sample.image, _blocks(48, 80, 8).image)
    assert sample.segments_info == source.segments_info
    assert sample.image_id == "blocks"
    tiny = EvalTransform((3, 5))(source)
    assert [s["id"] for s in tiny.segments_info] == np.unique(tiny.panoptic).tolist()
    assert len(tiny.segments_info) == 15


@pytest.mark.parametrize("size", [None, (96, 160)])
def test_eval_transform_leaves_the_right_size_alone(size):
    source = _blocks(96, 160)
    assert EvalTransform(size)(source) is source


@pytest.mark.parametrize("size", [(32, 32), (21, 22)])
def test_strong_reduction_does_not_skip_pixels(size):
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[::4] = 200
    image = EvalTransform(size)(_blocks(128, 128)._replace(image=stripes)).image
    # Bilinear samples would see every stripe or none; a quarter of each area is 200.
    assert image.min() >= 30
    assert image.max() <= 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_size": (0, 5)}, r"crop_size must be \(height, width\) of whole pixels >= 1, got \(0, 5\)"),
        ({"crop_size": (5, 5.5)}, "crop_size must be"),
        ({"crop_size": (5,)}, "crop_size must be"),
        ({"crop_size": (5, 5), "scale": (2.0, 0.5)}, r"scale must be .*got \(2\.0, 0\.5\)"),
        ({"crop_size": (5, 5), "scale": (0, 1)}, "scale must be"),
        ({"crop_size": (5, 5), "flip": 1.1}, r"flip is a probability, 0 to 1, got 1\.1"),
        ({"crop_size": (5, 5), "color_jitter": -0.1}, r"color_jitter must be 0 to 1, got -0\.1"),
        ({"crop_size": (5, 5), "image_size": (-1, 5)}, "image_size must be"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainTransform(**arguments)


def test_wrong_sample_is_named():
    source = _blocks(32, 48)._replace(panoptic=np.zeros((32, 47), np.int32))
    for call in (TrainTransform((8, 8)), lambda sample, rng: EvalTransform((8, 8))(sample)):
        with pytest.raises(ValueError, match=r"sample blocks: .*got \(32, 48, 3\) and \(32, 47\)"):
            call(source, _rng(0))
