"""The mask recipe `adaptive`: how far two frames differ, against how far the codec alone makes them differ.

Fake and original were compressed apart, so they differ everywhere, most along edges. Three steps tell the two apart:

1. *Evidence*. Two maps of the signed difference d: `low` = |G d| and `high` = sqrt(G (d - G d)^2), G a Gaussian wide
   against the codec's blocks. Smoothing the signed difference averages the codec's noise away and keeps a shift of
   colour; `high` keeps changes of sharpness and texture, which leave no shift.
2. *Noise*. Outside the face both maps hold nothing but the codec. There their upper quantile is taken as a function of
   how busy the picture is (gradient of the original), and evidence is divided by what is expected at that busyness.
3. *Shape*. Seeds well above the noise, grown into what is connected and above it, inside the face region only; gaps
   closed and holes filled (untouched cheeks inside a swapped face), and small islands dropped.

A sequence carries the evidence from frame to frame in the box's coordinates.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Optional

import cv2
import numpy as np

from mask_generation.masks import BoxLike, MaskResult, MaskSequence, Recipe, check_frames, clip_box, large_components

GRID_PX = 192  # side of the square in which evidence is remembered


@dataclasses.dataclass(frozen=True)
class AdaptiveSettings:
    """Lengths are shares of the face box's side (the square root of its area). Tuned in `benchmarks/masks.py`.

    Attributes:
        region: the mask stays inside the box grown by this.
        surround: noise is measured inside the box grown by this, outside `clear`.
        clear: nothing inside the box grown by this counts as free of manipulation.
        sigma: Gaussian of the evidence; never below `min_sigma_px`.
        quantile: of the evidence outside the face that is taken as the codec's level.
        floor_low, floor_high: least such level in grey levels, for lossless material.
        seed, grow: evidence over noise from which a pixel starts a region, and from which it joins one.
        close: radius of the closing that bridges gaps.
        min_area: smallest island, as a share of the box's area.
        memory_s: time after which a remembered frame counts 1/e; sequences only.
    """

    region: float = 1.25
    surround: float = 2.5
    clear: float = 1.3
    sigma: float = 0.02
    min_sigma_px: float = 2.0
    quantile: float = 0.95
    floor_low: float = 0.6
    floor_high: float = 1.0
    seed: float = 2.0
    grow: float = 1.0
    close: float = 0.06
    min_area: float = 0.01
    memory_s: float = 0.15


@dataclasses.dataclass
class Evidence:
    """Ratio of evidence to noise in a rectangle of the frame (left, top, right, bottom)."""

    ratio: np.ndarray  # (h, w) float32
    window: tuple[int, int, int, int]
    noise: float


class AdaptiveRecipe(Recipe):
    """Ours; see the module's text. `level` is `grow` times the noise, in grey levels."""

    name = "adaptive"

    def __init__(self, settings: Optional[AdaptiveSettings] = None) -> None:
        self.settings = settings or AdaptiveSettings()

    def sequence(self) -> MaskSequence:
        return AdaptiveSequence(self)

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        return self.shape(self.evidence(original, fake, face_box), face_box, original.shape)

    def evidence(self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike) -> Evidence:
        """Steps 1 and 2."""
        s = self.settings
        side = box_side(face_box)
        left, top, right, bottom = clip_box(face_box, original.shape, s.surround)
        real = original[top:bottom, left:right].astype(np.float32)
        d = fake[top:bottom, left:right].astype(np.float32) - real
        sigma = max(s.min_sigma_px, s.sigma * side)

        def smooth(x: np.ndarray) -> np.ndarray:
            return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)

        mean = smooth(d)
        low = np.sqrt((mean * mean).mean(2))
        rest = d - mean
        high = np.sqrt(smooth((rest * rest).mean(2)))
        grey = cv2.cvtColor(original[top:bottom, left:right], cv2.COLOR_RGB2GRAY).astype(np.float32)
        busy = smooth(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 4)

        outside = np.ones(low.shape, bool)
        x0, y0, x1, y1 = clip_box(face_box, original.shape, s.clear)
        outside[y0 - top : y1 - top, x0 - left : x1 - left] = False
        low_level = noise_level(low, busy, outside, s.quantile, s.floor_low)
        high_level = noise_level(high, busy, outside, s.quantile, s.floor_high)
        ratio = np.maximum(low / low_level, high / high_level)
        return Evidence(ratio, (left, top, right, bottom), float(np.median(np.hypot(low_level, high_level))))

    def shape(self, evidence: Evidence, face_box: BoxLike, frame_shape: tuple[int, ...]) -> MaskResult:
        """Step 3."""
        s = self.settings
        side = box_side(face_box)
        left, top, _, _ = evidence.window
        x0, y0, x1, y1 = clip_box(face_box, frame_shape, s.region)
        ratio = evidence.ratio[y0 - top : y1 - top, x0 - left : x1 - left]
        weak = ratio > s.grow
        seeds = ratio > s.seed
        count, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
        seeded = np.zeros(count, bool)
        seeded[np.unique(labels[seeds])] = True
        seeded[0] = False
        region = seeded[labels]
        region = close_and_fill(region, max(1, round(s.close * side)))
        region = large_components(region, max(1, round(s.min_area * side * side)))
        soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), max(1.0, s.sigma * side / 2))
        mask = np.zeros(frame_shape[:2], np.float32)
        mask[y0:y1, x0:x1] = soft
        return self.result(mask, face_box, s.grow * evidence.noise, evidence.noise)


class AdaptiveSequence(MaskSequence):
    """Evidence of earlier frames, moved with the box and fading with time, joins that of the present one."""

    recipe: AdaptiveRecipe

    def __init__(self, recipe: AdaptiveRecipe) -> None:
        super().__init__(recipe)
        self._memory: Optional[np.ndarray] = None  # (GRID_PX, GRID_PX) log ratio over the box grown by `region`
        self._weight = 0.0
        self._time_s = 0.0

    def push(
        self,
        original: np.ndarray,
        fake: np.ndarray,
        face_box: BoxLike,
        time_s: float = 0.0,
        official: Optional[np.ndarray] = None,
    ) -> MaskResult:
        check_frames(original, fake, face_box)
        settings = self.recipe.settings
        evidence = self.recipe.evidence(original, fake, face_box)
        to_grid = self._transform(face_box, evidence.window)
        now = np.log(np.maximum(evidence.ratio, 1e-2))
        size = evidence.ratio.shape
        current = cv2.warpAffine(now, to_grid, (GRID_PX, GRID_PX), borderMode=cv2.BORDER_REPLICATE)
        if self._memory is not None:
            kept = self._weight * math.exp(-abs(time_s - self._time_s) / settings.memory_s)
            blended = (now + kept * self._back(to_grid, size)) / (1 + kept)
            evidence = dataclasses.replace(evidence, ratio=np.exp(blended))
            self._memory = (current + kept * self._memory) / (1 + kept)
            self._weight = 1 + kept
        else:
            self._memory, self._weight = current, 1.0
        self._time_s = time_s
        return self.recipe.shape(evidence, face_box, original.shape)

    def _back(self, to_grid: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        return cv2.warpAffine(
            self._memory, to_grid, (size[1], size[0]), flags=cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )

    def _transform(self, face_box: BoxLike, window: tuple[int, int, int, int]) -> np.ndarray:
        """(2, 3): window pixels → grid pixels."""
        x0, y0, x1, y1 = (float(v) for v in face_box)
        scale = self.recipe.settings.region
        sx, sy = GRID_PX / ((x1 - x0) * scale), GRID_PX / ((y1 - y0) * scale)
        cx, cy = (x0 + x1) / 2 - window[0], (y0 + y1) / 2 - window[1]
        return np.array([[sx, 0, GRID_PX / 2 - sx * cx], [0, sy, GRID_PX / 2 - sy * cy]], np.float32)


def box_side(face_box: BoxLike) -> float:
    """Side in pixels of the square of the box's area."""
    x0, y0, x1, y1 = (float(v) for v in face_box)
    return math.sqrt((x1 - x0) * (y1 - y0))


def close_and_fill(region: np.ndarray, radius_px: int) -> np.ndarray:
    """(h, w) bool: gaps up to about 2 radii closed, and holes that touch no border filled."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    padded = np.pad(region.astype(np.uint8), radius_px + 1)  # or the closing would stick to the border
    padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)
    outlines, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(padded, outlines, -1, 1, thickness=cv2.FILLED)
    inner = padded[radius_px + 1 : -radius_px - 1, radius_px + 1 : -radius_px - 1]
    return inner.astype(bool)


NOISE_BINS = 8
ENOUGH_PX = 2000  # fewer pixels outside the face than this say little about the codec


def noise_level(
    evidence: np.ndarray, busy: np.ndarray, outside: np.ndarray, quantile: float, floor: float
) -> np.ndarray:
    """(h, w): the level the codec alone is expected to reach at each pixel, at least `floor`.

    Args:
        evidence, busy: (h, w) float32. outside: (h, w) bool, where nothing was manipulated.

    With a face that fills the picture there is too little outside; then the lower quarter of the whole window stands
    in, as most manipulations leave the window's corners alone.
    """
    if np.count_nonzero(outside) < ENOUGH_PX:
        level = float(np.quantile(evidence, 0.25)) * 2
        return np.full(evidence.shape, max(floor, level), np.float32)
    values, at = evidence[outside], busy[outside]
    edges = np.quantile(at, np.linspace(0, 1, NOISE_BINS + 1))
    which = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, NOISE_BINS - 1)
    centres, levels = [], []
    for index in range(NOISE_BINS):
        inside = which == index
        if np.count_nonzero(inside) >= ENOUGH_PX // NOISE_BINS // 2:
            centres.append(float(at[inside].mean()))
            levels.append(float(np.quantile(values[inside], quantile)))
    curve = np.maximum.accumulate(levels)  # busier places are never quieter
    return np.maximum(np.interp(busy, centres, curve), floor).astype(np.float32)
