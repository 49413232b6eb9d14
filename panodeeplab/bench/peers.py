"""What a user would pick instead, from `transformers`: the models as published, with random weights.

Nothing is downloaded: each network is built from its configuration classes with the sizes that its authors
published. Images go in at the size that is asked for, through the model's own image processor with its
resizing switched off, and come out through its own `post_process_panoptic_segmentation`.
"""

import contextlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from panodeeplab.bench.stages import Run, Setting
from panodeeplab.bench.streets import Street, decode, street_queries, stuff_ids
from panodeeplab.classes import CITYSCAPES, COCO, ClassTable

_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Peer(NamedTuple):
    """A model of `transformers`.

    Attributes:
        build: makes the network, with random weights, and its image processor.
        classes: that it was published for.
        needs_task: whether its forward pass takes the tokens of a task.
        output_names: of the logits of the classes and of the masks.
    """

    build: Callable[[ClassTable], tuple[nn.Module, Any]]
    classes: ClassTable
    needs_task: bool = False
    output_names: tuple[str, str] = ("class_queries_logits", "masks_queries_logits")


def _swin(size: str) -> Any:
    from transformers import SwinConfig

    tiny = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
    large = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12}
    return SwinConfig(**{"tiny": tiny, "large": large}[size], out_features=_STAGES)


def _resnet50() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig(out_features=_STAGES)


def _mask2former(backbone: Callable[[], Any]) -> Callable[[ClassTable], tuple[nn.Module, Any]]:
    def build(classes: ClassTable) -> tuple[nn.Module, Any]:
        import transformers as t

        config = t.Mask2FormerConfig(backbone_config=backbone(), num_queries=100, num_labels=len(classes))
        return t.Mask2FormerForUniversalSegmentation(config), t.Mask2FormerImageProcessor(do_resize=False)

    return build


def _maskformer(classes: ClassTable) -> tuple[nn.Module, Any]:
    import transformers as t

    config = t.MaskFormerConfig(
        backbone_config=_swin("tiny"), decoder_config=_detr_config(classes), num_labels=len(classes)
    )
    return t.MaskFormerForInstanceSegmentation(config), t.MaskFormerImageProcessor(do_resize=False)


def _detr(classes: ClassTable) -> tuple[nn.Module, Any]:
    import transformers as t

    return t.DetrForSegmentation(_detr_config(classes)), t.DetrImageProcessor(do_resize=False)


def _detr_config(classes: ClassTable) -> Any:
    import transformers as t

    return t.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=_resnet50(),
        num_labels=len(classes),
    )


def _oneformer(classes: ClassTable) -> tuple[nn.Module, Any]:
    import transformers as t

    config = t.OneFormerConfig(
        backbone_config=_swin("large"), num_queries=250, num_labels=len(classes), is_training=False
    )
    # Without the file of class names on the hub, which only its labels in training need.
    processor = t.OneFormerImageProcessor(do_resize=False, repo_path=None, class_info_file=None)
    return t.OneFormerForUniversalSegmentation(config), processor


PEERS = {
    "mask2former-resnet50": Peer(_mask2former(_resnet50), CITYSCAPES),
    "mask2former-swin-tiny": Peer(_mask2former(lambda: _swin("tiny")), CITYSCAPES),
    "oneformer-swin-large": Peer(_oneformer, CITYSCAPES, needs_task=True),
    "maskformer-swin-tiny": Peer(_maskformer, COCO),
    "detr-resnet50": Peer(_detr, COCO, output_names=("logits", "pred_masks")),
}


class PeerPipeline:
    """A peer from encoded images to panoptic maps, for `stages.measure_stages`.

    Args:
        setting: `model` is one of PEERS, `precision` "auto", "float32" or, by autocast, "bfloat16" or
            "float16".
        streets: that it will be given, generated ones.

    Raises:
        ValueError: no such peer or precision, or a street without ground truth.
        ModuleNotFoundError: transformers is not installed.
    """

    def __init__(self, setting: Setting, streets: Sequence[Street]) -> None:
        check_peers([setting.model])
        if setting.backend not in ("auto", "eager"):
            raise ValueError(
                f"backend is {setting.backend!r}, wanted eager: peers run in PyTorch as they come"
            )
        precision = "float32" if setting.precision == "auto" else setting.precision
        if precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"precision is {setting.precision!r}, wanted float32, bfloat16 or float16")
        if any(street.sample is None for street in streets):
            raise ValueError("image was given, but the weights of peers are random: generated streets only")
        import transformers

        transformers.logging.set_verbosity_error()
        self._peer = PEERS[setting.model]
        torch.manual_seed(setting.seed)
        network, self._processor = self._peer.build(self._peer.classes)
        self._device = torch.device(setting.device)
        self._network = network.eval().to(self._device)
        self._dtype = getattr(torch, precision)
        self._fused = set(stuff_ids(self._peer.classes))
        self._seen: dict[bytes, tuple[Tensor, Tensor]] = {}
        self.facts: dict[str, Any] = {"backend": "eager", "precision": precision, "weights": "random"}
        self.notes = (
            "The weights are random, so that the network's outputs mean nothing: its own post-processing is "
            "given those of a good network for the street, made from its ground truth.",
            "preprocess is its image processor without resizing; postprocess is its "
            "post_process_panoptic_segmentation; nothing is drawn.",
        )

    @torch.inference_mode()
    def __call__(self, streets: Sequence[Street]) -> Run:
        start = self._now()
        images = [decode(street.encoded) for street in streets]
        decoded, processor = self._now(), time.process_time()
        batch = self._processor(images, return_tensors="pt")
        inputs = {
            name: batch[name].to(self._device) for name in ("pixel_values", "pixel_mask") if name in batch
        }
        if self._peer.needs_task:
            inputs["task_inputs"] = torch.zeros(len(images), 77, device=self._device)
        ready, network_start = self._now(), time.process_time()
        with self._autocast():
            outputs = self._network(**inputs)
        made, network_end = self._now(), time.process_time()
        replaced = self._said(streets, outputs)
        before, post_start = self._now(), time.process_time()  # replacing is no part of it
        results = self._processor.post_process_panoptic_segmentation(
            replaced,
            label_ids_to_fuse=self._fused,
            target_sizes=[image.shape[:2] for image in images],
        )
        maps = [result["segmentation"].cpu().numpy() for result in results]
        done, post_end = self._now(), time.process_time()
        outside = (network_start - processor) + (post_end - post_start)
        times = (decoded - start, ready - decoded, made - ready, done - before)
        stages = zip(("decode", "preprocess", "network", "postprocess"), times, strict=True)
        return Run(
            {name: 1e3 * seconds for name, seconds in stages},
            1e3 * sum(times[1:]),
            sum(len(result["segments_info"]) for result in results) / len(maps),
            1e3 * (outside + network_end - network_start),
            1e3 * outside,
        )

    def _said(self, streets: Sequence[Street], outputs: Any) -> SimpleNamespace:
        """Outputs of the same shapes that mean the streets."""
        classes_name, masks_name = self._peer.output_names
        logits, masks = outputs[classes_name], outputs[masks_name]
        for street in streets:
            if street.encoded not in self._seen:
                seen = street_queries(
                    street.sample, self._peer.classes, queries=logits.shape[1], grid=tuple(masks.shape[-2:])
                )
                self._seen[street.encoded] = tuple(part.to(self._device) for part in seen)
        said = [self._seen[street.encoded] for street in streets]
        return SimpleNamespace(
            **{classes_name: torch.cat([s[0] for s in said]), masks_name: torch.cat([s[1] for s in said])}
        )

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self._dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def check_peers(names: Sequence[str]) -> None:
    """Before minutes of measuring.

    Raises:
        ValueError: no such peer.
        ModuleNotFoundError: transformers is not installed.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"peer is {name!r}, wanted one of {', '.join(PEERS)}")
    if importlib.util.find_spec("transformers") is None:
        raise ModuleNotFoundError(
            "peers come from transformers, which is not installed: pip install 'panodeeplab[peers]'"
        )
