"""The node's own code, with stand-ins for rclpy and the messages."""

import array
import importlib.util
import json
import sys
import threading
import time
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from panodeeplab.inference.demo import CLIP, read_clip
from panodeeplab.inference.predictor import Predictor

NODE = Path(__file__).resolve().parents[2] / "examples" / "ros2" / "panoptic_node.py"


@dataclass
class Stamp:
    sec: int = 0
    nanosec: int = 0


@dataclass
class Header:
    stamp: Stamp = field(default_factory=Stamp)
    frame_id: str = ""


@dataclass
class Image:
    """sensor_msgs/Image, with the checks of types that rclpy makes."""

    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = ""
    is_bigendian: int = 0
    step: int = 0
    data: array.array = field(default_factory=lambda: array.array("B"))

    def __setattr__(self, name, value):
        wanted = {"height": int, "width": int, "step": int, "is_bigendian": int, "data": array.array}
        assert isinstance(value, wanted.get(name, object)), (name, type(value))
        super().__setattr__(name, value)


@dataclass
class String:
    data: str = ""


class Publisher:
    def __init__(self):
        self.messages, self.listeners = [], 1

    def publish(self, message):
        self.messages.append(message)

    def get_subscription_count(self):
        return self.listeners


class Node:
    """rclpy.node.Node, as far as the example goes."""

    parameters: ClassVar[dict] = {}

    def __init__(self, name):
        self.publishers_by_topic, self.callbacks, self.lines, self.destroyed = {}, {}, [], False

    def declare_parameter(self, name, default):
        return types.SimpleNamespace(value=self.parameters.get(name, default))

    def create_publisher(self, kind, topic, qos):
        return self.publishers_by_topic.setdefault(topic, Publisher())

    def create_subscription(self, kind, topic, callback, qos):
        self.callbacks[topic] = callback

    def get_logger(self):
        def line(text, **options):
            self.lines.append(text)

        return types.SimpleNamespace(info=line, error=line)

    def destroy_node(self):
        self.destroyed = True


@pytest.fixture
def module(monkeypatch):
    def fake(name, **content):
        made = types.ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    fake("rclpy", init=None, spin=None, try_shutdown=None)
    fake("rclpy.executors", ExternalShutdownException=type("ExternalShutdownException", (Exception,), {}))
    fake("rclpy.node", Node=Node)
    fake("rclpy.qos", qos_profile_sensor_data="sensor data")
    fake("sensor_msgs")
    fake("sensor_msgs.msg", Image=Image)
    fake("std_msgs")
    fake("std_msgs.msg", String=String)
    spec = importlib.util.spec_from_file_location("panoptic_node", NODE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def message(pixels, encoding, *, padding=0, sec=0):
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    data = array.array("B", padded.tobytes())
    header = Header(Stamp(sec, 5), "camera")
    return Image(header, height, width, encoding, 0, padded.shape[1], data)


def wait(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened within half a minute")


@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_encodings(module, encoding, padding):
    rgb = np.random.default_rng(0).integers(0, 255, (7, 9, 3), np.uint8)
    alpha = np.full((7, 9, 1), 9, np.uint8)
    sent = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.dstack([rgb, alpha]),
        "bgra8": np.dstack([rgb[..., ::-1], alpha]),
        "mono8": rgb[..., 0],
    }[encoding]
    expected = np.repeat(rgb[..., :1], 3, 2) if encoding == "mono8" else rgb
    assert np.array_equal(module.rgb_of(message(sent, encoding, padding=padding)), expected)


def test_messages_that_are_no_images(module):
    image = message(np.zeros((4, 5, 3), np.uint8), "rgb8")
    with pytest.raises(ValueError, match=r"encoding must be one of .*'16UC1'"):
        module.rgb_of(message(np.zeros((4, 5, 3), np.uint8), "16UC1"))
    image.data = image.data[:-1]
    with pytest.raises(ValueError, match="59 bytes are no 4 x 5 image"):
        module.rgb_of(image)
    with pytest.raises(ValueError, match="0 x 0"):
        module.rgb_of(Image(encoding="rgb8"))


def test_from_image_to_topics(module):
    street = next(read_clip(CLIP))[0]
    node = module.PanopticNode()
    topics = node.publishers_by_topic
    try:
        node.callbacks["image"](message(street[..., ::-1], "bgr8", sec=42))
        wait(lambda: topics["segments"].messages)
        expected = Predictor.from_checkpoint("street-tiny")(street)
        (panoptic,), (overlay,) = topics["panoptic"].messages, topics["overlay"].messages
        assert (panoptic.encoding, panoptic.step, panoptic.header.stamp.sec) == ("32SC1", 2048, 42)
        assert np.array_equal(np.frombuffer(panoptic.data, "<i4").reshape(256, 512), expected.panoptic)
        assert (overlay.encoding, overlay.header.frame_id) == ("rgb8", "camera")
        assert np.array_equal(np.frombuffer(overlay.data, np.uint8).reshape(street.shape), expected.overlay())
        content = json.loads(topics["segments"].messages[0].data)
        assert content["stamp"] == [42, 5]
        assert [s["id"] for s in content["segments"]] == [s.id for s in expected.segments]

        # Nobody listens to the overlay: none is drawn. A wrong image is reported, and the node goes on.
        topics["overlay"].listeners = 0
        node.callbacks["image"](message(street, "yuv422"))
        wait(lambda: any("yuv422" in line for line in node.lines))
        node.callbacks["image"](message(street, "rgb8", sec=43))
        wait(lambda: len(topics["segments"].messages) == 2)
        assert len(topics["overlay"].messages) == 1
    finally:
        node.destroy_node()
    assert node.destroyed
    assert not node._thread.is_alive()


def test_the_newest_image_wins(module, monkeypatch):
    started, go = threading.Event(), threading.Event()
    real = Predictor.from_checkpoint("street-tiny")

    def slow(image):
        started.set()
        assert go.wait(60)
        return real(image)

    monkeypatch.setattr(module.Predictor, "from_checkpoint", lambda *args, **options: slow)
    node = module.PanopticNode()
    small = np.zeros((32, 64, 3), np.uint8)
    try:
        node.callbacks["image"](message(small, "rgb8", sec=0))
        assert started.wait(60)
        for second in range(1, 6):
            node.callbacks["image"](message(small, "rgb8", sec=second))
        go.set()
        segments = node.publishers_by_topic["segments"].messages
        wait(lambda: len(segments) == 2)
    finally:
        go.set()
        node.destroy_node()
    seen = [json.loads(text.data) for text in segments]
    assert [(content["stamp"][0], content["dropped"]) for content in seen] == [(0, 0), (5, 4)]


def test_parameters(module, monkeypatch):
    monkeypatch.setattr(Node, "parameters", {"checkpoint": "nothing.safetensors"})
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        module.PanopticNode()
