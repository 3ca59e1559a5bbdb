"""Pixel measures: per frame as rows, pooled as histograms, so memory does not grow with the number of pixels.

Definitions (peers differ, so they are spelled out):
* A pixel is *faked* where the mask is above FAKE_ABOVE, *marked* where the probability is above the threshold.
* IoU and Dice are taken on fakes whose mask is not empty; an empty union cannot occur there. A fake with an empty mask
  has no IoU (NaN) and is counted. A real frame has no IoU either: it has `area`, the share of the crop marked.
* Pixel AUC: faked against untouched pixels of the same fake frames.
* Region AUC: the faked pixels of a fake against the same pixels of its original, so knowing where faces are earns
  nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from unet_industrial.config import FAKE_ABOVE

# Histogram bins are equal in logit, not in probability: networks put most pixels within 1e-4 of 0, which equal-width
# bins would merge. ±12 is p = 6e-6 … 1 - 6e-6, about where float32 sigmoids lose resolution.
HISTOGRAM_BINS = 1024
LOGIT_LIMIT = 12.0


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of one crop at one threshold."""

    intersection: int
    marked: int
    faked: int
    total: int

    @property
    def iou(self) -> float:
        """Intersection over union; NaN if no pixel is faked."""
        return self.intersection / (self.marked + self.faked - self.intersection) if self.faked else float("nan")

    @property
    def dice(self) -> float:
        """2·intersection / (marked + faked); NaN if no pixel is faked."""
        return 2 * self.intersection / (self.marked + self.faked) if self.faked else float("nan")

    @property
    def area(self) -> float:
        """Share of the crop marked."""
        return self.marked / self.total if self.total else float("nan")


def count_pixels(probability: np.ndarray, mask: np.ndarray, threshold: float = FAKE_ABOVE) -> PixelCounts:
    """Counts of one crop. probability, mask: one shape, any rank, values in [0, 1]."""
    probability, mask = np.asarray(probability), np.asarray(mask)
    if probability.shape != mask.shape:
        raise ValueError(f"probability {probability.shape} and mask {mask.shape} differ in shape")
    marked, faked = probability > np.float32(threshold), mask > FAKE_ABOVE
    return PixelCounts(int(np.sum(marked & faked)), int(marked.sum()), int(faked.sum()), int(marked.size))


def histogram(probability: np.ndarray) -> np.ndarray:
    """(HISTOGRAM_BINS,) int64 counts of probabilities in equal logit bins; the outermost bins take what lies beyond.

    Raises:
        ValueError: a NaN or a value outside [0, 1].
    """
    values = np.asarray(probability, dtype=np.float64).ravel()
    if values.size and not (np.min(values) >= 0 and np.max(values) <= 1):  # a NaN fails both comparisons
        raise ValueError("pixel probabilities must lie in [0, 1] and not be NaN")
    with np.errstate(divide="ignore"):
        logits = np.log(values) - np.log1p(-values)
    scaled = (np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT) + LOGIT_LIMIT) / (2 * LOGIT_LIMIT) * HISTOGRAM_BINS
    return np.bincount(np.minimum(scaled.astype(np.int64), HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS)


def histogram_auc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """AUC of two (bins,) histograms with ties half, and the most it can be off.

    Within a bin the order is lost and counts half, so the true value lies within ± half the share of same-bin pairs.
    NaN, NaN if either is empty.
    """
    positive, negative = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    pairs = positive.sum() * negative.sum()
    if not pairs > 0:
        return float("nan"), float("nan")
    below = np.cumsum(negative) - negative
    tied = float(np.sum(positive * negative))
    return float((np.sum(positive * below) + 0.5 * tied) / pairs), 0.5 * tied / float(pairs)


@dataclass
class PixelHistograms:
    """What one video adds: pixel histograms that sum over frames and, weighted, over videos."""

    faked: np.ndarray
    untouched: np.ndarray
    original: np.ndarray  # the original's probabilities at the faked pixels of its fakes
    faked_with_original: np.ndarray  # the faked pixels for which an original was there

    @classmethod
    def empty(cls) -> PixelHistograms:
        return cls(*(np.zeros(HISTOGRAM_BINS, np.int64) for _ in range(4)))

    def add_fake(self, probability: np.ndarray, mask: np.ndarray, original: Optional[np.ndarray] = None) -> None:
        """Add one fake frame. original: the model's probabilities on the original's crop at the same index and box."""
        faked = np.asarray(mask) > FAKE_ABOVE
        on_faked = histogram(np.asarray(probability)[faked])
        self.faked += on_faked
        self.untouched += histogram(np.asarray(probability)[~faked])
        if original is not None:
            self.faked_with_original += on_faked
            self.original += histogram(np.asarray(original)[faked])

    def pixel_auc(self) -> tuple[float, float]:
        """Pixel AUC and its largest binning error."""
        return histogram_auc(self.faked, self.untouched)

    def region_auc(self) -> tuple[float, float]:
        """Region AUC and its largest binning error."""
        return histogram_auc(self.faked_with_original, self.original)
