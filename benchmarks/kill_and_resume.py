"""Kill a training run with SIGKILL again and again, restart it, and compare its end with that of another.

    python benchmarks/kill_and_resume.py --kills 20
    python benchmarks/kill_and_resume.py --small    # small images: as many writes in less time

Half of the kills come at a random moment, half within a write: when a temporary file of a checkpoint is
seen. After each kill, `last.safetensors` must load, its checksum must hold, and the state that belongs to it
must be there and intact. In the end the weights must be equal in every byte, and no iteration logged twice.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from panodeeplab.model import load_checkpoint
from panodeeplab.training.checkpoint import read_state

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ["iterations=40", "checkpoint_every=5", "seed=1", "deterministic=true"]
SETTINGS = [f"training.{setting}" for setting in SETTINGS]
SMALL = ["data.image_size=[64, 128]", "data.val_count=4", "inference.input_size=[64, 128]"]
SMALL += ["augmentation.crop_size=[64, 128]"]


def start(output: Path, log, settings: list[str]) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "panodeeplab",
        "train",
        "--config",
        str(ROOT / "configs/street_tiny.yaml"),
    ]
    command += ["--output", str(output), "--resume", "auto"]
    command += [word for setting in settings for word in ("--set", setting)]
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def being_written(output: Path, run: subprocess.Popen) -> bool:
    return any(path.name.endswith((".state", ".safetensors")) for path in output.rglob(f".{run.pid}.*"))


def has_written(output: Path, states: int, since: float) -> bool:
    """Whether the process is through with imports, and so many states were written since a time."""
    if not (output / "run.json").exists() or (output / "run.json").stat().st_mtime < since:
        return False
    return sum(path.stat().st_mtime > since for path in output.glob("state/*.state")) >= states


def verify(output: Path) -> str:
    weights = output / "last.safetensors"
    if not weights.exists():
        return "no checkpoint yet"
    iteration = load_checkpoint(weights).iteration
    read_state(output / "state" / f"{iteration:08d}.state")
    return f"iteration {iteration} intact"


def compare(whole: Path, killed: Path) -> str:
    for name in ("last.safetensors", "best.safetensors"):
        if (whole / name).read_bytes() != (killed / name).read_bytes():
            raise SystemExit(f"{name} differs from that of the uninterrupted run")
    return f"weights equal in every byte, {logged(killed)}"


def logged(killed: Path) -> str:
    """What the run logged, which must be its end and nothing twice."""
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    keys = [(line["kind"], line["iteration"]) for line in lines]
    if len(keys) != len(set(keys)):
        raise SystemExit(f"logged twice: {keys}")
    if ("train", 40) not in keys:
        raise SystemExit(f"the end is not logged: {keys}")
    return f"{len(keys)} lines of metrics, none twice"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest", type=float, default=5.0, help="seconds at most from a checkpoint to a kill"
    )
    parser.add_argument("--small", action="store_true", help="images of 64 x 128")
    args = parser.parse_args()
    settings = SETTINGS + (SMALL if args.small else [])
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log.txt").open("w") as log:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if start(whole, log, settings).wait() != 0:
            raise SystemExit((Path(folder) / "log.txt").read_text())
        kills = 0
        while kills < args.kills:
            begun = time.time()
            run = start(killed, log, settings)
            during_write = kills % 2 == 1
            # However slow the machine is, the run gets on.
            states = rng.randrange(3)
            while run.poll() is None and not has_written(killed, states, begun):
                time.sleep(0.1)
            end = time.monotonic() + rng.uniform(0, args.longest)
            wait = rng.randrange(8)
            while run.poll() is None and time.monotonic() < end + (60 if during_write else 0):
                if during_write and being_written(killed, run):
                    if wait == 0:
                        break
                    wait -= 1
                time.sleep(0.002 if during_write else 0.1)
            if run.poll() is not None:
                if run.returncode != 0:
                    raise SystemExit((Path(folder) / "log.txt").read_text())
                print(f"an end after {kills} kills: {compare(whole, killed)}; begun again", flush=True)
                for path in sorted(killed.rglob("*"), reverse=True):
                    path.unlink() if path.is_file() else path.rmdir()
                continue
            writing = being_written(killed, run)
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills += 1
            print(f"kill {kills:2}{' in a write' if writing else ''}: {verify(killed)}", flush=True)
        if start(killed, log, settings).wait() != 0:
            raise SystemExit((Path(folder) / "log.txt").read_text())
        print(f"{kills} kills: {compare(whole, killed)}")


if __name__ == "__main__":
    main()
