"""The network as it is exported: images as decoders give them, maps as a plain tuple."""

from torch import Tensor, nn

from panodeeplab.inference.eager import fold_batch_norm

OUTPUTS = ("semantic", "center", "offset")


class ExportedForm(nn.Module):
    """(N, H, W, 3) uint8 RGB → semantic, center and offset, with batch norms folded.

    Args:
        model: our network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = fold_batch_norm(model)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of a batch, see `panodeeplab.predictions.Predictions`."""
        semantic, center, offset = self.network(images.permute(0, 3, 1, 2))
        return semantic, center, offset
