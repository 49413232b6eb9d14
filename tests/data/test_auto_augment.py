"""AutoAugment: each operation is TensorFlow's, written out; each policy comes as often as it should."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from panodeeplab.data import auto_augment as module
from panodeeplab.data.auto_augment import POLICIES, auto_augment
from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.transforms import MEAN_COLOR, TrainTransform


def _image(height: int = 40, width: int = 60) -> np.ndarray:
    """Soft blobs and some noise, not all values used."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width] / 9.0
    blobs = np.stack([np.sin(x + c) * np.cos(y - c) for c in range(3)], -1)
    return np.clip(100 + 70 * blobs + rng.normal(0, 8, (height, width, 3)), 5, 240).astype(np.uint8)


def _sample(height: int = 64, width: int = 96) -> Sample:
    ids = (1 + np.arange(height)[:, None] // 8 * 100 + np.arange(width) // 8).astype(np.int32)
    segments = [Segment(id=i, category_id=i % 19, iscrowd=0) for i in np.unique(ids).tolist()]
    return Sample(_image(height, width), ids, segments, "blobs")


def _blend(degenerate, image, factor):
    return np.clip(degenerate + factor * (image.astype(float) - degenerate), 0, 255)


def _smooth(image):
    """PIL's smoothing kernel; the margin stays as it is."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    result = image.astype(float)
    height, width = image.shape[:2]
    result[1:-1, 1:-1] = sum(
        kernel[dy, dx] * image[dy : height - 2 + dy, dx : width - 2 + dx].astype(float)
        for dy in range(3)
        for dx in range(3)
    )
    return result


def _gray(image):
    return (image @ np.array([0.2989, 0.587, 0.114]))[..., None]


def _equalize(image):
    result = np.empty_like(image)
    for c in range(3):
        histogram = np.bincount(image[..., c].ravel(), minlength=256)
        step = (histogram.sum() - histogram[histogram != 0][-1]) // 255
        table = np.concatenate([[0], ((histogram.cumsum() + step // 2) // max(step, 1))[:-1]])
        result[..., c] = np.clip(table, 0, 255)[image[..., c]] if step else image[..., c]
    return result.astype(float)


def _factor(level):
    return level / 10 * 1.8 + 0.1


# By their number in DeepLab2's table; those that its policy does not use are left out.
OPERATIONS = {
    1: lambda x, level: _equalize(x),
    4: lambda x, level: np.where(x < int(level / 10 * 256), x, 255 - x).astype(float),
    5: lambda x, level: _blend(_gray(x), x, _factor(level)),
    # So many pixels by 256: TensorFlow's slip.
    6: lambda x, level: _blend(min(255, x.shape[0] * x.shape[1] / 256), x, _factor(level)),
    7: lambda x, level: _blend(0, x, _factor(level)),
    8: lambda x, level: _blend(_smooth(x), x, _factor(level)),
}
PROBABILITIES = (0, 0.2, 0.4, 0.6, 0.8, 1)
# Five policies of two: operation, probability, magnitude. What never happens is left out.
NUMBERS = [8, 2, 7, 7, 1, 10, 1, 0, 9, 6, 1, 10, 8, 1, 9, 5, 1, 9, 4, 1, 7, 1, 3, 9, 8, 1, 1, 1, 1, 7]
PUBLISHED = [
    [(operation, PROBABILITIES[p], 0.2 * magnitude) for operation, p, magnitude in pair if p]
    for pair in np.reshape(NUMBERS, (5, 2, 3)).tolist()
]
STEPS = [(policy, step) for policy, steps in enumerate(PUBLISHED) for step in range(len(steps))]


@pytest.mark.parametrize("size", [(40, 60), (256, 300)])
@pytest.mark.parametrize(("policy", "step"), STEPS)
def test_operations_are_the_published_ones(policy, step, size):
    operation, probability, level = PUBLISHED[policy][step]
    assert POLICIES[policy][step].probability == probability
    image = _image(*size)
    changed = np.array(POLICIES[policy][step].change(Image.fromarray(image)))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    error = np.abs(changed - OPERATIONS[operation](image, level))
    # TensorFlow cuts off decimals, Pillow rounds them in between; equalizing and solarizing have none.
    assert error.max() < 2.01
    assert error.max() == 0 or operation not in (1, 4)


def test_policies_come_as_often_as_they_should(monkeypatch):
    seen = Counter()

    def spy(policy, index, step):
        def change(image):
            seen[policy, index] += 1
            return image

        return step._replace(change=change)

    spied = tuple(
        tuple(spy(policy, index, step) for index, step in enumerate(steps))
        for policy, steps in enumerate(POLICIES)
    )
    monkeypatch.setattr(module, "POLICIES", spied)
    rng = np.random.default_rng(0)
    image = np.zeros((1, 1, 3), np.uint8)
    for _ in range(5000):
        auto_augment(image, rng)
    for (policy, index), count in seen.items():
        wanted = 1000 * POLICIES[policy][index].probability
        assert abs(count - wanted) < 5 * wanted**0.5
    assert sorted(seen) == STEPS


def test_the_generator_decides_everything():
    image = _image()
    before = image.copy()
    first = [auto_augment(image, np.random.default_rng(n)) for n in range(30)]
    for n in reversed(range(30)):
        np.testing.assert_array_equal(auto_augment(image, np.random.default_rng(n)), first[n])
    np.testing.assert_array_equal(image, before)
    assert 5 < sum(result is image for result in first) < 25
    assert len({result.tobytes() for result in first}) > 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (301, 5)])
def test_any_size_and_a_single_color(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    for policy in POLICIES:
        for step in policy:
            changed = np.array(step.change(Image.fromarray(image)))
            assert changed.shape == image.shape
            assert len(np.unique(changed.reshape(-1, 3), axis=0)) == 1


def test_labels_and_geometry_stay_as_they_are():
    sample = _sample()
    changed = 0
    for n in range(30):
        plain, augmented = (
            TrainTransform((48, 120), auto_augment=on)(sample, np.random.default_rng(n))
            for on in (False, True)
        )
        np.testing.assert_array_equal(augmented.panoptic, plain.panoptic)
        assert augmented.segments_info == plain.segments_info
        # Padding is no part of the image: it keeps the mean color.
        padding = augmented.panoptic == 0
        assert (augmented.image[padding] == MEAN_COLOR).all()
        changed += not np.array_equal(augmented.image, plain.image)
    assert 8 < changed < 25
