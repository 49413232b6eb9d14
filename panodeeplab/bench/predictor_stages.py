"""This project's models in the harness of `stages`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from panodeeplab import config as configuration
from panodeeplab.bench.stages import Run, Setting
from panodeeplab.bench.streets import Street, decode, street_predictions
from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import PanopticDeepLab, Predictions


class PredictorPipeline:
    """A `Predictor` from encoded images to overlays.

    A run's YAML gives a network with random weights. Its predictions are thrown away once they are made, and
    the post-processing is given those of a good network for the street that the image shows.

    Args:
        setting: what to build.
        streets: that it will be given.

    Raises:
        FileNotFoundError: no such model.
        ValueError: the file is none of these, or a setting is wrong.
        ModuleNotFoundError: an optional package is missing.
    """

    def __init__(self, setting: Setting, streets: Sequence[Street]) -> None:
        path = Path(setting.model)
        self.notes: tuple[str, ...] = ()
        self._scripted: _Scripted | None = None
        common = {"size": setting.size, "device": setting.device}
        if path.suffix in (".yaml", ".yml"):
            if setting.image is not None:
                raise ValueError(
                    f"image is {setting.image}, but the weights of {path} are random: generated streets only"
                )
            config, classes = read_config(path)
            torch.manual_seed(setting.seed)
            model = PanopticDeepLab(config.model, num_classes=len(classes)).eval()
            prepared = {
                street.encoded: _moved(
                    street_predictions(street.sample, classes, align_corners=model.align_corners),
                    torch.device(setting.device),
                )
                for street in streets
                if street.sample is not None
            }
            self._scripted = _Scripted(model, prepared, model.align_corners)
            self.predictor = Predictor(self._scripted, classes, config=config.postprocess, **common)
            self.notes = (
                "The weights are random, so that the network's predictions mean nothing: post-processing is "
                "given those of a good network for the street, made from its ground truth.",
            )
        else:
            size = {"size": setting.size or "native"}
            self.predictor = Predictor.from_checkpoint(setting.model, **common | size)
        self.facts: dict[str, Any] = {
            "backend": "eager",
            "precision": "float32",
            "weights": "trained" if self._scripted is None else "random",
        }

    def __call__(self, streets: Sequence[Street]) -> Run:
        start = time.perf_counter()
        images = [decode(street.encoded) for street in streets]
        if self._scripted is not None:
            self._scripted.next_streets = streets
        decoded, processor = time.perf_counter(), time.process_time()
        results = self.predictor(images)
        mapped, processor = time.perf_counter(), time.process_time() - processor
        for result in results:
            result.overlay()
        drawn = time.perf_counter()
        inner = {name: sum(r.timings_ms[name] for r in results) for name in results[0].timings_ms}
        return Run(
            {"decode": 1e3 * (decoded - start), **inner, "draw": 1e3 * (drawn - mapped)},
            1e3 * (mapped - decoded),
            sum(len(result.segments) for result in results) / len(results),
            1e3 * processor,
            1e3 * (processor - self._scripted.processor_time) if self._scripted is not None else None,
        )


def read_config(path: Path) -> tuple[RunConfig, ClassTable]:
    """A run without its weights, and the classes of its data set.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no run, or classes other than Cityscapes' or COCO's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"model: no file {path}")
    config = configuration.load(path, ["model.backbone_weights=null"])
    kind = config.data.dataset if config.data is not None else "cityscapes"
    tables = {"cityscapes": CITYSCAPES, "scenes": CITYSCAPES, "coco_panoptic": COCO}
    if kind not in tables:
        raise ValueError(f"model: {path} is for {kind}, wanted a run for {', '.join(tables)}")
    return config, tables[kind]


def _moved(predictions: Predictions, device: torch.device) -> Predictions:
    return Predictions(*(maps.to(device) for maps in predictions))


class _Scripted(nn.Module):
    """Has a network do all its work, and then says what was prepared for the street."""

    def __init__(
        self,
        network: Callable[[Tensor], Predictions],
        prepared: dict[bytes, Predictions],
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.align_corners = align_corners
        self.next_streets: Sequence[Street] = ()
        self.processor_time = 0.0  # of the network alone, in its last call
        self._prepared = prepared

    def forward(self, images: Tensor) -> Predictions:
        before = time.process_time()
        made = self.network(images)
        self.processor_time = time.process_time() - before
        said = Predictions(
            *map(torch.cat, zip(*(self._prepared[s.encoded] for s in self.next_streets), strict=True))
        )
        if any(a.shape != b.shape for a, b in zip(made, said, strict=True)):
            raise RuntimeError("the predictions that were prepared are not of the network's shape")
        return said
