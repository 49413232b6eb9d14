"""The batches of a run, as its configuration wants them."""

from torch.utils.data import DataLoader

from panodeeplab.classes import ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.data.copy_paste import CopyPaste
from panodeeplab.data.loader import training_loader
from panodeeplab.data.sample import PanopticDataset, Sample
from panodeeplab.data.sampling import class_presence, repeat_factors
from panodeeplab.data.training_set import TrainingSet
from panodeeplab.data.transforms import TrainTransform
from panodeeplab.targets import PanopticTargets, panoptic_targets


class _TargetMaker:
    """Targets of an augmented sample; a class, so that loader processes can be handed it."""

    def __init__(self, config: RunConfig, thing_ids: tuple[int, ...]) -> None:
        self._options = config.targets.model_dump() | {"thing_ids": frozenset(thing_ids)}

    def __call__(self, sample: Sample) -> PanopticTargets:
        return panoptic_targets(sample.panoptic, sample.segments_info, **self._options)


def things_to_copy(names: tuple[str, ...] | None, classes: ClassTable) -> list[int]:
    """Contiguous ids of the things that `augmentation.copy_paste.classes` names.

    Raises:
        ValueError: a name is none of the things.
    """
    if names is None:
        return list(classes.thing_ids)
    things = {classes.names[i]: i for i in classes.thing_ids}
    unknown = [name for name in names if name not in things]
    if unknown:
        raise ValueError(
            f"augmentation.copy_paste.classes has {', '.join(map(repr, unknown))}; "
            f"the things of {classes.name} are {', '.join(things)}"
        )
    return [things[name] for name in names]


def training_samples(config: RunConfig, dataset: PanopticDataset, *, progress: bool = True) -> TrainingSet:
    """The samples of a run. What is to come more often needs a look at all labels, with a bar.

    Samples that cannot be read are replaced and reported, see `TrainingSet`.

    Args:
        config: of the run.
        dataset: its training data.
        progress: show the bar.

    Raises:
        ValueError: `config` names a class that is no thing of the data set, or that no image has.
    """
    augmentation = config.augmentation
    copying = augmentation.copy_paste
    things = things_to_copy(copying.classes, dataset.classes) if copying else []
    repeats = copy_paste = None
    if copying or augmentation.repeat_threshold is not None:
        presence = class_presence(dataset, progress=progress)
        if augmentation.repeat_threshold is not None:
            repeats = repeat_factors(presence, augmentation.repeat_threshold)
        if copying:
            copy_paste = CopyPaste(
                presence, things, probability=copying.probability, max_objects=copying.max_objects
            )
    return TrainingSet(
        dataset,
        TrainTransform(
            augmentation.crop_size,
            augmentation.scale,
            augmentation.flip,
            augmentation.color_jitter,
            image_size=config.inference.input_size,
            auto_augment=augmentation.auto_augment,
        ),
        _TargetMaker(config, dataset.classes.thing_ids),
        config.training.seed,
        repeats=repeats,
        copy_paste=copy_paste,
        skip_bad=True,
    )


def training_batches(
    config: RunConfig,
    dataset: PanopticDataset,
    *,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader:
    """The batches of a run from `start_iteration` on, or one rank's part of them: see `training_loader`.

    Raises:
        ValueError: what `training_samples` and `training_loader` refuse.
    """
    return training_loader(
        training_samples(config, dataset, progress=rank == 0),
        batch_size=config.training.batch_size,
        iterations=config.training.iterations,
        start_iteration=start_iteration,
        rank=rank,
        world_size=world_size,
        workers=config.training.workers,
        pin_memory=pin_memory,
    )
