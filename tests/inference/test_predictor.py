"""From images of any kind and size to results."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from panodeeplab.classes import CITYSCAPES
from panodeeplab.config import PostprocessConfig
from panodeeplab.inference.images import read_image
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import Predictions

ROAD, SKY, CAR = 0, 10, 13


class ByColor(torch.nn.Module):
    """Sees sky where it is bright, a car where it is red, and road elsewhere, without an error."""

    align_corners = False

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, images):
        self.calls.append(tuple(images.shape))
        n, _, height, width = images.shape
        padded = torch.nn.functional.pad(images.float(), (0, -width % 4, 0, -height % 4), mode="replicate")
        mean = torch.nn.functional.avg_pool2d(padded, 4)
        red = (mean[:, 0] > 128) & (mean[:, 1] < 128)
        bright = (mean[:, 1] >= 128) & ~red
        semantic = torch.zeros(n, len(CITYSCAPES), *mean.shape[2:])
        semantic[:, CAR], semantic[:, SKY], semantic[:, ROAD] = (
            red * 9.0,
            bright * 9.0,
            (~red & ~bright) * 9.0,
        )
        y, x = torch.meshgrid(*(torch.arange(length) for length in mean.shape[2:]), indexing="ij")
        center, offset = torch.zeros(n, 1, *mean.shape[2:]), torch.zeros(n, 2, *mean.shape[2:])
        for i in range(n):
            if red[i].any():
                middle_y, middle_x = y[red[i]].float().mean() + 0.1, x[red[i]].float().mean() + 0.2
                center[i, 0] = torch.exp(-((y - middle_y) ** 2 + (x - middle_x) ** 2) / 4)
                offset[i, 0], offset[i, 1] = middle_y - y, middle_x - x
        return Predictions(semantic, center, offset)


def street(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2] = 255
    image[height // 4 : height * 3 // 4, width // 4 : width // 2] = (255, 0, 0)
    return image


def predictor(**arguments):
    return Predictor(ByColor(), CITYSCAPES, config=PostprocessConfig(stuff_area=0), **arguments)


def test_result_is_at_the_size_of_the_image_whatever_the_network_was_given():
    image = street(128, 256)
    for size, network_sees in (
        (None, (128, 256)),
        ((64, 128), (64, 128)),
        ((64, 400), (64, 128)),
        ((256, 512),) * 2,
    ):
        predict = predictor(size=size)
        result = predict(image)
        assert predict.network.calls == [(1, 3, *network_sees)]
        assert result.panoptic.shape == (128, 256)
        assert [(s.category, s.area) for s in result.segments] == [
            ("road", pytest.approx(128 * 128 - 32 * 64, rel=0.01)),
            ("sky", pytest.approx(128 * 128 - 32 * 64, rel=0.01)),
            ("car", pytest.approx(64 * 64, rel=0.01)),
        ]
        assert np.abs(np.subtract(result.segments[2].box, (32, 64, 96, 128))).max() <= 2
        assert np.abs(np.subtract(result.segments[2].center, (63.5, 95.5))).max() <= 4
        assert all(s.area == (result.panoptic == s.id).sum() for s in result.segments)
        assert result.image is image
        assert result.overlay().shape == image.shape


def test_aspect_ratio_is_kept():
    predict = predictor(size=(256, 512))
    predict(np.zeros((540, 960, 3), np.uint8))
    predict(np.zeros((100, 10, 3), np.uint8))
    assert predict.network.calls == [(1, 3, 256, 455), (1, 3, 256, 26)]


def test_a_list_is_answered_in_its_order_with_one_batch_per_size():
    images = [
        street(64, 128),
        np.zeros((32, 40, 3), np.uint8),
        street(64, 128)[:, ::-1],
        np.zeros((64, 128, 3), np.uint8),
    ]
    predict = predictor()
    results = predict(images)
    assert predict.network.calls == [(3, 3, 64, 128), (1, 3, 32, 40)]
    for result, image in zip(results, images, strict=True):
        alone = predict(image)
        assert (result.panoptic == alone.panoptic).all()
        assert result.segments == alone.segments
        assert result.image is image
    assert predict([]) == []
    assert isinstance(predict(images[:1]), list)


def test_image_is_left_as_it_is_and_need_not_be_contiguous():
    image = street(66, 130)
    before = image.copy()
    flipped = image[:, ::-1]
    predict = predictor(size=(33, 65))
    assert (predict(flipped).panoptic == predict(flipped.copy()).panoptic).all()
    assert (image == before).all()


def test_timings_name_every_stage(checkpoint):
    result = Predictor.from_checkpoint(checkpoint, backend="eager")(street(64, 128))
    assert list(result.timings_ms) == ["preprocess", "network", "postprocess"]
    assert all(value > 0 for value in result.timings_ms.values())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (37, 53), (64, 128), (129, 61)])
@pytest.mark.parametrize("network_size", ["trained", "native", (48, 48)])
def test_a_real_model_takes_any_size(checkpoint, size, network_size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    result = Predictor.from_checkpoint(checkpoint, backend="eager", size=network_size)(image)
    assert result.panoptic.shape == size
    ids, areas = np.unique(result.panoptic[result.panoptic >= 0], return_counts=True)
    assert [(s.id, s.area) for s in result.segments] == list(zip(ids.tolist(), areas.tolist(), strict=True))
    assert result.overlay().shape == image.shape


def test_checkpoint_brings_classes_size_and_post_processing(checkpoint):
    predict = Predictor.from_checkpoint(checkpoint, backend="eager")
    assert predict.classes == CITYSCAPES
    assert predict.size == (64, 128)
    assert (predict.config.stuff_area, predict.config.top_k) == (64, 20)
    assert not predict.network.training
    assert Predictor.from_checkpoint(str(checkpoint), backend="eager", size="native").size is None
    assert Predictor.from_checkpoint(checkpoint, backend="eager", size=(10, 20)).size == (10, 20)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"images must be \(H, W, 3\) uint8 RGB, got \(4, 4, 3\) float32"),
        (np.zeros((4, 4), np.uint8), "images must be"),
        (np.zeros((4, 4, 4), np.uint8), "images must be"),
        (np.zeros((0, 4, 3), np.uint8), r"images must have pixels, got \(0, 4, 3\)"),
        (torch.zeros((4, 4, 3)), r"got \(4, 4, 3\) torch.float32"),
        (torch.zeros((3, 4, 4), dtype=torch.uint8), r"\(H, W, 3\) uint8 RGB, got \(3, 4, 4\)"),
        (None, "got NoneType"),
        ([np.zeros((4, 4, 3), np.uint8), 3], "got int"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        predictor()(image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 10)}, "size must be"),
        ({"size": (10, 10, 3)}, "size must be"),
        ({"size": "large"}, "'trained' or 'native', got 'large'"),
        ({"device": "abacus"}, "device must be .* got 'abacus'"),
        ({"device": "cuda:99"}, "device must be .* got 'cuda:99'"),
    ],
)
def test_wrong_settings_are_refused(checkpoint, arguments, message):
    with pytest.raises(ValueError, match=message):
        Predictor.from_checkpoint(checkpoint, backend="eager", **arguments)


def test_checkpoint_that_is_missing_or_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        Predictor.from_checkpoint(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights at all")
    with pytest.raises(ValueError, match=r"text\.safetensors"):
        Predictor.from_checkpoint(tmp_path / "text.safetensors")


PICTURE = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = PICTURE[..., 0]


def save_16_bit_rgb(path):
    cv2.imwrite(str(path), PICTURE[..., ::-1].astype(np.uint16) * 256 + 77)


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (Image.fromarray(PICTURE).save, PICTURE),
        (Image.fromarray(GRAY).save, np.dstack([GRAY] * 3)),
        (Image.fromarray(np.dstack([PICTURE, GRAY])).save, PICTURE),
        (Image.fromarray(GRAY.astype(np.uint16) * 256 + 77).save, np.dstack([GRAY] * 3)),
        (save_16_bit_rgb, PICTURE),
        (Image.fromarray(GRAY > 128).save, np.dstack([(GRAY > 128) * np.uint8(255)] * 3)),
        (Image.fromarray(PICTURE).quantize(256).save, PICTURE),
    ],
    ids=["rgb", "gray", "alpha", "gray16", "rgb16", "bilevel", "palette"],
)
def test_every_kind_of_png_is_read_as_rgb(tmp_path, save, expected):
    save(tmp_path / "picture.png")
    image = read_image(tmp_path / "picture.png")
    assert image.dtype == np.uint8
    assert (image == expected).all()
    assert predictor()(tmp_path / "picture.png").panoptic.shape == (6, 9)
    assert len(predictor()([str(tmp_path / "picture.png")])) == 1


def test_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees clockwise.
    Image.fromarray(street(64, 128)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = np.rot90(street(64, 128), -1)
    read = read_image(tmp_path / "turned.jpg")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_file_that_breaks_off_is_an_error(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"cannot read .*picture{suffix}"):
        read_image(path)


def test_file_that_is_no_image_is_an_error(tmp_path):
    for name, content in (
        ("empty.png", b""),
        ("text.jpg", b"not an image"),
        ("header.png", b"\x89PNG\r\n\x1a\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_image(tmp_path / name)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="floating point"):
        read_image(tmp_path / "float.tif")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path)


def test_tensors_and_batches_are_images_too():
    images = np.stack([street(64, 128), street(64, 128)[:, ::-1]])
    predict = predictor(size=(32, 64))
    expected = predict(list(images))
    for given in (images, torch.from_numpy(images), list(torch.from_numpy(images))):
        for result, wanted in zip(predict(given), expected, strict=True):
            assert (result.panoptic == wanted.panoptic).all()
            assert result.segments == wanted.segments
            assert (result.image == wanted.image).all()
    single = predict(torch.from_numpy(images[0]))
    assert (single.panoptic == expected[0].panoptic).all()
    assert np.shares_memory(single.image, images)
    # A camera's buffer may be read-only.
    images.flags.writeable = False
    assert (predict(images[0]).panoptic == expected[0].panoptic).all()


def test_warm_up_runs_the_size_and_the_batch_to_come():
    predict = predictor(size=(32, 64))
    predict.warm_up()
    predict.warm_up((64, 64), batch=3)
    assert predict.network.calls == [(1, 3, 32, 64)] * 2 + [(3, 3, 32, 32)] * 2


@pytest.mark.parametrize("size", [(64, 128), (32, 64), (50, 90)])
def test_predictions_are_kept_on_the_grid_of_the_map(size):
    image = street(64, 128)
    result = predictor(size=size, keep_predictions=True)(image)
    assert predictor(size=size)(image).predictions is None
    semantic, center, offset = result.predictions
    height, width = (-(-length // result.stride) for length in image.shape[:2])
    assert semantic.shape == (len(CITYSCAPES), height, width)
    assert (center.shape, offset.shape) == ((1, height, width), (2, height, width))
    # The heatmap is highest where the car has its center.
    (car,) = (segment for segment in result.segments if segment.is_thing)
    y, x = divmod(int(center.argmax()), width)
    assert abs((y + 0.5) * result.stride - car.center[0]) <= 1.5 * result.stride
    assert abs((x + 0.5) * result.stride - car.center[1]) <= 1.5 * result.stride
