"""Drawing a map over its image: the rule by hand, and equal bytes from both backends."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.ops import panoptic_overlay, reference

# Id 0 is stuff, 1 and 2 are things.
COLORS = torch.tensor([[10, 20, 30, 0], [200, 0, 0, 1], [0, 200, 0, 1]], dtype=torch.uint8)
OPTIONS = {"opacity": 128, "thickness": 1, "brightness": 235}


@pytest.fixture(params=["reference", "chosen"])
def draw(request):
    if request.param == "chosen":
        return panoptic_overlay
    return lambda *maps, opacity, thickness, brightness: reference.panoptic_overlay(
        *maps, opacity, thickness, brightness
    )


def test_colors_are_mixed_by_opacity_and_unknown_ids_are_black(draw):
    panoptic = torch.tensor([[0, 3, -1, 2**31 - 1, -(2**31)]], dtype=torch.int32)
    image = torch.full((1, 5, 3), 101, dtype=torch.uint8)
    picture = draw(image, panoptic, COLORS, opacity=64, thickness=1, brightness=235)
    # (101 * 192 + color * 64 + 128) >> 8
    assert picture.tolist() == [[[78, 81, 83], *[[76, 76, 76]] * 4]]
    assert draw(image, panoptic, COLORS, opacity=0, thickness=1, brightness=0).equal(image)


def test_outlines_lie_right_of_and_below_a_change_and_grow_as_dilation_does(draw):
    panoptic = torch.zeros(8, 9, dtype=torch.int32)
    panoptic[2:5, 3:6] = 1
    image = torch.zeros(8, 9, 3, dtype=torch.uint8)
    thin = draw(image, panoptic, COLORS, opacity=0, thickness=1, brightness=200)[..., 0] == 200
    expected = torch.zeros(8, 9, dtype=torch.bool)
    expected[2:5, [3, 6]] = True
    expected[[2, 5], 3:6] = True
    assert thin.equal(expected)
    for thickness, (before, after) in {2: (1, 0), 3: (1, 1), 4: (2, 1)}.items():
        grown = torch.zeros_like(expected)
        for y, x in expected.nonzero().tolist():
            grown[max(y - after, 0) : y + before + 1, max(x - after, 0) : x + before + 1] = True
        drawn = draw(image, panoptic, COLORS, opacity=0, thickness=thickness, brightness=200)
        assert (drawn[..., 0] == 200).equal(grown)


def test_two_things_are_parted_and_two_kinds_of_stuff_are_not(draw):
    panoptic = torch.tensor([[1, 2, 2, 0, 7, -1, 0]], dtype=torch.int32)
    picture = draw(torch.zeros(1, 7, 3, dtype=torch.uint8), panoptic, COLORS, **OPTIONS)
    assert (picture[0, :, 0] == 235).tolist() == [False, True, False, True, False, False, False]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_backends_and_threads_draw_the_same_bytes(data):
    height, width = (
        data.draw(st.sampled_from([1, 2, 9, 40, 300])),
        data.draw(st.sampled_from([1, 7, 8, 33, 500])),
    )
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    count, run = data.draw(st.sampled_from([1, 4, 40])), data.draw(st.sampled_from([1, 5, 60]))
    ids = torch.randint(-2, count + 2, (height * width // run + 1,), generator=generator, dtype=torch.int32)
    panoptic = ids.repeat_interleave(run)[: height * width].view(height, width)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    if data.draw(st.booleans()):
        panoptic, image = panoptic.flip(1), image.flip(0)
    elif data.draw(st.booleans()):
        panoptic, image = panoptic.T, image.transpose(0, 1)
    colors = torch.randint(0, 256, (count, 4), generator=generator, dtype=torch.uint8)
    colors[:, 3] %= 2
    options = (
        data.draw(st.integers(0, 256)),
        data.draw(st.sampled_from([0, 1, 2, 3, 4, 7, 64])),
        data.draw(st.integers(0, 255)),
    )
    expected = reference.panoptic_overlay(image, panoptic, colors, *options)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn = panoptic_overlay(
                image, panoptic, colors, opacity=options[0], thickness=options[1], brightness=options[2]
            )
            assert drawn.equal(expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("height", "width", "count"), [(0, 5, 3), (5, 0, 3), (2, 3, 0)])
def test_nothing_to_draw_with_is_no_error(height, width, count):
    image = torch.full((height, width, 3), 100, dtype=torch.uint8)
    panoptic = torch.ones(height, width, dtype=torch.int32)
    picture = panoptic_overlay(image, panoptic, COLORS[:count], **OPTIONS)
    assert picture.shape == image.shape
    assert (picture == 50).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(2, 3, 3)}, "image is torch.float32"),
        (
            {"image": torch.zeros(2, 3, 4, dtype=torch.uint8)},
            r"shape \(2, 3, 4\), wanted torch.uint8 \(\*,\*,3\)",
        ),
        ({"image": None}, "image is a NoneType"),
        ({"panoptic": torch.zeros(2, 3, dtype=torch.int64)}, "panoptic is torch.int64"),
        ({"panoptic": torch.zeros(3, 3, dtype=torch.int32)}, "wanted that of image"),
        ({"colors": torch.zeros(3, 3, dtype=torch.uint8)}, "colors is torch.uint8 of shape"),
        ({"opacity": 257}, "opacity is 257"),
        ({"opacity": 0.5}, "opacity is 0.5"),
        ({"thickness": 65}, "thickness is 65"),
        ({"brightness": -1}, "brightness is -1"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "image": torch.zeros(2, 3, 3, dtype=torch.uint8),
        "panoptic": torch.zeros(2, 3, dtype=torch.int32),
        "colors": COLORS,
        **OPTIONS,
    }
    with pytest.raises(ValueError, match=message):
        panoptic_overlay(**{**arguments, **change})
