"""Pictures that surfaces are made of: facades, foliage, grain; made once a process from fixed seeds."""

import math
from functools import lru_cache

import cv2
import numpy as np

FACADES = 40
CROWNS = 12
PIXELS_PER_METER = 14
_WALLS = (
    (222, 205, 170), (205, 178, 140), (165, 90, 70), (186, 180, 170), (232, 228, 218), (224, 196, 120),
    (150, 120, 96), (178, 190, 200), (200, 150, 125), (140, 66, 56), (206, 212, 190), (120, 116, 112),
)  # fmt: skip
_ROOFS = ((120, 62, 48), (92, 84, 84), (70, 66, 70), (146, 82, 58))
_SIGNS = (
    (190, 40, 40),
    (30, 90, 160),
    (30, 120, 70),
    (225, 170, 40),
    (60, 60, 66),
    (150, 50, 120),
    (230, 230, 225),
)


def noise(rng: np.random.Generator, size: int, octaves: int, decay: float = 0.55) -> np.ndarray:
    """(size, size) float32 tileable cloud noise, zero mean, unit deviation."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 2)
        if cells > size:
            break
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        grid = np.pad(grid, 2, mode="wrap")
        pixel = size // cells
        big = cv2.resize(grid, None, fx=pixel, fy=pixel, interpolation=cv2.INTER_CUBIC)
        total += big[2 * pixel : 2 * pixel + size, 2 * pixel : 2 * pixel + size] * decay**octave
    return (total - total.mean()) / total.std()


@lru_cache(maxsize=1)
def grain() -> np.ndarray:
    """(512, 512) float32 tileable: fine, for asphalt and paving."""
    rng = np.random.default_rng(101)
    fine = rng.standard_normal((512, 512), dtype=np.float32)
    return 0.5 * cv2.GaussianBlur(fine, (3, 3), 0.8, borderType=cv2.BORDER_REFLECT) + 0.45 * noise(
        rng, 512, 6, 0.8
    )


@lru_cache(maxsize=1)
def clouds() -> np.ndarray:
    """(512, 512) float32 tileable: broad, for the sky and for stains."""
    return noise(np.random.default_rng(102), 512, 7, 0.6)


@lru_cache(maxsize=1)
def sensor_noise() -> np.ndarray:
    """(1024, 1024, 3) uint8, mean 128, deviation 32: the noise of a camera, to be scaled and shifted."""
    noise_ = np.random.default_rng(103).standard_normal((1024, 1024, 3), dtype=np.float32)
    return np.clip(noise_ * 32 + 128, 0, 255).astype(np.uint8)


def pyramid(picture: np.ndarray) -> list[np.ndarray]:
    levels = [picture]
    while min(levels[-1].shape[:2]) > 12:
        shape = levels[-1].shape
        levels.append(
            cv2.resize(
                levels[-1], (max(shape[1] // 2, 1), max(shape[0] // 2, 1)), interpolation=cv2.INTER_AREA
            )
        )
    return levels


def level(levels: list[np.ndarray], shrink: float) -> np.ndarray:
    """The level of a pyramid for a picture that is drawn `shrink` times smaller than it is."""
    return levels[min(max(int(math.log2(max(shrink, 1e-6)) + 0.3), 0), len(levels) - 1)]


@lru_cache(maxsize=2 * FACADES)
def facade(kind: int, lit: bool) -> tuple[list[np.ndarray], float, float]:
    """A house front: pyramid of (h, w, 4) uint8, width and height in meters; lit: lamps are on at dusk."""
    rng = np.random.default_rng([104, kind])
    floors = int(rng.integers(2, 7))
    bays = int(rng.integers(4, 9))
    modern = rng.random() < 0.25
    bay = rng.uniform(2.2, 3.2)
    storey = rng.uniform(2.8, 3.4)
    shop = rng.random() < 0.55
    ground = rng.uniform(3.6, 4.4) if shop else storey
    roof = 0.0 if modern or rng.random() < 0.3 else rng.uniform(1.6, 3.2)
    width, height = bays * bay, ground + (floors - 1) * storey + 0.5 + roof
    p = PIXELS_PER_METER
    w, h = round(width * p), round(height * p)
    wall = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) + rng.integers(-14, 15, 3)
    picture = np.empty((h, w, 3), np.float32)
    picture[:] = wall
    if rng.random() < 0.4:  # brick courses
        for row in range(0, h, 4):
            picture[row] *= 0.86
        picture *= (
            1
            + 0.06 * np.repeat(rng.standard_normal((h // 4 + 1, w // 6 + 1)), 4, 0).repeat(6, 1)[:h, :w, None]
        )
    stain = cv2.resize(clouds()[:256, :256], (w, h), interpolation=cv2.INTER_LINEAR)
    picture *= 1 + 0.05 * stain[..., None]

    def block(x0, y0, x1, y1, color):  # meters; y from the ground up
        a, b = round(max(x0, 0) * p), round(min(x1, width) * p)
        c, d = round((height - y1) * p), round((height - y0) * p)
        picture[max(c, 0) : max(d, 0), a:b] = color

    def pane(x0, y0, x1, y1):
        frame = np.array((238, 236, 230)) if rng.random() < 0.7 else wall * 0.55
        block(x0 - 0.1, y0 - 0.1, x1 + 0.1, y1 + 0.1, frame)
        glass = np.array((52, 62, 76)) * rng.uniform(0.6, 1.5)
        if lit and rng.random() < 0.45:
            glass = np.array((250, 205, 120)) * rng.uniform(0.75, 1.05)
        block(x0, y0, x1, y1, glass)
        if rng.random() < 0.5:  # sky in the upper half
            block(x0, (y0 + y1) / 2, x1, y1, glass * 1.25 + 12)
        if rng.random() < 0.3:
            block(x0, y0, x0 + (x1 - x0) * 0.3, y1, (206, 200, 190) if not lit else glass * 0.8)
        if not modern:
            block((x0 + x1) / 2 - 0.04, y0, (x0 + x1) / 2 + 0.04, y1, frame)
        block(x0 - 0.15, y0 - 0.25, x1 + 0.15, y0 - 0.1, wall * 0.72)

    if roof:
        tiles = np.array(_ROOFS[int(rng.integers(len(_ROOFS)))])
        block(0, height - roof, width, height, tiles)
        for row in range(0, round(roof * p), 5):
            picture[row] *= 0.88
    eaves = height - roof
    block(0, eaves - 0.45, width, eaves - 0.1, np.minimum(wall * 1.14, 250))
    block(0, eaves - 0.6, width, eaves - 0.45, wall * 0.6)
    ww = bay * (rng.uniform(0.62, 0.86) if modern else rng.uniform(0.38, 0.55))
    wh = storey * rng.uniform(0.48, 0.66)
    balcony = rng.random() < 0.3
    for floor in range(1, floors):
        y0 = ground + (floor - 1) * storey + 0.8
        if rng.random() < 0.35:
            block(0, y0 - 0.78, width, y0 - 0.62, wall * 0.8)
        for i in range(bays):
            x0 = (i + 0.5) * bay - ww / 2
            pane(x0, y0, x0 + ww, min(y0 + wh, eaves - 0.7))
            if balcony and i % 2 == 0:
                block(x0 - 0.4, y0 - 0.6, x0 + ww + 0.4, y0 + 0.35, wall * 0.5)
                for k in range(6):
                    step = (ww + 0.8) * k / 6
                    block(x0 - 0.4 + step + 0.05, y0 - 0.45, x0 - 0.4 + step + 0.15, y0 + 0.28, wall * 0.85)
    if roof:
        for i in range(0, bays, 2):
            x0 = (i + 0.5) * bay - 0.5
            if roof > 2:
                pane(x0, eaves + 0.5, x0 + 1.0, eaves + 1.5)
    if shop:
        sign = np.array(_SIGNS[int(rng.integers(len(_SIGNS)))])
        block(0, 0, width, ground - 0.4, wall * 0.75)
        x = 0.4
        while x < width - 2:
            span = min(rng.uniform(2.4, 5.0), width - x - 0.3)
            glass = np.array((44, 52, 60)) * rng.uniform(0.8, 1.4)
            if lit:
                glass = np.array((245, 215, 150)) * rng.uniform(0.8, 1.0)
            block(x, 0.5, x + span - 0.4, ground - 1.2, glass)
            block(x, 0.5, x + (span - 0.4) * 0.4, ground - 1.9, glass * 1.3 + rng.integers(0, 40, 3))
            if rng.random() < 0.4:
                sign = np.array(_SIGNS[int(rng.integers(len(_SIGNS)))])
            block(x - 0.1, ground - 1.2, x + span - 0.3, ground - 0.5, sign)
            letters = x + 0.3
            while letters < x + span - 0.9:
                block(letters, ground - 1.0, letters + 0.22, ground - 0.7, 255 - sign * 0.6)
                letters += 0.34
            if rng.random() < 0.35:
                block(x - 0.1, ground - 1.9, x + span - 0.3, ground - 1.2, sign * 0.85 + 20)
                for k in range(0, round(span / 0.5), 2):
                    block(x + k * 0.5, ground - 1.9, x + k * 0.5 + 0.5, ground - 1.2, (235, 232, 225))
            x += span
    else:
        door = int(rng.integers(bays))
        for i in range(bays):
            x0 = (i + 0.5) * bay - ww / 2
            if i == door:
                block(x0, 0, x0 + 1.2, 2.4, np.array((70, 46, 34)) * rng.uniform(0.7, 1.6))
                block(x0 + 0.15, 1.6, x0 + 1.05, 2.2, (60, 70, 80))
            else:
                pane(x0, 1.0, x0 + ww, min(1.0 + wh, ground - 0.3))
        block(0, 0, width, 0.6, wall * 0.6)
    picture = cv2.GaussianBlur(picture, (3, 3), 0.6)
    padded = np.zeros((h, w, 4), np.uint8)
    padded[..., :3] = np.clip(picture, 0, 255)
    return pyramid(padded), width, height


def _crown(kind: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness (size, size) float32 and mask of a crown; every fourth is a conifer."""
    rng = np.random.default_rng([105, kind])
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    field = np.full((size, size), -1.0, np.float32)
    shade = np.zeros((size, size), np.float32)
    if kind % 4 == 3:
        skirt = 0.44 * np.minimum(yy + 0.5, 1) * (1 - 0.12 * np.abs(np.sin(yy * 26 + rng.uniform(0, 3))))
        field = np.minimum(skirt - np.abs(xx), 2.2 * (0.46 - yy) - 0.8 * np.abs(xx)) * 5
        shade = -xx * 1.6 + 0.5 * np.sin(yy * 52 + 9 * np.abs(xx))
    else:
        for _ in range(int(rng.integers(14, 24))):
            radius = rng.uniform(0.10, 0.19)
            angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * (0.47 - radius)
            cx, cy = reach * np.cos(angle), reach * np.sin(angle) * 0.95
            ball = 1 - ((xx - cx) ** 2 + (yy - cy) ** 2) / radius**2
            shade = np.where(
                ball > np.maximum(field, 0),
                -0.6 * (yy - cy) / radius - 0.4 * (xx - cx) / radius - 1.1 * cy,
                shade,
            )
            field = np.maximum(field, ball)
    leaves = noise(rng, 256, 6, 0.9)[:size, :size]
    leaves = 0.6 * leaves + 0.6 * cv2.GaussianBlur(
        rng.standard_normal((size, size), dtype=np.float32), (3, 3), 0.8
    )
    mask = field + 0.26 * leaves > 0.08
    mask[:2] = mask[-2:] = False
    mask[:, :2] = mask[:, -2:] = False
    return np.clip(118 + 40 * shade + 26 * leaves, 20, 255), mask


@lru_cache(maxsize=2)
def trees(standing: bool) -> list[list[np.ndarray]]:
    """Trees (on a trunk) or bushes: pyramids of (h, w, 4) uint8, gray leaves to be tinted green, and mask.

    A bush is 160 x 160; a tree has 72 rows of trunk under that, 16 of them under a conifer.
    """
    made = []
    size = 160
    for kind in range(CROWNS):
        bright, mask = _crown(kind, size)
        under = 0 if not standing else 16 if kind % 4 == 3 else 72
        picture = np.zeros((size + under, size, 4), np.uint8)
        if under:
            half = np.linspace(4.0, 7.5, size + under)[:, None] / (1 if kind % 4 else 1.3)
            x = np.arange(size)[None] - size / 2
            trunk = np.abs(x) < half
            trunk[: size // 2] = False
            bark = np.array((140, 84, 150))[None, None] * (0.85 - 0.35 * x / half)[..., None]
            picture[trunk, :3] = np.clip(bark, 0, 255)[trunk]
            picture[trunk, 3] = 255
        picture[:size][mask] = 255
        picture[:size, :, :3][mask] = bright[mask][:, None]
        made.append(pyramid(picture))
    return made


@lru_cache(maxsize=1)
def treelines() -> list[list[np.ndarray]]:
    """Far woods of 15 x 1: pyramids of (80, 1200, 4) uint8 as `trees`."""
    made = []
    for kind in range(4):
        rng = np.random.default_rng([108, kind])
        line = np.zeros((80, 1200, 4), np.uint8)
        for x in range(-20, 1190, 17):
            size = int(rng.integers(34, 78))
            crown = cv2.resize(
                trees(False)[int(rng.integers(CROWNS))][0], (size, size), interpolation=cv2.INTER_AREA
            )
            crown[..., :3] = np.clip(crown[..., :3] * rng.uniform(0.7, 1.1), 0, 255)
            a, b = max(x, 0), min(x + size, 1200)
            cv2.copyTo(
                crown[:, a - x : b - x],
                (crown[:, a - x : b - x, 3] > 127).view(np.uint8),
                line[80 - size :, a:b],
            )
        line[-14:, :, :3] = np.where(line[-14:, :, 3:] > 0, line[-14:, :, :3], 60)
        line[-14:, :, 3] = 255
        made.append(pyramid(line))
    return made


@lru_cache(maxsize=1)
def fences() -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Fences of 4 x 1 (any height): pyramids of the color (h, w, 4) and of the opaque part (h, w)."""
    made = []
    h, w = 64, 256
    for kind in range(4):
        color = np.zeros((h, w, 4), np.uint8)
        bars = np.zeros((h, w), np.uint8)
        if kind == 0:  # iron bars
            color[:] = (58, 60, 62, 0)
            bars[:, ::8] = bars[:, 1::8] = 255
            bars[4:8] = bars[-10:-6] = 255
        elif kind == 1:  # wooden pickets
            color[:] = (150, 116, 82, 0)
            bars[2:] = 255
            for x in range(0, w, 12):
                bars[:, x : x + 3] = 60
                color[:, x + 3 : x + 5] = (178, 142, 104, 0)
            color[14:20] = color[44:50] = (118, 88, 60, 0)
            bars[14:20] = bars[44:50] = 255
        elif kind == 2:  # wire mesh on posts
            color[:] = (150, 156, 156, 0)
            bars[:] = 50
            bars[::6] = 130
            bars[:, ::6] = 130
            bars[:3] = 255
            for x in range(0, w, 64):
                bars[:, x : x + 5] = 255
        else:  # guard rail
            color[:] = (176, 178, 180, 0)
            bars[16:40] = 255
            color[26:30] = (120, 122, 124, 0)
            color[16:19] = (214, 216, 218, 0)
            for x in range(0, w, 64):
                bars[16:, x : x + 6] = 255
                color[40:, x : x + 6] = (110, 112, 112, 0)
        made.append((pyramid(color), pyramid(bars)))
    return made


@lru_cache(maxsize=1)
def walls() -> list[list[np.ndarray]]:
    """Garden walls of 4 x 1: pyramids of (h, w, 4) uint8."""
    made = []
    for kind in range(4):
        rng = np.random.default_rng([106, kind])
        h, w = 64, 256
        base = np.array([(158, 96, 78), (176, 172, 164), (198, 190, 172), (140, 134, 126)][kind], np.float32)
        picture = np.empty((h, w, 3), np.float32)
        picture[:] = base
        if kind in (0, 3):  # courses of brick or stone
            course, length = (6, 16) if kind == 0 else (12, 26)
            for row, y in enumerate(range(0, h, course)):
                for x in range(-(row % 2) * length // 2, w, length):
                    picture[y : y + course, max(x, 0) : x + length] = base * rng.uniform(0.85, 1.15)
                    picture[y : y + course, max(x, 0) : max(x, 0) + 1] = base * 1.25
                picture[y] = base * 1.25
        elif kind == 1:  # concrete panels
            picture[:, ::64] = picture[:, 1::64] = base * 0.7
        picture *= 1 + 0.05 * cv2.resize(clouds()[:128, :128], (w, h))[..., None]
        picture[:5] = base * 0.78
        padded = np.zeros((h, w, 4), np.uint8)
        padded[..., :3] = np.clip(picture, 0, 255)
        made.append(pyramid(padded))
    return made
