"""What a run would be, before anything starts: size, length, memory, learning rate, in words."""

import os
from collections.abc import Iterator

import torch
from torch._subclasses import FakeTensorMode

from panodeeplab.classes import ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.data.datasets import build_dataset
from panodeeplab.model import PanopticDeepLab, initialize_from, load_checkpoint
from panodeeplab.training.batches import things_to_copy
from panodeeplab.training.fine_tuning import freeze, parameter_groups
from panodeeplab.training.memory import step_memory


def _number(count: int | float) -> str:
    return f"{count:,}".replace(",", " ")


def _millions(model: torch.nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def _model(config: RunConfig, num_classes: int) -> Iterator[str]:
    model_config = config.model
    architecture = model_config.model_copy(update={"backbone_weights": None})
    # Shapes without values: no memory, and nothing is fetched.
    with FakeTensorMode():
        model = PanopticDeepLab(architecture, num_classes=num_classes)
    freeze(model, config.training.frozen)
    groups = parameter_groups(model, config.training.learning_rate_factors)
    yield (
        f"model         {model_config.backbone} at output stride {model_config.output_stride}, "
        f"{_millions(model):.1f} M parameters ({_millions(model.backbone):.1f} M in the backbone), "
        f"{num_classes} classes"
    )
    if config.training.init_checkpoint is not None:
        start = f"the weights of {config.training.init_checkpoint}"
    elif model_config.backbone_weights is not None:
        start = f"{model_config.backbone_weights} weights in the backbone, the rest at random"
    else:
        start = "random weights"
    yield f"starts from   {start}"
    trained = sum(p.numel() for group in groups for p in group["params"]) / 1e6
    if config.training.frozen:
        yield f"frozen        {', '.join(config.training.frozen)}: {trained:.1f} M parameters are trained"


def _initialization(config: RunConfig, classes: ClassTable) -> list[str]:
    """What of the checkpoint to start from would not be taken over."""
    source = config.training.init_checkpoint
    if source is None:
        return []
    architecture = config.model.model_copy(update={"backbone_weights": None})
    model = PanopticDeepLab(architecture, num_classes=len(classes))
    started = initialize_from(model, load_checkpoint(source), config=config.model, classes=classes)
    return started.lines()


def _data(config: RunConfig, samples: int, validation: int, classes: ClassTable) -> Iterator[str]:
    data, augmentation, training = config.data, config.augmentation, config.training
    where = f", decoded in {data.cache}" if data.cache else ""
    yield (
        f"data          {data.dataset}, {len(classes.thing_ids)} of the {len(classes)} classes things: "
        f"{_number(samples)} images to train on, "
        f"{_number(validation)} to evaluate on{where}"
    )
    low, high = augmentation.scale
    scale = "not scaled" if low == high == 1 else f"scaled by {low:g} to {high:g}"
    size = config.inference.input_size
    base = f" of {size[0]} x {size[1]}" if size else ""
    words = [f"{scale}{base}", f"mirrored with probability {augmentation.flip:g}"]
    if augmentation.color_jitter:
        words.append(f"colors varied by {augmentation.color_jitter:g}")
    if augmentation.auto_augment:
        words.append("colors changed by AutoAugment")
    if augmentation.repeat_threshold is not None:
        words.append(f"classes in fewer than {augmentation.repeat_threshold:.1%} of the images more often")
    if augmentation.copy_paste is not None:
        names = augmentation.copy_paste.classes
        things_to_copy(names, classes)
        words.append(
            f"up to {augmentation.copy_paste.max_objects} of {', '.join(names) if names else 'all things'} "
            f"pasted with probability {augmentation.copy_paste.probability:g}"
        )
    height, width = augmentation.crop_size
    yield f"samples       crops of {height} x {width}, {', '.join(words)}"
    epochs = training.iterations * training.batch_size / samples
    yield (
        f"length        {_number(training.iterations)} iterations of {training.batch_size} images, "
        f"{_number(round(epochs)) if epochs >= 100 else f'{epochs:.3g}'} times through the data"
    )


def _learning_rate(config: RunConfig) -> Iterator[str]:
    training = config.training
    rule = ""
    if training.base_batch_size not in (None, training.batch_size):
        rule = (
            f" ({training.learning_rate:g} for a batch of {training.base_batch_size}, "
            f"times {training.batch_size} / {training.base_batch_size})"
        )
    warmup = (
        f"grows for {_number(training.warmup_iterations)} iterations and "
        if training.warmup_iterations
        else ""
    )
    yield (
        f"learning rate {training.peak_learning_rate:.3g}{rule}; {warmup}falls to 0 at the end "
        f"(power {training.poly_power:g})"
    )
    for pattern, factor in training.learning_rate_factors.items():
        yield f"              times {factor:g} in {pattern}"


def _step(config: RunConfig, num_classes: int) -> Iterator[str]:
    training = config.training
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if training.batch_size % processes:
        raise ValueError(
            f"training.batch_size must be a multiple of the number of processes, got "
            f"{training.batch_size} for {processes}"
        )
    share = training.batch_size // processes
    images = min(training.micro_batch_size or share, share)
    words = [training.precision]
    if processes > 1:
        words.append(f"{share} images in each of {processes} processes")
    if images < share:
        words.append(f"{images} images at once, gradients of {-(-share // images)} added up")
    if training.activation_checkpointing:
        words.append("the backbone's blocks run twice to save memory")
    if training.ema_decay:
        words.append(f"weights averaged with decay {training.ema_decay:g} are evaluated")
    if training.max_gradient_norm is not None:
        words.append(f"gradients up to a norm of {training.max_gradient_norm:g}")
    yield f"step          {', '.join(words)}"
    memory = step_memory(config, num_classes=num_classes, images=share)
    gib = 1 << 30
    yield (
        f"memory        {memory.total / gib:.2f} GiB a process: weights {memory.weights / gib:.2f}, "
        f"optimizer {memory.optimizer / gib:.2f}, "
        + (f"average {memory.average / gib:.2f}, " if memory.average else "")
        + f"network {memory.network / gib:.2f}, targets, losses and gradients {memory.rest / gib:.2f}; "
        f"a GPU needs some more, for workspaces and fragments"
    )


def _losses(config: RunConfig) -> Iterator[str]:
    loss, targets = config.loss, config.targets
    share = (
        "all pixels"
        if loss.semantic_top_k == 1
        else f"the hardest {loss.semantic_top_k:.0%} of the pixels of each {loss.normalization}"
    )
    yield (
        f"losses        classes x {loss.semantic_weight:g} on {share}, instances under "
        f"{_number(targets.small_instance_area)} pixels x {targets.small_instance_weight:g}; "
        f"centers x {loss.center_weight:g}, sigma {targets.sigma} pixels; offsets x {loss.offset_weight:g}"
    )


def _course(config: RunConfig) -> Iterator[str]:
    training = config.training
    device = training.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    evaluations = -(-training.iterations // training.evaluate_every)
    yield (
        f"course        on {device}, {training.workers} loader processes; a checkpoint every "
        f"{_number(training.checkpoint_every)} iterations, {_number(evaluations)} evaluations; stops at "
        f"more than {training.max_bad_samples} samples that cannot be read; seed {training.seed}"
    )


def plan(config: RunConfig) -> list[str]:
    """A run in words, a line for each thing; nothing is trained and nothing is written.

    Data sets are opened, as the training would, so that a wrong path shows here.

    Args:
        config: of the run. Under torchrun, for the number of processes that it started.

    Raises:
        FileNotFoundError: data or the checkpoint to start from are not there.
        ValueError: what the training would refuse before its first step.
    """
    training_set, validation_set = build_dataset(config.data, "train"), build_dataset(config.data, "val")
    classes = training_set.classes
    return [
        *_model(config, len(classes)),
        *_initialization(config, classes),
        *_data(config, len(training_set), len(validation_set), classes),
        *_learning_rate(config),
        *_step(config, len(classes)),
        *_losses(config),
        *_course(config),
    ]
