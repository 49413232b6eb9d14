import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.ops import png_unfilter_, reference_png


def drawn(height, width, pixel_bytes, zeros, seed, filters=range(5)):
    """Rows as they come of inflating; `zeros` of them, in percent, are 0, as those of labels mostly are."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 256, (height, 1 + width * pixel_bytes), generator=generator, dtype=torch.uint8)
    rows[torch.randint(0, 100, rows.shape, generator=generator) < zeros] = 0
    rows[:, 0] = torch.tensor(filters, dtype=torch.uint8)[
        torch.randint(0, len(filters), (height,), generator=generator)
    ]
    return rows.flatten()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 70),
    st.sampled_from([2, 3]),
    st.sampled_from([0, 90, 100]),
    st.sampled_from([range(5), *([kind] for kind in range(5))]),
    st.integers(0, 2**31),
)
def test_agrees_with_the_reference(height, width, pixel_bytes, zeros, filters, seed):
    rows = drawn(height, width, pixel_bytes, zeros, seed, filters)
    expected = rows.clone()
    reference_png.png_unfilter_(expected, height, width, pixel_bytes)
    expected = expected[: height * width * pixel_bytes].view(height, width, pixel_bytes)
    pixels = png_unfilter_(rows, height=height, width=width, pixel_bytes=pixel_bytes)
    assert pixels.numel() == 0 or pixels.data_ptr() == rows.data_ptr()
    assert torch.equal(pixels, expected)


def test_rows_that_lie_apart_have_no_place_for_pixels():
    apart = torch.stack((drawn(3, 4, 3, 0, seed=0),) * 2, 1)[:, 0]
    with pytest.raises(ValueError, match="rows lie apart in memory, wanted them contiguous"):
        png_unfilter_(apart, height=3, width=4, pixel_bytes=3)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [(0, [[1, 2], [250, 9]]), (1, [[1, 3], [250, 3]]), (2, [[1, 2], [251, 11]]), (3, [[1, 2], [250, 135]])],
)
def test_what_the_specification_says(filter_, expected):
    # One byte of two counts; the other stays 0. Rows: 1, 2 and 250, 9.
    values = [[1, 2], [250, 9]]
    rows = [
        value
        for y, row in enumerate(values)
        for value in ([filter_ if y or filter_ != 3 else 0] + [byte for x in row for byte in (x, 0)])
    ]
    pixels = png_unfilter_(torch.tensor(rows, dtype=torch.uint8), height=2, width=2, pixel_bytes=2)
    assert pixels[..., 0].tolist() == expected
    assert not pixels[..., 1].any()


@pytest.mark.parametrize("kind", [5, 255])
def test_unknown_filters_are_refused(kind):
    rows = drawn(3, 4, 3, 0, seed=1)
    rows[2 * 13] = kind
    with pytest.raises(ValueError, match=f"row 2 has filter {kind}"):
        reference_png.png_unfilter_(rows, 3, 4, 3)
    with pytest.raises(ValueError, match=r"row 2 has filter|out of range"):
        png_unfilter_(rows, height=3, width=4, pixel_bytes=3)


@pytest.mark.parametrize(
    ("rows", "sizes", "message"),
    [
        (torch.zeros(13), (1, 4, 3), r"rows is torch.float32 \(13,\), wanted torch.uint8 \(13,\)"),
        (torch.zeros(12, dtype=torch.uint8), (1, 4, 3), r"rows is .* \(12,\), wanted torch.uint8 \(13,\)"),
        (torch.zeros(1, 13, dtype=torch.uint8), (1, 4, 3), r"wanted torch.uint8 \(13,\)"),
        (torch.zeros(5, dtype=torch.uint8), (1, 4, 1), "pixel_bytes is 1, wanted 2 or 3"),
        (torch.zeros(5, dtype=torch.uint8), (-1, 4, 3), "height and width are -1 and 4"),
    ],
)
def test_bad_arguments(rows, sizes, message):
    height, width, pixel_bytes = sizes
    with pytest.raises(ValueError, match=message):
        png_unfilter_(rows, height=height, width=width, pixel_bytes=pixel_bytes)


@pytest.mark.parametrize("height", [0, 3])
def test_opcheck(height):
    rows = drawn(height, 4, 3, 50, seed=2)
    torch.library.opcheck(torch.ops.panodeeplab.png_unfilter_.default, (rows, height, 4, 3))
