"""Sun, sky, haze and rain, and what the camera's sensor makes of them."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from panodeeplab.data.scenes import textures
from panodeeplab.data.scenes.canvas import ROAD, SIDEWALK, SKY, Canvas, Light


@dataclass(frozen=True)
class Weather:
    """The state of the sky, one per scene.

    Attributes:
        light: of surfaces.
        shadow: (3,) share of the ground's light that is left where the sun does not reach.
        zenith, horizon: (3,) colors of the clear sky; cloud: (3,) of its clouds.
        cover: 0 clear .. 1 closed.
        wet: 0 dry .. 1 a road that mirrors; rain: 0 .. 1 streaks in the air.
    """

    light: Light
    shadow: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cloud: np.ndarray
    cover: float
    wet: float
    rain: float


@dataclass(frozen=True)
class Sensor:
    """How the camera turns light into numbers.

    Attributes:
        gains: (3,) of RGB.
        gamma: exponent of the light.
        blur: deviation in 1/256 of the image's height.
        noise: deviation in gray levels.
        vignette: share of the light that is lost in the corners.
    """

    gains: np.ndarray
    gamma: float
    blur: float
    noise: float
    vignette: float


def draw_weather(rng: np.random.Generator) -> Weather:
    kind = rng.choice(
        ("clear", "fair", "overcast", "rain", "fog", "dusk"), p=(0.3, 0.24, 0.2, 0.08, 0.08, 0.1)
    )
    elevation, azimuth = np.radians(rng.uniform(24, 62)), rng.uniform(0, 2 * np.pi)
    if kind == "dusk":
        elevation = np.radians(rng.uniform(8, 16))
    sun = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    )
    tone = rng.uniform(-6, 6, 3)
    warm = np.array([1.06, 1.0, 0.92])
    blue = np.array([0.97, 1.0, 1.05])
    if kind in ("clear", "fair"):
        strength = rng.uniform(0.5, 0.72)
        sun_color, ambient = strength * warm, rng.uniform(0.58, 0.7) * blue
        zenith = np.array([74, 126, 196]) + tone * 2
        horizon = np.array([190, 212, 232]) + tone
        cloud, cover = np.array([244, 244, 244]), 0.12 if kind == "clear" else rng.uniform(0.35, 0.6)
        haze, density = np.array([196, 210, 224]), rng.uniform(0.0008, 0.004)
    elif kind == "overcast":
        sun_color, ambient = 0.1 * np.ones(3), rng.uniform(0.84, 0.96) * np.ones(3)
        zenith, horizon = np.array([176, 182, 190]) + tone, np.array([220, 223, 226]) + tone
        cloud, cover = np.array([206, 208, 212]) + tone, 1.0
        haze, density = np.array([206, 209, 213]), rng.uniform(0.002, 0.006)
    elif kind == "rain":
        sun_color, ambient = np.zeros(3), rng.uniform(0.74, 0.86) * np.array([0.97, 1.0, 1.03])
        zenith, horizon = np.array([128, 134, 144]) + tone, np.array([178, 183, 189]) + tone
        cloud, cover = np.array([150, 155, 163]) + tone, 1.0
        haze, density = np.array([170, 175, 181]), rng.uniform(0.006, 0.013)
    elif kind == "fog":
        sun_color, ambient = np.zeros(3), rng.uniform(0.82, 0.92) * np.ones(3)
        zenith = horizon = np.array([208, 211, 213]) + tone
        cloud, cover = zenith, 0.0
        haze, density = zenith, rng.uniform(0.012, 0.024)
    else:
        sun_color, ambient = (
            0.34 * np.array([1.25, 0.92, 0.62]),
            rng.uniform(0.5, 0.62) * np.array([0.95, 0.96, 1.12]),
        )
        zenith = np.array([52, 66, 116]) + tone
        horizon = np.array([232, 164, 118]) + 2 * tone
        cloud, cover = np.array([170, 124, 128]) + tone, rng.uniform(0.2, 0.5)
        haze, density = np.array([150, 124, 124]), rng.uniform(0.002, 0.006)
    light = Light(sun, sun_color, ambient, np.clip(haze, 0, 255), density, 1.0 if kind == "dusk" else 0.0)
    flat = ambient + max(sun[1], 0.0) * sun_color
    return Weather(
        light=light,
        shadow=ambient / flat,
        zenith=zenith,
        horizon=horizon,
        cloud=cloud,
        cover=float(cover),
        wet=float(rng.uniform(0.5, 0.9)) if kind == "rain" else 0.0,
        rain=float(rng.uniform(0.4, 1.0)) if kind == "rain" else 0.0,
    )


def draw_sensor(rng: np.random.Generator) -> Sensor:
    return Sensor(
        gains=rng.uniform(0.9, 1.16) * (1 + rng.uniform(-0.05, 0.05, 3)),
        gamma=rng.uniform(0.82, 1.08),
        blur=rng.uniform(0.35, 0.75),
        noise=rng.uniform(1.0, 5.0),
        vignette=rng.uniform(0.0, 0.28),
    )


def paint_sky(canvas: Canvas, weather: Weather, rows: int, drift: float) -> None:
    """The upper `rows` of the canvas; clouds have moved by `drift` meters."""
    camera = canvas.camera
    width = camera.size[1]
    y = np.arange(0, rows, 2, dtype=np.float32)
    x = np.arange(0, width, 2, dtype=np.float32)
    rise = (np.maximum(horizon_row(canvas) - y, 0) / camera.focal).astype(np.float32)[:, None]
    share = 1 - np.exp(-2.6 * rise)
    column = weather.horizon.astype(np.float32) * (1 - share) + weather.zenith.astype(np.float32) * share
    sky = column[:, None].repeat(len(x), axis=1)
    if weather.cover > 0:
        reach = 70.0 / np.maximum(rise, 0.02)
        yaw = float(np.arctan2(camera.rotation[2, 0], camera.rotation[2, 2]))
        across = (x - camera.principal[1]) / camera.focal + yaw
        field = cv2.remap(
            textures.clouds(),
            np.mod(across * reach * 0.35 + drift * 0.1, 512).astype(np.float32),
            np.mod(reach * 0.9 + drift, 512).astype(np.float32).repeat(len(x), axis=1),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        edge = 1.5 - 2.4 * weather.cover
        dense = np.clip((field - edge) * 0.7, 0, 1) * np.clip(rise * 9, 0, 1) * 0.85
        shaded = weather.cloud.astype(np.float32) * (1 - 0.05 * np.clip(field, -1, 2.5))[..., None]
        sky += (shaded - sky) * dense[..., None]
    canvas.pixels[:rows, :, :3] = cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), (width, rows))
    canvas.pixels[:rows, :, 3] = SKY


def horizon_row(canvas: Canvas) -> float:
    camera = canvas.camera
    return camera.principal[0] + camera.focal * np.tan(np.arcsin(camera.rotation[2, 1]))


def mirror_wet_ground(canvas: Canvas, weather: Weather) -> None:
    """Wet ground mirrors what stands over the horizon."""
    if weather.wet <= 0:
        return
    height = canvas.camera.size[0]
    horizon = round(horizon_row(canvas))
    rows = min(height - horizon, horizon)
    if rows < 4 or horizon <= 0:
        return
    ground = canvas.pixels[horizon : horizon + rows]
    above = cv2.blur(canvas.pixels[horizon - rows : horizon, :, :3], (3, 9))[::-1]
    wet = ((ground[..., 3] == ROAD) | (ground[..., 3] == SIDEWALK)).astype(np.float32)
    share = wet * (weather.wet * np.linspace(0.5, 0.12, rows, dtype=np.float32)[:, None])
    ground[..., :3] = ground[..., :3] + (above - ground[..., :3].astype(np.float32)) * share[..., None]


def add_glow(
    canvas: Canvas, spots: list[tuple[float, float, float, tuple[float, float, float]]], strength: float
) -> None:
    """Light scattered around lamps: spots of (x, y, radius in pixels, color)."""
    if not spots or strength <= 0:
        return
    height, width = canvas.camera.size
    small = np.zeros((max(height // 4, 1), max(width // 4, 1), 3), np.uint8)
    for x, y, radius, color in spots:
        if -50 < x < width + 50 and -50 < y < height + 50:
            cv2.circle(small, (round(x / 4), round(y / 4)), max(round(radius / 4), 1), color, -1)
    small = cv2.GaussianBlur(small, (0, 0), max(height / 120, 0.8))
    canvas.pixels[..., :3] = cv2.add(
        canvas.pixels[..., :3], cv2.convertScaleAbs(cv2.resize(small, (width, height)), alpha=strength)
    )


def expose(canvas: Canvas, weather: Weather, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8: the canvas as the camera's sensor records it; `rng` places noise and drops."""
    height, width = canvas.camera.size
    image = cv2.cvtColor(canvas.pixels, cv2.COLOR_RGBA2RGB)
    if weather.rain > 0:
        image = _rain(image, weather.rain, rng)
    blur = sensor.blur * height / 256
    if blur > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), blur) if blur > 1 else cv2.GaussianBlur(image, (3, 3), blur)
    levels = (np.arange(256)[:, None] / 255.0) ** sensor.gamma * 255 * sensor.gains
    image = cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[:, None, :].reshape(1, 256, 3))
    image = cv2.multiply(image, _falloff(height, width, round(25 * sensor.vignette) / 25), scale=1 / 255)
    grain = textures.sensor_noise()
    oy, ox = (int(v) for v in rng.integers(0, 512, 2))
    if oy + height <= grain.shape[0] and ox + width <= grain.shape[1]:
        piece = grain[oy : oy + height, ox : ox + width]
    else:
        piece = np.take(
            np.take(grain, np.arange(oy, oy + height), 0, mode="wrap"),
            np.arange(ox, ox + width),
            1,
            mode="wrap",
        )
    share = sensor.noise / 32
    return cv2.addWeighted(image, 1.0, piece, share, -128 * share)


@lru_cache(maxsize=8)
def _falloff(height: int, width: int, vignette: float) -> np.ndarray:
    """(H, W, 3) uint8, 255 where no light is lost."""
    y = np.linspace(-1, 1, height)[:, None] ** 2
    x = np.linspace(-1, 1, width)[None] ** 2
    left = (255 * (1 - vignette * 0.5 * (x + y))).astype(np.uint8)
    return cv2.merge([left, left, left])


def _rain(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    count = int(240 * strength)
    x, y = rng.uniform(0, width, count), rng.uniform(-0.1, 1, count) * height
    length = rng.uniform(0.02, 0.09, count) * height
    slant = rng.uniform(-0.15, 0.15)
    ends = np.stack([x, y, x + slant * length, y + length], 1).astype(np.int32).reshape(-1, 2, 2)
    cv2.polylines(streaks, list(ends), False, 46, max(1, height // 512))
    return cv2.add(image, cv2.cvtColor(cv2.blur(streaks, (1, 3)), cv2.COLOR_GRAY2RGB))
