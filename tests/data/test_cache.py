"""The cache gives the samples of its data set, and refuses to where it no longer would."""

import os
import pickle
import shutil

import numpy as np
import pytest

from panodeeplab import config as configuration
from panodeeplab.cli import main
from panodeeplab.config import ScenesConfig
from panodeeplab.data.cache import CachedDataset, verify_cache, write_cache
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.coco_dataset import CocoPanopticDataset
from panodeeplab.data.datasets import build_dataset
from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.scenes import StreetScenes


def _street(shift: int) -> np.ndarray:
    ids = np.full((40, 50 + shift), 7, np.uint16)
    ids[10:20, 5:15] = 26000 + shift
    ids[30:] = 29001  # a caravan: void with an id of its own
    return ids


@pytest.fixture
def streets(tmp_path, write_pair):
    for n in range(3):
        write_pair(_street(n), name=f"{n}")
    return CityscapesDataset(tmp_path)


def _assert_equal(cached, dataset):
    assert len(cached) == len(dataset)
    assert cached.classes == dataset.classes
    for n in range(len(dataset)):
        ours, theirs = cached[n], dataset[n]
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.panoptic, theirs.panoptic)
        assert (ours.image.dtype, ours.panoptic.dtype) == (np.uint8, np.int32)
        assert ours[2:] == theirs[2:]
        assert cached.segments_info(n) == dataset.segments_info(n) == theirs.segments_info
        assert cached.files(n) == dataset.files(n)


def test_cityscapes(tmp_path, streets):
    written = write_cache(streets, tmp_path / "cache", "train", progress=False)
    assert written.samples == 3
    assert written.length == sum(40 * (50 + n) * 4 for n in range(3))
    assert written.bad == {}
    cached = CachedDataset(streets, tmp_path / "cache", "train")
    _assert_equal(cached, streets)
    pickled = pickle.dumps(cached)
    assert cached[0].image.tobytes() not in pickled
    _assert_equal(pickle.loads(pickled), streets)
    # Writing to a sample writes to no file.
    cached[0].image[:] = 0
    assert verify_cache(tmp_path / "cache", "train", progress=False) == written.length


def test_coco_with_many_segments(tmp_path, write_coco):
    ids = np.arange(20 * 30).reshape(20, 30) + 100_000
    segments = [{"id": int(i), "category_id": 1, "iscrowd": 0, "area": 1} for i in ids.ravel()[:300]]
    annotations = write_coco({5: ids}, {5: segments}, [{"id": 1, "name": "a", "isthing": 1}])
    dataset = CocoPanopticDataset(tmp_path / "images", annotations)
    write_cache(dataset, tmp_path / "cache", "val", progress=False)
    _assert_equal(CachedDataset(dataset, tmp_path / "cache", "val"), dataset)
    annotations.write_text(annotations.read_text() + " ")
    with pytest.raises(ValueError, match=r"val.json is stale: .*panoptic_val.json has changed"):
        CachedDataset(dataset, tmp_path / "cache", "val")


def test_generated_streets(tmp_path):
    scenes = StreetScenes(2, size=(64, 96), seed=3)
    write_cache(scenes, tmp_path, "train", progress=False)
    _assert_equal(CachedDataset(scenes, tmp_path, "train"), scenes)
    with pytest.raises(ValueError, match=r"stale: sample scene_000000 is not the same; make it anew with"):
        CachedDataset(StreetScenes(2, size=(64, 96), seed=4), tmp_path, "train")
    with pytest.raises(ValueError, match="stale: the data have 3 samples, the cache 2"):
        CachedDataset(StreetScenes(3, size=(64, 96), seed=3), tmp_path, "train")


def test_a_changed_file_is_noticed(tmp_path, streets, write_pair):
    cache = tmp_path / "cache"
    write_cache(streets, cache, "train", progress=False)
    label = streets.files(1)[1]
    content, time = label.read_bytes(), label.stat().st_mtime_ns
    # Copied data have other times: the content decides.
    os.utime(label, ns=(time + 10**9, time + 10**9))
    _assert_equal(CachedDataset(streets, cache, "train"), streets)
    label.write_bytes(content[:-20] + bytes(20))
    with pytest.raises(ValueError, match=rf"stale: .*{label.name} has changed; make it anew"):
        CachedDataset(streets, cache, "train")
    label.write_bytes(content + b"0")
    with pytest.raises(ValueError, match=rf"stale: .*{label.name} has changed \({len(content) + 1} bytes"):
        CachedDataset(streets, cache, "train")
    label.write_bytes(content)
    write_pair(_street(0), name="another")
    with pytest.raises(ValueError, match="stale: the data have 8 files, the cache was made from 6"):
        CachedDataset(CityscapesDataset(tmp_path), cache, "train")


def test_moved_data_are_the_same_data(tmp_path, streets):
    write_cache(streets, tmp_path / "cache", "train", progress=False)
    for name in ("leftImg8bit", "gtFine"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    moved = CityscapesDataset(tmp_path / "elsewhere")
    _assert_equal(CachedDataset(moved, tmp_path / "cache", "train"), moved)


def test_a_table_of_classes_belongs_to_the_data(tmp_path, streets):
    table = tmp_path / "classes.yaml"
    text = "classes:\n  - {id: 7, name: road, isthing: false}\n  - {id: 26, name: car, isthing: true}\n"
    table.write_text(text + "ignore: [29]\n")
    tree = {"dataset": "cityscapes", "root": tmp_path, "classes": table, "val_split": "train"}
    data = configuration.CityscapesConfig(**tree)
    write_cache(build_dataset(data, "train"), tmp_path / "cache", "train", also=[table], progress=False)
    cached = data.model_copy(update={"cache": tmp_path / "cache"})
    _assert_equal(build_dataset(cached, "train"), build_dataset(data, "train"))
    table.write_text(text + "ignore: [29, 30]\n")
    with pytest.raises(ValueError, match=r"stale: .*classes.yaml has changed"):
        build_dataset(cached, "train")


def test_a_sample_that_cannot_be_read_stays_that(tmp_path, streets):
    image = streets.files(1)[0]
    image.write_bytes(image.read_bytes()[:100])
    written = write_cache(streets, tmp_path / "cache", "train", progress=False)
    assert list(written.bad) == [1]
    cached = CachedDataset(streets, tmp_path / "cache", "train")
    with pytest.raises(ValueError, match=r"1_leftImg8bit.png cannot be decoded"):
        cached[1]
    np.testing.assert_array_equal(cached[2].image, streets[2].image)
    verify_cache(tmp_path / "cache", "train", progress=False)


def test_a_failed_build_leaves_the_old_cache(tmp_path, streets):
    cache = tmp_path / "cache"
    write_cache(streets, cache, "train", progress=False)

    class Killed(CityscapesDataset):
        def __getitem__(self, index: int) -> Sample:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(Killed(tmp_path), cache, "train", progress=False)
    assert len(list(cache.iterdir())) == 2
    _assert_equal(CachedDataset(streets, cache, "train"), streets)
    write_cache(streets, cache, "train", progress=False)
    assert len(list(cache.iterdir())) == 2


def test_damage_is_found(tmp_path, streets):
    cache = tmp_path / "cache"
    write_cache(streets, cache, "train", progress=False)
    (pixels,) = cache.glob("*.pixels")
    content = pixels.read_bytes()
    pixels.write_bytes(content[:-5000] + bytes(1) + content[-4999:])
    with pytest.raises(ValueError, match=r"sample 2 of .*\.pixels is damaged; make it anew"):
        verify_cache(cache, "train", progress=False)
    pixels.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"has {len(content) - 1} bytes, wanted {len(content)}"):
        CachedDataset(streets, cache, "train")
    (cache / "train.json").write_text("{")
    with pytest.raises(ValueError, match=r"train.json is no index of a cache .*make it anew"):
        CachedDataset(streets, cache, "train")
    with pytest.raises(FileNotFoundError, match=r"no .*val.json; make it with `panodeeplab cache`"):
        CachedDataset(streets, cache, "val")


def test_no_room(tmp_path, monkeypatch):
    class Large(StreetScenes):
        def __getitem__(self, index: int) -> Sample:
            return Sample(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.int32), [], index)

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 2000))
    with pytest.raises(ValueError, match=r"has 0.0 GB free, the cache needs"):
        write_cache(Large(100), tmp_path, "train", progress=False)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    shutil.copy(configuration.__file__.replace("panodeeplab/config.py", "configs/street_tiny.yaml"), config)
    sizes = ["--set", "data.train_count=3", "--set", "data.val_count=2", "--set", "data.image_size=[32,64]"]
    cache = ["--config", str(config), "--output", str(tmp_path / "cache"), *sizes]
    assert main(["cache", *cache]) == 0
    assert "train: 3 samples, 0.00 GB" in capsys.readouterr().out
    assert main(["cache", *cache, "--verify"]) == 0
    data = ScenesConfig(
        dataset="scenes", image_size=(32, 64), train_count=3, val_count=2, cache=tmp_path / "cache"
    )
    assert isinstance(build_dataset(data, "val"), CachedDataset)
    assert Segment.__required_keys__ == {*build_dataset(data, "val").segments_info(0)[0]}
