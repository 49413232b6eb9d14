"""Makes a network of PyTorch faster without changing what it says: batch norms folded, another precision."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def is_foldable(model: object) -> bool:
    """Whether this is our network, of which it is known what may be done to it."""
    # By its parts, so that whoever has only an exported file never imports the network's definition.
    return isinstance(model, nn.Module) and all(
        hasattr(model, name) for name in ("backbone", "semantic_decoder", "instance_decoder", "pixel_mean")
    )


@torch.no_grad()
def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a network whose batch norms are part of the convolutions before them.

    Which convolution feeds which batch norm is seen on a run, so that no backbone has to say so.

    Args:
        model: in evaluation mode; takes (N, 3, H, W) images.

    Returns:
        A copy in evaluation mode that gives the same maps up to rounding.
    """
    model = copy.deepcopy(model).eval()
    convolution_of: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    runs: dict[nn.Module, int] = {}

    def after_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        # The tensor is kept, so that its identity is not given to another one.
        convolution_of[id(output)] = module, output
        runs[module] = runs.get(module, 0) + 1

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[module] = runs.get(module, 0) + 1
        found = convolution_of.get(id(inputs[0]))
        if found is not None:
            pairs[module] = found[0]

    hooks = [m.register_forward_hook(after_convolution) for m in model.modules() if type(m) is nn.Conv2d]
    hooks += [
        m.register_forward_pre_hook(before_norm) for m in model.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    sample = torch.zeros(1, 3, 64, 64, dtype=torch.uint8, device=next(model.parameters()).device)
    model(sample)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in model.named_modules()}
    for norm, convolution in pairs.items():
        # What runs twice is shared, and folding would apply the norm twice.
        if runs[norm] == runs[convolution] == 1:
            model.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
            # timm's batch norms hold their activation.
            rest = getattr(norm, "act", None)
            model.set_submodule(names[norm], rest if isinstance(rest, nn.Module) else nn.Identity())
    return model.to(memory_format=torch.channels_last)


def with_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Our network with weights and arithmetic in `dtype`, but for the normalization of the images.

    Args:
        model: changed in place.
        dtype: float32 leaves it as it is.
    """
    if dtype == torch.float32:
        return model
    for part in model.children():
        part.to(dtype)
    # Means of pixels in 8 bits of mantissa would shift colors: cast after the normalization.
    model.backbone.register_forward_pre_hook(lambda _, images: (images[0].to(dtype),))
    return model
