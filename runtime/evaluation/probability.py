"""How far scores can be read as probabilities: log loss, Brier, calibration error and the reliability table.

Weights, undefined values and labels as in `stats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.evaluation.stats import check_labels_scores, weighted_mean

# Log loss clips probabilities here, so that one certain and wrong answer costs 13.8 and not infinity.
LOG_LOSS_CLIP = 1e-6
# Equal-width bins of the fake probability for ECE and the reliability plot.
ECE_BINS = 10


def is_probability(scores: np.ndarray) -> bool:
    """Whether every decided score lies in [0, 1], so that log loss, Brier and ECE can be read at all."""
    decided = np.asarray(scores, dtype=np.float64)
    decided = decided[~np.isnan(decided)]
    return bool(decided.size) and bool(((decided >= 0) & (decided <= 1)).all())


def log_loss(labels: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None) -> float:
    """Mean negative log-likelihood in nats, probabilities clipped to [LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP]."""
    labels, probabilities = _check_probabilities(labels, probabilities)
    return weighted_mean(log_loss_rows(labels, probabilities), weights)


def log_loss_rows(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N,) what each row adds to the log loss."""
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def brier(labels: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None) -> float:
    """Mean squared difference between probability and label, in [0, 1]."""
    labels, probabilities = _check_probabilities(labels, probabilities)
    return weighted_mean((probabilities - labels) ** 2, weights)


@dataclass(frozen=True)
class Reliability:
    """Equal-width bins of the fake probability: weight, mean probability and share of fakes in each ((bins,), NaN if
    empty)."""

    edges: np.ndarray
    weight: np.ndarray
    mean_probability: np.ndarray
    fake_share: np.ndarray


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None, bins: int = ECE_BINS
) -> Reliability:
    """Bins [0, 1/bins), …, [1 - 1/bins, 1]; the last one holds 1."""
    labels, probabilities = _check_probabilities(labels, probabilities)
    rows = np.ones(labels.size) if weights is None else np.asarray(weights, dtype=np.float64)
    index = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    weight = np.bincount(index, rows, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_probability = np.bincount(index, rows * probabilities, bins) / weight
        fake_share = np.bincount(index, rows * labels, bins) / weight
    return Reliability(np.linspace(0, 1, bins + 1), weight, mean_probability, fake_share)


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, weights: Optional[np.ndarray] = None, bins: int = ECE_BINS
) -> float:
    """Weighted mean over equal-width bins of |mean fake probability - share of fakes|, in [0, 1]; NaN without rows."""
    table = reliability(labels, probabilities, weights, bins)
    total = table.weight.sum()
    if not total > 0:
        return float("nan")
    filled = table.weight > 0
    gaps = np.abs(table.mean_probability[filled] - table.fake_share[filled])
    return float(np.sum(table.weight[filled] * gaps) / total)


def as_probabilities(scores: np.ndarray) -> np.ndarray:
    """-inf → 0 and +inf → 1, the worst answers a probability can give; the rest as it is."""
    return np.clip(np.asarray(scores, dtype=np.float64), 0.0, 1.0)


def _check_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = check_labels_scores(labels, probabilities)
    if probabilities.size and not is_probability(probabilities):
        raise ValueError("probabilities must lie in [0, 1]")
    return labels, probabilities
