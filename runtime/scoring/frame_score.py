"""Frame scorers: (S,S) mask of fake probabilities of one face → one number in [0, 1]. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_industrial.config import FAKE_ABOVE, TOP_SHARE

SCORERS = ("model", "max", "area", "topk", "learned")
FEATURES = ("max", "mean", "top_1", "top_3", "top_10", "area_25", "area_50", "area_75")


@dataclasses.dataclass(frozen=True)
class ScorerConfig:
    """Which scorer, with its settings.

    Attributes:
        name: "model": the frame score in the model's own output; "max": the highest probability, the reference's
            rule; "area": share of pixels above `threshold`; "topk": mean of the `top_percent` % highest; "learned":
            logistic combination of all of them, fitted on validation data and stored with the model.
    """

    name: str = "model"
    threshold: float = FAKE_ABOVE
    top_percent: float = 100 * TOP_SHARE

    def __post_init__(self) -> None:
        if self.name not in SCORERS:
            raise ValueError(f"scorer={self.name!r}: allowed are {', '.join(SCORERS)}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"area_threshold={self.threshold}: must lie between 0 and 1")
        if not 0 < self.top_percent <= 100:
            raise ValueError(f"top_percent={self.top_percent}: must lie above 0 and at most at 100")


@dataclasses.dataclass(frozen=True)
class LearnedScorer:
    """Logistic regression over `FEATURES`, standardised: JSON both ways.

    `fitted_on` says how many real and fake frames it saw.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    fitted_on: Mapping[str, int]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, F) features → (N,) scores in [0, 1]."""
        standard = (features - np.array(self.mean)) / np.array(self.scale)
        logits = standard @ np.array(self.weights) + self.bias
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))

    def to_dict(self) -> dict[str, Any]:
        return {"features": list(FEATURES), **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LearnedScorer:
        """
        Raises:
            ValueError: it was fitted on other features, or a number is missing.
        """
        if tuple(values.get("features", ())) != FEATURES:
            raise ValueError("learned scorer: fitted on other features than this version computes; fit it again")
        try:
            vectors = [tuple(float(v) for v in values[name]) for name in ("mean", "scale", "weights")]
            bias = float(values["bias"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"learned scorer: damaged ({error})") from error
        if any(len(vector) != len(FEATURES) for vector in vectors) or not np.all(np.array(vectors[1]) > 0):
            raise ValueError("learned scorer: damaged (wrong number of values)")
        return cls(vectors[0], vectors[1], vectors[2], bias, dict(values.get("fitted_on", {})))


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


def frame_scores(
    masks: np.ndarray, own: np.ndarray, config: ScorerConfig, learned: LearnedScorer | None = None
) -> np.ndarray:
    """(N,S,S) masks and the model's own (N,) scores → (N,) float64 scores in [0, 1].

    Raises:
        ValueError: "learned" is asked for and the model has none.
    """
    flat = masks.reshape(len(masks), -1)
    if config.name == "max":
        scores = flat.max(axis=1)
    elif config.name == "area":
        scores = (flat > config.threshold).mean(axis=1)
    elif config.name == "topk":
        scores = top_mean(flat, config.top_percent)
    elif config.name == "learned":
        if learned is None:
            raise ValueError("scorer=learned: this model has no learned scorer; choose another --scorer")
        scores = learned(features(masks))
    else:
        scores = own
    return np.clip(scores.astype(np.float64), 0.0, 1.0)


def fit_learned(rows: np.ndarray, labels: Sequence[int]) -> LearnedScorer:
    """Fit the combination on (N, F) `features` of validation frames, label 1 fake; classes weigh the same.

    Raises:
        ValueError: fewer than two frames of either class.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.asarray(labels)
    counts = {"real": int((truth == 0).sum()), "fake": int((truth == 1).sum())}
    if min(counts.values()) < 2:
        raise ValueError(f"a learned scorer needs frames of both kinds, got {counts}")
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    fitted = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit((rows - mean) / scale, truth)
    as_tuple = lambda values: tuple(float(v) for v in values)  # noqa: E731
    return LearnedScorer(
        as_tuple(mean), as_tuple(scale), as_tuple(fitted.coef_[0]), float(fitted.intercept_[0]), counts
    )
