"""A trained model as a function from images to panoptic results."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from panodeeplab.bundled import model_path
from panodeeplab.classes import ClassTable
from panodeeplab.config import PostprocessConfig
from panodeeplab.export.exported import SUFFIXES, Exported, open_exported
from panodeeplab.inference.backends import Backend, Precision, choose, load_network
from panodeeplab.inference.cuda_graph import GraphedRuns
from panodeeplab.inference.images import Image8, checked_image, fitting_size, resized, resized_on_device
from panodeeplab.inference.multi_scale import average_views
from panodeeplab.postprocess import PanopticResult, SegmentedMaps, postprocess, segment_maps, to_results
from panodeeplab.predictions import STRIDE, Predictions


class Predictor:
    """Panoptic segmentation of RGB images of any size.

    The network sees an image scaled to fit inside `size`, aspect ratio kept; results are always at the size
    of the image that was given. Several threads may call one predictor at once.

    Args:
        model: the network, of which evaluation mode is wanted, or an exported file. The predictor runs a copy
            of `PanopticDeepLab`; another module is moved to `device` and run as it is.
        classes: of its semantic channels.
        config: of the post-processing.
        size: (H, W) that images are scaled to fit into; None runs every image at its own size.
        device: of the network and the post-processing, such as "cpu" or "cuda:0".
        scales: test-time augmentation: sizes relative to `size`, or the image's own, whose predictions are
            averaged.
        flip: test-time augmentation: average with the predictions of the mirrored image, at every scale.
        class_map: whether results have a `class_map`.
        backend: what runs the network: "eager" or "compile" (PyTorch), "onnxruntime", "openvino", "aoti" (a
            .pt2 file, which holds compiled code: take it only from whom you trust) or "auto", the fastest of
            those that are installed and start within seconds, see `panodeeplab.inference.backends.choose`.
            ONNX Runtime and OpenVINO take as many threads as `torch.get_num_threads()` says when the
            predictor is made.
        precision: of the network, "float32", "bfloat16", "float16" or "auto": float16 on CUDA, bfloat16 on
            CPUs with instructions for it, else float32.
        cuda_graph: on CUDA, with `backend` "eager": record what the GPU does for images of a shape that comes
            again, from scaling to the panoptic map, and launch it as one. See
            `panodeeplab.inference.cuda_graph.GraphedRuns` for which shapes.

    Attributes:
        network: what runs: from (N, 3, H, W) uint8 on `device` to `panodeeplab.predictions.Predictions`.
        backend: the one that was chosen.
        precision: likewise; "int8" for a file that was exported so.
        keep_predictions: whether results have `predictions`.
        graphs: the recorded runs; None without `cuda_graph`.

    Raises:
        ValueError: `size` is not two positive integers, `scales` not positive numbers, the device does not
            exist, or backend, precision, device, model and `cuda_graph` do not go together.
        ModuleNotFoundError: the backend is not installed.
    """

    def __init__(
        self,
        model: nn.Module | Exported,
        classes: ClassTable,
        *,
        config: PostprocessConfig | None = None,
        size: tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        class_map: bool = False,
        backend: Backend = "auto",
        precision: Precision = "auto",
        keep_predictions: bool = False,
        cuda_graph: bool = False,
    ) -> None:
        if len(scales) == 0 or not all(0 < scale < float("inf") for scale in scales):
            raise ValueError(f"scales must be positive numbers, at least one, got {scales}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size must be (H, W) of at least 1, got {size}")
        self.device = _checked_device(device)
        if isinstance(model, Exported) and model.metadata.outputs != "maps":
            raise ValueError(
                f"model: {model.path} has its post-processing inside, which a predictor does by itself; "
                "export it with postprocess 'none', or run it as docs/export.md says"
            )
        if getattr(model, "pooling_window", None) is not None and tuple(scales) != (1.0,):
            if backend not in ("auto", "eager"):
                raise ValueError(
                    f"backend must be eager for scales {tuple(scales)} of a model with a pooling_window, "
                    f"which grows with the scale, got {backend!r}"
                )
            backend = "eager"
        self.backend, self.precision = choose(model, backend, precision, self.device)
        self.align_corners = (
            model.metadata.align_corners if isinstance(model, Exported) else model.align_corners
        )
        if cuda_graph and (self.device.type != "cuda" or self.backend != "eager"):
            raise ValueError(
                f"cuda_graph goes with backend 'eager' on CUDA, got {self.backend!r} on {self.device}"
            )
        if cuda_graph and (tuple(scales) != (1.0,) or flip):
            raise ValueError("cuda_graph goes without test-time augmentation: scales (1.0,) and no flip")
        self.graphs = GraphedRuns(self.device) if cuda_graph else None
        self.network = load_network(model, self.backend, self.precision, self.device)
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
        backend: Backend = "auto",
        precision: Precision = "auto",
        keep_predictions: bool = False,
        cuda_graph: bool = False,
    ) -> "Predictor":
        """Load a trained model with its classes and its post-processing.

        Args:
            checkpoint: a file that training or `panodeeplab import-checkpoint` wrote, the name of a bundled
                model ("street-tiny", or "street-tiny-int8", the same in 8 bits), or a file that `panodeeplab
                export` wrote (.onnx, OpenVINO's .xml, or AOTInductor's .pt2), which brings the same and does
                not need the network's definition.
            device: see `Predictor`.
            size: (H, W) to scale images into; "trained" takes the size that the model was trained at,
                "native" scales nothing.
            scales: see `Predictor`; by default those of the model's configuration.
            flip: likewise.
            class_map: see `Predictor`.
            backend: see `Predictor`.
            precision: see `Predictor`; an exported file has the one that it was exported with.
            keep_predictions: see `Predictor`.
            cuda_graph: see `Predictor`.

        Raises:
            FileNotFoundError: no such file or bundled model.
            ValueError: the file is no checkpoint, or another argument is wrong.
            ModuleNotFoundError: the backend is not installed.
        """
        if isinstance(size, str) and size not in ("trained", "native"):
            raise ValueError(f"size must be (H, W), 'trained' or 'native', got {size!r}")
        path = model_path(checkpoint)
        if path.suffix in SUFFIXES:
            model = open_exported(path)
            classes, config = model.metadata.classes, model.metadata.postprocess
            inference = model.metadata.inference
        else:
            from panodeeplab.model import load_checkpoint

            loaded = load_checkpoint(path)
            model, classes, config = loaded.model, loaded.classes, loaded.config.postprocess
            inference = loaded.config.inference
        if isinstance(size, str):
            size = inference.input_size if size == "trained" else None
        return cls(
            model,
            classes,
            config=config,
            size=size,
            device=device,
            scales=inference.scales if scales is None else scales,
            flip=inference.flip if flip is None else flip,
            class_map=class_map,
            backend=backend,
            precision=precision,
            keep_predictions=keep_predictions,
            cuda_graph=cuda_graph,
        )

    def warm_up(self, image_size: tuple[int, int] | None = None, *, batch: int = 1) -> None:
        """Run on black images, so that the first real one does not pay for memory, compilation and recording.

        Args:
            image_size: (H, W) of the images to come; by default `size`, or 512 x 1024 if that is None.
                OpenVINO is fastest with the shape that comes first.
            batch: how many go through together.
        """
        height, width = image_size or self.size or (512, 1024)
        images = [np.zeros((height, width, 3), np.uint8)] * batch
        # The first run compiles or sets memory aside, the second records a CUDA graph.
        for _ in range(2):
            self(images)

    @overload
    def __call__(self, images: Image8) -> PanopticResult: ...

    @overload
    def __call__(self, images: Sequence[Image8]) -> list[PanopticResult]: ...

    def __call__(self, images):
        """Segment one image, or several at once.

        Images of a list that have one size go through the network together; a list is one batch, so its
        length bounds the memory.

        Args:
            images: (H, W, 3) uint8, RGB (cv2 reads BGR), an array or a tensor of any device, or the path of a
                file; or a list of these, or a batch (N, H, W, 3). Color is the last dimension; of a tensor
                that has it first, `x.movedim(-3, -1)` is a view. A tensor that lies on a CUDA device is
                scaled there and never seen by the CPU.

        Returns:
            The result of the image, or a list of results in the order given. Their `timings_ms` have
            "preprocess" (scaling and the copy to the device), "network" (with the normalization) and
            "postprocess"; the time of a batch is shared out evenly. Decoding a file is in none of them. With
            test-time augmentation, scaling and averaging the views are part of "network". A result of a
            tensor that is not on the CPU has no `image`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an RGB image, or a damaged file.
        """
        if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
            images = list(images)
        single = not isinstance(images, Sequence) or isinstance(images, str)
        checked = [checked_image(image) for image in ([images] if single else images)]
        alike: dict[tuple, list[int]] = {}
        for index, image in enumerate(checked):
            alike.setdefault((type(image), image.shape[:2]), []).append(index)
        results: dict[int, PanopticResult] = {}
        for indices in alike.values():
            results.update(zip(indices, self._predict([checked[i] for i in indices]), strict=True))
        return results[0] if single else [results[i] for i in range(len(checked))]

    @torch.inference_mode()
    def _predict(self, images: list[np.ndarray] | list[Tensor]) -> list[PanopticResult]:
        output_size = tuple(images[0].shape[:2])
        clock = _StageClock(self.device)
        input_size = fitting_size(output_size, self.size)
        if self.graphs is not None:
            results = self._by_graph(images, input_size, output_size, clock)
        else:
            predictions, grid = self._predictions(images, input_size, clock)
            results = postprocess(predictions, **self._settings(input_size, output_size), **grid)
        clock.stage("postprocess")
        timings_ms = {stage: latency_ms / len(images) for stage, latency_ms in clock.latency_ms.items()}
        return [
            replace(
                result, image=image if isinstance(image, np.ndarray) else None, timings_ms=dict(timings_ms)
            )
            for result, image in zip(results, images, strict=True)
        ]

    def _predictions(
        self, images: list[np.ndarray] | list[Tensor], input_size: tuple[int, int], clock: "_StageClock"
    ) -> tuple[Predictions, dict[str, Any]]:
        """Maps of a batch, and what their grid is: arguments of `postprocess`."""
        if self.scales == (1.0,) and not self.flip:
            batch = self._batch(images, input_size)
            clock.stage("preprocess")
            predictions = self.network(batch)
            grid = {"stride": STRIDE, "align_corners": self.align_corners}
        else:
            clock.stage("preprocess")
            predictions = average_views(
                self.network,
                self._views(images, input_size),
                input_size,
                align_corners=self.align_corners,
            )
            # A cell is a pixel now.
            grid = {"stride": 1, "align_corners": False}
        clock.stage("network")
        return predictions, grid

    def _by_graph(
        self,
        images: list[np.ndarray] | list[Tensor],
        input_size: tuple[int, int],
        output_size: tuple[int, int],
        clock: "_StageClock",
    ) -> list[PanopticResult]:
        settings = self._settings(input_size, output_size)

        def segment(batch: Tensor) -> SegmentedMaps:
            predictions = self.network(resized_on_device(batch, input_size))
            return segment_maps(predictions, align_corners=self.align_corners, **settings)

        def finish(segmented: SegmentedMaps) -> list[PanopticResult]:
            clock.stage("network")
            return to_results(segmented, classes=self.classes, config=self.config)

        batch = self._stacked(images, input_size)
        clock.stage("preprocess")
        return self.graphs(segment, batch, key=tuple(settings.values()), finish=finish)

    def _settings(self, input_size: tuple[int, int], output_size: tuple[int, int]) -> dict[str, Any]:
        """Arguments of `postprocess` that do not depend on how the maps are made."""
        return {
            "input_size": input_size,
            "output_size": output_size,
            "classes": self.classes,
            "config": self.config,
            "class_map": self.class_map,
            "keep_predictions": self.keep_predictions,
        }

    def _batch(self, images: list[np.ndarray] | list[Tensor], size: tuple[int, int]) -> Tensor:
        return resized_on_device(self._stacked(images, size).to(self.device), size)

    def _stacked(self, images: list[np.ndarray] | list[Tensor], size: tuple[int, int]) -> Tensor:
        """Images of one size as (N, H, W, 3): arrays on the CPU, scaled to `size`; tensors at their size."""
        if isinstance(images[0], Tensor):
            return torch.stack([image.to(self.device) for image in images])
        scaled = [resized(image, size) for image in images]
        batch = np.stack(scaled) if len(scaled) > 1 else scaled[0][None]
        if not (batch.flags.c_contiguous and batch.flags.writeable):
            batch = batch.copy()  # torch warns of what it may not write, and wants no negative strides
        return torch.from_numpy(batch)

    def _views(
        self, images: list[np.ndarray] | list[Tensor], input_size: tuple[int, int]
    ) -> Iterator[tuple[Tensor, bool]]:
        """The batch at every scale, as it is and mirrored; one view exists at a time."""
        for scale in self.scales:
            batch = self._batch(images, tuple(max(1, round(length * scale)) for length in input_size))
            yield batch, False
            if self.flip:
                yield batch.flip(-1), True


class _StageClock:
    """Wall clock of consecutive stages; waits for what this thread gave the device before it reads."""

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
            # Not for the device: another thread may be recording a graph on it, which would break.
            torch.cuda.current_stream(self._device).synchronize()
        return time.perf_counter()


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
