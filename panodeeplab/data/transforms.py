"""What happens to a sample between file and network: random scale, crop, flip and color, or just a size."""

import os
import random

# At import albumentations asks PyPI for a newer version, which stalls wherever there is no network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np

from panodeeplab.data.auto_augment import auto_augment
from panodeeplab.data.sample import Sample, Segment, distinct_ids

# Mean color of ImageNet, RGB: what the normalization inside the network turns into zeros.
MEAN_COLOR = (124, 116, 104)
VOID = 0

# Scales are drawn in steps, as the recipes of all reference implementations that scale by factor have it.
_SCALE_STEP = 0.1

# Of color_jitter: an equal range of hue, in turns, would make green lights blue.
_HUE_SHARE = 0.2


def _resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, and the mean of an area below half size, where bilinear would skip pixels."""
    below_half = height * 2 < image.shape[0] or width * 2 < image.shape[1]
    interpolation = cv2.INTER_AREA if below_half else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _resize_ids(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    # INTER_NEAREST would sample at pixel corners, half a pixel off the bilinear image.
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _visible(segments_info: list[Segment], panoptic: np.ndarray) -> list[Segment]:
    present = distinct_ids(panoptic)
    return [segment for segment in segments_info if segment["id"] in present]


def fitting_size(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the aspect ratio of `size` that fits inside `limit`, in whole pixels."""
    scale = min(full / length for full, length in zip(limit, size, strict=True))
    height, width = (max(1, round(length * scale)) for length in size)
    return height, width


def _check_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or any(int(length) != length or length < 1 for length in size):
        raise ValueError(f"{name} must be (height, width) of whole pixels >= 1, got {size}")
    return int(size[0]), int(size[1])


def _check_sample(sample: Sample) -> None:
    if sample.image.shape[:2] != sample.panoptic.shape or sample.image.shape[2:] != (3,):
        raise ValueError(
            f"sample {sample.image_id}: image must be (H, W, 3) and panoptic (H, W), "
            f"got {sample.image.shape} and {sample.panoptic.shape}"
        )


class _ScaledCrop(A.DualTransform):
    """Scale at random, then cut a window at random; pad where the scaled image is smaller than the window.

    The window is cut from the source and only then scaled, so that no pixel outside it costs anything.
    """

    def __init__(
        self, crop_size: tuple[int, int], scale: tuple[float, float], image_size: tuple[int, int] | None
    ) -> None:
        super().__init__(p=1)
        self.crop_size = crop_size
        self.scale = scale
        self.image_size = image_size

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        shape = params["shape"][:2]
        low, high = self.scale
        # A little over, for 0.7 - 0.5 is less than two steps in floating point.
        steps = int((high - low) / _SCALE_STEP + 1e-6)
        factor = low + _SCALE_STEP * int(self.random_generator.integers(steps + 1))
        source, target = [], []
        full_size = fitting_size(shape, self.image_size) if self.image_size else shape
        for length, full, crop in zip(shape, full_size, self.crop_size, strict=True):
            per_pixel = factor * full / length
            scaled = max(1, round(length * per_pixel))
            if scaled >= crop:
                window = min(length, max(1, round(crop / per_pixel)))
                start = int(self.random_generator.integers(length - window + 1))
                source.append(slice(start, start + window))
                target.append(slice(0, crop))
            else:
                start = int(self.random_generator.integers(crop - scaled + 1))
                source.append(slice(0, length))
                target.append(slice(start, start + scaled))
        return {"source": tuple(source), "target": tuple(target)}

    def _cut(self, pixels: np.ndarray, resize, fill, source, target) -> np.ndarray:
        rows, columns = target
        scaled = resize(pixels[source], rows.stop - rows.start, columns.stop - columns.start)
        if scaled.shape[:2] == self.crop_size:
            return scaled
        result = np.full((*self.crop_size, *pixels.shape[2:]), fill, pixels.dtype)
        result[target] = scaled
        return result

    def apply(self, img: np.ndarray, source, target, **params) -> np.ndarray:
        return self._cut(img, _resize_image, MEAN_COLOR, source, target)

    def apply_to_mask(self, mask: np.ndarray, source, target, **params) -> np.ndarray:
        return self._cut(mask, _resize_ids, VOID, source, target)


class TrainTransform:
    """Random scale, crop, flip and color of an image, and the same geometry for its id map.

    All randomness comes from the generator that is passed in with the sample: equal generators, equal
    results. Padding is void in the id map and, before jitter, ImageNet's mean color in the image. Segments
    without a pixel left are dropped from `segments_info`.

    Args:
        crop_size: (height, width) of every result, in pixels.
        scale: lowest and highest factor; drawn in steps of 0.1.
        flip: probability of mirroring left and right.
        color_jitter: brightness, contrast and saturation vary by up to this share, the hue by up to a fifth
            of it in turns; 0 leaves colors alone.
        image_size: (height, width) that an image fits into at scale 1, its aspect ratio kept; None: the size
            that each image has. Images are resampled once, whatever the two sizes are.
        auto_augment: change colors of the whole image first, see `auto_augment.auto_augment`.

    Raises:
        ValueError: an argument is out of its range.

    Source: Panoptic-DeepLab, section 4 (scale 0.5 to 2, flip); color is not part of the paper's recipe.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        color_jitter: float = 0.0,
        image_size: tuple[int, int] | None = None,
        auto_augment: bool = False,
    ) -> None:
        self.auto_augment = auto_augment
        self.crop_size = _check_size("crop_size", crop_size)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be (low, high) with 0 < low <= high, got {scale}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is a probability, 0 to 1, got {flip}")
        if not 0 <= color_jitter <= 1:
            raise ValueError(f"color_jitter must be 0 to 1, got {color_jitter}")
        if image_size is not None:
            image_size = _check_size("image_size", image_size)
        steps: list[A.BasicTransform] = [
            _ScaledCrop(self.crop_size, tuple(scale), image_size),
            A.HorizontalFlip(p=flip),
        ]
        if color_jitter:
            # Last: on a crop it costs less than on the whole image.
            j = color_jitter
            steps.append(A.ColorJitter(brightness=j, contrast=j, saturation=j, hue=_HUE_SHARE * j, p=1))
        self._pipeline = A.Compose(steps)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Augment one sample; the sample itself is left as it is.

        Args:
            sample: image and ground truth of any size.
            rng: the only source of randomness.
        """
        _check_sample(sample)
        image = sample.image
        if self.auto_augment:
            # Numbers of its own: with or without it, geometry is the same.
            image = auto_augment(image, rng.spawn(1)[0])
        self._pipeline.set_random_state(rng, random.Random(int(rng.integers(1 << 63))))
        result = self._pipeline(image=image, mask=sample.panoptic)
        panoptic = result["mask"]
        return Sample(result["image"], panoptic, _visible(sample.segments_info, panoptic), sample.image_id)


class EvalTransform:
    """Resize every image and its id map, aspect ratio kept, to fit into a size.

    Segments too small to have a pixel left are dropped from `segments_info`.

    Args:
        size: (height, width) in pixels, one of which the result has; None leaves samples as they are.

    Raises:
        ValueError: `size` is not two whole numbers >= 1.
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.size = None if size is None else _check_size("size", size)

    def __call__(self, sample: Sample) -> Sample:
        """Resize one sample; the sample itself is left as it is."""
        _check_sample(sample)
        if self.size is None:
            return sample
        size = fitting_size(sample.panoptic.shape, self.size)
        if size == sample.panoptic.shape:
            return sample
        panoptic = _resize_ids(sample.panoptic, *size)
        image = _resize_image(sample.image, *size)
        return Sample(image, panoptic, _visible(sample.segments_info, panoptic), sample.image_id)
