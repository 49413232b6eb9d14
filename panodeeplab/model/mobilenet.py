"""Features of torchvision's MobileNets; see `panodeeplab.model.backbones` for the contract."""

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual


class ExpandedBlock(nn.Module):
    """A block of MobileNetV3 that also gives what its depthwise convolution makes, after the activation.

    That is wider than the block's output: DeepLab2 takes its skips there. Parameters keep their names.

    Args:
        block: of torchvision, whose layers are taken over.
    """

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.block, self.use_res_connect = block.block, block.use_res_connect
        # Squeeze-and-excite is no sequence, and the 1x1 convolutions have one group.
        self._depthwise = next(
            index
            for index, layer in enumerate(block.block)
            if isinstance(layer, nn.Sequential) and layer[0].groups > 1
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output, and the wide features."""
        y = expanded = x
        for index, layer in enumerate(self.block):
            y = layer(y)
            if index == self._depthwise:
                expanded = y
        return (x + y if self.use_res_connect else y), expanded


class MobileNet(nn.Module):
    """Features of the layers that end a stage.

    Args:
        features: the network's layers, one after the other; of an `ExpandedBlock` the wide features count.
        strides: stride of the features by the number of layers that lead to them.
    """

    def __init__(self, features: nn.Sequential, strides: Mapping[int, int]) -> None:
        super().__init__()
        self.features = features
        self._strides = dict(strides)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        features, x = {}, images
        for end, layer in enumerate(self.features, start=1):
            if isinstance(layer, ExpandedBlock):
                x, feature = layer(x)
            else:
                x = feature = layer(x)
            if end in self._strides:
                features[self._strides[end]] = feature
        return features
