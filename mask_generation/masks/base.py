"""What every mask recipe is: the interface, its result, and the few helpers that recipes share.

A recipe, `recipe(original, fake, face_box)`, takes two uint8 RGB frames (H, W, 3) of one size that show the same
moment, and the face's box in pixels (x0, y0, x1, y1; it may reach beyond the frame), and returns a float32 mask
(H, W) in [0, 1]. `explain(...)` returns a `MaskResult`: the mask with the level, the noise and the area that are
stored in each record. `sequence()` gives a stateful variant for the frames of one face track in order of time.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np

BoxLike = Sequence[float]


@dataclasses.dataclass(frozen=True)
class MaskResult:
    """A mask and how it came about.

    Attributes:
        mask: (H, W) float32 in [0, 1].
        level: value of the recipe's own difference map at which a pixel counts as faked.
        noise: the codec's difference level measured outside the face, in grey levels; NaN where a recipe measures none.
        area: share of the face box (that part of it inside the frame) that is faked, in [0, 1].
        binary_at: `mask` above this is faked.
    """

    mask: np.ndarray
    level: float
    noise: float
    area: float
    binary_at: float = 0.5

    @property
    def binary(self) -> np.ndarray:
        """(H, W) bool."""
        return self.mask > self.binary_at


class Recipe(abc.ABC):
    """One way from two frames to a mask; see the module's text for shapes and ranges.

    Attributes:
        uses_official: it needs the frame of the data set's own mask video.
    """

    name: str
    binary_at: float = 0.5
    uses_official: bool = False

    def __call__(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """(H, W) float32 mask in [0, 1].

        Args:
            official: the frame of the data set's own mask video; for recipes that use it.
        Raises:
            ValueError: frames that are not uint8 RGB of one size, or a box without area or outside the frame.
        """
        return self.explain(original, fake, face_box, official).mask

    def explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray] = None
    ) -> MaskResult:
        """As a call, with level, noise and area."""
        check_frames(original, fake, face_box)
        return self._explain(original, fake, face_box, official)

    def sequence(self) -> MaskSequence:
        """A fresh stateful variant for one track; recipes without memory just go frame by frame."""
        return MaskSequence(self)

    @abc.abstractmethod
    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult: ...

    def result(self, mask: np.ndarray, face_box: BoxLike, level: float, noise: float = math.nan) -> MaskResult:
        """A `MaskResult` of this recipe with its area worked out."""
        mask = np.clip(mask, 0, 1).astype(np.float32)
        x0, y0, x1, y1 = clip_box(face_box, mask.shape)
        area = float((mask[y0:y1, x0:x1] > self.binary_at).mean())
        return MaskResult(mask, float(level), float(noise), area, self.binary_at)


class MaskSequence:
    """The frames of one face track, in order of time: `push` each pair once, get its `MaskResult`.

    This base has no memory; `adaptive` carries log odds from frame to frame.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def push(
        self,
        original: np.ndarray,
        fake: np.ndarray,
        face_box: BoxLike,
        time_s: float = 0.0,
        official: Optional[np.ndarray] = None,
    ) -> MaskResult:
        """The mask of the next frame.

        Args:
            time_s: when it is shown; what is remembered fades with the time between two frames.
        """
        return self.recipe.explain(original, fake, face_box, official)


def check_frames(original: np.ndarray, fake: np.ndarray, face_box: BoxLike) -> None:
    """Raise ValueError unless both are uint8 (H, W, 3) of one size and the box overlaps the frame."""
    for role, frame in (("original", original), ("fake", fake)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"{role} frame is {frame.dtype} {frame.shape}; uint8 RGB (H, W, 3) is needed")
    if original.shape != fake.shape:
        raise ValueError(
            f"frames differ in size: original {original.shape[:2]}, fake {fake.shape[:2]}; align them first"
        )
    x0, y0, x1, y1 = clip_box(face_box, original.shape)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            f"face box {tuple(face_box)} has no area inside a frame of {original.shape[:2]} (height, width)"
        )


def clip_box(face_box: BoxLike, shape: Sequence[int], scale: float = 1.0) -> tuple[int, int, int, int]:
    """The box grown about its centre by `scale`, in whole pixels inside a frame of `shape` (H, W, ...)."""
    x0, y0, x1, y1 = (float(v) for v in face_box)
    if not all(math.isfinite(v) for v in (x0, y0, x1, y1)) or x1 <= x0 or y1 <= y0:
        return 0, 0, 0, 0
    cx, cy, half_w, half_h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 * scale, (y1 - y0) / 2 * scale
    left, top = max(0, math.floor(cx - half_w)), max(0, math.floor(cy - half_h))
    return left, top, min(shape[1], math.ceil(cx + half_w)), min(shape[0], math.ceil(cy + half_h))


def large_components(binary: np.ndarray, min_points: int) -> np.ndarray:
    """(H, W) bool: the 8-connected components of `binary` of at least `min_points` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary.astype(np.uint8), connectivity=8)
    keep = np.zeros(count, bool)
    keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= min_points
    return keep[labels]
