"""Two frames → what may distinguish a faked pixel from the codec's noise, on a grid that fits the face.

Fake and original were compressed apart, so they differ everywhere, most along edges. With d the signed difference, G a
Gaussian:

- `low` = |G d| at several widths. Smoothing the signed difference averages the codec's noise away and keeps a shift of
  colour.
- `high` = sqrt(G (d - G d)^2) keeps changes of sharpness and texture, which leave no shift; `detail` compares how much
  fine detail the two frames hold.
- Outside the face all of them hold nothing but the codec. There their upper quantile is taken as a function of how busy
  the picture is (gradient of the original); differences count in multiples of what is expected at that busyness.

The grid's cells are 1/64 of the face box's side (the square root of its area), at least a pixel.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from mask_generation.masks.base import BoxLike, clip_box

CELLS = 64  # of the grid along the box's side
SURROUND = 2.5  # noise is measured inside the box grown by this
CLEAR = 1.35  # and outside the box grown by this: no manipulation reaches further
REGION = 1.5  # features are worked out inside the box grown by this
FINE = 0.012  # Gaussian, as a share of the side, that parts shift from texture; at least a pixel
LOW_SIGMAS, HIGH_SIGMAS = (0.0, 1.0, 2.5, 6.0), (1.0, 3.0)  # in cells
QUANTILE = 0.9
FLOOR_LOW, FLOOR_HIGH = 0.3, 0.5  # least noise in grey levels, for lossless material
ENVELOPE = 25  # cells: window of the running maximum: how strong the manipulation is nearby
NOISE_BINS, ENOUGH_CELLS = 8, 400  # with fewer cells outside the face the codec cannot be measured
FEATURES = 22


@dataclasses.dataclass(frozen=True)
class Features:
    """What is known of each cell of the grid.

    Attributes:
        values: (h, w, FEATURES) float32.
        rect: (left, top, right, bottom) in pixels of the frame that the h x w cells cover.
        noise: codec's difference level outside the face, in grey levels.
        differs: whether there is any difference within the rectangle.
    """

    values: np.ndarray
    rect: tuple[float, float, float, float]
    noise: float
    differs: bool


def box_side(face_box: BoxLike) -> float:
    """Side in pixels of the square of the box's area."""
    x0, y0, x1, y1 = (float(v) for v in face_box)
    return math.sqrt((x1 - x0) * (y1 - y0))


def _smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) if sigma > 0 else x


def _maps(original: np.ndarray, fake: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W, 7) float32: shift (3), squared texture difference, squared detail of each, gradient; pixel by pixel."""
    real, copy = original.astype(np.float32), fake.astype(np.float32)
    d = copy - real
    shift = _smooth(d, sigma)
    rest = d - shift
    grey_real, grey_copy = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in (original, fake))
    fine_real, fine_copy = grey_real - _smooth(grey_real, sigma), grey_copy - _smooth(grey_copy, sigma)
    gradient = np.hypot(cv2.Sobel(grey_real, cv2.CV_32F, 1, 0), cv2.Sobel(grey_real, cv2.CV_32F, 0, 1)) / 4
    texture = np.einsum("ijk,ijk->ij", rest, rest) / 3
    return np.dstack([shift, texture, fine_real**2, fine_copy**2, gradient])


def gather(original: np.ndarray, fake: np.ndarray, face_box: BoxLike) -> Features:
    """Features of one face; see the module's text.

    Args:
        original, fake: (H, W, 3) uint8. face_box: xyxy, overlapping the frame.
    """
    side = box_side(face_box)
    pitch = max(1.0, side / CELLS)
    left, top, right, bottom = clip_box(face_box, original.shape, SURROUND)
    size = (max(8, round((right - left) / pitch)), max(8, round((bottom - top) / pitch)))
    window = np.s_[top:bottom, left:right]
    maps = _maps(original[window], fake[window], max(1.0, FINE * side))
    maps = np.dstack([cv2.resize(maps[..., k : k + 4], size, interpolation=cv2.INTER_AREA) for k in (0, 4)])
    per_x, per_y = (right - left) / size[0], (bottom - top) / size[1]

    def cells(scale: float) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = clip_box(face_box, original.shape, scale)
        a, b = math.floor((x0 - left) / per_x), math.floor((y0 - top) / per_y)
        return a, b, min(size[0], math.ceil((x1 - left) / per_x)), min(size[1], math.ceil((y1 - top) / per_y))

    outside = np.ones(size[::-1], bool)
    x0, y0, x1, y1 = cells(CLEAR)
    outside[y0:y1, x0:x1] = False
    busy = _smooth(maps[..., 6], 1.0)
    differences = [np.sqrt((_smooth(maps[..., :3], s) ** 2).mean(2)) for s in LOW_SIGMAS]
    differences += [np.sqrt(_smooth(maps[..., 3], s)) for s in HIGH_SIGMAS]
    floors = [FLOOR_LOW] * len(LOW_SIGMAS) + [FLOOR_HIGH] * len(HIGH_SIGMAS)
    noises = [noise_level(e, busy, outside, QUANTILE, floor) for e, floor in zip(differences, floors)]
    detail = np.log((_smooth(maps[..., 5], 2.0) + 1) / (_smooth(maps[..., 4], 2.0) + 1))
    detail = detail - by_busyness(detail, busy, outside, 0.5)  # the codec takes more from where there is little

    a, b, c, d = cells(REGION)
    inner = np.s_[b:d, a:c]
    ratios = [np.log((e[inner] + 0.1) / noise[inner]) for e, noise in zip(differences, noises)]
    low, high = differences[1][inner], differences[4][inner]
    f0, f1, f2, f3 = (v - o for v, o in zip(cells(1.0), (a, b, a, b)))
    kernel = np.ones((ENVELOPE, ENVELOPE), np.uint8)
    ys, xs = np.mgrid[b:d, a:c].astype(np.float32)
    bx0, by0, bx1, by1 = (float(v) for v in face_box)
    x = (left + (xs + 0.5) * per_x - (bx0 + bx1) / 2) / (bx1 - bx0) * 2
    y = (top + (ys + 0.5) * per_y - (by0 + by1) / 2) / (by1 - by0) * 2

    def everywhere(value: float) -> np.ndarray:
        return np.full(low.shape, value, np.float32)

    noise = [float(np.median(n[inner])) for n in (noises[1], noises[4])]
    features = [
        *ratios,
        np.log(low + 0.3),
        np.log(high + 0.3),
        np.log((low + 0.05) / (cv2.dilate(low, kernel) + 0.05)),
        np.log((high + 0.05) / (cv2.dilate(high, kernel) + 0.05)),
        detail[inner],
        np.log(busy[inner] + 1),
        everywhere(math.log(noise[0])),
        everywhere(math.log(noise[1])),
        *(everywhere(float(np.quantile(ratios[k][f1:f3, f0:f2], 0.95))) for k in (1, 4)),
        everywhere(math.log(side / CELLS)),
        x,
        y,
        x * x,
        y * y,
        x * y,
    ]
    rect = (left + a * per_x, top + b * per_y, left + c * per_x, top + d * per_y)
    differs = bool(differences[0][inner].any() or differences[4][inner].any())
    return Features(np.dstack(features).astype(np.float32), rect, math.hypot(*noise), differs)


def noise_level(
    differences: np.ndarray, busy: np.ndarray, outside: np.ndarray, quantile: float, floor: float
) -> np.ndarray:
    """(h, w): the level the codec alone is expected to reach in each cell, at least `floor`.

    Args:
        differences, busy: (h, w) float32. outside: (h, w) bool, where nothing was manipulated.

    With a face that fills the picture there is too little outside; then the lower quarter of the whole window stands
    in, as most manipulations leave the window's corners alone.
    """
    if np.count_nonzero(outside) < ENOUGH_CELLS:
        level = np.full(differences.shape, float(np.quantile(differences, 0.25)) * 2, np.float32)
    else:
        level = by_busyness(differences, busy, outside, quantile, rising=True)  # busier places are never quieter
    return np.maximum(level, np.float32(floor))


def by_busyness(
    values: np.ndarray, busy: np.ndarray, outside: np.ndarray, quantile: float, rising: bool = False
) -> np.ndarray:
    """(h, w) float32: the quantile that the cells outside have at each cell's busyness; 0 with too few outside."""
    if np.count_nonzero(outside) < ENOUGH_CELLS:
        return np.zeros(values.shape, np.float32)
    known, at = values[outside], busy[outside]
    edges = np.quantile(at, np.linspace(0, 1, NOISE_BINS + 1))
    which = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, NOISE_BINS - 1)
    centres, levels = [], []
    for index in range(NOISE_BINS):
        inside = which == index
        if np.count_nonzero(inside) >= ENOUGH_CELLS // NOISE_BINS // 2:
            centres.append(float(at[inside].mean()))
            levels.append(float(np.quantile(known[inside], quantile)))
    if rising:
        levels = np.maximum.accumulate(levels)
    return np.interp(busy, centres, levels).astype(np.float32)
