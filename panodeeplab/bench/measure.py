"""Measures settings, each in a process of its own, and puts together what is reported."""

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from panodeeplab.bench.environment import environment
from panodeeplab.bench.stages import Pipeline, Setting, measure_stages
from panodeeplab.bench.streets import generated_streets, image_file


def measure_all(
    settings: Sequence[Setting], after_each: Callable[[list[dict[str, Any]]], None] = lambda results: None
) -> list[dict[str, Any]]:
    """Measure settings one after the other, each in a fresh process, so that threads and memory are its own.

    Where there are several, one that cannot run here is told of on standard error and left out.

    Args:
        settings: what to measure.
        after_each: is given the results so far, whenever there is one more.

    Returns:
        What `measure_setting` says of each that could run.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: the only setting is wrong, or none could run.
    """
    results, failed = [], None
    bar = tqdm(settings, "settings", disable=not sys.stderr.isatty())
    for setting in bar:
        bar.set_postfix_str(setting.model)
        try:
            _check_recipe(setting.model)
            results.append(_in_fresh_process(setting))
            after_each(results)
        except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
            if len(settings) == 1:
                raise
            failed = error
            bar.write(f"left out {_words(setting)}: {error}", file=sys.stderr)
    if failed is not None and not results:
        raise ValueError("none of the settings can run here; the reasons stand above")
    return results


def measure_setting(setting: Setting) -> dict[str, Any]:
    """Measure one setting in this process.

    Returns:
        What the setting was, "stages", "end_to_end", "file_to_picture", "postprocess_share", memory,
        "notes" and "environment", for JSON.

    Raises:
        As `measure_all`.
    """
    _check_device(setting.device)
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    streets = (
        image_file(setting.image)
        if setting.image is not None
        else generated_streets(setting.size, setting.seed)
    )
    before = _resident_mb("VmRSS")
    pipeline = _pipeline(setting, streets)
    is_cuda = setting.device.startswith("cuda")
    measured = measure_stages(
        pipeline,
        streets,
        setting,
        (lambda: torch.cuda.reset_peak_memory_stats(setting.device)) if is_cuda else (lambda: None),
    )
    memory = {"peak_memory_mb": _resident_mb("VmHWM"), "memory_before_model_mb": before}
    if is_cuda:
        memory["peak_device_memory_mb"] = round(torch.cuda.max_memory_allocated(setting.device) / 1e6)
    asked = asdict(setting) | {"image": str(setting.image) if setting.image else None}
    described = {name: asked[name] for name in ("model", "size", "batch", "device", "image", "seed")}
    return (
        described
        | {"size": list(setting.size) if setting.size else None, "threads": torch.get_num_threads()}
        | pipeline.facts
        | measured
        | memory
        | {"environment": environment(setting.device)}
    )


def _check_recipe(model: str) -> None:
    """Wrong ones are told of at once, and not when a process has been started for them."""
    from panodeeplab.bench.predictor_stages import read_config

    if Path(model).suffix in (".yaml", ".yml"):
        read_config(Path(model))


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {device!r}, which torch cannot use here: {reason}") from error


def _pipeline(setting: Setting, streets: list) -> Pipeline:
    from panodeeplab.bench.peers import PEERS, PeerPipeline
    from panodeeplab.bench.predictor_stages import PredictorPipeline

    return (PeerPipeline if setting.model in PEERS else PredictorPipeline)(setting, streets)


def _in_fresh_process(setting: Setting) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure_setting, setting).result()
        except BrokenProcessPool:
            raise ValueError(
                f"the process that measured {_words(setting)} ended without a word, as when memory runs out"
            ) from None


def _words(setting: Setting) -> str:
    size = f", {setting.size[0]}x{setting.size[1]}" if setting.size else ""
    return f"{setting.model}, {setting.backend}, {setting.precision}{size}, batch {setting.batch}"


def _resident_mb(field: str) -> int | None:
    """Memory of this process in MB (10^6 bytes): VmRSS is now, VmHWM the most so far; None if not Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = (line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return next((round(int(line.split()[1]) * 1024 / 1e6) for line in lines), None)
