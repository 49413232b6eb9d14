"""What figures depend on and a reader of them must know: device, clock, threads, load, versions."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from panodeeplab import ops
from panodeeplab.bench.timing import processor

_PACKAGES = ("panodeeplab", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "transformers")
# Of these a difference does not make figures incomparable.
_PASSING = ("load_average", "clock_mhz", "peak_clock_mhz")


def environment(device: str = "cpu") -> dict[str, Any]:
    """The machine and the versions, for JSON; to be called in the process that measures, after it measured.

    Args:
        device: that ran the network.
    """
    found: dict[str, Any] = {
        "device": device,
        "processor": processor(),
        "cpus": available_cpus(),
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        **_clocks(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "postprocess": ops.backend(torch.device(device)),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if device.startswith("cuda"):
        found |= _gpu(torch.device(device))
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two environments so that their figures are not of one kind."""
    return [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in dict.fromkeys((*old, *new))
        if key not in _PASSING and old.get(key) != new.get(key)
    ]


def describe(found: dict[str, Any]) -> str:
    """The same in two lines of text."""
    clock = f" at {found['clock_mhz']} MHz" if found.get("clock_mhz") else ""
    load = f", load {found['load_average'][0]}" if found.get("load_average") else ""
    where = f"{found['processor']}{clock}, {found['threads']} threads on {found['cpus']} CPUs{load}"
    if "gpu" in found:
        where = f"{found['gpu']} (driver {found.get('driver', 'unknown')}); host: {where}"
    names = [key for key in ("torch", *_PACKAGES, "python") if key in found]
    versions = ", ".join(f"{name} {found[name]}" for name in names)
    return f"{where}\n{versions}; {found['postprocess']} post-processing; {found['platform']}"


def available_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clocks() -> dict[str, int | None]:
    """Clock of the fastest CPU now, and the highest that it is allowed, in MHz; None where nobody says."""
    now = None
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text().splitlines() if line.startswith("cpu MHz")]
        now = max((round(float(line.partition(":")[2])) for line in lines), default=None)
    limit = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq")
    return {
        "clock_mhz": now,
        "peak_clock_mhz": int(limit.read_text()) // 1000 if limit.exists() else None,
    }


def _gpu(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    if shutil.which("nvidia-smi"):
        query = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = query.stdout.splitlines()
        if query.returncode == 0 and (device.index or 0) < len(lines):
            found["driver"], found["gpu_clock"], found["gpu_power_limit"] = (
                part.strip() for part in lines[device.index or 0].split(",")
            )
    return found
