"""A canvas that paints color and segment in one stroke, so that image and truth agree in every pixel."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from panodeeplab.data.scenes.camera import NEAR, Camera

# Numbers of the stuff classes on the canvas: train id + 1. 0 is void, instances come after these.
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LAMP, SIGN, VEGETATION, TERRAIN, SKY = range(1, 12)
_SUBPIXEL = 4  # bits of the drawing coordinates behind the point
_ROUND = np.concatenate([np.linspace(0.5, 1.5, 6), np.linspace(-0.5, 0.5, 6)]) * np.pi
_CAPSULE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], 1)  # around one end, then around the other


@dataclass(frozen=True)
class Light:
    """How bright a surface is.

    Attributes:
        sun: (3,) unit vector towards the sun.
        sun_color, ambient: (3,) gains of a surface's color, RGB, for the sun's part and for the rest.
        haze: (3,) color that distance fades to.
        density: of the haze, per meter.
        night: 0 by day .. 1 at dusk, when lamps are lit.
    """

    sun: np.ndarray
    sun_color: np.ndarray
    ambient: np.ndarray
    haze: np.ndarray
    density: float
    night: float

    def gain(self, normals: np.ndarray, sunlit: float = 1.0) -> np.ndarray:
        """(N, 3) gains of surfaces with unit normals (N, 3)."""
        direct = np.maximum(normals @ self.sun, 0.0)[:, None] * self.sun_color * sunlit
        return self.ambient * (0.86 + 0.14 * normals[:, 1:2]) + direct

    def fade(self, colors: np.ndarray, depth: float) -> np.ndarray:
        """Colors (N, 3) seen through the haze of `depth` meters; above 255 is white."""
        share = math.exp(-self.density * max(depth, 0.0))
        return colors * share + self.haze * (1.0 - share)


@dataclass(frozen=True)
class Mesh:
    """Flat faces in painting order; inside a part nothing hides anything else once back faces are gone.

    Attributes:
        vertices: (V, 3); face i has those from starts[i] up to starts[i + 1].
        normals: (F, 3) outward; planes: (F,) distance of the face's plane from the origin along its normal.
        roles: (F,) rows of the palette that the object brings.
        lamps: (F, 1), 1 for a face that shines by itself.
        parts: (F,) part of each face; parts are painted far to near, by their `centers` (P, 3).
        sizes: (F,) the shorter side in meters; a face is left out where that is less than a pixel.
    """

    vertices: np.ndarray
    starts: np.ndarray
    normals: np.ndarray
    planes: np.ndarray
    roles: np.ndarray
    lamps: np.ndarray
    parts: np.ndarray
    centers: np.ndarray
    sizes: np.ndarray


class Canvas:
    """(H, W, 4) uint8: RGB and the number of the segment; later strokes cover earlier ones."""

    def __init__(self, camera: Camera, light: Light):
        self.camera = camera
        self.light = light
        self.pixels = np.zeros((*camera.size, 4), np.uint8)

    def polygon(self, points: np.ndarray, color, number: int) -> None:
        """A convex polygon, points (K, 2) in image (x, y)."""
        paint = (float(color[0]), float(color[1]), float(color[2]), number)
        cv2.fillConvexPoly(self.pixels, _fixed(points), paint, cv2.LINE_8, _SUBPIXEL)

    def polygons(self, points: np.ndarray, stops: list[int], colors: np.ndarray, number: int) -> None:
        """Convex polygons points[stops[i]:stops[i + 1]] in image (x, y), in colors (N, 3)."""
        fixed, pixels = _fixed(points), self.pixels
        for a, b, paint in zip(stops, stops[1:], colors.tolist(), strict=False):
            cv2.fillConvexPoly(pixels, fixed[a:b], (*paint, number), cv2.LINE_8, _SUBPIXEL)

    def mesh(self, mesh: Mesh, palette, turn: np.ndarray, place: np.ndarray, number: int, sunlit=1.0) -> None:
        """A mesh turned by `turn` (3, 3), put at `place` (3,), in the colors `palette` (roles, 3)."""
        camera, light = self.camera, self.light
        viewed = mesh.vertices @ (camera.rotation @ turn).T + camera.rotation @ (place - camera.position)
        depth = viewed[:, 2]
        nearest = float(depth.min())
        if nearest < NEAR and depth.max() < NEAR:
            return
        eye = (camera.position - place) @ turn  # of the camera, in the mesh's own axes
        facing = mesh.normals @ eye > mesh.planes
        facing &= mesh.sizes > 1.3 * max(nearest, 1.0) / camera.focal
        order = np.flatnonzero(facing)
        parts = mesh.centers
        if len(parts) > 1:
            distance = ((parts - eye) ** 2).sum(1)
            order = order[np.argsort(-distance[mesh.parts[order]], kind="stable")]
        normals, lamps = mesh.normals[order], mesh.lamps[order]
        direct = np.maximum(normals @ (light.sun @ turn), 0)[:, None] * (light.sun_color * sunlit)
        gain = light.ambient * (0.86 + 0.14 * normals[:, 1:2]) + direct
        gain += (0.75 + 0.6 * light.night - gain) * lamps
        starts = mesh.starts
        paints = light.fade(palette[mesh.roles[order]] * gain, nearest).tolist()
        pixels = self.pixels
        firsts, stops = starts[order].tolist(), starts[order + 1].tolist()
        if nearest >= NEAR:
            fixed = _fixed(camera.project(viewed))
            for a, b, paint in zip(firsts, stops, paints, strict=True):
                cv2.fillConvexPoly(pixels, fixed[a:b], (*paint, number), cv2.LINE_8, _SUBPIXEL)
            return
        for a, b, paint in zip(firsts, stops, paints, strict=True):
            cut = clip_near(viewed[a:b])
            if len(cut) >= 3:
                self.polygon(camera.project(cut), paint, number)

    def capsules(
        self, ends: np.ndarray, radii: np.ndarray, colors: np.ndarray, number: int, least=0.35
    ) -> None:
        """Rounded limbs: ends (N, 2, 3) in the street, radii (N, 2) in meters, colors (N, 3) as seen."""
        viewed = self.camera.view(ends)
        if viewed[..., 2].min() < NEAR:
            return
        flat = self.camera.project(viewed)
        pixels = np.maximum(radii * self.camera.focal / viewed[..., 2], least)
        along = flat[:, 1] - flat[:, 0]
        along /= np.maximum(np.sqrt((along * along).sum(1, keepdims=True)), 1e-6)
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        points = along[:, None] * _CAPSULE[:, :1] + across[:, None] * _CAPSULE[:, 1:]
        half = len(_CAPSULE) // 2
        points[:, :half] = points[:, :half] * pixels[:, 0, None, None] + flat[:, :1]
        points[:, half:] = points[:, half:] * pixels[:, 1, None, None] + flat[:, 1:]
        fixed = _fixed(points)
        canvas = self.pixels
        for shape, paint in zip(fixed, colors.tolist(), strict=True):
            cv2.fillConvexPoly(canvas, shape, (*paint, number), cv2.LINE_8, _SUBPIXEL)

    def window(self, points: np.ndarray) -> tuple[int, int, int, int] | None:
        """(y0, x0, y1, x1) of the part of the canvas that points (K, 2) span, None if outside."""
        height, width = self.camera.size
        low, high = np.floor(points.min(0)), np.ceil(points.max(0)) + 1
        x0, y0 = max(int(max(low[0], -1)), 0), max(int(max(low[1], -1)), 0)
        x1, y1 = int(min(high[0], width)), int(min(high[1], height))
        return (y0, x0, y1, x1) if x0 < x1 and y0 < y1 else None

    def textured(
        self,
        corners: np.ndarray,
        picture: np.ndarray,
        number: int,
        gain: np.ndarray,
        part: tuple[float, float] = (0.0, 1.0),
        opaque: np.ndarray | None = None,
    ) -> None:
        """A picture on an upright rectangle of the street.

        Args:
            corners: (4, 3) top left, top right, bottom right, bottom left as seen; all lie in front.
            picture: (h, w, 4) uint8; the fourth channel does not matter.
            number: of the segment; all of the rectangle gets it.
            gain: (3,) of the picture's colors.
            part: what the left and the right edge show, in widths of the picture; left > right mirrors it.
            opaque: (h, w) uint8, 0 where what is behind shows through (a fence); None where nothing does.
        """
        viewed = self.camera.view(corners)
        flat = self.camera.project(viewed).astype(np.float32)
        window = self.window(flat)
        if window is None:
            return
        y0, x0, y1, x1 = window
        h, w = picture.shape[:2]
        a, b = part[0] * w - 0.5, part[1] * w - 0.5
        source = np.array([[a, -0.5], [b, -0.5], [b, h - 0.5], [a, h - 0.5]], np.float32)
        local = flat - np.array([x0, y0], np.float32)
        matrix = cv2.getPerspectiveTransform(source, local)
        size = (x1 - x0, y1 - y0)
        warped = cv2.warpPerspective(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        warped = self._hazed(warped, gain, viewed[0, 2], viewed[1, 2], local[0, 0], local[1, 0], number)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(mask, _fixed(local), 255, cv2.LINE_8, _SUBPIXEL)
        below = self.pixels[y0:y1, x0:x1]
        if opaque is not None:
            bars = cv2.warpPerspective(opaque, matrix, size) * np.float32(1 / 255)
            warped = cv2.blendLinear(warped, np.ascontiguousarray(below), bars, 1 - bars)
            warped[..., 3] = number
        cv2.copyTo(warped, mask, below)

    def _hazed(self, picture, gain, left, right, x_left, x_right, number: int) -> np.ndarray:
        """A picture of a wall, `left` meters away in column `x_left` and `right` meters in `x_right`."""
        light = self.light
        if light.density * abs(left - right) < 0.25:
            share = math.exp(-light.density * (left + right) / 2)
            return toned(picture, gain * share, light.haze * (1 - share), number)
        rise = (np.arange(picture.shape[1]) - x_left) / (x_right - x_left)
        depth = 1 / np.clip(1 / left + (1 / right - 1 / left) * rise, 1e-3, 1 / NEAR)
        share = np.exp(-light.density * depth).astype(np.float32)[None].repeat(picture.shape[0], 0)
        haze = np.empty_like(picture)
        haze[:] = (*light.haze.astype(np.uint8), number)
        return cv2.blendLinear(toned(picture, gain, np.zeros(3), number), haze, share, 1 - share)

    def billboard(
        self, base: np.ndarray, width: float, height: float, picture: np.ndarray, gain, number: int
    ) -> None:
        """A picture (h, w, 4) uint8, RGB and mask, upright on `base` (3,); width and height in meters."""
        viewed = self.camera.view(base).tolist()
        if viewed[2] < 1.0:
            return
        scale = self.camera.focal / viewed[2]
        axis_y, axis_x = self.camera.principal
        x, y = viewed[0] * scale + axis_x, axis_y - viewed[1] * scale
        w, h = round(width * scale), round(height * scale)
        left, top = round(x - w / 2), round(y - h)
        rows, columns = self.camera.size
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, rows), min(left + w, columns)
        if w < 2 or h < 2 or x0 >= x1 or y0 >= y1:
            return
        if w > 4 * columns or h > 8 * rows:
            return
        sx, sy = picture.shape[1] / w, picture.shape[0] / h
        matrix = np.array([[sx, 0, (x0 - left + 0.5) * sx - 0.5], [0, sy, (y0 - top + 0.5) * sy - 0.5]])
        piece = cv2.warpAffine(
            picture,
            matrix,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )
        mask = cv2.extractChannel(piece, 3) & 128
        share = math.exp(-self.light.density * viewed[2])
        lit = toned(piece, gain * share, self.light.haze * (1 - share), number)
        cv2.copyTo(lit, mask, self.pixels[y0:y1, x0:x1])


def toned(picture: np.ndarray, gain: np.ndarray, shift: np.ndarray, number: int) -> np.ndarray:
    """A picture (h, w, 4) uint8, its colors times gain (3,) plus shift (3,), its fourth channel `number`."""
    return cv2.add(cv2.multiply(picture, (*gain.tolist(), 0.0)), (*shift.tolist(), float(number)))


def _fixed(points: np.ndarray) -> np.ndarray:
    return (points * (1 << _SUBPIXEL) + 0.5).astype(np.int32)


def clip_near(viewed: np.ndarray) -> np.ndarray:
    """The part (K', 3) of a polygon (K, 3) in camera coordinates that lies beyond NEAR."""
    kept = []
    for a, b in zip(viewed, np.roll(viewed, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))
    return np.array(kept)
