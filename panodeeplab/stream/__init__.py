"""Panoptic video at the speed of the hardware.

Frames of a file, a folder, a camera or an address (`sources`) go through stages that run side by side
(`pipeline`, over bounded queues, `channel`) to a file, a window (`outputs`) or a browser (`mjpeg`); `run`
puts them together, and `meter` knows frame rate and latency.
"""

from panodeeplab.stream.mjpeg import MjpegServer
from panodeeplab.stream.outputs import VideoFile, Window, check_video_path
from panodeeplab.stream.pipeline import Pipeline, StageError
from panodeeplab.stream.run import StreamSummary, check_options, run_stream
from panodeeplab.stream.sources import Source, open_source

__all__ = [
    "MjpegServer",
    "Pipeline",
    "Source",
    "StageError",
    "StreamSummary",
    "VideoFile",
    "Window",
    "check_options",
    "check_video_path",
    "open_source",
    "run_stream",
]
