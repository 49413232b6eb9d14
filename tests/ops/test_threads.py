"""The threads of the kernels: by themselves, and in forked processes."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from panodeeplab.ops import backend

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(os.name == "nt", reason="the program forks")
def test_loops_keep_their_promises(tmp_path):
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no {compiler[0]}")
    program = tmp_path / "check_threads"
    flags = ["-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    sources = [ROOT / "tests/ops/check_threads.cpp", ROOT / "ext/threads_cpu.cpp"]
    subprocess.run([*compiler, *flags, f"-I{ROOT / 'ext'}", *sources, "-o", program], check=True)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


# Forked while another thread calls the op all the time, so that a lock of its threads may be held.
FORK = """
import os, sys, threading
sys.path.insert(0, {folder!r})
import torch
from street import THINGS, street
from panodeeplab.ops import panoptic_segmentation

torch.set_num_threads(2)
maps, settings = street(), {{"stride": 4, "thing_ids": THINGS, "stuff_area": 0}}
wanted = panoptic_segmentation(*maps, **settings)
stop = threading.Event()

def call():
    while not stop.is_set():
        panoptic_segmentation(*maps, **settings)

caller = threading.Thread(target=call)
caller.start()
failed = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        result = panoptic_segmentation(*maps, **settings)
        os._exit(0 if all(map(torch.equal, result, wanted)) else 1)
    failed += os.waitpid(child, 0)[1] != 0
stop.set()
caller.join()
sys.exit(failed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.skipif(backend() != "compiled", reason="the compiled module is not in use")
def test_forked_processes_go_on():
    program = FORK.format(folder=str(Path(__file__).parent))
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
