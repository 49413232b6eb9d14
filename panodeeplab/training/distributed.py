"""One run in several processes, as torchrun starts them; each function does the obvious for a single one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started with this one, if it was torchrun: NCCL on GPUs, else Gloo."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if os.environ.get("RANK") == "0" and _restarts_may_meet_old_addresses():
        print(
            "panodeeplab: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or processes that it starts "
            "again may look for those of before",
            file=sys.stderr,
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _restarts_may_meet_old_addresses() -> bool:
    # Newer versions of torchrun keep one store for all attempts, and the processes' addresses in it.
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def local_rank() -> int:
    """Number of this process on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """Processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0..world_size() - 1; 0 is the one that writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def total(values: Tensor) -> Tensor:
    """Sum over the processes, the same in each, without a gradient."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def largest(value: int) -> int:
    """The largest of what the processes have, in each."""
    if world_size() == 1:
        return value
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def gather(value: Any) -> list[Any]:
    """What each process has, in each, by rank."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """What rank 0 has, in each."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


class _Total(torch.autograd.Function):
    """Sum over the processes, of gradients too: each process's loss depends on what all of them have."""

    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        return total(values)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return total(gradient.contiguous())


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of all processes, for CPUs; torch's SyncBatchNorm is for GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        values = x.float()
        count = total(values.new_tensor(x.numel() / x.shape[1]))
        mean = _Total.apply(values.sum(axes)) / count
        centered = values - mean.view(shape)
        variance = _Total.apply(centered.square().sum(axes)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                momentum = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centered * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """A model whose batch norms take their statistics from the batch of all processes.

    A single process keeps the model as it is: it has the whole batch. On CPUs, so do timm's batch norms that
    have an activation in them.
    """
    if world_size() == 1:
        return model
    if device.type == "cuda":
        norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
        if any(type(norm) is not nn.BatchNorm2d for norm in norms):
            # timm's have the activation in them, which torch would drop.
            from timm.layers import convert_sync_batchnorm

            return convert_sync_batchnorm(model)
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    # Only the way forward differs: parameters, buffers and settings are those of the class it had.
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = CpuSyncBatchNorm
    return model
