"""Where the tests find the shared reference data, which the project does not carry, and how they are run."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Files that take longest, so that no worker is left with one of them when the others are done.
LONGEST = (
    "training/test_distributed.py",
    "export/test_onnx.py",
    "training/test_resume.py",
    "export/test_export_run.py",
    "export/test_cpp_example.py",
    "training/test_step.py",
    "training/test_trainer.py",
    "bench/test_report.py",
    "bench/test_measure.py",
    "data/test_guide.py",
    "serve/test_page.py",
    "ops/test_emulated_cuda.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite takes all cores where pytest-xdist is installed; what is named runs in this process.

    Here and not in pyproject.toml, for the suite needs no plugin. `-n NUMBER` is obeyed.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # A worker has this hook too, and no workers of its own.
    options, cores = config.option, _cores()
    is_named = config.args_source is pytest.Config.ArgsSource.ARGS or options.keyword
    is_watched = options.usepdb or options.capture == "no"
    if getattr(options, "numprocesses", 0) is None and cores > 1 and not (is_named or is_watched):
        # Each worker takes a gigabyte or two.
        options.numprocesses = min(cores, 8)
        options.dist = "loadfile"
        options.loadscopereorder = False
    if workers := getattr(options, "numprocesses", 0):
        # More threads than cores wait for one another. Tests of several threads ask for them.
        threads = max(1, cores // workers) if isinstance(workers, int) else 1
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden vectors and small real data: PANODEEPLAB_SHARED, by default `../shared` of the checkout."""
    path = Path(os.environ.get("PANODEEPLAB_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no folder {path}: set PANODEEPLAB_SHARED to run the comparisons with shared data")
    return path


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Outputs of the reference implementations."""
    return shared / "golden"
