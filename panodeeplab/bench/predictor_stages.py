"""This project's models in the harness of `stages`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from panodeeplab import config as configuration
from panodeeplab.bench.stages import Run, Setting
from panodeeplab.bench.streets import Street, decode, street_predictions
from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.inference.predictor import Predictor
from panodeeplab.predictions import Predictions

_GRAPH_NOTE = (
    "A CUDA graph is launched as one: network is all that the GPU does, post-processing included, and "
    "postprocess is what the CPU does afterwards. With random weights, the prepared predictions are those of "
    "the street that the graph was recorded with."
)


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
        is_random = path.suffix in (".yaml", ".yml")
        common = {name: getattr(setting, name) for name in ("device", "backend", "precision", "cuda_graph")}
        if is_random:
            if setting.image is not None:
                raise ValueError(
                    f"image is {setting.image}, but the weights of {path} are random: generated streets only"
                )
            predictor = _random_predictor(path, setting, common)
        else:
            predictor = Predictor.from_checkpoint(setting.model, size=setting.size or "native", **common)
        self.predictor = predictor
        self.facts: dict[str, Any] = {
            "backend": "CUDA graph" if setting.cuda_graph else predictor.backend,
            "precision": predictor.precision,
            "weights": "random" if is_random else "trained",
        }
        self.notes = (_GRAPH_NOTE,) if setting.cuda_graph else ()
        self._network = predictor.network = _Watched(predictor.network)
        if is_random:
            self.notes += (
                "The weights are random, so that the network's predictions mean nothing: post-processing is "
                "given those of a good network for the street, made from its ground truth.",
            )
            for street in streets:
                said = street_predictions(
                    street.sample, predictor.classes, align_corners=predictor.align_corners
                )
                self._network.prepared[street.encoded] = Predictions(*(m.to(predictor.device) for m in said))

    def __call__(self, streets: Sequence[Street]) -> Run:
        start = time.perf_counter()
        images = [decode(street.encoded) for street in streets]
        self._network.streets = streets
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
            # A graph is launched as one.
            None if self.predictor.graphs is not None else 1e3 * (processor - self._network.processor),
        )


def read_config(path: Path) -> tuple[RunConfig, ClassTable]:
    """A run without its weights, and the classes of its data set.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no run, or one for classes other than Cityscapes' or COCO's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"model: no file {path}")
    config = configuration.load(path, ["model.backbone_weights=null"])
    kind = config.data.dataset if config.data is not None else "cityscapes"
    tables = {"cityscapes": CITYSCAPES, "scenes": CITYSCAPES, "coco_panoptic": COCO}
    if kind not in tables:
        raise ValueError(f"model: {path} is a run for {kind}, wanted one for {', '.join(tables)}")
    return config, tables[kind]


def _random_predictor(path: Path, setting: Setting, common: dict[str, Any]) -> Predictor:
    # Not above: whoever measures an exported file needs no network's definition.
    from panodeeplab.model import PanopticDeepLab

    config, classes = read_config(path)
    torch.manual_seed(setting.seed)
    model = PanopticDeepLab(config.model, num_classes=len(classes)).eval()
    return Predictor(model, classes, config=config.postprocess, size=setting.size, **common)


class _Watched:
    """A network, the processor time of its last call, and what it says instead of what it found, if anything.

    Attributes:
        streets: of the call to come.
        prepared: what to say of each, by the file of its image; empty: what the network found.
        processor: seconds, of all threads.
    """

    def __init__(self, network: Callable[[Tensor], Predictions]) -> None:
        self._network = network
        self.streets: Sequence[Street] = ()
        self.prepared: dict[bytes, Predictions] = {}
        self.processor = 0.0

    def __call__(self, images: Tensor) -> Predictions:
        before = time.process_time()
        made = self._network(images)
        self.processor = time.process_time() - before
        if not self.prepared:
            return made
        said = [self.prepared[street.encoded] for street in self.streets]
        said = said[0] if len(said) == 1 else Predictions(*map(torch.cat, zip(*said, strict=True)))
        if any(a.shape != b.shape for a, b in zip(made, said, strict=True)):
            raise RuntimeError(
                f"prepared predictions are of another shape: {[tuple(m.shape) for m in said]}, the network's "
                f"{[tuple(m.shape) for m in made]}"
            )
        return said
