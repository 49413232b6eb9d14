"""The training run, from a configuration to checkpoints: read `train` from top to bottom."""

import random
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch.profiler import record_function

from panodeeplab.classes import ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.data.datasets import build_dataset
from panodeeplab.files import remove_leftovers, replacing
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import PanopticDeepLab, initialize_from, load_checkpoint, save_checkpoint
from panodeeplab.training.bad_samples import BadSamples
from panodeeplab.training.batches import training_batches
from panodeeplab.training.checkpoint import (
    Progress,
    RunState,
    holds_run,
    newest_state,
    random_state,
    read_state,
    restore_random_state,
    save_run,
)
from panodeeplab.training.distributed import (
    broadcast,
    gather,
    largest,
    local_rank,
    process_group,
    rank,
    synchronize_batch_norm,
    world_size,
)
from panodeeplab.training.evaluation import evaluate_together
from panodeeplab.training.fine_tuning import freeze
from panodeeplab.training.log import Pace, RunLog, peak_memory_gb
from panodeeplab.training.pictures import write_pictures
from panodeeplab.training.profile import StepProfile
from panodeeplab.training.recompute import checkpoint_activations
from panodeeplab.training.record import data_fingerprint, write_record
from panodeeplab.training.step import TrainingStep, build_optimizer
from panodeeplab.training.stopping import RunStopped, StopRequest

Resume = Literal["no", "yes", "auto"]


def train(config: RunConfig, *, output: Path, resume: Resume = "no", profile: int = 0) -> Path:
    """Train a model, evaluating on the way; under torchrun together with the processes that it started.

    `output` receives `last.safetensors` and `best.safetensors` (highest PQ on the validation data), the state
    that a resumed run starts from, `config.yaml`, `run.json` (what the run was made of), `metrics.jsonl` and
    TensorBoard's event files. A resumed run continues with the batch, learning rate and random numbers that
    it would have had.

    Args:
        config: of the run.
        output: folder; made if need be. Several machines must see the same one.
        resume: "yes" goes on from the state in `output`, "auto" does if there is one, "no" refuses a folder
            that holds a run.
        profile: steps to profile, see `StepProfile`; 0: none.

    Returns:
        Path of the last checkpoint.

    Raises:
        ValueError: configuration, data and `output` do not fit one another, or no state is intact.
        FloatingPointError: the loss is no longer finite; the last checkpoint stays.
        OSError: a file could not be written; the last checkpoint stays.
        RunStopped: SIGINT or SIGTERM came; a checkpoint was written.
    """
    device = _device(config.training.device)
    with process_group(device), StopRequest() as stop:
        return _train(config, output, resume, profile, device, stop)


def _train(
    config: RunConfig, output: Path, resume: Resume, profile: int, device: torch.device, stop: StopRequest
) -> Path:
    _check_batch(config)
    training_set, validation_set = build_dataset(config.data, "train"), build_dataset(config.data, "val")
    classes = training_set.classes
    if validation_set.classes != classes:
        raise ValueError(
            f"data: training and validation data differ in their classes, {len(classes)} and "
            f"{len(validation_set.classes)} of them"
        )
    state = _open_output(output, config, resume)
    progress = state.progress if state is not None else Progress()

    _seed(config.training.seed)
    if config.training.deterministic:
        torch.use_deterministic_algorithms(True)
    model = _initial_model(config, classes, goes_on=state is not None)
    model = model.to(device, memory_format=torch.channels_last)
    if config.training.batch_norm == "synchronized":
        model = synchronize_batch_norm(model, device)
    if config.training.activation_checkpointing:
        checkpoint_activations(model.backbone)
    optimizer = build_optimizer(model, config.training)
    step = TrainingStep(model, optimizer, config, device)
    parts = {"model": model, "optimizer": optimizer, "scaler": step.scaler}
    if step.average is not None:
        parts["average"] = step.average
    # The weights to evaluate and to publish.
    published = model if step.average is None else step.average.module
    if state is not None:
        state.restore(parts, config=config)

    # From here on each process draws numbers of its own: those of dropout.
    if state is not None and len(state.random) == world_size():
        restore_random_state(state.random[rank()], device)
    else:
        _seed(config.training.seed, progress.iteration, rank())
    batches = training_batches(
        config,
        training_set,
        start_iteration=progress.iteration,
        rank=rank(),
        world_size=world_size(),
        pin_memory=device.type == "cuda",
    )
    bad_samples = BadSamples(output / "bad_samples.jsonl", config.training.max_bad_samples)
    log = RunLog(output, config, progress, writes=rank() == 0)
    profiled = StepProfile(profile, output if rank() == 0 else None, device, log.say)
    save_weights = partial(save_checkpoint, model=published, config=config, classes=classes)

    def save() -> None:
        randoms = gather(random_state(device))
        if rank() == 0:
            log.to_disk()
            save_run(
                output,
                parts,
                config=config,
                progress=progress,
                random=randoms,
                save_weights=partial(save_weights, iteration=progress.iteration),
            )

    def evaluate() -> None:
        step.model.eval()
        published.eval()
        # It runs a copy, so each evaluation has one; what converts the model does not pay for itself.
        predictor = Predictor(
            published,
            classes,
            config=config.postprocess,
            size=config.inference.input_size,
            device=device,
            class_map=True,
            backend="eager",
            precision="float32",
        )
        result = evaluate_together(
            predictor,
            validation_set,
            label_divisor=config.postprocess.label_divisor,
            stop=lambda: stop.signal != 0,
        )
        if result is None:
            return
        iteration, summary = progress.iteration, _summary(result)
        log.record("evaluation", summary, iteration)
        log.say(f"iteration {iteration}: " + ", ".join(f"{k} {v:.1f}" for k, v in summary.items()))
        progress.evaluated = iteration
        if rank() == 0:
            write_pictures(log.board, predictor, validation_set, config=config, iteration=iteration)
        if result["All"]["pq"] > progress.best_pq:
            progress.best_pq = result["All"]["pq"]
            if rank() == 0:
                save_weights(output / "best.safetensors", iteration=iteration)

    def due(every: int) -> bool:
        return progress.iteration % every == 0 or progress.iteration == config.training.iterations

    with log, profiled:
        if rank() == 0:
            data = {"train": data_fingerprint(training_set), "val": data_fingerprint(validation_set)}
            changes = write_record(
                output,
                config,
                data=data,
                iteration=progress.iteration,
                world_size=world_size(),
                device=device,
            )
            for change in changes:
                log.say(f"going on, but not bit-identically: {change}")
            if state is not None:
                # The process may have died between state and weights.
                save_weights(output / "last.safetensors", iteration=progress.iteration)
        if 0 < progress.iteration != progress.evaluated and due(config.training.evaluate_every):
            # It was stopped in the middle of this evaluation.
            evaluate()
            save()
        step.train_mode()
        pace = Pace()
        pending = iter(batches)
        while progress.iteration < config.training.iterations:
            if stopped := largest(stop.signal):
                save()
                raise RunStopped(stopped, progress.iteration, output)
            pace.waiting()
            with record_function("data"):
                batch = next(pending)
            bad_samples.add(batch.bad)
            pace.working(config.training.batch_size)

            figures = step(batch, progress.iteration)
            progress.iteration += 1

            log.bar.update()
            if due(config.training.log_every):
                figures |= pace.look() | {"memory_gb": peak_memory_gb(device)}
                log.record("train", figures, progress.iteration)
                log.show(figures)
            profiled.step()
            if due(config.training.evaluate_every):
                evaluate()
                step.train_mode()
            if due(config.training.checkpoint_every):
                save()
        if progress.evaluated < progress.iteration:
            raise RunStopped(largest(stop.signal), progress.iteration, output)
    return output / "last.safetensors"


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device is 'cuda', but torch sees no CUDA device")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


def _check_batch(config: RunConfig) -> None:
    if config.training.batch_size % world_size():
        raise ValueError(
            f"training.batch_size must be a multiple of the number of processes, got "
            f"{config.training.batch_size} for {world_size()}"
        )


def _open_output(output: Path, config: RunConfig, resume: Resume) -> RunState | None:
    """Make the folder of the run; the state in it to go on from, if any. Rank 0 decides for all."""
    state = None
    if rank() == 0:
        if resume == "no" and holds_run(output):
            raise ValueError(
                f"output: {output} already holds a run; go on with --resume or name another folder"
            )
        state = newest_state(output, warn=print) if resume != "no" else None
        if state is None and resume == "yes":
            raise ValueError(f"output: {output} holds no run to resume")
        output.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output)
        with replacing(output / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    path = broadcast(state.path if state is not None else None)
    return read_state(path) if path is not None and rank() != 0 else state


def _seed(*words: int) -> None:
    """Seed all generators; several words make one seed."""
    seed = words[0] if len(words) == 1 else int(np.random.SeedSequence(words).generate_state(1)[0])
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def _initial_model(config: RunConfig, classes: ClassTable, *, goes_on: bool) -> PanopticDeepLab:
    """The model with the weights that the run starts from; a run that goes on brings its own."""
    source, architecture = config.training.init_checkpoint, config.model
    if source is not None or goes_on:
        # All of the weights come from elsewhere: the backbone's own are not fetched.
        architecture = architecture.model_copy(update={"backbone_weights": None})
    model = PanopticDeepLab(architecture, num_classes=len(classes))
    if source is not None and not goes_on:
        started = initialize_from(model, load_checkpoint(source), config=config.model, classes=classes)
        for line in started.lines() if rank() == 0 else []:
            print(line)
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
