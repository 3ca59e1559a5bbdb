"""AUC under the cluster bootstrap without comparing a person with their own copy.

A pooled AUC compares every fake with every real. When the bootstrap draws a person twice, plain row weights also
compare the two copies with each other as if they were two people who look exactly alike. Within a person scores
separate better than between people, so every resample comes out too good, and with ten people the interval hardly holds
the estimate. Here a pair of different people weighs w_g · w_h, and pairs within one person weigh w_g, once for each
copy.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from runtime.evaluation.pixels import PixelHistograms
from runtime.evaluation.stats import check_labels_scores


class ClusteredAuc:
    """AUC as a function of row weights that are equal within a cluster.

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
