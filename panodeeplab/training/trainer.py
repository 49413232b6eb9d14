"""The training run, from a configuration to checkpoints: read `train` from top to bottom."""

import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.config import RunConfig, TrainingConfig
from panodeeplab.data.datasets import build_dataset
from panodeeplab.evaluation.evaluate import evaluate
from panodeeplab.files import replacing
from panodeeplab.inference.predictor import Predictor
from panodeeplab.losses import panoptic_losses
from panodeeplab.model import PanopticDeepLab, initialize_from, load_checkpoint, save_checkpoint
from panodeeplab.training.bad_samples import BadSamples
from panodeeplab.training.batches import training_batches
from panodeeplab.training.checkpoint import Progress, load_state, save_state
from panodeeplab.training.fine_tuning import freeze, parameter_groups, train_mode
from panodeeplab.training.pictures import write_pictures

Resume = Literal["no", "yes", "auto"]


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """Rate of the step after `iteration` steps: linear warm-up times polynomial decay to 0."""
    warmup = min(1.0, (iteration + 1) / max(config.warmup_iterations, 1))
    return config.peak_learning_rate * warmup * (1 - iteration / config.iterations) ** config.poly_power


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device is 'cuda', but torch sees no CUDA device")
    return torch.device(name)


def _open_output(output: Path, config: RunConfig, resume: Resume) -> bool:
    """Make the folder of the run; whether there is a state in it to go on from."""
    state = output / "last.state.pt"
    if state.exists() and resume == "no":
        raise ValueError(f"output: {output} already holds a run; go on with --resume or name another folder")
    if not state.exists() and resume == "yes":
        raise ValueError(f"output: {output} holds no run to resume (no {state.name})")
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return state.exists()


def _initial_model(config: RunConfig, classes: ClassTable, *, goes_on: bool) -> PanopticDeepLab:
    """The model with the weights that the run starts from; a run that goes on brings its own."""
    source, architecture = config.training.init_checkpoint, config.model
    if source is not None or goes_on:
        # All of the weights come from elsewhere: the backbone's own are not fetched.
        architecture = architecture.model_copy(update={"backbone_weights": None})
    model = PanopticDeepLab(architecture, num_classes=len(classes))
    if source is not None and not goes_on:
        started = initialize_from(model, load_checkpoint(source), config=config.model, classes=classes)
        print(*started.lines(), sep="\n", end="\n" if started.lines() else "")
    freeze(model, config.training.frozen)
    return model


def _summary(result: dict[str, Any]) -> dict[str, float]:
    """The figures of an evaluation that are followed over a run, in percent."""
    return {
        "pq": 100 * result["All"]["pq"],
        "sq": 100 * result["All"]["sq"],
        "rq": 100 * result["All"]["rq"],
        "pq_things": 100 * result["Things"]["pq"],
        "pq_stuff": 100 * result["Stuff"]["pq"],
        "miou": 100 * result["semantic"]["miou"],
    }


def train(config: RunConfig, *, output: Path, resume: Resume = "no") -> Path:
    """Train a model, evaluating on the way.

    `output` receives `last.safetensors` and `best.safetensors` (highest PQ on the validation data), the state
    that a resumed run starts from, `config.yaml`, `metrics.jsonl` and TensorBoard's event files. A resumed
    run continues with the batch, learning rate and random numbers that it would have had.

    Args:
        config: of the run.
        output: folder; made if need be.
        resume: "yes" goes on from the state in `output`, "auto" does if there is one, "no" refuses a folder
            that holds a run.

    Returns:
        Path of the last checkpoint.

    Raises:
        ValueError: configuration, data and `output` do not fit one another.
        FloatingPointError: the loss is no longer finite; the last checkpoint stays.
    """
    device = _device(config.training.device)
    training_set = build_dataset(config.data, "train")
    validation_set = build_dataset(config.data, "val")
    classes = training_set.classes
    if validation_set.classes != classes:
        raise ValueError(
            f"data: training and validation data differ in their classes, {len(classes)} and "
            f"{len(validation_set.classes)} of them"
        )
    goes_on = _open_output(output, config, resume)

    torch.manual_seed(config.training.seed)
    if config.training.deterministic:
        torch.use_deterministic_algorithms(True)
    model = _initial_model(config, classes, goes_on=goes_on)
    model = model.to(device, memory_format=torch.channels_last)
    groups = parameter_groups(model, config.training.learning_rate_factors)
    optimizer = torch.optim.Adam(groups, weight_decay=config.training.weight_decay)
    progress = Progress()
    if goes_on:
        progress = load_state(output / "last.state.pt", model, optimizer, config=config)

    batches = training_batches(
        config, training_set, start_iteration=progress.iteration, pin_memory=device.type == "cuda"
    )
    bad_samples = BadSamples(output / "bad_samples.jsonl", config.training.max_bad_samples)
    save_weights = partial(save_checkpoint, model=model, config=config, classes=classes)

    def save() -> None:
        save_weights(output / "last.safetensors", iteration=progress.iteration)
        save_state(output / "last.state.pt", model, optimizer, config=config, progress=progress)

    bar = tqdm(total=config.training.iterations, initial=progress.iteration, desc="train", unit="it")
    with SummaryWriter(output) as board, (output / "metrics.jsonl").open("a") as log, bar:

        def record(kind: str, figures: dict[str, float]) -> None:
            for name, value in figures.items():
                board.add_scalar(f"{kind}/{name}", value, progress.iteration)
            log.write(json.dumps({"kind": kind, "iteration": progress.iteration, **figures}) + "\n")
            log.flush()

        train_mode(model)
        waited = time.perf_counter()
        for batch in batches:
            started = time.perf_counter()
            bad_samples.add(batch.bad)
            rate = learning_rate(progress.iteration, config.training)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            images, targets = batch.to(device)

            losses = panoptic_losses(
                model(images), targets, config.loss, align_corners=config.model.align_corners
            )
            optimizer.zero_grad()
            losses["total"].backward()
            if not math.isfinite(losses["total"].item()):
                raise FloatingPointError(
                    f"the loss is {losses['total'].item()} at iteration {progress.iteration} "
                    f"({ {name: value.item() for name, value in losses.items()} }); lower "
                    f"training.learning_rate, or look at the data with `panodeeplab check-data`"
                )
            optimizer.step()
            progress.iteration += 1
            bar.update()

            finished = time.perf_counter()
            iteration = progress.iteration
            last = iteration == config.training.iterations
            if iteration % config.training.log_every == 0 or last:
                figures = {name: value.item() for name, value in losses.items()}
                figures["learning_rate"] = rate
                figures["samples_per_second"] = len(images) / (finished - waited)
                figures["data_wait"] = (started - waited) / (finished - waited)
                record("train", figures)
                bar.set_postfix(
                    loss=f"{figures['total']:.3f}", lr=f"{rate:.1e}", wait=f"{figures['data_wait']:.0%}"
                )
            if iteration % config.training.evaluate_every == 0 or last:
                model.eval()
                predictor = Predictor(
                    model,
                    classes,
                    config=config.postprocess,
                    size=config.inference.input_size,
                    device=device,
                    class_map=True,
                )
                result = evaluate(predictor, validation_set, label_divisor=config.postprocess.label_divisor)
                write_pictures(board, predictor, validation_set, config=config, iteration=iteration)
                train_mode(model)
                record("evaluation", _summary(result))
                bar.write(
                    f"iteration {iteration}: "
                    + ", ".join(f"{k} {v:.1f}" for k, v in _summary(result).items())
                )
                if result["All"]["pq"] > progress.best_pq:
                    progress.best_pq = result["All"]["pq"]
                    save_weights(output / "best.safetensors", iteration=iteration)
            if iteration % config.training.checkpoint_every == 0 or last:
                save()
            waited = time.perf_counter()
    return output / "last.safetensors"
