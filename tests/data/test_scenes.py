"""Generated streets: the same street for the same seed, and a truth that fits its picture."""

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.scenes import StreetScenes, render_clip, render_scene, textures, write_cityscapes
from panodeeplab.data.scenes.camera import Camera, rotation
from panodeeplab.data.scenes.canvas import Canvas, Light
from panodeeplab.data.scenes.render import _far_to_near
from panodeeplab.data.scenes.vehicles import palette, vehicle

SMALL = (96, 192)
LABELS = {label: index for index, label in enumerate(CITYSCAPES.label_ids)}


@pytest.fixture(scope="module")
def many():
    scenes = StreetScenes(70, size=SMALL, seed=11)
    return [scenes[index] for index in range(len(scenes))]


def digest(samples) -> str:
    state = hashlib.sha256()
    for sample in samples:
        state.update(sample.image.tobytes())
        state.update(sample.panoptic.tobytes())
        state.update(repr((sample.segments_info, sample.image_id)).encode())
    return state.hexdigest()


def categories(sample) -> np.ndarray:
    """(H, W) class of every pixel, -1 for void."""
    found = np.full(sample.panoptic.shape, -1)
    for segment in sample.segments_info:
        found[sample.panoptic == segment["id"]] = segment["category_id"]
    return found


def test_same_seed_gives_same_pixels_in_any_order():
    forward = StreetScenes(4, size=SMALL, seed=3)
    first = [forward[index] for index in range(4)]
    backward = StreetScenes(9, size=SMALL, seed=3)
    again = [backward[index] for index in (3, 2, 1, 0)][::-1]
    assert digest(first) == digest(again)
    assert digest([render_scene(5, SMALL)]) == digest([render_scene(5, SMALL)])


def test_same_pixels_in_another_process():
    code = (
        "from tests.data.test_scenes import digest, SMALL\n"
        "from panodeeplab.data.scenes import StreetScenes, render_clip\n"
        "scenes = StreetScenes(3, size=SMALL, seed=21)\n"
        "print(digest([scenes[2], scenes[0], *render_clip(4, 2, SMALL)]))\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scenes = StreetScenes(3, size=SMALL, seed=21)
    assert done.stdout.strip() == digest([scenes[2], scenes[0], *render_clip(4, 2, SMALL)])


def test_no_global_random_state_is_read_or_touched():
    np.random.seed(1)
    before = render_scene(8, SMALL)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    assert digest([before]) == digest([render_scene(8, SMALL)])
    np.random.seed(1)
    assert (np.random.get_state()[1] == state).all()


def test_seeds_and_indices_differ():
    train, val = StreetScenes(5, size=SMALL, seed=0), StreetScenes(5, size=SMALL, seed=1)
    images = [scenes[index].image for scenes in (train, val) for index in range(5)]
    for k, first in enumerate(images):
        for second in images[k + 1 :]:
            assert np.abs(first.astype(int) - second).mean() > 5


def test_truth_and_segments_agree(many):
    names = set()
    for sample in many:
        height, width = SMALL
        assert sample.image.shape == (height, width, 3)
        assert sample.image.dtype == np.uint8
        assert sample.panoptic.shape == (height, width)
        assert sample.panoptic.dtype == np.int32
        ids = [segment["id"] for segment in sample.segments_info]
        assert len(ids) == len(set(ids))
        assert set(np.unique(sample.panoptic)) - {0} == set(ids)
        names.add(sample.image_id)
        for segment in sample.segments_info:
            label = segment["id"] // 1000 if segment["id"] >= 1000 else segment["id"]
            assert segment["category_id"] == LABELS[label]
            thing = segment["category_id"] in CITYSCAPES.thing_ids
            assert segment["iscrowd"] == (thing and segment["id"] < 1000)
            assert thing or segment["id"] < 1000
    assert len(names) == len(many)


def test_no_instance_is_too_small_to_see(many):
    least = round(30 * SMALL[0] * SMALL[1] / (256 * 512))
    assert least > 3
    for sample in many:
        for segment in sample.segments_info:
            if segment["category_id"] in CITYSCAPES.thing_ids:
                assert (sample.panoptic == segment["id"]).sum() >= least
        assert (sample.panoptic == 0).mean() < 0.2


def test_every_class_is_common_enough_to_be_scored(many):
    scenes = np.zeros(len(CITYSCAPES), int)
    for sample in many:
        scenes[list({segment["category_id"] for segment in sample.segments_info})] += 1
    rare = {CITYSCAPES.names[k]: count for k, count in enumerate(scenes) if count < 0.08 * len(many)}
    assert not rare
    assert any(segment["iscrowd"] for sample in many for segment in sample.segments_info)
    instances = [sum(s["id"] >= 1000 for s in sample.segments_info) for sample in many]
    assert 5 <= np.median(instances) <= 20


def test_the_picture_looks_like_its_truth(many):
    """Sky lies over road and is brighter, leaves are greener than asphalt."""
    rows = {"sky": [], "road": [], "vegetation": []}
    light = {name: [] for name in rows}
    for sample in many:
        found = categories(sample)
        for name in rows:
            where = found == CITYSCAPES.names.index(name)
            if where.sum() > 100:
                rows[name].append(np.flatnonzero(where.any(1)).mean() / SMALL[0])
                light[name].append(sample.image[where].mean(0))
    assert max(rows["sky"]) < min(rows["road"])
    sky, road, leaves = (np.mean(light[name], 0) for name in ("sky", "road", "vegetation"))
    assert sky.mean() > road.mean() + 40
    assert leaves[1] - leaves[2] > road[1] - road[2] + 15


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 211), (160, 80), (256, 512), (300, 1101)])
def test_any_size(size):
    for seed in range(3):
        sample = render_scene(seed, size)
        assert sample.image.shape == (*size, 3)
        assert sample.panoptic.shape == size
        assert sample.image.std() > 10
        present = {segment["category_id"] for segment in sample.segments_info}
        assert 0 in present
        assert len(present) >= 4


def test_a_seed_is_one_street_at_every_size():
    for seed in range(4):
        small, large = render_scene(seed, (128, 256)), render_scene(seed, (256, 512))
        assert (categories(small) == categories(large)[::2, ::2]).mean() > 0.9


def test_data_set_protocol():
    scenes = StreetScenes(3, size=SMALL)
    assert len(scenes) == 3
    assert scenes.classes is CITYSCAPES
    assert [sample.image_id for sample in scenes] == ["scene_000000", "scene_000001", "scene_000002"]
    assert digest([scenes[-1]]) == digest([scenes[2]])
    with pytest.raises(IndexError, match="3"):
        scenes[3]


def test_clip_keeps_ids_and_moves():
    frames = list(render_clip(3, 12, (128, 256)))
    assert len({frame.image_id for frame in frames}) == 12
    kept, moved, followed = [], 0, 0
    classes = {}
    for before, after in pairwise(frames):
        first = {s["id"]: s["category_id"] for s in before.segments_info}
        second = {s["id"]: s["category_id"] for s in after.segments_info}
        for key, category in (*first.items(), *second.items()):
            assert classes.setdefault(key, category) == category
        kept.append(len(first.keys() & second.keys()) / len(first.keys() | second.keys()))
        for key in first.keys() & second.keys():
            a, b = before.panoptic == key, after.panoptic == key
            rows, columns = np.nonzero(a | b)
            inside = columns.min() > 0 and columns.max() < 255 and rows.min() > 0 and rows.max() < 127
            if key < 1000 or min(a.sum(), b.sum()) < 60 or not inside:
                continue
            shift = np.abs(np.argwhere(a).mean(0) - np.argwhere(b).mean(0)).max()
            assert shift < 12, (key, shift)
            moved += shift > 0.2
            colors = [f.image[m].mean(axis=0) for f, m in ((before, a), (after, b))]
            assert np.abs(colors[0] - colors[1]).max() < 25
            followed += 1
    assert np.mean(kept) > 0.8
    assert followed > 20
    assert moved > 0.5 * followed
    assert np.abs(frames[0].image.astype(int) - frames[-1].image).mean() > 3


def test_clip_frames_depend_on_time_alone():
    slow = list(render_clip(6, 5, SMALL, frames_per_second=10))
    fast = list(render_clip(6, 9, SMALL, frames_per_second=20))
    assert (slow[0].panoptic == fast[0].panoptic).all()
    still = (categories(slow[1]) == categories(slow[0])).mean()
    assert still < 1


def test_written_folder_reads_back(tmp_path):
    names = write_cityscapes(tmp_path / "out", 2, size=SMALL, seed=9, split="val", progress=False)
    scenes = StreetScenes(2, size=SMALL, seed=9)
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    expected = set()
    for index, name in enumerate(names):
        sample = scenes[index]
        image = tmp_path / "out/leftImg8bit/val/street" / f"{name}_leftImg8bit.png"
        truth = tmp_path / "out/gtFine/val/street" / f"{name}_gtFine_instanceIds.png"
        labels = truth.with_name(f"{name}_gtFine_labelIds.png")
        expected |= {str(p.relative_to(tmp_path / "out")) for p in (image, truth, labels)}
        assert (cv2.imread(str(image))[..., ::-1] == sample.image).all()
        ids = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)
        assert ids.dtype == np.uint16
        assert (ids == sample.panoptic).all()
        read = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        assert read.dtype == np.uint8
        assert {LABELS.get(int(v), -1) for v in np.unique(read)} == set(np.unique(categories(sample)))
    assert names[1] == "street_000001_000019"
    assert files == expected


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: StreetScenes(0), "count"),
        (lambda: StreetScenes(1.5), "count"),
        (lambda: StreetScenes(2, size=(31, 64)), "size"),
        (lambda: StreetScenes(2, size=(64,)), "size"),
        (lambda: StreetScenes(2, size=64), "size"),
        (lambda: StreetScenes(2, size=(64.5, 64)), "size"),
        (lambda: StreetScenes(2, seed=-1), "seed"),
        (lambda: render_scene(-3), "seed"),
        (lambda: render_scene(3, (8, 8)), "size"),
        (lambda: render_clip(1, 0), "length"),
        (lambda: render_clip(1, 5, frames_per_second=0), "frames_per_second"),
        (lambda: write_cityscapes("x", 2, split="tset"), "split"),
        (lambda: write_cityscapes("x", -2), "count"),
    ],
)
def test_bad_arguments_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_output_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(ValueError, match="output"):
        write_cityscapes(path, 1, size=SMALL, progress=False)
    assert path.read_text() == "mine"


@pytest.fixture
def canvas():
    camera = Camera((120, 200), 170.0, (55.0, 100.0), np.array([0.3, 1.5, 0.0]), rotation(0.05, -0.02, 0.01))
    light = Light(np.array([0.5, 0.7, -0.5]), np.full(3, 0.5), np.full(3, 0.6), np.full(3, 200.0), 0.002, 0.0)
    made = Canvas(camera, light)
    made.pixels[:] = (1, 2, 3, 7)
    return made


def _strokes():
    rng = np.random.default_rng(0)
    square = np.array([(-1, 2.5, 8), (1.2, 2.4, 9), (1.1, 0.2, 9), (-1, 0.1, 8)], float)
    texture = np.full((20, 30, 4), 180, np.uint8)
    yield "polygon", lambda c, n: c.polygon(np.array([(20.2, 10), (90, 30.7), (50, 80)]), (200, 90, 90), n)
    yield (
        "mesh",
        lambda c, n: c.mesh(vehicle("car", 0)[0], palette("car", rng), np.eye(3), np.array([0, 0, 9.0]), n),
    )
    yield (
        "near",
        lambda c, n: c.mesh(vehicle("bus", 1)[0], palette("bus", rng), np.eye(3), np.array([3, 0, 4.0]), n),
    )
    yield (
        "capsules",
        lambda c, n: c.capsules(
            np.array([[(0, 0, 7), (0.3, 2, 7)]], float), np.full((1, 2), 0.3), np.full((1, 3), 99.0), n
        ),
    )
    yield "textured", lambda c, n: c.textured(square, texture, n, np.ones(3))
    tree = textures.trees(True)[0][0]
    yield "billboard", lambda c, n: c.billboard(np.array([1.0, 0, 10]), 3.0, 4.5, tree, np.ones(3), n)


@pytest.mark.parametrize(("name", "stroke"), list(_strokes()), ids=[name for name, _ in _strokes()])
def test_a_stroke_sets_color_and_segment_of_the_same_pixels(canvas, name, stroke):
    stroke(canvas, 42)
    painted = canvas.pixels[..., 3] == 42
    changed = (canvas.pixels[..., :3] != (1, 2, 3)).any(-1)
    assert painted.sum() > 200
    assert (painted == changed).all()
    assert (canvas.pixels[~painted] == (1, 2, 3, 7)).all()


def test_ground_points_project_to_the_pixels_that_see_them():
    camera = Camera((90, 160), 140.0, (38.0, 83.0), np.array([1.7, 1.4, 0.0]), rotation(0.08, 0.03, -0.02))
    first, x, z, seen = camera.ground(200.0)
    assert seen[-1].all()
    assert not seen.all()
    points = np.stack([x, np.zeros_like(x), z], -1).astype(float)
    flat = camera.project(camera.view(points))
    rows, columns = np.mgrid[first:90, 0:160]
    assert np.abs(flat[..., 0] - columns)[seen].max() < 0.01
    assert np.abs(flat[..., 1] - rows)[seen].max() < 0.01


def test_painting_order_covers_by_depth_then_by_line_of_sight():
    depth = np.array(
        [(5.0, 29.0), (8.0, 12.0), (30.0, 34.0), (20.0, 21.0)]
    )  # tram, car beside it, far car, post
    side = np.array([3.5, 0.5, 0.0, 6.0])
    layer = np.array([1, 1, 1, 0])
    low, high = np.zeros((4, 2)), np.full((4, 2), 9.0)
    assert _far_to_near(depth, side, layer, low, high) == [3, 2, 0, 1]
    order = _far_to_near(depth[:2], side[1::-1], layer[:2], low[:2], high[:2])
    assert order == [1, 0]


def test_painting_order_survives_a_ring():
    # Each of the three hides the next one: 0 by sight over 1, 1 by sight over 2, 2 by depth over 0.
    depth = np.array([(0.0, 2.0), (1.0, 6.0), (2.0, 7.0)])
    side = np.array([3.0, 2.0, 1.0])
    order = _far_to_near(depth, side, np.ones(3, int), np.zeros((3, 2)), np.ones((3, 2)))
    assert sorted(order) == [0, 1, 2]
