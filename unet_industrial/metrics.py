"""Segmentation and image-level metrics as counts that add up over batches and workers. NumPy only.

Every comparison is a strict ">" in float32, as in the reference: a score equal to float32(T) is not above T.
Empty rule: an image with nothing marked and nothing to mark has Dice 1 and IoU 1. A ratio with nothing in its
denominator (recall without any positive, ...) is NaN: undefined, neither 0 nor 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np

from unet_industrial.config import FAKE_ABOVE

THRESHOLDS = (0.05, 0.125, 0.25, 0.5, 0.75, 0.85, 0.95, 0.99)  # the reference's
EPSILON = 1e-5  # the reference's, in numerator and denominator of its "IoU"

# One number for each threshold, summed over images.
_PER_THRESHOLD = (
    "dice",  # the reference's per-image score, all images
    "dice_fake",  # the same, fake images
    "iou_fake",  # per-image IoU against the fixed target, fake images
    "pixel_tp",
    "pixel_fp",
    "pixel_fn",
    "marked_real",  # false positive pixels on real images
    "image_tp",
    "image_tn",
    "image_fp",
    "image_fn",
)
_SCALARS = ("images", "fake_images", "pixels", "real_pixels")


def _flat(values: np.ndarray, name: str) -> np.ndarray:
    """(B, pixels) float32 from (B, ...).

    Raises:
        ValueError: no images, or NaN among the values (which would count as below every threshold).
    """
    values = np.asarray(values, np.float32)
    if values.ndim < 2 or not values.size:
        raise ValueError(f"{name} of shape {values.shape}: a non-empty batch of shape (B, H, W, 1) is needed")
    if np.isnan(values).any():
        raise ValueError(f"{name} holds NaN")
    return values.reshape(len(values), -1)


def _pair(prob: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(prob) != np.shape(mask):
        raise ValueError(f"prob of shape {np.shape(prob)} and mask of shape {np.shape(mask)} must be alike")
    return _flat(prob, "prob"), _flat(mask, "mask")


def _above(values: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """(B, T): how many of each row's float32 values are above each threshold."""
    return np.stack([np.count_nonzero(values > np.float32(t), axis=1) for t in thresholds], axis=1).astype(np.float64)


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=np.asarray(bottom) > 0)


def image_dice(prob: np.ndarray, mask: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """(B, T) Dice of each image, prediction *and* mask binarised at the same T: (2|A&B| + eps) / (|A| + |B| + eps).

    This is what the reference calls "iou_score".

    Args:
        prob: (B, H, W, 1) probabilities.
        mask: the same shape, in [0, 1].
    """
    prob, mask = _pair(prob, mask)
    both = _above(np.minimum(prob, mask), thresholds)
    return (2.0 * both + EPSILON) / (_above(prob, thresholds) + _above(mask, thresholds) + EPSILON)


def dice_at_thresholds(prob: np.ndarray, mask: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """(T,) mean over the batch of `image_dice`: the reference's "iou_score" under its honest name."""
    return image_dice(prob, mask, thresholds).mean(axis=0)


def pixel_counts(
    prob: np.ndarray,
    mask: np.ndarray,
    thresholds: Sequence[float] = THRESHOLDS,
    target_threshold: Optional[float] = FAKE_ABOVE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, T) each: true positive, false positive and false negative pixels of each image.

    Args:
        prob, mask: (B, H, W, 1).
        target_threshold: where the mask is binarised; None: at T as well, as the reference's Dice does.
    """
    prob, mask = _pair(prob, mask)
    marked = _above(prob, thresholds)
    if target_threshold is None:
        positive, tp = _above(mask, thresholds), _above(np.minimum(prob, mask), thresholds)
    else:
        target = mask > np.float32(target_threshold)
        positive = np.count_nonzero(target, axis=1).astype(np.float64)[:, None]
        tp = _above(np.where(target, prob, -np.inf), thresholds)
    return tp, marked - tp, positive - tp


def image_iou(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """(B, T) intersection over union of each image, from its `pixel_counts`; 1 where both sides are empty."""
    union = tp + fp + fn
    return np.where(union > 0, tp / np.maximum(union, 1), 1.0)


def image_scores(prob: np.ndarray) -> np.ndarray:
    """(B,) the reference's score of an image: the largest value of its mask, clipped to [0, 1]."""
    return np.clip(_flat(prob, "prob").max(axis=1), 0.0, 1.0)


def image_confusion(
    scores: np.ndarray, labels: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Counts `tp`, `tn`, `fp`, `fn`, (T,) each, of images called fake where their score is above T.

    Args:
        scores: (N,) in [0, 1].
        labels: (N,) above 0.5 for a fake (defective) image.
    """
    scores, fake = np.asarray(scores, np.float32).ravel(), np.asarray(labels).ravel() > 0.5
    if scores.shape != fake.shape:
        raise ValueError(f"{len(scores)} scores but {len(fake)} labels")
    called = scores[:, None] > np.asarray(thresholds, np.float32)
    fake = fake[:, None]
    counts = {"tp": called & fake, "tn": ~called & ~fake, "fp": called & ~fake, "fn": ~called & fake}
    return {name: count.sum(axis=0).astype(np.float64) for name, count in counts.items()}


class SegmentationCounts:
    """Running counts of a data set; `update` with batches, `merge` workers, `result` for the numbers.

    All counts are float64 sums, so `as_vector()` can be allreduced as a sum and put back by `from_vector`.

    Args:
        thresholds: T of every per-threshold number.
        target_threshold: where masks are binarised for everything but Dice; the mask is a fact, so it does not move
            with T.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS, target_threshold: float = FAKE_ABOVE) -> None:
        self.thresholds = tuple(float(t) for t in thresholds)
        self.target_threshold = target_threshold
        self._table = np.zeros((len(_PER_THRESHOLD), len(self.thresholds)))
        self._scalars = np.zeros(len(_SCALARS))

    def update(self, prob: np.ndarray, mask: np.ndarray, labels: Optional[np.ndarray] = None) -> None:
        """Count one batch.

        Args:
            prob: (B, H, W, 1) probabilities.
            mask: the same shape, in [0, 1].
            labels: (B,) 1 for fake images; None: fake where any mask pixel is above `target_threshold`.
        Raises:
            ValueError: shapes disagree, the batch is empty, or a value is NaN.
        """
        dice = image_dice(prob, mask, self.thresholds)
        tp, fp, fn = pixel_counts(prob, mask, self.thresholds, self.target_threshold)
        flat_mask = np.asarray(mask, np.float32).reshape(len(dice), -1)
        if labels is None:
            labels = flat_mask.max(axis=1) > np.float32(self.target_threshold)
        confusion = image_confusion(image_scores(prob), labels, self.thresholds)
        fake = (np.asarray(labels).ravel() > 0.5).astype(np.float64)
        iou = image_iou(tp, fp, fn)
        rows = {
            "dice": dice.sum(axis=0),
            "dice_fake": fake @ dice,
            "iou_fake": fake @ iou,
            "pixel_tp": tp.sum(axis=0),
            "pixel_fp": fp.sum(axis=0),
            "pixel_fn": fn.sum(axis=0),
            "marked_real": (1 - fake) @ (tp + fp),
            **{f"image_{name}": count for name, count in confusion.items()},
        }
        self._table += np.stack([rows[name] for name in _PER_THRESHOLD])
        images, pixels = flat_mask.shape
        self._scalars += (images, fake.sum(), flat_mask.size, (images - fake.sum()) * pixels)

    def merge(self, other: SegmentationCounts) -> None:
        """Add another's counts to these.

        Raises:
            ValueError: the two were counted at different thresholds.
        """
        if (self.thresholds, self.target_threshold) != (other.thresholds, other.target_threshold):
            raise ValueError("counts at different thresholds cannot be added")
        self._table += other._table
        self._scalars += other._scalars

    def as_vector(self) -> np.ndarray:
        """All counts as one float64 vector; the vectors of several workers add up."""
        return np.concatenate([self._table.ravel(), self._scalars])

    @classmethod
    def from_vector(
        cls,
        vector: np.ndarray,
        thresholds: Sequence[float] = THRESHOLDS,
        target_threshold: float = FAKE_ABOVE,
    ) -> SegmentationCounts:
        """Counts from (a sum of) `as_vector()`, taken at the same thresholds."""
        counts = cls(thresholds, target_threshold)
        vector = np.asarray(vector, np.float64)
        expected = counts.as_vector().shape
        if vector.shape != expected:
            raise ValueError(
                f"a vector of shape {vector.shape} holds no counts at these thresholds: {expected} expected"
            )
        counts._table = vector[: counts._table.size].reshape(counts._table.shape).copy()
        counts._scalars = vector[counts._table.size :].copy()
        return counts

    def result(self) -> SegmentationResult:
        """The numbers of everything counted so far; means over nothing are NaN."""
        row = dict(zip(_PER_THRESHOLD, self._table))
        total = dict(zip(_SCALARS, self._scalars))
        tp, fp, fn = row["pixel_tp"], row["pixel_fp"], row["pixel_fn"]
        union = tp + fp + fn
        iou = np.where(union > 0, tp / np.maximum(union, 1), 1.0 if total["images"] else np.nan)
        return SegmentationResult(
            thresholds=np.asarray(self.thresholds),
            images=int(total["images"]),
            fake_images=int(total["fake_images"]),
            dice=_divide(row["dice"], total["images"]),
            dice_fake=_divide(row["dice_fake"], total["fake_images"]),
            iou=iou,
            iou_fake=_divide(row["iou_fake"], total["fake_images"]),
            precision=_divide(tp, tp + fp),
            recall=_divide(tp, tp + fn),
            marked_real=_divide(row["marked_real"], total["real_pixels"]),
            tp=row["image_tp"],
            tn=row["image_tn"],
            fp=row["image_fp"],
            fn=row["image_fn"],
            tpr=_divide(row["image_tp"], row["image_tp"] + row["image_fn"]),
            tnr=_divide(row["image_tn"], row["image_tn"] + row["image_fp"]),
        )


@dataclasses.dataclass(frozen=True)
class SegmentationResult:
    """What `SegmentationCounts` amount to; arrays are (T,), one number for each threshold.

    Attributes:
        dice, dice_fake: mean per-image Dice, both sides binarised at T, over all and over fake images.
        iou: IoU of all pixels pooled, mask binarised at its own fixed threshold; iou_fake: mean over fake images.
        precision, recall: of pixels, pooled.
        marked_real: false-positive rate of pixels on real images.
        tp, tn, fp, fn: images called fake where their largest value is above T; tpr, tnr: the rates of these.
    """

    thresholds: np.ndarray
    images: int
    fake_images: int
    dice: np.ndarray
    dice_fake: np.ndarray
    iou: np.ndarray
    iou_fake: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    marked_real: np.ndarray
    tp: np.ndarray
    tn: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tpr: np.ndarray
    tnr: np.ndarray

    def at(self, threshold: float) -> dict[str, float]:
        """Every number at one of the thresholds, e.g. {"dice": 0.9, ...}.

        Raises:
            ValueError: nothing was counted at that threshold.
        """
        found = np.flatnonzero(np.isclose(self.thresholds, threshold))
        if not found.size:
            raise ValueError(f"threshold {threshold}: counted were {', '.join(f'{t:g}' for t in self.thresholds)}")
        values = dataclasses.asdict(self)
        return {name: float(value[found[0]] if np.ndim(value) else value) for name, value in values.items()}

    def flat(self) -> dict[str, float]:
        """{"dice@0.5": ..., ...}: one entry a number and threshold, for logs and JSON."""
        flat: dict[str, float] = {"images": self.images, "fake_images": self.fake_images}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if np.ndim(value) and field.name != "thresholds":
                flat.update({f"{field.name}@{t:g}": float(v) for t, v in zip(self.thresholds, value)})
        return flat
