"""Predictions averaged over scales and mirrored views."""

import numpy as np
import pytest
import torch

from panodeeplab.classes import CITYSCAPES
from panodeeplab.config import PostprocessConfig
from panodeeplab.inference.multi_scale import average_views
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import Predictions

ROAD, CAR = 0, 13


class Symmetric(torch.nn.Module):
    """Sees cars in the red squares of an image whose middles lie on its grid; mirrors with the image.

    The offsets lead to the middle of the square that a cell lies in: the net must see the cell's side of the
    image, and a mirror that is not undone, or offsets that are not turned, lead elsewhere.
    """

    align_corners = False

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        n, _, height, width = images.shape
        padded = torch.nn.functional.pad(images.float(), (0, -width % 4, 0, -height % 4), mode="replicate")
        red = torch.nn.functional.avg_pool2d(padded, 4)[:, 0] / 255
        h, w = red.shape[1:]
        semantic = torch.zeros(n, len(CITYSCAPES), h, w)
        semantic[:, CAR], semantic[:, ROAD] = 8 * red, 8 * (1 - red)
        center, offset = torch.zeros(n, 1, h, w), torch.zeros(n, 2, h, w)
        y, x = (v.float() for v in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
        for i in range(n):
            for columns in (x < w / 2, x >= w / 2):
                square = (red[i] > 0.5) & columns
                if square.any():
                    middle = y[square].mean(), x[square].mean()
                    peak = torch.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / 8)
                    center[i, 0] = torch.maximum(center[i, 0], peak)
                    offset[i, 0][columns], offset[i, 1][columns] = (
                        (middle[0] - y)[columns],
                        (middle[1] - x)[columns],
                    )
        return Predictions(semantic, center, offset)


def two_cars(height=96, width=192):
    image = np.zeros((height, width, 3), np.uint8)
    image[16:52, 20:56, 0] = image[32:84, 120:172, 0] = 255
    return image


def predictor(**options):
    return Predictor(Symmetric(), CITYSCAPES, config=PostprocessConfig(stuff_area=0), **options)


def test_scale_one_without_flip_is_plain_prediction_bit_for_bit(checkpoint):
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    plain = Predictor.from_checkpoint(checkpoint)(image)
    same = Predictor.from_checkpoint(checkpoint, scales=(1.0,), flip=False)(image)
    assert (plain.panoptic == same.panoptic).all()
    assert plain.segments == same.segments


def test_mirroring_changes_nothing_for_a_model_that_mirrors():
    image = two_cars()
    plain, flipped = predictor()(image), predictor(flip=True)(image)
    assert [s.category for s in plain.segments] == ["road", "car", "car"]
    assert (plain.panoptic == flipped.panoptic).all()
    for one, other in zip(plain.segments, flipped.segments, strict=True):
        # Probabilities of pixels here, of the nearest cells there.
        assert one.score == pytest.approx(other.score, abs=0.05)
        assert one.center is None or np.abs(np.subtract(one.center, other.center)).max() <= 1


@pytest.mark.parametrize("options", [{"flip": True}, {"scales": (0.5, 1.0, 2.0), "flip": True}])
@pytest.mark.parametrize("size", [(95, 190), (93, 191), (94, 189)])
def test_nothing_moves_where_the_grid_does_not_fit_the_image(size, options):
    # A padded view that is mirrored with its padding would be moved by up to 3 pixels, and offsets with it.
    image = two_cars()[: size[0], : size[1]]
    result = predictor(**options)(image)
    cars = [segment for segment in result.segments if segment.category == "car"]
    truth = image[..., 0] > 0
    assert len(cars) == 2
    seen = result.semantic == CAR
    assert (seen & truth).sum() / (seen | truth).sum() > 0.93
    for car, box in zip(cars, [(16, 20, 52, 56), (32, 120, 84, 172)], strict=True):
        assert np.abs(np.subtract(car.box, box)).max() <= 2
        assert np.abs(np.subtract(car.center, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))).max() <= 2


def test_views_have_the_sizes_that_were_asked_for():
    predict = predictor(scales=(0.5, 1.0, 1.75), flip=True, size=(48, 96))
    result = predict(two_cars())
    assert predict.model.sizes == [(24, 48)] * 2 + [(48, 96)] * 2 + [(84, 168)] * 2
    assert result.panoptic.shape == (96, 192)
    assert [s.category for s in result.segments] == ["road", "car", "car"]


class OnCorners(torch.nn.Module):
    """Sees cars where it is red, at the pixels that its grid with aligned corners lies on."""

    align_corners = True

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        red = images[:, 0, ::4, ::4].float() / 255
        semantic = torch.zeros(len(images), len(CITYSCAPES), *red.shape[1:])
        semantic[:, CAR], semantic[:, ROAD] = 8 * red, 8 * (1 - red)
        offset = torch.zeros(len(images), 2, *red.shape[1:])
        return Predictions(semantic, (red > 2).float()[:, None], offset)


def test_aligned_corners_stay_aligned_in_the_mirror():
    image = np.zeros((65, 129, 3), np.uint8)
    image[:, 41:, 0] = 255
    plain, flipped = (
        Predictor(OnCorners(), CITYSCAPES, flip=flip, class_map=True)(image).class_map
        for flip in (False, True)
    )
    # Between the pixels 40 and 44 of the grid the middle is 42; cells of other corners would move it.
    assert (plain[:, 43:] == CAR).all()
    assert (plain[:, :42] == ROAD).all()
    assert (flipped[:, 43:] == CAR).all()
    assert (flipped[:, :42] == ROAD).all()


def steady(semantic, offset=(0.0, 0.0)):
    """A model that says the same everywhere, whatever it is shown."""

    def model(images):
        n, _, height, width = images.shape
        h, w = -(-height // 4), -(-width // 4)
        logits = torch.tensor(semantic)[None, :, None, None].expand(n, -1, h, w)
        dy, dx = (torch.full((n, 1, h, w), value) for value in offset)
        return Predictions(logits, torch.full((n, 1, h, w), 0.5), torch.cat((dy, dx), 1))

    return model


def test_probabilities_are_averaged_and_a_softmax_gives_them_back():
    models = iter([steady([2.0, 0.0]), steady([0.0, 1.0])])
    views = [(torch.zeros(1, 3, 8, 12), False)] * 2
    seen = average_views(lambda images: next(models)(images), views, (8, 12))
    expected = (torch.tensor([2.0, 0.0]).softmax(0) + torch.tensor([0.0, 1.0]).softmax(0)) / 2
    torch.testing.assert_close(seen.semantic[0, :, 3, 5].softmax(0), expected)
    torch.testing.assert_close(seen.semantic[0, :, 3, 5].exp(), expected)
    torch.testing.assert_close(seen.center, torch.full((1, 1, 8, 12), 0.5))


def test_offsets_are_in_pixels_of_the_image_and_dx_is_turned_by_the_mirror():
    model = steady([0.0, 0.0], offset=(1.5, -2.0))
    for size, cell in (((8, 16), 4.0), ((4, 8), 8.0), ((16, 32), 2.0)):
        for mirrored in (False, True):
            views = [(torch.zeros(2, 3, *size), mirrored)]
            offset = average_views(model, views, (8, 16)).offset
            expected = torch.tensor([1.5 * cell, (2.0 if mirrored else -2.0) * cell])
            torch.testing.assert_close(offset, expected.view(1, 2, 1, 1).expand(2, 2, 8, 16))
    both = [(torch.zeros(1, 3, 8, 16), mirrored) for mirrored in (False, True)]
    assert average_views(model, both, (8, 16)).offset[:, 1].abs().max() == 0


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(9, 13), (8, 10)])
def test_maps_are_upsampled_as_torch_does(align_corners, size):
    h, w = (-(-(n - align_corners) // 4) + align_corners for n in size)
    maps = Predictions(*(torch.randn(1, c, h, w) for c in (3, 1, 2)))
    seen = average_views(
        lambda images: maps, [(torch.zeros(1, 3, *size), False)], size, align_corners=align_corners
    )
    full = (4 * h - 3, 4 * w - 3) if align_corners else (4 * h, 4 * w)

    def upsampled(values):
        finer = torch.nn.functional.interpolate(values, full, mode="bilinear", align_corners=align_corners)
        return finer[..., : size[0], : size[1]]

    torch.testing.assert_close(seen.semantic.exp(), upsampled(maps.semantic).softmax(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.center, upsampled(maps.center), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.offset, 4 * upsampled(maps.offset), atol=1e-5, rtol=1e-5)


def test_strips_do_not_show(monkeypatch):
    maps = Predictions(*(torch.randn(1, c, 6, 8) for c in (3, 1, 2)))
    views = [(torch.zeros(1, 3, 24, 32), True)]
    whole = average_views(lambda images: maps, views, (24, 32))
    monkeypatch.setattr("panodeeplab.inference.multi_scale._STRIP", 1)
    for one, other in zip(average_views(lambda images: maps, views, (24, 32)), whole, strict=True):
        assert torch.equal(one, other)


def test_one_view_exists_at_a_time():
    order = []

    def views():
        for number in range(3):
            order.append(f"view {number}")
            yield torch.zeros(1, 3, 8, 8), False

    def model(images):
        order.append("model")
        return steady([0.0, 1.0])(images)

    average_views(model, views(), (8, 8))
    assert order == ["view 0", "model", "view 1", "model", "view 2", "model"]


def test_a_class_that_is_certain_stays_finite():
    seen = average_views(steady([0.0, 200.0]), [(torch.zeros(1, 3, 4, 4), False)], (4, 4))
    assert seen.semantic.isfinite().all()


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -2.0), (float("nan"),), (float("inf"),)])
def test_wrong_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be positive numbers"):
        predictor(scales=scales)


def test_no_view_is_refused():
    with pytest.raises(ValueError, match="at least one view"):
        average_views(steady([0.0]), [], (4, 4))


class Windowed(torch.nn.Module):
    pooling_window = (8, 8)

    def __init__(self):
        super().__init__()
        self.zooms = []

    def forward(self, images, zoom=(1.0, 1.0)):
        self.zooms.append(zoom)
        return steady([0.0])(images)


def test_a_pooling_window_is_told_the_zoom():
    model = Windowed()
    views = [(torch.zeros(1, 3, *size), False) for size in ((8, 16), (4, 8), (12, 24))]
    average_views(model, views, (8, 16))
    assert model.zooms == [(1.0, 1.0), (0.5, 0.5), (1.5, 1.5)]
