"""The demonstration: the bundled model on the bundled clip of a generated street."""

import itertools
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from panodeeplab import ops
from panodeeplab.data.coco_writer import PanopticWriter
from panodeeplab.files import replacing
from panodeeplab.inference.predict import write_picture
from panodeeplab.inference.predictor import Predictor
from panodeeplab.postprocess import VOID_LABEL, PanopticResult

CLIP = Path(__file__).resolve().parent.parent / "assets" / "street_clip.mp4"
STAGES = ("decode", "preprocess", "network", "postprocess", "draw")


def run_demo(
    output: str | Path = "demo_output",
    *,
    checkpoint: str | Path = "street-tiny",
    clip: str | Path = CLIP,
    device: str = "cpu",
) -> int:
    """Segment a clip, write what was seen, and print it with the time of each stage.

    Writes `frame.png` and `overlay.png`, the frame with the most things; `overlay.mp4`, every frame; and
    `panoptic.json` with `panoptic/`, every frame in COCO panoptic format. The times are medians over the
    frames, one at a time, after one that is not counted.

    Args:
        output: folder to write to; it is made if need be.
        checkpoint: see `Predictor.from_checkpoint`.
        clip: a video that OpenCV can decode.
        device: see `Predictor`.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: no such clip or checkpoint.
        ValueError: the clip has no frame that can be decoded, or another argument is wrong.
    """
    output = Path(output)
    predictor = Predictor.from_checkpoint(checkpoint, device=device)
    frames = list(read_clip(clip))
    if not frames:
        raise ValueError(f"clip: no frame of {clip} can be decoded")
    predictor(frames[0][0]).overlay()  # The first run sets memory aside; it is not what is measured.
    output.mkdir(parents=True, exist_ok=True)
    results, overlays = [], []
    latency_ms: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with PanopticWriter(
        output, predictor.classes, label_divisor=predictor.config.label_divisor, void_label=VOID_LABEL
    ) as writer:
        for index, (frame, decode_ms) in enumerate(frames):
            result = predictor(frame)
            start = time.perf_counter()
            overlays.append(result.overlay())
            draw_ms = 1000.0 * (time.perf_counter() - start)
            timings_ms = {"decode": decode_ms, "draw": draw_ms, **result.timings_ms}
            for stage in STAGES:
                latency_ms[stage].append(timings_ms[stage])
            writer.add(
                result.panoptic,
                image_id=_frame_name(index),
                image_file=f"{_frame_name(index)}.png",
                scores={segment.id: segment.score for segment in result.segments},
            )
            results.append(result)
    shown = max(range(len(results)), key=lambda index: sum(s.is_thing for s in results[index].segments))
    write_picture(output / "frame.png", frames[shown][0])
    write_picture(output / "overlay.png", overlays[shown])
    write_clip(output / "overlay.mp4", overlays)
    print(_segment_table(results[shown], _frame_name(shown)))
    print()
    print(_latency_table(latency_ms, results[shown].panoptic.shape, predictor.device))
    print()
    print(f"{output / 'overlay.png'}: this frame; {output / 'overlay.mp4'}: all {len(overlays)} frames;")
    print(f"{writer.json_path} with {writer.png_dir}{os.sep}: all in COCO panoptic format")
    return 0


def read_clip(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a video, (H, W, 3) uint8 RGB, each with the milliseconds that its decoding took.

    Raises:
        FileNotFoundError: no such file.
        ValueError: OpenCV cannot open it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"clip: no file {path}")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ValueError(f"clip: OpenCV cannot open {path} as a video")
        while True:
            start = time.perf_counter()
            decoded, bgr = capture.read()
            if not decoded:
                return
            frame = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield frame, 1000.0 * (time.perf_counter() - start)
    finally:
        capture.release()


def write_clip(path: str | Path, frames: Iterable[np.ndarray], *, frames_per_second: float = 10.0) -> None:
    """Write frames as a video (MPEG-4 part 2).

    Args:
        path: of the file, ending in .mp4; it appears whole or not at all.
        frames: at least one, (H, W, 3) uint8 RGB, all of one even height and width.
        frames_per_second: of the video.

    Raises:
        ValueError: no frame, frames of different sizes, or this OpenCV cannot write such a video.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("frames must hold at least one frame, got none")
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    with replacing(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), codec, frames_per_second, first.shape[1::-1])
        try:
            if not writer.isOpened():
                raise ValueError(f"path: OpenCV cannot write {path} as an MPEG-4 video")
            for frame in itertools.chain([first], frames):
                if frame.shape != first.shape:
                    raise ValueError(f"frames must have one size, got {first.shape} and {frame.shape}")
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()


def _frame_name(index: int) -> str:
    return f"frame_{index:03d}"


def _segment_table(result: PanopticResult, name: str) -> str:
    lines = [f"{name}: {len(result.segments)} segments", f"{'class':<16}{'id':>7}{'score':>8}{'area':>10}"]
    lines += [f"{s.category:<16}{s.id:>7}{s.score:>8.2f}{s.area:>10}" for s in result.segments]
    return "\n".join(lines)


def _latency_table(latency_ms: dict[str, list[float]], size: tuple[int, int], device: torch.device) -> str:
    medians = {stage: statistics.median(values) for stage, values in latency_ms.items()}
    frames = len(next(iter(latency_ms.values())))
    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    lines = [
        f"median of {frames} frames of {size[0]} x {size[1]}, one at a time, {where}, "
        f"{ops.backend(device)} post-processing",
        f"{'stage':<16}{'ms':>7}",
    ]
    lines += [f"{stage:<16}{value:>7.1f}" for stage, value in medians.items()]
    lines.append(f"{'sum':<16}{sum(medians.values()):>7.1f}")
    return "\n".join(lines)
