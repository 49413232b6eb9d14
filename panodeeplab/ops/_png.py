"""The op of the PNG reader; public as `panodeeplab.ops.png_unfilter_`."""

import torch
from torch import Tensor


def png_unfilter_(rows: Tensor, *, height: int, width: int, pixel_bytes: int) -> Tensor:
    """Undo the filters of a PNG's rows (PNG specification, section 9): what is left to do after inflating.

    Args:
        rows: (height * (1 + width * pixel_bytes),) uint8, before each row its filter, 0 to 4. The pixels take
            the place of the rows; if an error is raised, what they hold then is of no use.
        height: rows, at least 0.
        width: pixels, at least 0.
        pixel_bytes: 2 (gray of 16 bits) or 3 (RGB of 8 bits).

    Returns:
        (height, width, pixel_bytes) uint8, bytes in the order of the file; a view of `rows`.

    Raises:
        ValueError: `rows` has another dtype or length or is not contiguous, a number is out of range, or a
            row has an unknown filter.
    """
    if pixel_bytes not in (2, 3):
        raise ValueError(f"pixel_bytes is {pixel_bytes}, wanted 2 or 3")
    if height < 0 or width < 0:
        raise ValueError(f"height and width are {height} and {width}, wanted at least 0")
    size = height * (1 + width * pixel_bytes)
    if rows.dtype != torch.uint8 or tuple(rows.shape) != (size,):
        raise ValueError(f"rows is {rows.dtype} {tuple(rows.shape)}, wanted torch.uint8 ({size},)")
    if not rows.is_contiguous():
        raise ValueError("rows lie apart in memory, wanted them contiguous")
    torch.ops.panodeeplab.png_unfilter_(rows, height, width, pixel_bytes)
    return rows[: height * width * pixel_bytes].view(height, width, pixel_bytes)
