"""Metrics: by hand on small cases, against scikit-learn on random ones, and as properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics

from runtime.evaluation import measure, tables
from runtime.evaluation import metrics as ours


def random_case(seed, size=200, ties=True):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.25), 0, 1)
    return labels, np.round(scores, 1) if ties else scores, rng.integers(0, 4, size).astype(float)


def table_of(labels, scores):
    return tables.normalise(
        pd.DataFrame({"video": np.arange(len(labels)).astype(str), "label": labels, "score": scores})
    )


def in_reports(labels, scores, weights=None):
    """{name: value} of the numbers of a report, under row weights."""
    statistics = measure.score_statistics(table_of(labels, scores), measure.Settings())
    return {name: value(np.ones(len(labels)) if weights is None else weights) for name, value in statistics.items()}


def test_auc_by_hand_counts_ties_half():
    # pairs (fake, real): .9>.5, .9>.1, .5=.5, .5>.1 → 3.5 of 4
    assert ours.auc([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_agree_with_scikit_learn(seed, weighted):
    labels, scores, weights = random_case(seed)
    weights = weights if weighted else None
    assert ours.auc(labels, scores, weights) == pytest.approx(
        metrics.roc_auc_score(labels, scores, sample_weight=weights)
    )
    assert ours.Ranking(labels, scores).curve(weights).average_precision() == pytest.approx(
        metrics.average_precision_score(labels, scores, sample_weight=weights)
    )
    reported = in_reports(labels, scores, weights)
    assert reported["brier"] == pytest.approx(metrics.brier_score_loss(labels, scores, sample_weight=weights))
    clipped = np.clip(scores, ours.LOG_LOSS_CLIP, 1 - ours.LOG_LOSS_CLIP)
    assert reported["log_loss"] == pytest.approx(metrics.log_loss(labels, clipped, sample_weight=weights))
    called = scores > 0.5
    assert reported["accuracy"] == pytest.approx(metrics.accuracy_score(labels, called, sample_weight=weights))
    assert reported["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(labels, called, sample_weight=weights)
    )


@pytest.mark.parametrize("seed", range(4))
def test_equal_error_rate_is_the_crossing_of_the_roc_polyline(seed):
    labels, scores, _ = random_case(seed)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    crossing = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)
    assert ours.Ranking(labels, scores).curve().equal_error_rate() == pytest.approx(crossing, abs=1e-9)


@pytest.mark.parametrize("limit", [0.01, 0.1, 0.5])
def test_tpr_at_fpr_is_the_best_threshold_within_the_limit(limit):
    labels, scores, _ = random_case(7)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    best = max(t for f, t in zip(fpr, tpr) if f <= limit)
    assert ours.Ranking(labels, scores).curve().tpr_at_fpr(limit) == pytest.approx(best)


def test_tpr_at_fpr_by_hand_does_not_interpolate():
    # One real outscores one of three fakes: without a false positive two fakes are found, whatever the limit below .5.
    curve = ours.Ranking([1, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.1]).curve()
    assert curve.tpr_at_fpr(0.1) == pytest.approx(2 / 3)
    assert curve.tpr_at_fpr(0.5) == pytest.approx(1)


def test_expected_calibration_error_by_hand():
    # bin [.2,.3): mean .25, share .5 → gap .25, weight 2; bin [.9,1]: mean .95, share 1 → gap .05, weight 2
    labels, scores = [0, 1, 1, 1], [0.25, 0.25, 0.9, 1.0]
    assert ours.expected_calibration_error(labels, scores, bins=10) == pytest.approx((0.25 * 2 + 0.05 * 2) / 4)


def test_perfectly_calibrated_bins_have_no_error():
    labels = np.array([0] * 8 + [1] * 2 + [0] * 2 + [1] * 8)
    scores = np.array([0.2] * 10 + [0.8] * 10)
    assert ours.expected_calibration_error(labels, scores) == pytest.approx(0, abs=1e-12)


def test_pairwise_accuracy_by_hand():
    assert ours.pairwise_accuracy([0.9, 0.5, 0.1, 0.7], [0.2, 0.5, 0.4, 0.6]) == pytest.approx(2.5 / 4)


def test_same_source_auc_ignores_differences_between_sources():
    # Within each source the fake is above; pooled, source b's original outscores source a's fake.
    labels = np.array([0, 1, 0, 1])
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    sources = np.array(["a", "a", "b", "b"])
    assert ours.SameSource(labels, scores, sources).value() == 1.0
    assert ours.auc(labels, scores) == pytest.approx(3 / 4)


def test_same_source_auc_skips_and_counts_sources_of_one_class():
    same = ours.SameSource(np.array([0, 1, 0]), np.array([0.1, 0.9, 0.95]), np.array(["a", "a", "actor"]))
    assert (same.value(), same.skipped) == (1.0, 1)


def test_same_source_weights_count_a_source_drawn_twice_twice():
    same = ours.SameSource(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.9, 0.1]), np.array(["a", "a", "b", "b"]))
    assert same.value(np.array([2.0, 2.0, 1.0, 1.0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["auc", "average_precision", "equal_error_rate"])
@pytest.mark.parametrize("labels", [[1, 1], [0, 0], []])
def test_one_class_is_undefined_not_a_number(name, labels):
    curve = ours.Ranking(np.array(labels, dtype=int), np.linspace(0, 1, len(labels))).curve()
    assert np.isnan(getattr(curve, name)())


def test_weights_that_leave_one_class_are_undefined():
    assert np.isnan(ours.auc([1, 0], [0.9, 0.1], np.array([1.0, 0.0])))


def test_no_rows_are_undefined():
    empty = np.array([], dtype=int), np.array([])
    assert np.isnan(ours.weighted_mean(empty[1]))
    assert np.isnan(ours.auc(*empty))
    assert np.isnan(ours.expected_calibration_error(*empty))
    assert np.isnan(ours.pairwise_accuracy([], []))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        ours.auc([0, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match=r"0 \(real\) or 1"):
        ours.auc([0, 2], [0.5, 0.6])
    with pytest.raises(ValueError, match="one length"):
        ours.auc([0, 1, 1], [0.5, 0.6])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        ours.expected_calibration_error([0, 1], [0.5, 1.5])


def test_undecided_rows_both_ways():
    labels = np.array([1, 1, 0, 0])
    scores = np.array([0.9, np.nan, 0.1, np.nan])
    dropped = ours.fill_undecided(labels, scores, "dropped")
    assert ours.auc(*dropped[:2]) == 1.0
    np.testing.assert_array_equal(dropped[2], [0, 2])
    labels_w, scores_w, kept = ours.fill_undecided(labels, scores, "worst")
    assert len(kept) == 4
    # decided fake beats decided real only; the undecided real outranks all fakes and the undecided fake beats none
    assert ours.auc(labels_w, scores_w) == pytest.approx(1 / 4)
    worst = measure.measure(table_of(labels, scores), measure.Settings(resamples=1))["worst"]
    assert worst["accuracy"]["value"] == pytest.approx(0.5)
    assert worst["brier"]["value"] == pytest.approx((0.01 + 1 + 0.01 + 1) / 4)
    with pytest.raises(ValueError, match="dropped"):
        ours.fill_undecided(labels, scores, "zero")


cases = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays.arrays(np.int64, n, elements=st.integers(0, 1)),
        arrays.arrays(np.float64, n, elements=st.integers(0, 8).map(lambda k: k / 8)),
    )
)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_properties_of_the_ranking_metrics(case):
    labels, scores = case
    value = ours.auc(labels, scores)
    if labels.min() == labels.max():
        assert np.isnan(value)
        return
    assert 0 <= value <= 1
    assert ours.auc(labels, -scores) == pytest.approx(1 - value)
    assert ours.auc(labels, np.exp(3 * scores)) == pytest.approx(value)  # only the order counts
    assert ours.auc(1 - labels, -scores) == pytest.approx(value)
    curve = ours.Ranking(labels, scores).curve()
    assert 0 <= curve.equal_error_rate() <= 1
    assert curve.tpr_at_fpr(0.01) <= curve.tpr_at_fpr(0.1)
    doubled = np.concatenate([labels, labels]), np.concatenate([scores, scores])
    assert ours.auc(labels, scores, np.full(labels.size, 2.0)) == pytest.approx(ours.auc(*doubled))


@settings(max_examples=60, deadline=None)
@given(cases)
def test_worst_answers_never_help(case):
    labels, scores = case
    scores = scores.copy()
    scores[0] = np.nan
    dropped = ours.auc(*ours.fill_undecided(labels, scores, "dropped")[:2])
    worst = ours.auc(*ours.fill_undecided(labels, scores, "worst")[:2])
    if np.isfinite(dropped):
        assert worst <= dropped + 1e-12


def test_a_score_exactly_at_the_threshold_is_not_called_fake():
    """As in `score`: fake is strictly above."""
    reported = in_reports(np.array([1, 1, 0, 0]), np.array([0.5, 0.6, 0.5, 0.4]))
    assert (reported["tpr"], reported["fpr"]) == (0.5, 0.0)
