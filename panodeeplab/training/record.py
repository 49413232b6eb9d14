"""What a run was made of: its configuration, the code, the versions, the machine and the data."""

import hashlib
import importlib.metadata
import json
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import panodeeplab
from panodeeplab.config import RunConfig
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.files import replacing

NAME = "run.json"
_PACKAGES = (
    "panodeeplab",
    "torch",
    "torchvision",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "timm",
)
# Of each split, spread evenly: enough to notice other labels or another generator, and quick to read.
_LOOKED_AT = 8


def data_fingerprint(dataset: PanopticDataset) -> dict[str, Any]:
    """How many samples a data set has, and a checksum of its classes and some samples.

    Args:
        dataset: map-style. A sample that cannot be read counts as such.

    Returns:
        {"samples": number, "sha256": of classes and samples, "looked_at": indices of these samples}.
    """
    indices = sorted({int(i) for i in np.linspace(0, len(dataset) - 1, _LOOKED_AT)}) if len(dataset) else []
    digest = hashlib.sha256(repr((len(dataset), dataset.classes.names)).encode())
    for index in indices:
        try:
            sample = dataset[index]
        except (ValueError, OSError):
            digest.update(f"{index}: cannot be read".encode())
            continue
        segments = sorted((s["id"], s["category_id"], s["iscrowd"]) for s in sample.segments_info)
        digest.update(repr((index, sample.image_id, sample.image.shape, segments)).encode())
        digest.update(np.ascontiguousarray(sample.image))
        digest.update(np.ascontiguousarray(sample.panoptic))
    return {"samples": len(dataset), "sha256": digest.hexdigest(), "looked_at": indices}


def write_record(
    output: Path,
    config: RunConfig,
    *,
    data: dict[str, dict[str, Any]],
    iteration: int,
    world_size: int,
    device: torch.device,
) -> list[str]:
    """Write `run.json`: what the run was started with, and each time that it went on.

    Args:
        output: folder of the run.
        config: of the run.
        data: `data_fingerprint` of each split.
        iteration: where the run starts or goes on; 0 begins the file anew.
        world_size: processes.
        device: that the first process trains on.

    Returns:
        What is not as it was when the run started, in words: data, commit, or versions.
    """
    path = output / NAME
    start = {
        "iteration": iteration,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "config": config.model_dump(mode="json"),
        "data": data,
        "git": git_state(Path(panodeeplab.__file__).resolve().parent),
        "versions": _versions(),
        "machine": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "world_size": world_size,
        },
    }
    starts = json.loads(path.read_text())["starts"] if iteration > 0 and path.exists() else []
    changes = []
    if starts:
        for split, now in data.items():
            if now["sha256"] != starts[0]["data"][split]["sha256"]:
                changes.append(f"the {split} data are not those that the run started with")
        commits = [(s["git"] or {}).get("commit") for s in (starts[0], start)]
        if commits[0] != commits[1]:
            changes.append(f"the code was at commit {commits[0]}, now it is at {commits[1]}")
        for package, version in start["versions"].items():
            before = starts[0]["versions"].get(package)
            if before != version:
                changes.append(f"{package} was {before}, now it is {version}")
    with replacing(path, durable=True) as temporary:
        temporary.write_text(json.dumps({"starts": [*starts, start]}, indent=1) + "\n")
    return changes


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that a folder belongs to, and what was changed since.

    Returns:
        {"commit", "changed": files, "diff": text}; None if the folder is in no checkout, or git is not there.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    try:
        # An installed package may lie inside the checkout of something else, which does not know it.
        git("ls-files", "--error-unmatch", "__init__.py")
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "changed": git("diff", "HEAD", "--name-only").splitlines(),
            "diff": git("diff", "HEAD"),
        }
    except (OSError, subprocess.SubprocessError):
        return None
