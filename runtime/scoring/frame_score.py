"""Frame scorers: (S,S) mask of fake probabilities of one face → one number in [0, 1]. NumPy only."""

from __future__ import annotations

import dataclasses

import numpy as np

from unet_industrial.config import FAKE_ABOVE, TOP_SHARE
from unet_industrial.setting import setting

SCORERS = ("model", "max", "area", "topk")
FEATURES = ("max", "mean", "top_1", "top_3", "top_10", "area_25", "area_50", "area_75")


@dataclasses.dataclass(frozen=True)
class ScorerConfig:
    """Which scorer, with its settings.

    Attributes:
        name: "model": the frame score in the model's own output; "max": the highest probability, the reference's
            rule; "area": share of pixels above `threshold`; "topk": mean of the `top_percent` % highest.
    """

    name: str = setting("model", "How a mask becomes the score of a frame.", flag="scorer", choices=SCORERS)
    threshold: float = setting(
        FAKE_ABOVE, "With --scorer=area: a pixel above it counts as fake.", flag="area_threshold"
    )
    top_percent: float = setting(100 * TOP_SHARE, "With --scorer=topk: share of the pixels averaged, in %.")

    def __post_init__(self) -> None:
        if self.name not in SCORERS:
            raise ValueError(f"scorer={self.name!r}: allowed are {', '.join(SCORERS)}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"area_threshold={self.threshold}: must lie between 0 and 1")
        if not 0 < self.top_percent <= 100:
            raise ValueError(f"top_percent={self.top_percent}: must lie above 0 and at most at 100")


def features(masks: np.ndarray) -> np.ndarray:
    """(N,S,S) probabilities → (N, len(FEATURES)) float64, each in [0, 1]."""
    flat = masks.reshape(len(masks), -1).astype(np.float64)
    tops = [top_mean(flat, percent) for percent in (1, 3, 10)]
    areas = [(flat > threshold).mean(axis=1) for threshold in (0.25, 0.5, 0.75)]
    return np.stack([flat.max(axis=1), flat.mean(axis=1), *tops, *areas], axis=1)


def top_mean(flat: np.ndarray, percent: float) -> np.ndarray:
    """(N, P) → (N,) mean of each row's `percent` % highest values, of one at least."""
    count = max(1, round(flat.shape[1] * percent / 100))
    return np.partition(flat, -count, axis=1)[:, -count:].mean(axis=1)


def frame_scores(masks: np.ndarray, own: np.ndarray, config: ScorerConfig) -> np.ndarray:
    """(N,S,S) masks and the model's own (N,) scores → (N,) float64 scores in [0, 1]."""
    flat = masks.reshape(len(masks), -1)
    if config.name == "max":
        scores = flat.max(axis=1)
    elif config.name == "area":
        scores = (flat > config.threshold).mean(axis=1)
    elif config.name == "topk":
        scores = top_mean(flat, config.top_percent)
    else:
        scores = own
    return np.clip(scores.astype(np.float64), 0.0, 1.0)
