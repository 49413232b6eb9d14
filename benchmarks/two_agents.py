"""Two machines on one: two torchrun agents over the loopback interface, one of them killed and started again.

    python benchmarks/two_agents.py
    python benchmarks/two_agents.py --nnodes 1:2    # the one that is left goes on alone

The agents run the commands of docs/training.md, first undisturbed, then with the second one and all that it
started killed with SIGKILL, again and again. With two nodes fixed, the end must be equal in every byte to the
undisturbed one. With 1:2, some steps are taken by one process, which rounds otherwise: the end must be there,
and every iteration logged once.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from kill_and_resume import ROOT, SETTINGS, SMALL, compare, logged, verify


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def agent(nnodes: str, port: int, output: Path, log, clean_up: ExitStack) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nnodes}", "--nproc-per-node=1"]
    command += ["--max-restarts=5", "--rdzv-id=street", "--rdzv-backend=c10d"]
    command += [f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1"]
    command += ["train.py", "--config", "configs/street_tiny.yaml", "--output", str(output)]
    command += ["--resume", "auto"]
    command += [word for setting in SETTINGS + SMALL for word in ("--set", setting)]
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    # It ends what it started.
    clean_up.callback(process.wait)
    clean_up.callback(process.terminate)
    return process


def kill_tree(process: subprocess.Popen) -> None:
    """What a power cut does to an agent and all that it started."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in table.splitlines()]
    doomed = [process.pid]
    for parent in doomed:
        doomed += [pid for pid, its_parent in rows if its_parent == parent]
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def iteration(output: Path) -> int:
    """Of the newest checkpoint."""
    return max((int(path.stem) for path in output.glob("state/[0-9]*.state")), default=0)


def starts(output: Path) -> str:
    found = json.loads((output / "run.json").read_text())["starts"]
    return ", ".join(f"iteration {s['iteration']} with {s['machine']['world_size']}" for s in found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nnodes", choices=["2", "1:2"], default="2")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with ExitStack() as clean_up:
        folder = Path(clean_up.enter_context(tempfile.TemporaryDirectory()))
        log = clean_up.enter_context((folder / "log.txt").open("w"))
        whole, killed = folder / "whole", folder / "killed"
        start = partial(agent, args.nnodes, log=log, clean_up=clean_up)

        def check(statuses: list[int]) -> None:
            if any(statuses):
                raise SystemExit(f"exit status {statuses}\n" + (folder / "log.txt").read_text())

        def pair(output: Path) -> tuple[int, list[subprocess.Popen]]:
            port = free_port()
            first = start(port, output)
            # The first to come keeps the rendezvous, and must not be the one that is killed.
            while first.poll() is None and not listens(port):
                time.sleep(0.2)
            return port, [first, start(port, output)]

        if args.nnodes == "2":
            _, agents = pair(whole)
            check([each.wait() for each in agents])
            print(f"undisturbed: {starts(whole)}", flush=True)
        port, (first, second) = pair(killed)
        for kill in range(1, args.kills + 1):
            wanted = iteration(killed) + 10
            while iteration(killed) < wanted and first.poll() is None and second.poll() is None:
                time.sleep(0.2)
            time.sleep(rng.uniform(0, 2))
            check([each.poll() or 0 for each in (first, second)])
            kill_tree(second)
            print(f"kill {kill}: {verify(killed)}", flush=True)
            if args.nnodes == "1:2":
                left = iteration(killed)
                while iteration(killed) == left and first.poll() is None:
                    time.sleep(0.2)
            second = start(port, killed)
        check([each.wait() for each in (first, second)])
        print(f"killed: {starts(killed)} processes")
        print(compare(whole, killed) if args.nnodes == "2" else logged(killed))


if __name__ == "__main__":
    main()
