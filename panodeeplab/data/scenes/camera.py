"""The pinhole camera that looks down the street, and the ground seen through it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 0.4  # meters in front of the camera where geometry is cut off


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the street's coordinates: x right, y up, z along the street, in meters.

    Attributes:
        size: (H, W) of the image.
        focal: focal length in pixels.
        principal: (y, x) of the optical axis in pixels.
        position: (3,) of the camera.
        rotation: (3, 3), street directions to camera directions (x right, y up, z forward).
    """

    size: tuple[int, int]
    focal: float
    principal: tuple[float, float]
    position: np.ndarray
    rotation: np.ndarray

    def view(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the street in camera coordinates; the last axis is depth where it is 2."""
        return (points - self.position) @ self.rotation.T

    def project(self, viewed: np.ndarray) -> np.ndarray:
        """Camera coordinates (..., 3) with depth >= NEAR to image positions (..., 2), as (x, y)."""
        scale, center = self._image_axes
        return viewed[..., :2] * (scale / viewed[..., 2:]) + center

    @cached_property
    def _image_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Focal length and optical axis as (x, y); kept, for thousands of shapes are projected in a frame."""
        y, x = self.principal
        return np.array([self.focal, -self.focal]), np.array([x, y])

    def ground(self, farthest: float) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """Where the pixels of the lower rows meet the ground plane.

        Returns:
            first row of the part of the image that holds ground; x and z (rows, W) float32 of the ground
            points in meters; seen (rows, W) bool, False where the ray passes above the ground's edge at
            `farthest`.
        """
        height, width = self.size
        dx = (np.arange(width, dtype=np.float32) - self.principal[1]) / self.focal
        dy = (self.principal[0] - np.arange(height, dtype=np.float32)) / self.focal
        inverse = self.rotation.T.astype(np.float32)
        slope_rows = inverse[1, 1] * dy + inverse[1, 2]
        limit = -self.position[1] / farthest
        lowest = slope_rows + np.minimum(inverse[1, 0] * dx[0], inverse[1, 0] * dx[-1])
        below = np.flatnonzero(lowest < limit)
        first = int(below[0]) if len(below) else height
        dy = dy[first:, None]
        slope = inverse[1, 0] * dx + inverse[1, 1] * dy + inverse[1, 2]
        seen = slope < limit
        reach = -self.position[1] / np.minimum(slope, limit)
        x = self.position[0] + reach * (inverse[0, 0] * dx + inverse[0, 1] * dy + inverse[0, 2])
        z = self.position[2] + reach * (inverse[2, 0] * dx + inverse[2, 1] * dy + inverse[2, 2])
        return first, x.astype(np.float32), z.astype(np.float32), seen


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) from street to camera; yaw turns right, pitch looks up, roll leans right; in radians."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return lean @ nod @ turn
