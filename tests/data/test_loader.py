"""The training loader: batch t is a function of the seed and of t, whatever else differs."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.loader import Batch, collate, training_loader
from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.training_set import TrainingSample, TrainingSet
from panodeeplab.data.transforms import TrainTransform
from panodeeplab.targets import PanopticTargets, panoptic_targets


class Squares:
    """`count` noise images of 48 x 64, each with a road and from none to three cars."""

    classes = CITYSCAPES

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def segments_info(self, index: int) -> list[Segment]:
        return self[index].segments_info

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
        panoptic = np.full((48, 64), 7, np.int32)
        segments = [Segment(id=7, category_id=0, iscrowd=0)]
        for n in range(index % 4):
            panoptic[10:20, 12 * n : 12 * n + 8] = 26000 + n
            segments.append(Segment(id=26000 + n, category_id=13, iscrowd=0))
        return Sample(image, panoptic, segments, f"squares_{index}")


def _targets(sample: Sample) -> PanopticTargets:
    return panoptic_targets(sample.panoptic, sample.segments_info, thing_ids=CITYSCAPES.thing_ids)


def _samples(dataset=None, transform=None, seed: int = 3, **options) -> TrainingSet:
    transform = transform or TrainTransform((32, 40), color_jitter=0.3)
    return TrainingSet(dataset or Squares(5), transform, _targets, seed, **options)


@pytest.fixture
def load():
    """training_loader with small defaults."""
    return partial(training_loader, _samples(), batch_size=2, iterations=8)


def _equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and all(map(torch.equal, a.targets, b.targets))


def test_batches_have_the_promised_shapes(load):
    batches = list(load())
    assert len(batches) == len(load()) == 8
    for batch in batches:
        assert batch.images.shape == (2, 3, 32, 40)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        shapes = {name: tuple(t.shape) for name, t in batch.targets._asdict().items()}
        assert shapes == {
            "sem_seg": (2, 32, 40),
            "center": (2, 32, 40),
            "offset": (2, 2, 32, 40),
            "sem_seg_weights": (2, 32, 40),
            "center_weights": (2, 1, 32, 40),
            "offset_weights": (2, 1, 32, 40),
            "center_points": (2, 0, 2),
        }
        images, targets = batch.to("cpu")
        assert torch.equal(images, batch.images)
        assert {t.dtype for t in targets[1:-1]} == {torch.float32}
        assert targets.sem_seg.dtype == torch.int64


def test_batches_hold_the_samples_of_the_training_set(load):
    samples = _samples()
    for t, batch in enumerate(load()):
        for row in range(2):
            image, targets, _ = samples[2 * t + row]
            np.testing.assert_array_equal(batch.images[row].permute(1, 2, 0).numpy(), image)
            for name in PanopticTargets._fields[:-1]:
                assert torch.equal(getattr(batch.to("cpu")[1], name)[row], getattr(targets, name)), name


def test_resuming_continues_identically(load):
    whole = list(load())
    for start in (1, 3, 7):
        rest = list(load(start_iteration=start))
        assert len(rest) == 8 - start
        assert all(map(_equal, whole[start:], rest))
    assert list(load(start_iteration=8)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_matter(load, workers):
    batches = list(load(workers=workers))
    assert len(batches) == 8
    assert all(map(_equal, load(), batches))


@pytest.mark.parametrize("world_size", [2, 3, 6])
@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_batch_of_one_process(load, world_size, workers):
    whole = list(load(batch_size=6, iterations=4))
    ranks = [
        load(batch_size=6, iterations=4, rank=rank, world_size=world_size, workers=workers)
        for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert all(len(part.images) == 6 // world_size for part in parts)
        images = torch.cat([part.images for part in parts])
        targets = (torch.cat(field) for field in zip(*(part.targets for part in parts), strict=True))
        assert _equal(batch, Batch(images, PanopticTargets(*targets)))


class _Draws(TrainTransform):
    """Writes the first number that it draws into the image, which is what the sample then shows."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        pixels = np.zeros((*self.crop_size, 3), np.uint8)
        pixels.reshape(-1)[:8] = np.frombuffer(np.float64(rng.random()).tobytes(), np.uint8)
        return sample._replace(image=pixels, panoptic=sample.panoptic[: pixels.shape[0], : pixels.shape[1]])


def test_no_two_workers_ranks_or_epochs_draw_the_same_augmentation():
    # 5 images, 20 batches of 4: 16 epochs.
    draws = []
    for rank in range(2):
        samples = _samples(transform=_Draws((32, 40)))
        loader = training_loader(samples, batch_size=4, iterations=20, rank=rank, world_size=2, workers=2)
        draws += [image.permute(1, 2, 0).numpy().tobytes() for batch in loader for image in batch.images]
    assert len(draws) == len(set(draws)) == 80


def test_workers_start_after_the_parent_used_all_its_threads(load):
    noise = np.random.default_rng(0).random((1000, 1500, 3), np.float32)
    cv2.GaussianBlur(cv2.resize(noise, (2000, 1600)), (9, 9), 2)
    torch.rand(400, 400) @ torch.rand(400, 400)
    assert len(list(load(workers=2, iterations=4))) == 4


def test_the_length_of_the_run_does_not_matter(load):
    assert all(map(_equal, load(iterations=3), load()))


def test_seeds_give_different_runs(load):
    assert not any(map(_equal, load(), training_loader(_samples(seed=4), batch_size=2, iterations=8)))


def test_the_global_generators_are_left_alone(load):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state()
    first = list(load())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)
    assert all(map(_equal, first, load()))


def test_no_augmentation_is_repeated():
    samples = TrainingSet(Squares(1), TrainTransform((40, 50), color_jitter=0.3), _targets, seed=0)
    assert len({samples[n][0].tobytes() for n in range(60)}) == 60
    seen = {}
    recorder = TrainingSet(
        Squares(7), lambda sample, rng: seen.setdefault(rng.random(), sample), _targets, seed=0
    )
    for n in range(70):
        recorder[n]
    assert len(seen) == 70


def test_order_and_augmentation_draw_from_separate_streams():
    drawn = []

    def transform(sample: Sample, rng: np.random.Generator) -> Sample:
        drawn.append(rng.permutation(50).tolist())
        return sample

    samples = TrainingSet(Squares(50), transform, _targets, seed=0)
    for n in range(3):
        samples[n]
    orders = [[samples.order.index(50 * epoch + i) for i in range(50)] for epoch in range(3)]
    assert not any(order in drawn for order in orders)


def test_collate_of_images_with_and_without_instances():
    samples = [Squares(4)[i] for i in (0, 3)]
    targets = [_targets(sample) for sample in samples]
    assert [len(t.center_points) for t in targets] == [0, 3]
    batch = collate([TrainingSample(s.image, t, ()) for s, t in zip(samples, targets, strict=True)])
    assert batch.targets.center_points.shape == (2, 0, 2)
    assert batch.targets.center[0].max() == 0
    assert batch.targets.center[1].max() == 1
    assert len(targets[1].center_points) == 3


def test_class_ids_beyond_a_byte_stay_whole():
    image, targets = np.zeros((2, 2, 3), np.uint8), _targets(Squares(1)[0])
    targets = targets._replace(sem_seg=torch.full_like(targets.sem_seg, 300))
    assert (collate([TrainingSample(image, targets, ())]).to("cpu")[1].sem_seg == 300).all()


class Damaged(Squares):
    """Of 8 images three cannot be read."""

    def __init__(self) -> None:
        super().__init__(8)

    def __getitem__(self, index: int) -> Sample:
        if index in (1, 2, 6):
            raise ValueError(f"squares_{index}.png cannot be decoded")
        return super().__getitem__(index)


def test_a_damaged_file_is_named(tmp_path, write_pair):
    image, _ = write_pair(np.full((40, 50), 7, np.uint16))
    image.write_bytes(image.read_bytes()[:200])
    batches = training_loader(_samples(CityscapesDataset(tmp_path)), batch_size=2, iterations=8)
    with pytest.raises(ValueError, match=r"a_leftImg8bit\.png cannot be decoded"):
        next(iter(batches))


def test_the_next_of_the_order_takes_the_place_of_a_bad_sample(load):
    samples = _samples(Damaged(), skip_bad=True)
    whole = _samples(Squares(8))
    for number in range(40):
        image, _, bad = samples[number]
        indices = [whole.order.index(number + step) for step in range(4)]
        first = next(step for step, index in enumerate(indices) if index not in (1, 2, 6))
        assert [b.index for b in bad] == indices[:first]
        assert all(b.reason == f"squares_{b.index}.png cannot be decoded" for b in bad)
        # With the augmentation of its own number.
        rng = np.random.default_rng((1, 3, number))
        expected = TrainTransform((32, 40), color_jitter=0.3)(Squares(8)[indices[first]], rng)
        np.testing.assert_array_equal(image, expected.image)


def test_bad_samples_come_through_workers_and_ranks():
    alone = list(training_loader(_samples(Damaged(), skip_bad=True), batch_size=4, iterations=8))
    assert {bad.index for batch in alone for bad in batch.bad} == {1, 2, 6}
    shared = [
        training_loader(
            _samples(Damaged(), skip_bad=True), batch_size=4, iterations=8, rank=rank, world_size=2, workers=2
        )
        for rank in range(2)
    ]
    for batch, *parts in zip(alone, *shared, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert batch.bad == sum((part.bad for part in parts), ())


def test_data_that_are_gone_end_the_search():
    class Gone(Squares):
        def __getitem__(self, index: int) -> Sample:
            raise OSError(f"no disk for {index}")

    with pytest.raises(ValueError, match="100 samples in a row cannot be read; the first: no disk for"):
        _samples(Gone(300), skip_bad=True)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must lie in 0..world_size - 1, got rank 2 of world_size 2"),
        ({"rank": -1}, "rank must lie in"),
        ({"world_size": 0}, "rank must lie in"),
        ({"world_size": 4}, "batch_size must be a multiple of world_size, got 2 and 4"),
        ({"workers": -1}, "workers must be >= 0, got -1"),
        ({"start_iteration": 9}, "start_iteration must lie in 0..iterations, got 9 with iterations 8"),
        ({"start_iteration": -1}, "start_iteration must lie in"),
    ],
)
def test_wrong_arguments(load, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_empty_data_set_and_negative_seed():
    with pytest.raises(ValueError, match="dataset has no samples"):
        TrainingSet(Squares(0), TrainTransform((8, 8)), _targets, seed=0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        _samples(seed=-1)


def test_an_error_that_nobody_catches_ends_the_process():
    # Its traceback holds the loader, whose workers do not listen to the signal that Python sends them.
    program = """
import test_loader
from panodeeplab.data.loader import training_loader

batches = iter(training_loader(test_loader._samples(), batch_size=2, iterations=9, workers=1))
next(batches)
raise RuntimeError("a step failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "RuntimeError: a step failed" in done.stderr
