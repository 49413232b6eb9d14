"""The guide to data of your own, docs/data.md: its commands run and its configurations are valid."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from panodeeplab import config as configuration

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
STREET = GUIDE.parents[1] / "configs" / "street_tiny.yaml"
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.S | re.M)]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the guide's commands are for bash")
def test_first_try_in_a_fresh_folder(tmp_path):
    for kind, text in BLOCKS[:2]:
        name = re.match(r"# (\S+)\n", text)[1]
        assert name == {"python": "make_boxes.py", "yaml": "classes.yaml"}[kind]
        (tmp_path / name).write_text(text)
    kind, commands = BLOCKS[2]
    assert kind == "bash"
    # The commands' names, for this Python and this checkout.
    names = f"""python() {{ '{sys.executable}' "$@"; }}; panodeeplab() {{ python -m panodeeplab "$@"; }}"""
    run = subprocess.run(
        ["bash", "-ec", f"{names}\n{commands}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("0 errors, 0 warnings") == 2
    assert len(list((tmp_path / "pictures" / "train").glob("*.jpg"))) == 8


@pytest.mark.parametrize(
    "text", [text for kind, text in BLOCKS if kind == "yaml" and re.search("^data:", text, re.M)]
)
def test_configurations_are_valid(text):
    data = yaml.safe_load(text)["data"]
    shown = configuration.load(STREET, [f"data={json.dumps(data)}"]).data.model_dump(mode="json")
    # The guide shows every key.
    assert shown == data
