"""Running parts of the network a second time, without leaving traces of it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def untracked_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms take the statistics of the batch, but do not add them to their running ones."""
    norms = [
        m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training
    ]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        # Not track_running_stats: the backward pass has to find as many tensors as the first run left.
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def checkpoint_activations(network: nn.Module) -> int:
    """Have the blocks of a network keep only their inputs in training, and run again in the backward pass.

    A block is what stands in a row with others and has at least two convolutions or linear layers: a
    bottleneck, an inverted residual, a transformer's block. Parameters keep their names, results their
    values.

    Args:
        network: a backbone; changed in place.

    Returns:
        The number of blocks.
    """
    rows = [m for m in network.modules() if isinstance(m, nn.Sequential | nn.ModuleList)]
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    # `modules` gives the outer ones first.
    for block in (block for row in rows for block in row):
        layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in block.modules())
        if block not in inside and layers >= 2 and not isinstance(block, nn.Sequential | nn.ModuleList):
            found.append(block)
            inside.update(block.modules())
    for block in found:
        block.forward = partial(_checkpointed, block, block.forward)
    return len(found)


def _checkpointed(block: nn.Module, forward, *inputs):
    if not block.training:
        return forward(*inputs)
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), untracked_statistics(block)),
    )
