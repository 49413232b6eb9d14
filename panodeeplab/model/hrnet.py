"""HRNet: four branches, of stride 4 to 32, side by side, which exchange what they see.

timm's HRNet is another: it goes from coarse to fine by repeating pixels, where the networks for segmentation
interpolate. Parameters have the names of HRNet's own code and of timm, whose weights fit.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

_STRIDES = (4, 8, 16, 32)
_BLOCKS = 4  # residual blocks in a branch, before an exchange
_EXCHANGES = {"stage2": 1, "stage3": 4, "stage4": 3}
# What a classifier has on top.
_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")


def _conv_bn(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    padding = kernel_size // 2
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


def _downsampling(in_channels: int, out_channels: int, halvings: int) -> nn.Sequential:
    """From a fine branch to a coarse one: as many 3x3 convolutions of stride 2, the last one without ReLU."""
    steps = [
        nn.Sequential(*_conv_bn(in_channels, in_channels, 3, 2), nn.ReLU(inplace=True))
        for _ in range(halvings - 1)
    ]
    return nn.Sequential(*steps, nn.Sequential(*_conv_bn(in_channels, out_channels, 3, 2)))


class _Exchange(nn.Module):
    """Residual blocks in every branch; then each receives the sum of all, brought to its resolution."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(_BLOCKS))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source < target:
            return _downsampling(widths[source], widths[target], target - source)
        return nn.Sequential(*_conv_bn(widths[source], widths[target], 1))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        fused = []
        for target, paths in enumerate(self.fuse_layers):
            total: Tensor | int = 0
            for source, path in enumerate(paths):
                x = path(branches[source])
                if source > target:
                    size = branches[target].shape[-2:]
                    x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
                total = total + x
            fused.append(F.relu(total))
        return fused


class HRNet(nn.Module):
    """HRNet with its four branches as features; see `panodeeplab.model.backbones` for the contract.

    Args:
        width: channels of the finest branch; the next ones have twice, four and eight times as many.

    Source: Wang et al., Deep High-Resolution Representation Learning for Visual Recognition (TPAMI 2020).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = tuple(width * 2**i for i in range(4))
        self.conv1, self.bn1 = _conv_bn(3, 64, 3, 2)
        self.conv2, self.bn2 = _conv_bn(64, 64, 3, 2)
        shortcut = nn.Sequential(*_conv_bn(64, 256, 1))
        self.layer1 = nn.Sequential(
            Bottleneck(64, 64, downsample=shortcut), *(Bottleneck(256, 64) for _ in range(3))
        )
        # Each stage has one branch more. The new one starts from the coarsest that there is.
        self.transition1 = nn.ModuleList(
            [
                nn.Sequential(*_conv_bn(256, widths[0], 3), nn.ReLU(inplace=True)),
                self._new_branch(256, widths[1]),
            ]
        )
        self.transition2 = nn.ModuleList(
            [nn.Identity(), nn.Identity(), self._new_branch(widths[1], widths[2])]
        )
        self.transition3 = nn.ModuleList(
            [nn.Identity(), nn.Identity(), nn.Identity(), self._new_branch(widths[2], widths[3])]
        )
        for branches, (stage, count) in enumerate(_EXCHANGES.items(), start=2):
            self.add_module(stage, nn.Sequential(*(_Exchange(widths[:branches]) for _ in range(count))))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _new_branch(in_channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Sequential(*_conv_bn(in_channels, out_channels, 3, 2), nn.ReLU(inplace=True)))

    @staticmethod
    def without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the classification network, less what stands on top of the branches."""
        return {key: value for key, value in state.items() if not key.startswith(_CLASSIFIER)}

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        branches = self.stage2([transition(x) for transition in self.transition1])
        for transitions, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            branches = stage(
                [transition(x) for transition, x in zip(transitions, [*branches, branches[-1]], strict=True)]
            )
        return dict(zip(_STRIDES, branches, strict=True))
