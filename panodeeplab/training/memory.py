"""How much memory a step needs, worked out without a GPU and without the memory."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from panodeeplab.config import RunConfig
from panodeeplab.losses import HardPixels, WholeBatch, panoptic_losses
from panodeeplab.model import PanopticDeepLab
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.fine_tuning import freeze, train_mode
from panodeeplab.training.recompute import checkpoint_activations
from panodeeplab.training.step import PRECISIONS


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step holds at its worst moment.

    Attributes:
        weights: parameters and buffers.
        optimizer: the two moments of Adam.
        average: moving average of the weights, if there is one.
        network: what the forward pass of the network keeps for the backward pass.
        rest: what there is beside these at the worst moment: the batch, predictions at full size with their
            losses and gradients, gradients of weights.
    """

    weights: int
    optimizer: int
    average: int
    network: int
    rest: int

    @property
    def total(self) -> int:
        """All of these. A GPU needs more: workspace of the convolutions, CUDA itself, fragmentation."""
        return self.weights + self.optimizer + self.average + self.network + self.rest


class _LiveBytes(TorchDispatchMode):
    """While it is entered, counts the bytes of the tensors that are alive.

    Args:
        tensors: that are there before.

    Attributes:
        now: bytes alive.
        most: the most that there were.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen = WeakIdKeyDictionary()
        for tensor in tensors:
            self._see(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size


def step_memory(config: RunConfig, *, num_classes: int, images: int) -> StepMemory:
    """Memory of a step, from the shapes of all tensors that a forward and a backward pass make.

    Nothing is computed: the tensors are fake, with shapes and no values. The workspace of convolutions, which
    depends on the device, is not counted.

    Args:
        config: of the run.
        num_classes: of the data.
        images: of the batch that one process has; `training.micro_batch_size` of them go through the network
            at once.
    """
    with FakeTensorMode():
        model = _model(config, num_classes)
        live = _LiveBytes((*model.parameters(), *model.buffers()))
        weights = live.now
        with live:
            network = _forward_and_backward(model, config, images, live)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return StepMemory(
        weights=weights,
        optimizer=2 * trained,
        average=weights if config.training.ema_decay else 0,
        network=network,
        rest=live.most - weights - network,
    )


def _model(config: RunConfig, num_classes: int) -> PanopticDeepLab:
    architecture = config.model.model_copy(update={"backbone_weights": None})
    model = PanopticDeepLab(architecture, num_classes=num_classes)
    freeze(model, config.training.frozen)
    train_mode(model)
    if config.training.activation_checkpointing:
        checkpoint_activations(model.backbone)
    return model


def _forward_and_backward(model: PanopticDeepLab, config: RunConfig, images: int, live: _LiveBytes) -> int:
    """What `TrainingStep` does, as far as it makes tensors; what the first forward pass keeps, in bytes."""
    batch, targets = _batch(config, images)
    before, network = live.now, None
    at_once = min(config.training.micro_batch_size or images, images)
    whole = None
    if at_once < images:
        value = torch.empty(())
        whole = WholeBatch(images, value, value, lambda values: values, HardPixels(value, value, 1))
    dtype = PRECISIONS[config.training.precision]
    # The second part finds the gradients of the first; a third would find nothing else.
    for _ in range(min(2, -(-images // at_once))):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            predictions = model(batch[:at_once])
        if network is None:
            network = live.now - before
        part = PanopticTargets(*(field[:at_once] for field in targets))
        losses = panoptic_losses(
            predictions, part, config.loss, align_corners=config.model.align_corners, whole=whole
        )
        losses["total"].backward()
        # The graph, and with it what was kept, lives until here.
        del predictions, losses
    return network


def _batch(config: RunConfig, images: int) -> tuple[Tensor, PanopticTargets]:
    size = config.augmentation.crop_size
    shape = (images, *size)
    return torch.empty(images, 3, *size, dtype=torch.uint8), PanopticTargets(
        sem_seg=torch.empty(shape, dtype=torch.int64),
        center=torch.empty(shape),
        offset=torch.empty(images, 2, *size),
        sem_seg_weights=torch.empty(shape),
        center_weights=torch.empty(images, 1, *size),
        offset_weights=torch.empty(images, 1, *size),
        center_points=torch.empty(images, 0, 2),
    )
