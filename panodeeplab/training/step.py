"""One step of the optimizer: all that happens to a batch on its way into the weights."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import record_function

from panodeeplab.config import RunConfig, TrainingConfig
from panodeeplab.data.loader import Batch
from panodeeplab.losses import (
    HardPixels,
    WholeBatch,
    find_hard_pixels,
    hard_pixel_count,
    panoptic_losses,
    pixel_losses,
    upsample_predictions,
    whole_batch,
)
from panodeeplab.model import PanopticDeepLab
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.distributed import total, world_size
from panodeeplab.training.fine_tuning import parameter_groups, train_mode
from panodeeplab.training.recompute import untracked_statistics

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A model whose weights follow those of `model`, in the first steps more closely than `decay` says."""

    def follow(average: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + int(steps)) / (10 + int(steps))))(average, current, steps)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """Rate of the step after `iteration` steps: linear warm-up times polynomial decay to 0."""
    warmup = min(1.0, (iteration + 1) / max(config.warmup_iterations, 1))
    return config.peak_learning_rate * warmup * (1 - iteration / config.iterations) ** config.poly_power


def build_optimizer(model: nn.Module, config: TrainingConfig) -> Adam:
    """Adam over the weights that are trained; `TrainingStep` sets its learning rate.

    Raises:
        ValueError: `config.learning_rate_factors` names a layer that is not there.
    """
    groups = parameter_groups(model, config.learning_rate_factors)
    return Adam(groups, eps=config.adam_epsilon, weight_decay=config.weight_decay)


class TrainingStep:
    """Forward, backward and update, for this process's part of a batch.

    However the batch is split, over processes and into micro-batches, losses and gradients are those of the
    whole: see `panodeeplab.losses`. Where the hardest pixels of the batch are wanted and the process cannot
    take its part at once, the network first runs without gradients to find them.

    Args:
        model: on its device; batch norm is set as `config` has it.
        optimizer: of its parameters. A group's "lr_scale" multiplies its learning rate.
        config: of the run.
        device: of the model.

    Attributes:
        scaler: keeps small gradients representable in float16; does nothing in other precisions.
        average: moving average of the weights; None: there is none.
    """

    def __init__(
        self, model: PanopticDeepLab, optimizer: Optimizer, config: RunConfig, device: torch.device
    ) -> None:
        self.model, self.optimizer, self.config, self.device = model, optimizer, config, device
        training = config.training
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "float16")
        self.average = moving_average(model, training.ema_decay) if training.ema_decay else None
        self.network: nn.Module = model
        if world_size() > 1:
            self.network = DistributedDataParallel(
                model,
                device_ids=[device.index] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                # The order of the buckets, and with it the order of additions, stays that of the first step.
                find_unused_parameters=training.deterministic,
            )
        if training.compile:
            self.network = torch.compile(self.network)

    def train_mode(self) -> None:
        """Set the model to training, but for what is frozen."""
        train_mode(self.model)
        if self.config.training.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def __call__(self, batch: Batch, iteration: int) -> dict[str, float]:
        """Take a step.

        Args:
            batch: this process's part.
            iteration: steps before this one.

        Returns:
            Losses of the whole batch by name, weighted; "gradient_norm", and "learning_rate" of the step.

        Raises:
            FloatingPointError: a loss or a gradient is not finite; the weights are as they were.
        """
        rate = learning_rate(iteration, self.config.training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        parts = self._parts(batch)
        whole = None
        if len(parts) > 1 or world_size() > 1:
            with record_function("communication"):
                whole = whole_batch([targets for _, targets in parts], total)
        loss = self.config.loss
        if len(parts) > 1 and loss.semantic_top_k < 1 and loss.normalization == "batch":
            whole = whole._replace(hardest=self._hard_pixels(parts, whole))

        self.optimizer.zero_grad()
        losses: dict[str, Tensor] = {}
        for number, (images, targets) in enumerate(parts, start=1):
            # Gradients are exchanged once, when the last part's are there.
            with self._without_exchange() if number < len(parts) else nullcontext():
                with record_function("forward"), self._autocast():
                    predictions = self.network(images)
                with record_function("loss"):
                    part = panoptic_losses(
                        predictions,
                        targets,
                        self.config.loss,
                        align_corners=self.config.model.align_corners,
                        whole=whole,
                    )
                with record_function("backward"):
                    # Gradients of several processes are averaged, and these are parts of a sum.
                    scale = world_size() if world_size() > 1 else 1
                    self.scaler.scale(part["total"] * scale).backward()
            losses = {name: losses.get(name, 0) + value.detach() for name, value in part.items()}
        with record_function("optimizer"):
            self.scaler.unscale_(self.optimizer)
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            norm = get_total_norm(gradients)
        with record_function("communication"):
            values = total(torch.stack(list(losses.values()))).tolist()
        figures = dict(zip(losses, values, strict=True)) | {"gradient_norm": norm.item()}
        self._check(figures, iteration)
        with record_function("optimizer"):
            if self.config.training.max_gradient_norm is not None:
                clip_grads_with_norm_(self.parameters, self.config.training.max_gradient_norm, norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.average is not None:
                self.average.update_parameters(self.model)
        return figures | {"learning_rate": rate}

    def _parts(self, batch: Batch) -> list[tuple[Tensor, PanopticTargets]]:
        """The micro-batches, on the device."""
        images, targets = batch.to(self.device)
        size = self.config.training.micro_batch_size or len(images)
        fields = (x.split(size) for x in targets)
        return list(
            zip(images.split(size), map(PanopticTargets._make, zip(*fields, strict=True)), strict=True)
        )

    def _autocast(self):
        dtype = PRECISIONS[self.config.training.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _without_exchange(self):
        return self.network.no_sync() if world_size() > 1 else nullcontext()

    @torch.no_grad()
    def _hard_pixels(self, parts: list[tuple[Tensor, PanopticTargets]], whole: WholeBatch) -> HardPixels:
        """The hardest pixels of the whole batch, found with the random numbers that the step will draw."""
        devices = [self.device] if self.device.type == "cuda" else []
        losses = []
        with torch.random.fork_rng(devices), untracked_statistics(self.model), record_function("hard pixels"):
            for images, targets in parts:
                with self._autocast():
                    logits = self.network(images).semantic
                full = upsample_predictions(
                    logits, targets.sem_seg.shape[-2:], align_corners=self.config.model.align_corners
                )
                losses.append(pixel_losses(full, targets.sem_seg, targets.sem_seg_weights))
            joined = torch.cat(losses)
            count = hard_pixel_count(joined, self.config.loss.semantic_top_k, images=whole.images)
            return find_hard_pixels(joined, count, total)

    def _check(self, figures: dict[str, float], iteration: int) -> None:
        # In float16 gradients overflow now and then: the scaler skips the step and lowers its factor.
        watched = {k: v for k, v in figures.items() if k != "gradient_norm" or not self.scaler.is_enabled()}
        if all(map(math.isfinite, watched.values())):
            return
        what = "loss" if not math.isfinite(figures["total"]) else "gradient"
        raise FloatingPointError(
            f"the {what} is not finite at iteration {iteration} "
            f"({', '.join(f'{name} {value:.4g}' for name, value in figures.items())}); lower "
            "training.learning_rate, or look at the data with `panodeeplab check-data`"
        )
