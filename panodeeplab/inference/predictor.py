"""A trained model as a function from images to panoptic results."""

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from panodeeplab.classes import ClassTable
from panodeeplab.config import PostprocessConfig
from panodeeplab.inference.multi_scale import average_views
from panodeeplab.model import STRIDE, PanopticDeepLab, load_checkpoint
from panodeeplab.postprocess import PanopticResult, postprocess


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as RGB, upright.

    Gray is repeated, alpha dropped, 16 bits a channel are reduced to the upper 8, the EXIF orientation
    applied. A file that breaks off half way is an error, not a half image.

    Args:
        path: of a file that Pillow can read.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image, damaged, or has floating point pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no image file {path}")
    try:
        with Image.open(path) as file:
            return upright_rgb(file)
    # All that Pillow raises for a damaged file, SyntaxError and struct.error included.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"path: cannot read {path} as an image: {error}") from error


def upright_rgb(file: Image.Image) -> np.ndarray:
    """Pixels of an opened picture, as `read_image` reads it.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: floating point pixels.
        Exception: what Pillow raises for a damaged file.
    """
    image = ImageOps.exif_transpose(file)
    if image.mode == "F":
        raise ValueError("floating point pixels, wanted 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits of gray, which convert() would clip at 255
        gray = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


class Predictor:
    """Panoptic segmentation of RGB images of any size.

    The network sees an image scaled to fit inside `size`, aspect ratio kept; results are always at the size
    of the image that was given.

    Args:
        model: the network; it is moved to `device` and set to evaluation.
        classes: of its semantic channels.
        config: of the post-processing.
        size: (H, W) that images are scaled to fit into; None runs every image at its own size.
        device: of the network and the post-processing, such as "cpu" or "cuda:0".
        scales: test-time augmentation: sizes relative to `size`, or the image's own, whose predictions are
            averaged.
        flip: test-time augmentation: average with the predictions of the mirrored image, at every scale.
        class_map: whether results have a `class_map`.
        keep_predictions: whether results have `predictions`.

    Raises:
        ValueError: `size` is not two positive integers, `scales` not positive numbers, or the device does not
            exist.
    """

    def __init__(
        self,
        model: PanopticDeepLab,
        classes: ClassTable,
        *,
        config: PostprocessConfig | None = None,
        size: tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        class_map: bool = False,
        keep_predictions: bool = False,
    ) -> None:
        if len(scales) == 0 or not all(0 < scale < float("inf") for scale in scales):
            raise ValueError(f"scales must be positive numbers, at least one, got {scales}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size must be (H, W) of at least 1, got {size}")
        self.device = _checked_device(device)
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.classes = classes
        self.config = config or PostprocessConfig()
        self.size = size
        self.scales = tuple(scales)
        self.flip = flip
        self.class_map = class_map
        self.keep_predictions = keep_predictions

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path,
        *,
        device: str | torch.device = "cpu",
        size: tuple[int, int] | Literal["trained", "native"] = "trained",
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        class_map: bool = False,
        keep_predictions: bool = False,
    ) -> "Predictor":
        """Load a trained model with its classes and its post-processing.

        Args:
            checkpoint: a file that training or `panodeeplab import-checkpoint` wrote, or the name of a
                bundled model, "street-tiny".
            device: see `Predictor`.
            size: (H, W) to scale images into; "trained" takes the size that the model was trained at,
                "native" scales nothing.
            scales: see `Predictor`; by default those of the model's configuration.
            flip: likewise.
            class_map: see `Predictor`.
            keep_predictions: see `Predictor`.

        Raises:
            FileNotFoundError: no such file or bundled model.
            ValueError: the file is no checkpoint, or another argument is wrong.
        """
        if isinstance(size, str) and size not in ("trained", "native"):
            raise ValueError(f"size must be (H, W), 'trained' or 'native', got {size!r}")
        loaded = load_checkpoint(checkpoint)
        inference = loaded.config.inference
        if isinstance(size, str):
            size = inference.input_size if size == "trained" else None
        return cls(
            loaded.model,
            loaded.classes,
            config=loaded.config.postprocess,
            size=size,
            device=device,
            scales=inference.scales if scales is None else scales,
            flip=inference.flip if flip is None else flip,
            class_map=class_map,
            keep_predictions=keep_predictions,
        )

    @overload
    def __call__(self, images: np.ndarray | str | Path) -> PanopticResult: ...

    @overload
    def __call__(self, images: Sequence[np.ndarray | str | Path]) -> list[PanopticResult]: ...

    def __call__(self, images):
        """Segment one image, or several at once.

        Images of a list that have one size go through the network together; a list is one batch, so its
        length bounds the memory.

        Args:
            images: (H, W, 3) uint8, RGB (cv2 reads BGR), or the path of a file; or a list of these.

        Returns:
            The result of the image, or a list of results in the order given. Their `timings_ms` have
            "preprocess" (scaling and the copy to the device), "network" and "postprocess"; the time of a
            batch is shared out evenly. Decoding a file is in none of them. With test-time augmentation,
            scaling and averaging the views are part of "network".

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an RGB image, or a damaged file.
        """
        single = isinstance(images, np.ndarray | str | Path) or not isinstance(images, Sequence)
        arrays = [_checked_image(image) for image in ([images] if single else images)]
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(arrays):
            by_size.setdefault(image.shape[:2], []).append(index)
        results: dict[int, PanopticResult] = {}
        for indices in by_size.values():
            results.update(zip(indices, self._predict([arrays[i] for i in indices]), strict=True))
        return results[0] if single else [results[i] for i in range(len(arrays))]

    @torch.inference_mode()
    def _predict(self, images: list[np.ndarray]) -> list[PanopticResult]:
        output_size = images[0].shape[:2]
        clock = _StageClock(self.device)
        input_size = self._input_size(output_size)
        if self.scales == (1.0,) and not self.flip:
            batch = self._batch(images, input_size)
            clock.stage("preprocess")
            predictions = self.model(batch)
            stride, align_corners = STRIDE, self.model.align_corners
        else:
            clock.stage("preprocess")
            predictions = average_views(
                self.model,
                self._views(images, input_size),
                input_size,
                align_corners=self.model.align_corners,
            )
            # A cell is a pixel now.
            stride, align_corners = 1, False
        clock.stage("network")
        results = postprocess(
            predictions,
            input_size=input_size,
            output_size=output_size,
            classes=self.classes,
            config=self.config,
            stride=stride,
            class_map=self.class_map,
            keep_predictions=self.keep_predictions,
            align_corners=align_corners,
        )
        clock.stage("postprocess")
        timings_ms = {stage: latency_ms / len(images) for stage, latency_ms in clock.latency_ms.items()}
        return [
            replace(result, image=image, timings_ms=dict(timings_ms))
            for result, image in zip(results, images, strict=True)
        ]

    def _batch(self, images: list[np.ndarray], size: tuple[int, int]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack([_resized(image, size) for image in images]))
        # The array is (N, H, W, 3); seen as (N, 3, H, W), it is channels_last as it lies.
        return batch.to(self.device).permute(0, 3, 1, 2)

    def _views(
        self, images: list[np.ndarray], input_size: tuple[int, int]
    ) -> Iterator[tuple[torch.Tensor, bool]]:
        """The batch at every scale, as it is and mirrored; one view exists at a time."""
        for scale in self.scales:
            batch = self._batch(images, tuple(max(1, round(length * scale)) for length in input_size))
            yield batch, False
            if self.flip:
                yield batch.flip(-1), True

    def _input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The largest size of this aspect ratio that fits inside `self.size`."""
        if self.size is None:
            return image_size
        scale = min(limit / length for limit, length in zip(self.size, image_size, strict=True))
        height, width = (max(1, round(length * scale)) for length in image_size)
        return height, width


class _StageClock:
    """Wall clock of consecutive stages; waits for the device before it reads."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.latency_ms: dict[str, float] = {}
        self._last = self._now()

    def stage(self, name: str) -> None:
        now = self._now()
        self.latency_ms[name] = 1000.0 * (now - self._last)
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    # As for training and evaluation: below half size bilinear would skip pixels.
    below_half = 2 * size[0] < image.shape[0] or 2 * size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if below_half else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


def _checked_image(image: np.ndarray | str | Path) -> np.ndarray:
    if isinstance(image, str | Path):
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"images must be (H, W, 3) uint8 arrays or paths, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"images must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return image


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be one that torch can use here, got {str(device)!r}: {reason}"
        ) from error
    return checked
