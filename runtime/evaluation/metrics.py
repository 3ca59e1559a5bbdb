"""Frame and video metrics of a fake detector, in NumPy, every one of them with row weights.

Label 1 and a high score mean *fake*. Weights are what the bootstrap resamples: a row drawn twice weighs 2.
An undefined value (one class only, no rows) is NaN, never 0 or 0.5; a NaN *score* is an error here, since whoever calls
must first choose how undecided rows count (`fill_undecided`).

Ranking metrics (`Ranking`, `Curve`, `SameSource`, `ClusteredAuc`) come before those of probabilities (log loss, Brier,
`reliability`, calibration error). The tests hold them to scikit-learn's values; scikit-learn itself is too slow where a
report asks each of a dozen numbers a thousand times for every group: with 6,000 weighted rows its `roc_auc_score` takes
6.8 ms, `average_precision_score` 3.6 and `brier_score_loss` 1.0, on the machine where these take 0.33, 0.36 and 0.03.
It has no expected calibration error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from runtime.evaluation.pixel_metrics import PixelHistograms

# Log loss clips probabilities here, so that one certain and wrong answer costs 13.8 and not infinity.
LOG_LOSS_CLIP = 1e-6
# Equal-width bins of the fake probability for ECE and the reliability plot.
ECE_BINS = 10


@dataclass(frozen=True)
class Curve:
    """Weighted counts of the rows that score at least as high as each distinct score, highest first.

    thresholds, tp, fp: (K,). positives, negatives: total weight of the fakes and of the reals.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    positives: float
    negatives: float

    @property
    def both_classes(self) -> bool:
        return self.positives > 0 and self.negatives > 0

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False-positive and true-positive rates, (K + 1,) each, beginning at (0, 0). NaN where a class is missing."""
        fpr = self.fp / self.negatives if self.negatives > 0 else np.full(self.fp.shape, np.nan)
        tpr = self.tp / self.positives if self.positives > 0 else np.full(self.tp.shape, np.nan)
        return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])

    def auc(self) -> float:
        """Chance that a fake outscores a real, ties counting half."""
        if not self.both_classes:
            return float("nan")
        fpr, tpr = self.roc()
        return float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))

    def average_precision(self) -> float:
        """Sum of precision times gain in recall, no interpolation (scikit-learn's definition)."""
        if not self.both_classes:
            return float("nan")
        called = self.tp + self.fp
        precision = np.divide(self.tp, called, out=np.zeros_like(self.tp), where=called > 0)
        recall_gain = np.diff(np.concatenate([[0.0], self.tp])) / self.positives
        return float(np.sum(precision * recall_gain))

    def equal_error_rate(self) -> float:
        """Where the ROC polyline crosses false-negative rate = false-positive rate (linear between thresholds)."""
        if not self.both_classes:
            return float("nan")
        fpr, tpr = self.roc()
        gap = (1 - tpr) - fpr  # falls from 1 to -1
        right = int(np.argmax(gap <= 0))
        left = right - 1
        span = gap[left] - gap[right]
        share = gap[left] / span if span > 0 else 0.0
        return float(fpr[left] + share * (fpr[right] - fpr[left]))

    def tpr_at_fpr(self, limit: float) -> float:
        """Largest true-positive rate at a threshold whose false-positive rate is at most `limit`; no interpolation.

        With fewer than 1 / limit reals this is the rate without any false positive: see `reals_needed`.
        """
        if not self.both_classes:
            return float("nan")
        fpr, tpr = self.roc()
        return float(tpr[fpr <= limit + 1e-12].max())


class Ranking:
    """Scores sorted once, so that a thousand resamples only add weights.

    Args:
        labels: (N,) of 0 (real) and 1 (fake).
        scores: (N,) any real scale; infinities rank, NaN raises ValueError.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        labels, scores = check_labels_scores(labels, scores)
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._fake = labels[self._order].astype(np.float64)
        distinct = np.ones(ranked.size, dtype=bool)
        distinct[:-1] = ranked[1:] != ranked[:-1]
        self._ends = np.flatnonzero(distinct)
        self._thresholds = ranked[self._ends]

    def curve(self, weights: Optional[np.ndarray] = None) -> Curve:
        """The curve under (N,) non-negative row weights (all 1 if left out)."""
        if weights is None:
            ranked_weights = np.ones(self._order.size)
        else:
            ranked_weights = np.asarray(weights, dtype=np.float64)[self._order]
        tp = np.cumsum(ranked_weights * self._fake)
        fp = np.cumsum(ranked_weights * (1 - self._fake))
        if not tp.size:
            return Curve(self._thresholds, tp, fp, 0.0, 0.0)
        return Curve(self._thresholds, tp[self._ends], fp[self._ends], float(tp[-1]), float(fp[-1]))


def check_labels_scores(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as 1-D arrays (int64, float64).

    Raises:
        ValueError: lengths differ, a label other than 0 and 1, a NaN score.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be 1-D and of one length")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} scores are NaN: drop or fill undecided rows first")
    return labels.astype(np.int64), scores


def auc(labels: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None) -> float:
    """Area under the ROC curve; NaN with one class."""
    return Ranking(labels, scores).curve(weights).auc()


def reals_needed(limit: float) -> int:
    """Reals below which the data cannot resolve a false-positive rate of `limit`."""
    return int(np.ceil(1 / limit))


def pairwise_accuracy(
    fake_scores: np.ndarray, original_scores: np.ndarray, weights: Optional[np.ndarray] = None
) -> float:
    """Share of pairs in which the fake outscores its own original, ties half; NaN without pairs.

    Row i of both is one frame index and box, so source and compression are the same on both sides.
    """
    return weighted_mean(pair_wins(fake_scores, original_scores), weights)


def pair_wins(fake_scores: np.ndarray, original_scores: np.ndarray) -> np.ndarray:
    """(N,) of 1 (fake higher), 0.5 (equal), 0."""
    fake_scores = np.asarray(fake_scores, dtype=np.float64)
    original_scores = np.asarray(original_scores, dtype=np.float64)
    if fake_scores.shape != original_scores.shape:
        raise ValueError(f"{fake_scores.shape} fake scores against {original_scores.shape} of originals")
    if np.isnan(fake_scores).any() or np.isnan(original_scores).any():
        raise ValueError("a pair with a NaN score: drop or fill undecided rows first")
    return (fake_scores > original_scores) + 0.5 * (fake_scores == original_scores)


@dataclass
class SameSource:
    """AUC within each original and its fakes, averaged over originals: what is left when source differences are gone.

    Args:
        sources: (N,) the key of the original a row belongs to (an original belongs to itself).
    Sources that hold one class only are left out and counted in `skipped`.
    """

    labels: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    skipped: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        labels, scores = check_labels_scores(self.labels, self.scores)
        names, self._inverse = np.unique(np.asarray(self.sources), return_inverse=True)
        self._aucs = np.array([auc(labels[rows], scores[rows]) for rows in _rows_of(self._inverse, len(names))])
        self._sizes = np.bincount(self._inverse, minlength=len(names))
        self.skipped = int(np.isnan(self._aucs).sum())

    def value(self, weights: Optional[np.ndarray] = None) -> float:
        """Mean over sources; a source weighs the mean of its rows' weights (the bootstrap draws whole sources)."""
        if weights is None:
            per_source = np.ones(len(self._aucs))
        else:
            per_source = np.bincount(self._inverse, np.asarray(weights, dtype=np.float64), len(self._aucs))
            per_source = per_source / np.maximum(self._sizes, 1)
        usable = ~np.isnan(self._aucs)
        return weighted_mean(self._aucs[usable], per_source[usable])


def fill_undecided(labels: np.ndarray, scores: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make undecided and failed rows (NaN scores) countable.

    Args:
        how: "dropped" leaves them out; "worst" gives each the most wrong answer (fake: -inf, real: +inf, which rank
            below and above everything and are wrong at every finite threshold).
    Returns:
        labels, scores, and the (M,) indices of the rows kept.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    undecided = np.isnan(scores)
    if how == "dropped":
        keep = np.flatnonzero(~undecided)
        return labels[keep], scores[keep], keep
    if how == "worst":
        filled = np.where(undecided, np.where(labels == 1, -np.inf, np.inf), scores)
        return labels, filled, np.arange(labels.size)
    raise ValueError(f'how must be "dropped" or "worst", not {how!r}')


def weighted_mean(values: np.ndarray, weights: Optional[np.ndarray] = None) -> float:
    """Mean of (N,) values; NaN if the weights add up to nothing."""
    values = np.asarray(values, dtype=np.float64)
    total = float(values.size) if weights is None else float(np.sum(weights))
    if not total > 0:
        return float("nan")
    return float(np.sum(values if weights is None else values * weights) / total)


def _rows_of(inverse: np.ndarray, groups: int) -> list[np.ndarray]:
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse, minlength=groups))[:-1]) if groups else []


def is_probability(scores: np.ndarray) -> bool:
    """Whether every decided score lies in [0, 1], so that log loss, Brier and ECE can be read at all."""
    decided = np.asarray(scores, dtype=np.float64)
    decided = decided[~np.isnan(decided)]
    return bool(decided.size) and bool(((decided >= 0) & (decided <= 1)).all())


def log_loss_rows(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N,) what each row adds to the log loss."""
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


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


class ClusteredAuc:
    """AUC as a function of row weights that are equal within a cluster, without comparing a person with their own copy.

    A pooled AUC compares every fake with every real. When the bootstrap draws a person twice, plain row weights also
    compare the two copies with each other as if they were two people who look exactly alike. Within a person scores
    separate better than between people, so every resample comes out too good, and with ten people the interval hardly
    holds the estimate. Here a pair of different people weighs w_g · w_h, and pairs within one person weigh w_g, once
    for each copy.

    Args:
        wins: (G, G) fake-real pairs, fake from cluster g and real from cluster h, in which the fake is higher, ties
            half.
        pairs: (G, G) number of such pairs.
        first_rows: (G,) a row of each cluster, where its weight is read.
    """

    def __init__(self, wins: np.ndarray, pairs: np.ndarray, first_rows: np.ndarray) -> None:
        self._wins, self._pairs, self._rows = wins, pairs, first_rows
        self._own_wins, self._own_pairs = np.diag(wins), np.diag(pairs)

    @classmethod
    def from_scores(cls, labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray) -> ClusteredAuc:
        """labels, scores, clusters: (N,) each; scores without NaN."""
        labels, scores = check_labels_scores(labels, scores)
        names, first_rows, inverse = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
        count = len(names)
        fake = labels == 1
        fake_scores, fake_clusters = scores[fake], inverse[fake]
        wins = np.zeros((count, count))
        reals = np.bincount(inverse[~fake], minlength=count).astype(np.float64)
        fakes = np.bincount(fake_clusters, minlength=count).astype(np.float64)
        for number in np.flatnonzero(reals):
            sorted_reals = np.sort(scores[~fake & (inverse == number)])
            below = np.searchsorted(sorted_reals, fake_scores, "left")
            not_above = np.searchsorted(sorted_reals, fake_scores, "right")
            wins[:, number] = np.bincount(fake_clusters, (below + not_above) / 2, count)
        return cls(wins, np.outer(fakes, reals), first_rows)

    @classmethod
    def from_histograms(
        cls, positive: np.ndarray, negative: np.ndarray, clusters: np.ndarray, rows: np.ndarray
    ) -> ClusteredAuc:
        """positive, negative: (V, bins) histograms of V videos; clusters: (V,) theirs; rows: (V,) where weights are
        read."""
        names, first, inverse = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
        member = (inverse[None, :] == np.arange(len(names))[:, None]).astype(np.float64)
        positive, negative = member @ positive, member @ negative
        below_or_tied = np.cumsum(negative, axis=1) - negative / 2
        pairs = np.outer(positive.sum(axis=1), negative.sum(axis=1))
        return cls(positive @ below_or_tied.T, pairs, np.asarray(rows)[first])

    def value(self, weights: Optional[np.ndarray] = None) -> float:
        """AUC under (N,) row weights (all 1 if left out); NaN where the drawn clusters lack a class."""
        drawn = np.ones(len(self._rows)) if weights is None else np.asarray(weights, dtype=np.float64)[self._rows]
        surplus = drawn * (drawn - 1)  # copy against copy
        pairs = drawn @ self._pairs @ drawn - surplus @ self._own_pairs
        if not pairs > 0:
            return float("nan")
        return float((drawn @ self._wins @ drawn - surplus @ self._own_wins) / pairs)


def stacked(histograms: list[PixelHistograms], name: str) -> np.ndarray:
    """(V, bins) float64 of one of the histograms' fields."""
    return np.array([getattr(h, name) for h in histograms], dtype=np.float64)
