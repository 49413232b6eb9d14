"""The C++ example builds with the command that it gives, and writes Python's map."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from panodeeplab import ops

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "cpp" / "segment.cpp"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    path = tmp_path_factory.mktemp("cpp") / "segment"
    command = re.search(r"g\+\+ .* -o segment", SOURCE.read_text())[0]
    command = command.replace("-o segment", f"-Wall -Wextra -Werror -o {path}")
    subprocess.run(command, shell=True, cwd=ROOT, check=True)
    return path


def test_writes_the_map_that_python_makes(program, tmp_path):
    random = np.random.default_rng(0)
    semantic, center, offset = (
        np.repeat(np.repeat(random.normal(0, 1, (1, c, 8, 16)), 5, 2), 5, 3).astype(np.float32)
        for c in (6, 1, 2)
    )
    files = [tmp_path / f"{name}.npy" for name in ("semantic", "center", "offset")]
    for file, maps in zip(files, (semantic, center, offset), strict=True):
        np.save(file, maps)
    out = tmp_path / "panoptic.npy", tmp_path / "panoptic.ppm"
    done = subprocess.run(
        [program, *files, "158", "317", "2,5", *out], capture_output=True, text=True, check=True
    )
    wanted = ops.panoptic_segmentation(
        *map(torch.from_numpy, (semantic, center, offset)),
        stride=4,
        output_size=(158, 317),
        thing_ids=(2, 5),
    )
    assert len(wanted.panoptic.unique()) > 4
    np.testing.assert_array_equal(np.load(out[0]), wanted.panoptic[0].numpy())
    printed = [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()]
    count = int(wanted.num_segments)
    ids, areas = wanted.segment_ids[0, :count].tolist(), wanted.segment_areas[0, :count].tolist()
    assert printed == list(zip(ids, areas, strict=True))
    assert out[1].stat().st_size == len(b"P6\n317 158\n255\n") + 3 * 158 * 317


def test_bad_files_are_an_error(program, tmp_path):
    (tmp_path / "text.npy").write_text("no maps at all")
    arguments = [tmp_path / "text.npy"] * 3 + ["4", "4", "0", tmp_path / "a", tmp_path / "b"]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "text.npy is not a NumPy file" in done.stderr
    assert subprocess.run([program], capture_output=True, check=False).returncode == 2
