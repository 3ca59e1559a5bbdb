"""Intervals: determinism, coverage on simulated people, degenerate cases, the paired difference."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.evaluation import bootstrap, metrics


def people(rng, clusters=16, videos=6, spread=0.7):
    """Scores with a shift per person; the true AUC is Phi(1 / sqrt(2 (1 + spread²)))."""
    cluster = np.repeat(np.arange(clusters), videos)
    labels = np.tile([0, 1], clusters * videos // 2)
    scores = labels + rng.normal(size=labels.size) + spread * rng.normal(size=clusters)[cluster]
    return labels, scores, cluster


def auc_of(labels, scores):
    ranking = metrics.Ranking(labels, scores)
    return lambda weights: ranking.curve(weights).auc()


def test_same_seed_same_interval_and_another_seed_another():
    labels, scores, cluster = people(np.random.default_rng(0))
    runs = [bootstrap.bootstrap({"auc": auc_of(labels, scores)}, cluster, 200, seed=seed)["auc"] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].low != runs[2].low
    assert runs[0].low < runs[0].value < runs[0].high
    assert runs[0].value == metrics.auc(labels, scores)


def test_resamples_draw_whole_clusters():
    cluster = np.array(["b", "a", "b", "c"])
    for weights in bootstrap.resampled_weights(cluster, 50, seed=1):
        assert weights[0] == weights[2]
        assert weights[1] + weights[0] + weights[3] == 3


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Mean of clustered rows: 200 data sets of 12 people. Ignoring the people would cover about half of the time."""
    rng = np.random.default_rng(5)
    hits = naive_hits = 0
    for run in range(200):
        cluster = np.repeat(np.arange(12), 8)
        rows = rng.normal(size=12)[cluster] + 0.5 * rng.normal(size=cluster.size)  # truth 0
        statistic = {"mean": lambda weights, rows=rows: float(np.sum(rows * weights) / np.sum(weights))}
        people_interval = bootstrap.bootstrap(statistic, cluster, 300, seed=run)["mean"]
        naive = bootstrap.bootstrap(statistic, np.arange(cluster.size), 100, seed=run)["mean"]
        hits += people_interval.low <= 0 <= people_interval.high
        naive_hits += naive.low <= 0 <= naive.high
    assert 0.90 <= hits / 200 <= 0.99
    assert naive_hits / 200 < 0.75


def test_few_clusters_widen_the_interval():
    tails = [bootstrap.expanded_tail(clusters, 0.95) for clusters in (4, 5, 10, 1000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, abs=2e-4)
    # n = 10 by hand: t(.975, 9) = 2.262, times sqrt(10 / 9) = 2.3845, and Phi(-2.3845) = .00855
    assert tails[2] == pytest.approx(0.00855, abs=1e-4)


def test_few_identities_are_noted():
    labels, scores, cluster = people(np.random.default_rng(0), clusters=4)
    estimate = bootstrap.bootstrap({"auc": auc_of(labels, scores)}, cluster, 100)["auc"]
    assert estimate.clusters == 4
    assert "few to draw from (4)" in estimate.note


def test_undefined_values_and_too_few_clusters_give_no_interval():
    one_class = bootstrap.bootstrap({"auc": auc_of([1, 1], [0.1, 0.2])}, np.array([0, 1]), 20)["auc"]
    assert one_class.value is None
    assert "undefined" in one_class.note
    for people_drawn in (1, 3):
        labels, scores, cluster = people(np.random.default_rng(0), clusters=people_drawn)
        estimate = bootstrap.bootstrap({"auc": auc_of(labels, scores)}, cluster, 20)["auc"]
        assert (estimate.value, estimate.low, estimate.high) == (metrics.auc(labels, scores), None, None)
        assert f"no interval: {people_drawn} to draw from" in estimate.note


def test_too_many_undefined_resamples_give_no_interval():
    estimate = bootstrap.interval(0.7, np.array([0.6] * 4 + [np.nan] * 6), clusters=5)
    assert (estimate.value, estimate.low) == (0.7, None)
    assert "undefined in 6 of 10" in estimate.note


def test_paired_difference_sees_what_two_separate_intervals_hide():
    """B is A plus a small constant loss on every person: the difference is sure though both intervals overlap."""
    rng = np.random.default_rng(2)
    labels, scores, cluster = people(rng, clusters=30, spread=2.0)
    worse = scores + 0.8 * rng.normal(size=scores.size)
    first, second = auc_of(labels, scores), auc_of(labels, worse)
    alone = bootstrap.bootstrap({"a": first, "b": second}, cluster, 300)
    difference = bootstrap.paired_difference(first, second, cluster, 300)
    assert alone["a"].low < alone["b"].high  # overlap
    assert difference.estimate.value == pytest.approx(alone["a"].value - alone["b"].value)
    width = difference.estimate.high - difference.estimate.low
    assert width < 0.7 * (alone["a"].high - alone["a"].low)
    assert 0 < difference.p_value <= 1


def test_a_detector_does_not_differ_from_itself():
    labels, scores, cluster = people(np.random.default_rng(0))
    difference = bootstrap.paired_difference(auc_of(labels, scores), auc_of(labels, scores), cluster, 50)
    assert (difference.estimate.value, difference.estimate.low, difference.estimate.high) == (0, 0, 0)
    assert difference.p_value == 1.0


def test_clustered_auc_is_the_auc_when_nobody_is_drawn_twice():
    labels, scores, cluster = people(np.random.default_rng(3), clusters=5)
    scores = np.round(scores, 1)  # ties
    pooled = metrics.ClusteredAuc.from_scores(labels, scores, cluster)
    assert pooled.value() == pytest.approx(metrics.auc(labels, scores))
    left_out = (cluster != 2).astype(float)
    kept = cluster != 2
    assert pooled.value(left_out) == pytest.approx(metrics.auc(labels[kept], scores[kept]))


def test_clustered_auc_does_not_compare_a_person_with_their_copy():
    # a: fake .4, real .3 (within: 1). b: fake .9, real .5 (within: 1). Between: .4 against .5 → 0, .9 against .3 → 1.
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.4, 0.3, 0.9, 0.5])
    pooled = metrics.ClusteredAuc.from_scores(labels, scores, np.array(["a", "a", "b", "b"]))
    # a twice: 2 pairs within a (both won), 1 within b (won), 2 of a's fake with b's real (lost), 2 the other way (won)
    assert pooled.value(np.array([2.0, 2.0, 1.0, 1.0])) == pytest.approx(5 / 7)


def test_clustered_auc_covers_the_truth_and_is_centred():
    """12 people who differ much: the resamples must not all lie above the estimate, as they do with plain weights."""
    rng = np.random.default_rng(8)
    truth = np.mean([metrics.auc(*people(rng, 12, 4, 1.5)[:2]) for _ in range(400)])
    hits, shift = 0, []
    for run in range(100):
        labels, scores, cluster = people(rng, 12, 4, 1.5)
        pooled = metrics.ClusteredAuc.from_scores(labels, scores, cluster)
        weights = list(bootstrap.resampled_weights(cluster, 200, seed=run))
        samples = np.array([pooled.value(w) for w in weights])
        estimate = bootstrap.interval(pooled.value(), samples, 12)
        hits += estimate.low <= truth <= estimate.high
        shift.append(samples.mean() - pooled.value())
    assert hits >= 90
    assert abs(np.mean(shift)) < 0.005
