"""Which pixels of a fake differ from its original: recipes side by side under one interface.

`get_recipe(name)(original, fake, face_box)` takes two uint8 RGB frames (H, W, 3) of one size that show the same
moment, and the face's box in pixels (x0, y0, x1, y1; it may reach beyond the frame), and returns a float32 mask
(H, W) in [0, 1]. `explain(...)` returns a `MaskResult`: the mask with the level, the noise and the area that are
stored in each record. `sequence()` gives a stateful variant for the frames of one face track in order of time.

`adaptive` is ours (see `masks_adaptive`). The others are the published recipes, for comparison and for people who need
masks made as a paper made them.
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

ARTICLE_BLUR_PX = 5  # the article's 5x5 kernel
ARTICLE_POINTS = 100  # and its smallest component
ARTICLE_LEVEL = 30.0  # Euclidean RGB distance; the article gives none. .1 of grey (below) is 25.5, times 3 ** .5 is 44
THRESHOLD_LEVEL = 0.1  # of grey difference / 255, as in DFFD (Dang et al., CVPR 2020)
SSIM_WINDOW_PX = 7
SSIM_LEVEL = 20 / 255  # the DFDC winner counts pixels above 20 of 255 as changed
OFFICIAL_LEVEL = 15 / 255  # grey above 15 in Locate-and-Verify (2023); lower and the codec's ringing counts as face


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
    """One way from two frames to a mask; see the module's text for shapes and ranges."""

    name: str
    binary_at: float = 0.5

    def __call__(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """(H, W) float32 mask in [0, 1].

        Args:
            official: the frame of the data set's own mask video; only the recipe `official` looks at it.
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

    This base has no memory; `adaptive` carries evidence from frame to frame.
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


def _grey(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


class ArticleRecipe(Recipe):
    """The article's: both frames blurred 5x5, Euclidean distance of the colours, components of at least 100 points."""

    name = "article"

    def __init__(self, level: float = ARTICLE_LEVEL) -> None:
        self.level = level

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        kernel = (ARTICLE_BLUR_PX, ARTICLE_BLUR_PX)
        difference = cv2.blur(original, kernel).astype(np.float32) - cv2.blur(fake, kernel)
        far = np.sqrt((difference * difference).sum(2)) > self.level
        return self.result(large_components(far, ARTICLE_POINTS), face_box, self.level)


class ThresholdRecipe(Recipe):
    """Grey difference above a tenth of the range, nothing else."""

    name = "threshold"

    def __init__(self, level: float = THRESHOLD_LEVEL) -> None:
        self.level = level

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        difference = cv2.absdiff(_grey(original), _grey(fake)).astype(np.float32) / 255
        return self.result(difference > self.level, face_box, self.level)


class SsimRecipe(Recipe):
    """The DFDC winner's: one minus the SSIM map of the colours (7x7 windows), to grey; soft, without any threshold.

    Values above 1 (negative correlation) are cut, where the winner's uint8 would wrap around. `binary_at` is 20 / 255,
    from which the winner counts a pixel as changed (and for cut-outs 0.4).
    """

    name = "ssim"

    def __init__(self, level: float = SSIM_LEVEL) -> None:
        self.binary_at = level

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        distance = np.clip(1 - ssim_map(original, fake), 0, 1).astype(np.float32)
        return self.result(cv2.cvtColor(distance, cv2.COLOR_RGB2GRAY), face_box, self.binary_at)


def ssim_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(H, W, 3) SSIM of each pixel and channel, in [-1, 1]; uniform windows, as in scikit-image."""
    window = (SSIM_WINDOW_PX, SSIM_WINDOW_PX)
    points = SSIM_WINDOW_PX**2
    a, b = first.astype(np.float64), second.astype(np.float64)

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, window, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = mean(a), mean(b)
    unbiased = points / (points - 1)
    var_a = unbiased * (mean(a * a) - mean_a * mean_a)
    var_b = unbiased * (mean(b * b) - mean_b * mean_b)
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


class OfficialRecipe(Recipe):
    """The data set's own mask video: its frame, grey, cut at 15 of 255. Original and fake are not looked at.

    FaceForensics++'s masks mean different things for each method (Deepfakes: the rectangle of Poisson editing), and
    FaceShifter, Celeb-DF and DFDC have none.
    """

    name = "official"

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        if official is None:
            raise ValueError("recipe 'official' needs the frame of the mask video: pass official=...")
        if official.shape[:2] != original.shape[:2]:
            raise ValueError(f"mask frame is {official.shape[:2]}, video frame {original.shape[:2]} (height, width)")
        grey = official if official.ndim == 2 else official.max(axis=2)
        return self.result(grey > OFFICIAL_LEVEL * 255, face_box, OFFICIAL_LEVEL)


RECIPES = ("adaptive", "article", "official", "ssim", "threshold")


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, one of `RECIPES`.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name == "adaptive":
        from mask_generation.masks_adaptive import AdaptiveRecipe  # it imports this module

        return AdaptiveRecipe()
    simple = {recipe.name: recipe for recipe in (ArticleRecipe, OfficialRecipe, SsimRecipe, ThresholdRecipe)}
    if name not in simple:
        raise ValueError(f"no mask recipe {name!r}: there are {', '.join(RECIPES)}")
    return simple[name]()
