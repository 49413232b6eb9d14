"""What undoes the filters of a PNG, in plain PyTorch: the specification and the fallback."""

import torch
from torch import Tensor

NONE, SUB, UP, AVERAGE, PAETH = range(5)


def png_unfilter_(rows: Tensor, height: int, width: int, pixel_bytes: int) -> None:
    """`panodeeplab.ops.png_unfilter_` after its checks."""
    table = rows.reshape(height, 1 + width * pixel_bytes).int()
    pixels = table.new_zeros(height + 1, width + 1, pixel_bytes)  # with the zeros above and on the left
    for y, (filter_, *_) in enumerate(table[:, :1].tolist()):
        line, above, differences = pixels[y + 1], pixels[y], table[y, 1:].view(width, pixel_bytes)
        if filter_ == NONE:
            line[1:] = differences
        elif filter_ == SUB:
            line[1:] = differences.cumsum(0)
        elif filter_ == UP:
            line[1:] = differences + above[1:]
        elif filter_ in (AVERAGE, PAETH):
            predict = _average if filter_ == AVERAGE else _paeth
            for x in range(1, width + 1):
                line[x] = (differences[x - 1] + predict(line[x - 1], above[x], above[x - 1])) & 255
        else:
            raise ValueError(f"row {y} has filter {filter_}, a PNG has 0 to 4")
        line &= 255
    rows[: height * width * pixel_bytes] = pixels[1:, 1:].flatten().to(torch.uint8)


def _average(left: Tensor, up: Tensor, corner: Tensor) -> Tensor:
    return (left + up) // 2


def _paeth(left: Tensor, up: Tensor, corner: Tensor) -> Tensor:
    """Whichever is closest to left + up - corner; of equally close ones the first, in this order."""
    from_left, from_up = (up - corner).abs(), (left - corner).abs()
    from_corner = (left + up - 2 * corner).abs()
    other = torch.where(from_up <= from_corner, up, corner)
    return torch.where(from_left <= torch.minimum(from_up, from_corner), left, other)
