"""AutoAugment's colors as DeepLab2 trains with them: one of five small policies for each image, at random.

No operation moves a pixel, so that labels stay as they are. AutoAugment searched such policies for
classification; DeepLab2 takes the magnitudes of one of them times 0.2, which is not a gentle setting: a low
magnitude of brightness means a dark image, and one of solarizing an inverted one.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


class _Step(NamedTuple):
    """An operation, with the probability that it happens."""

    probability: float
    change: Callable[[Image.Image], Image.Image]


def _enhance(kind: type, factor: float) -> Callable[[Image.Image], Image.Image]:
    """One of Pillow's enhancements: 1 leaves the image as it is, 0 smooths it, makes it gray, or black."""
    return lambda image: kind(image).enhance(factor)


def _contrast(factor: float) -> Callable[[Image.Image], Image.Image]:
    """1 leaves the image as it is, 0 makes it one shade."""

    def change(image: Image.Image) -> Image.Image:
        # Not the image's mean, as usual: TensorFlow's AutoAugment divides the number of pixels by 256, and
        # cuts it at 255. That is white for all but small images, and what the published models have seen.
        level = min(255, image.width * image.height // 256)
        return Image.blend(Image.new("RGB", image.size, (level,) * 3), image, factor)

    return change


# The operations' arguments are 0.1 + 0.18 m and, for solarizing, 25.6 m, m being 0.2 times the policy's
# magnitude: 7 and 10, 10, 9 and 9, 7, 1.
POLICIES = (
    (
        _Step(0.4, _enhance(ImageEnhance.Sharpness, 0.352)),
        _Step(0.2, _enhance(ImageEnhance.Brightness, 0.46)),
    ),
    # Equalizing stands before this one, with probability 0.
    (_Step(0.2, _contrast(0.46)),),
    (_Step(0.2, _enhance(ImageEnhance.Sharpness, 0.424)), _Step(0.2, _enhance(ImageEnhance.Color, 0.424))),
    (_Step(0.2, partial(ImageOps.solarize, threshold=35)), _Step(0.6, ImageOps.equalize)),
    (_Step(0.2, _enhance(ImageEnhance.Sharpness, 0.136)), _Step(0.2, ImageOps.equalize)),
)


def auto_augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the colors of an image by one of the policies, each as likely as the others.

    Args:
        image: (H, W, 3) uint8, RGB; left as it is. The whole image, before it is cropped and padded:
            equalizing goes by the histogram of all pixels.
        rng: the only source of randomness.

    Returns:
        (H, W, 3) uint8, RGB; `image` itself where nothing is done.

    Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data" (CVPR 2019); the policy is
    DeepLab2's "simple_classification_policy_magnitude_scale_0.2".
    """
    policy = POLICIES[int(rng.integers(len(POLICIES)))]
    changes = [step.change for step in policy if rng.random() < step.probability]
    if not changes:
        return image
    changed = Image.fromarray(image)
    for change in changes:
        changed = change(changed)
    return np.array(changed)
