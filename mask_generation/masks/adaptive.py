"""The mask recipe `adaptive`: how far two frames differ, against how far the codec alone makes them differ.

1. *Features* (`adaptive_features`): differences of colour, texture and detail on a grid that fits the face, in
   multiples of the noise measured outside it.
2. *Judgement*: two small perceptrons turn a cell's features and place into the log odds that it was faked; the second
   also sees what the first found nearby, at three distances, which closes gaps (untouched cheeks inside a swapped face)
   and drops specks. Their weights come from real faces manipulated with exact masks at CRF 0 to 44
   (`tools/mask_fit.py`); `docs/masks.md` says how well they do on other people.
3. *Shape*: interpolated to pixels, small islands dropped, holes filled; nothing outside the face's region.

A sequence carries the log odds from frame to frame in the box's coordinates.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np

from mask_generation.masks.adaptive_features import REGION, Features, box_side, gather
from mask_generation.masks.base import BoxLike, MaskResult, MaskSequence, Recipe, check_frames, large_components
from unet_industrial.config import FAKE_ABOVE

WEIGHTS = os.path.join(os.path.dirname(__file__), "weights", "masks_adaptive.npz")
CONTEXT_SIGMAS = (2.0, 5.0, 12.0)  # in cells: how far the second perceptron looks
MEMORY_HW = (128, 96)  # grid over the region in which log odds are remembered
MOST_LOG_ODDS = 12.0
Layers = Sequence[np.ndarray]  # weights and biases in turn


@dataclasses.dataclass(frozen=True)
class AdaptiveSettings:
    """Attributes:
    level: probability from which a pixel counts as faked.
    min_area: smallest island, as a share of the box's area.
    memory_s: time after which a remembered frame counts 1/e; sequences only.
    """

    level: float = 0.5
    min_area: float = 0.003
    memory_s: float = 0.15


@functools.lru_cache(maxsize=2)
def load_weights(path: str = WEIGHTS) -> tuple[Layers, Layers]:
    """Layers of both perceptrons."""
    with np.load(path, allow_pickle=False) as data:
        first, second = ([data[f"{net}_{i}"] for i in range(int(data[f"{net}_count"]))] for net in ("first", "second"))
    return first, second


def perceptron(layers: Layers, features: np.ndarray) -> np.ndarray:
    """(h, w, F) float32 → (h, w) log odds; rectified linear units between the layers."""
    h, w = features.shape[:2]
    x = features.reshape(h * w, -1)
    for i in range(0, len(layers) - 2, 2):
        x = np.maximum(x @ layers[i] + layers[i + 1], 0)
    return (x @ layers[-2] + layers[-1]).reshape(h, w)


def with_context(features: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Features and what the first perceptron found: here, nearby at three distances, on average and at most."""
    p = probability(log_odds)
    around = [cv2.GaussianBlur(p, (0, 0), s, borderType=cv2.BORDER_REFLECT) for s in CONTEXT_SIGMAS]
    whole = [np.full(p.shape, value, np.float32) for value in (p.mean(), np.quantile(p, 0.98))]
    return np.dstack([features, log_odds, *around, *whole])


def probability(log_odds: np.ndarray) -> np.ndarray:
    """float32 in (0, 1)."""
    return (1 / (1 + np.exp(-np.clip(log_odds, -MOST_LOG_ODDS, MOST_LOG_ODDS)))).astype(np.float32)


def judge(features: Features) -> np.ndarray:
    """(h, w) float32: log odds of each cell."""
    first, second = load_weights()
    at_first = perceptron(first, features.values)
    log_odds = perceptron(second, with_context(features.values, at_first))
    return np.clip(log_odds, -MOST_LOG_ODDS, MOST_LOG_ODDS).astype(np.float32)


class AdaptiveRecipe(Recipe):
    """Ours; see the module's text. `level` is a probability."""

    name = "adaptive"

    def __init__(self, settings: Optional[AdaptiveSettings] = None) -> None:
        self.settings = settings or AdaptiveSettings()

    def sequence(self) -> MaskSequence:
        return AdaptiveSequence(self)

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        features = gather(original, fake, face_box)
        return self.shape(judge(features), features, face_box, original.shape)

    def shape(
        self, log_odds: np.ndarray, features: Features, face_box: BoxLike, frame_shape: tuple[int, ...]
    ) -> MaskResult:
        """Step 3."""
        s = self.settings
        left, top, right, bottom = (round(v) for v in features.rect)
        shift = math.log(s.level / (1 - s.level))
        fine = cv2.resize(log_odds - np.float32(shift), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        soft = probability(fine)
        if not features.differs:
            soft[:] = 0
        region = large_components(soft > FAKE_ABOVE, max(1, round(s.min_area * box_side(face_box) ** 2)))
        filled = fill_holes(region)
        soft = np.where(filled & (soft <= FAKE_ABOVE), np.float32(0.51), soft)
        soft = np.where(~filled & (soft > FAKE_ABOVE), np.float32(0), soft)
        mask = np.zeros(frame_shape[:2], np.float32)
        mask[top:bottom, left:right] = soft
        return self.result(mask, face_box, s.level, features.noise)


class AdaptiveSequence(MaskSequence):
    """Log odds of earlier frames, moved with the box and fading with time, join those of the present one."""

    recipe: AdaptiveRecipe

    def __init__(self, recipe: AdaptiveRecipe) -> None:
        super().__init__(recipe)
        self._memory: Optional[np.ndarray] = None  # MEMORY_HW log odds over the box grown by REGION
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
        features = gather(original, fake, face_box)
        now = judge(features)
        to_memory = _transform(face_box, features, now.shape)
        size = MEMORY_HW[::-1]
        current = cv2.warpAffine(now, to_memory, size, borderMode=cv2.BORDER_REPLICATE)
        if self._memory is None:
            self._memory, self._weight = current, 1.0
        else:
            kept = self._weight * math.exp(-abs(time_s - self._time_s) / self.recipe.settings.memory_s)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            before = cv2.warpAffine(
                self._memory, to_memory, now.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            now = (now + kept * before) / (1 + kept)
            self._memory = (current + kept * self._memory) / (1 + kept)
            self._weight = 1 + kept
        self._time_s = time_s
        return self.recipe.shape(now, features, face_box, original.shape)


def _transform(face_box: BoxLike, features: Features, shape: tuple[int, ...]) -> np.ndarray:
    """(2, 3): the cells of the features → cells of the memory."""
    left, top, right, bottom = features.rect
    x0, y0, x1, y1 = (float(v) for v in face_box)
    width, height = (x1 - x0) * REGION, (y1 - y0) * REGION
    per_x, per_y = (right - left) / shape[1], (bottom - top) / shape[0]
    sx, sy = MEMORY_HW[1] / width, MEMORY_HW[0] / height  # cells of the memory a pixel
    origin_x, origin_y = left - ((x0 + x1) - width) / 2, top - ((y0 + y1) - height) / 2
    # Cell centres lie at whole numbers for OpenCV: pixel = (cell + 0.5) * per + left.
    return np.array(
        [
            [per_x * sx, 0, (0.5 * per_x + origin_x) * sx - 0.5],
            [0, per_y * sy, (0.5 * per_y + origin_y) * sy - 0.5],
        ],
        np.float32,
    )


def fill_holes(region: np.ndarray) -> np.ndarray:
    """(h, w) bool with every hole filled that touches no border."""
    padded = np.pad(region.astype(np.uint8), 1)
    outlines, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(padded, outlines, -1, 1, thickness=cv2.FILLED)
    return padded[1:-1, 1:-1].astype(bool)
