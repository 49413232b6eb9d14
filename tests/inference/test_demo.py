"""The demonstration, on a clip made here and as it is bundled."""

import json
import re

import cv2
import numpy as np
import pytest

from panodeeplab.inference.demo import CLIP, read_clip, run_demo, write_clip
from panodeeplab.inference.images import read_image


def moving_square(count, size=(64, 128)):
    for index in range(count):
        frame = np.full((*size, 3), (40, 90, 160), np.uint8)
        frame[20:44, 8 * index : 8 * index + 24] = (220, 40, 30)
        yield frame


def check_output(output, frames, printed):
    content = json.loads((output / "panoptic.json").read_text())
    assert len(content["annotations"]) == frames
    overlay = cv2.imread(str(output / "overlay.png"))
    assert overlay is not None
    frame = read_image(output / "frame.png")
    assert frame.shape == overlay.shape
    overlays = [frame for frame, _ in read_clip(output / "overlay.mp4")]
    assert [frame.shape for frame in overlays] == [overlay.shape] * frames
    # The frame that is shown is the one of the table, and its rows are the segments of the file.
    name = re.search(r"^(frame_\d+): (\d+) segments$", printed, re.MULTILINE)
    (annotation,) = [a for a in content["annotations"] if a["image_id"] == name[1]]
    rows = re.findall(r"^([a-z ]+?) +(\d+) +([01]\.\d\d) +(\d+)$", printed, re.MULTILINE)
    assert len(rows) == int(name[2]) == len(annotation["segments_info"])
    categories = {category["id"]: category["name"] for category in content["categories"]}
    for row, segment in zip(rows, annotation["segments_info"], strict=True):
        assert row[0] == categories[segment["category_id"]]
        assert int(row[3]) == segment["area"]
        assert float(row[2]) == pytest.approx(segment["score"], abs=0.006)
    stages = dict(re.findall(r"^([a-z]+) +(\d+\.\d)$", printed, re.MULTILINE))
    assert list(stages) == ["decode", "preprocess", "network", "postprocess", "draw", "sum"]
    total = sum(float(value) for stage, value in stages.items() if stage != "sum")
    assert float(stages["sum"]) == pytest.approx(total, abs=0.3)
    return content


def test_demo_on_a_clip(checkpoint, tmp_path, capsys):
    write_clip(tmp_path / "clip.mp4", moving_square(4))
    assert run_demo(tmp_path / "out", checkpoint=checkpoint, clip=tmp_path / "clip.mp4") == 0
    check_output(tmp_path / "out", 4, capsys.readouterr().out)


def test_bundled_demo_sees_a_street(tmp_path, capsys):
    assert run_demo(tmp_path / "demo_output") == 0
    content = check_output(tmp_path / "demo_output", sum(1 for _ in read_clip(CLIP)), capsys.readouterr().out)
    categories = {category["id"]: category for category in content["categories"]}
    for annotation in content["annotations"]:
        seen = [categories[segment["category_id"]] for segment in annotation["segments_info"]]
        assert {"road", "sky"} <= {category["name"] for category in seen}
        assert any(category["isthing"] for category in seen)


def test_clip_comes_back_in_rgb_with_the_time_of_each_frame(tmp_path):
    frames = list(moving_square(5))
    write_clip(tmp_path / "clip.mp4", iter(frames))
    read = list(read_clip(tmp_path / "clip.mp4"))
    assert len(read) == 5
    for (frame, decode_ms), original in zip(read, frames, strict=True):
        assert np.abs(frame.astype(int) - original).mean() < 6
        assert decode_ms > 0
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_wrong_clips_are_refused(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4"):
        run_demo(tmp_path / "out", checkpoint=checkpoint, clip=tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4"):
        run_demo(tmp_path / "out", checkpoint=checkpoint, clip=tmp_path / "text.mp4")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="at least one frame"):
        write_clip(tmp_path / "none.mp4", [])
    sizes = (np.zeros((n, 16, 3), np.uint8) for n in (16, 32))
    with pytest.raises(ValueError, match="one size"):
        write_clip(tmp_path / "sizes.mp4", sizes)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["text.mp4"]
