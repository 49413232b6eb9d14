"""How much memory a step needs, worked out without a GPU and without the memory."""

from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses import FakeTensorMode

from panodeeplab.config import RunConfig
from panodeeplab.losses import panoptic_losses
from panodeeplab.model import PanopticDeepLab
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.recompute import checkpoint_activations
from panodeeplab.training.step import PRECISIONS


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step holds.

    Attributes:
        weights: parameters and buffers.
        optimizer: gradients, and the two moments of Adam.
        average: moving average of the weights, if there is one.
        network: what the forward pass of the network keeps for the backward pass.
        losses: the same of the losses, with upsampled predictions and targets.
    """

    weights: int
    optimizer: int
    average: int
    network: int
    losses: int

    @property
    def total(self) -> int:
        """All of these. A GPU needs more: workspace of the convolutions, CUDA itself, fragmentation."""
        return self.weights + self.optimizer + self.average + self.network + self.losses


def step_memory(config: RunConfig, *, num_classes: int, images: int) -> StepMemory:
    """Memory of a step, from the shapes of all tensors that autograd keeps.

    Nothing is computed: the tensors are fake, with shapes and no values.

    Args:
        config: of the run.
        num_classes: of the data.
        images: that go through the network at once.
    """
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage._cdata, storage)
        return tensor

    def size(storages: dict[int, UntypedStorage]) -> int:
        return sum(storage.nbytes() for storage in storages.values())

    architecture = config.model.model_copy(update={"backbone_weights": None})
    dtype = PRECISIONS[config.training.precision]
    shape = (images, *config.augmentation.crop_size)
    with FakeTensorMode():
        model = PanopticDeepLab(architecture, num_classes=num_classes).train()
        if config.training.activation_checkpointing:
            checkpoint_activations(model.backbone)
        parameters = sum(p.numel() * p.element_size() for p in model.parameters())
        for value in (*model.parameters(), *model.buffers()):
            keep(value)
        weights = size(kept)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                predictions = model(torch.empty(shape[0], 3, *shape[1:], dtype=torch.uint8))
            network = size(kept) - weights
            targets = PanopticTargets(
                sem_seg=torch.empty(shape, dtype=torch.int64),
                center=torch.empty(shape),
                offset=torch.empty(shape[0], 2, *shape[1:]),
                sem_seg_weights=torch.empty(shape),
                center_weights=torch.empty(shape)[:, None],
                offset_weights=torch.empty(shape)[:, None],
                center_points=torch.empty(shape[0], 0, 2),
            )
            for target in targets:
                keep(target)
            losses = panoptic_losses(
                predictions, targets, config.loss, align_corners=config.model.align_corners
            )
        # The graph, and with it what was kept, lives until here.
        del losses
        losses_bytes = size(kept) - network - weights
    return StepMemory(
        weights=weights,
        optimizer=3 * parameters,
        average=weights if config.training.ema_decay else 0,
        network=network,
        losses=losses_bytes,
    )
