#!/usr/bin/env python3
"""A ROS 2 node: images in, panoptic maps and overlays out. The newest image wins, older ones are dropped."""

import json
import threading

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

from panodeeplab import Predictor

# Encodings of sensor_msgs/Image: channels, and how OpenCV brings them to RGB (None: they are).
_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


class PanopticNode(Node):
    """Segments the images of a topic.

    Subscribes to `image` (sensor_msgs/Image). Publishes, with the header of the image they belong to:
    `panoptic` (sensor_msgs/Image, 32SC1: category * 1000 + instance, -1 where nothing was recognized),
    `overlay` (sensor_msgs/Image, rgb8; drawn only while somebody listens) and `segments` (std_msgs/String:
    JSON with stamp, frame_id, stage times and segments).

    Parameters: `checkpoint` (a file, or the bundled "street-tiny") and `device` ("cpu", "cuda:0").
    """

    def __init__(self) -> None:
        super().__init__("panoptic")
        checkpoint = self.declare_parameter("checkpoint", "street-tiny").value
        device = self.declare_parameter("device", "cpu").value
        self._predictor = Predictor.from_checkpoint(checkpoint, device=device)
        self._panoptic = self.create_publisher(Image, "panoptic", qos_profile_sensor_data)
        self._overlay = self.create_publisher(Image, "overlay", qos_profile_sensor_data)
        self._segments = self.create_publisher(String, "segments", qos_profile_sensor_data)
        self._newest: Image | None = None
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.create_subscription(Image, "image", self._keep, qos_profile_sensor_data)
        self.get_logger().info(f"{checkpoint} on {device} waits for images")

    def destroy_node(self) -> None:
        """End the worker's thread, then the node."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        super().destroy_node()

    def _keep(self, message: Image) -> None:
        # One place, overwritten: a slow network lags by one image, never by a queue of them.
        with self._changed:
            self._dropped += self._newest is not None
            self._newest = message
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._newest is not None)
                if self._closed:
                    return
                message, self._newest = self._newest, None
                dropped, self._dropped = self._dropped, 0
            try:
                self._segment(message, dropped)
            except Exception as error:
                # One bad image must not end the node.
                self.get_logger().error(f"an image was skipped: {error}", throttle_duration_sec=5.0)

    def _segment(self, message: Image, dropped: int) -> None:
        result = self._predictor(rgb_of(message))
        self._panoptic.publish(image_message(result.panoptic, "32SC1", message.header))
        if self._overlay.get_subscription_count():
            self._overlay.publish(image_message(result.overlay(), "rgb8", message.header))
        if self._segments.get_subscription_count():
            content = {
                "stamp": [message.header.stamp.sec, message.header.stamp.nanosec],
                "frame_id": message.header.frame_id,
                "dropped": dropped,
                "timings_ms": result.timings_ms,
                "segments": [segment._asdict() for segment in result.segments],
            }
            self._segments.publish(String(data=json.dumps(content)))


def rgb_of(message: Image) -> np.ndarray:
    """The (H, W, 3) uint8 RGB pixels of a message; rows may be padded.

    Raises:
        ValueError: an encoding that is not read here, or fewer bytes than the size says.
    """
    if message.encoding not in _ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(_ENCODINGS)}, got {message.encoding!r}")
    channels, conversion = _ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    if not height or not width or step < width * channels or len(message.data) < height * step:
        raise ValueError(f"{len(message.data)} bytes are no {height} x {width} image with rows of {step}")
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels) if conversion is None else cv2.cvtColor(pixels, conversion)


def image_message(pixels: np.ndarray, encoding: str, header) -> Image:
    """A message with the header of the image that it belongs to."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.is_bigendian = 0
    message.step = pixels.strides[0]
    # rclpy checks a list number by number; an array of bytes it takes as it is.
    message.data.frombytes(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes())
    return message


def main() -> None:
    """Run the node until it is shut down."""
    rclpy.init()
    node = PanopticNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
