"""The published mask recipes, for comparison and for people who need masks made as a paper made them."""

from __future__ import annotations

from typing import Optional

import cv2
import numpy as np

from mask_generation.masks.base import BoxLike, MaskResult, Recipe, large_components

ARTICLE_BLUR_PX = 5  # the article's 5x5 kernel
ARTICLE_POINTS = 100  # and its smallest component
ARTICLE_LEVEL = 30.0  # Euclidean RGB distance; the article gives none. .1 of grey (below) is 25.5, times 3 ** .5 is 44
THRESHOLD_LEVEL = 0.1  # of grey difference / 255, as in DFFD (Dang et al., CVPR 2020)
SSIM_WINDOW_PX = 7
SSIM_LEVEL = 20 / 255  # the DFDC winner counts pixels above 20 of 255 as changed
OFFICIAL_LEVEL = 15 / 255  # grey above 15 in Locate-and-Verify (2023); lower and the codec's ringing counts as face


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
    """(H, W, 3) SSIM of each pixel and channel, in [-1, 1], over uniform windows.

    Raises:
        ValueError: a side is shorter than the window.
    """
    from skimage.metrics import structural_similarity  # takes half a second, which other recipes need not wait for

    options = {"win_size": SSIM_WINDOW_PX, "data_range": 255, "channel_axis": -1}
    return structural_similarity(first, second, full=True, **options)[1]


class OfficialRecipe(Recipe):
    """The data set's own mask video: its frame, grey, cut at 15 of 255. Original and fake are not looked at.

    FaceForensics++'s masks mean different things for each method (Deepfakes: the rectangle of Poisson editing), and
    FaceShifter, Celeb-DF and DFDC have none.
    """

    name = "official"
    uses_official = True

    def _explain(
        self, original: np.ndarray, fake: np.ndarray, face_box: BoxLike, official: Optional[np.ndarray]
    ) -> MaskResult:
        if official is None:
            raise ValueError("recipe 'official' needs the frame of the mask video: pass official=...")
        if official.shape[:2] != original.shape[:2]:
            raise ValueError(f"mask frame is {official.shape[:2]}, video frame {original.shape[:2]} (height, width)")
        grey = official if official.ndim == 2 else official.max(axis=2)
        return self.result(grey > OFFICIAL_LEVEL * 255, face_box, OFFICIAL_LEVEL)
