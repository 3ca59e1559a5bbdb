"""Pixel measures: by hand, against scikit-learn within the stated binning error, and the traps (hulls, empty masks)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from runtime.evaluation import metrics as clustered
from runtime.evaluation import pixel_metrics


def square(size, top, bottom):
    mask = np.zeros((size, size), np.float32)
    mask[top:bottom, top:bottom] = 1
    return mask


def test_counts_by_hand():
    counts = pixel_metrics.count_pixels(square(8, 0, 4), square(8, 2, 6))  # 16 marked, 16 faked, 4 in common, 64 in all
    assert (counts.intersection, counts.marked, counts.faked, counts.total) == (4, 16, 16, 64)
    assert counts.iou == pytest.approx(4 / 28)
    assert counts.dice == pytest.approx(8 / 32)
    assert counts.area == pytest.approx(16 / 64)


def test_empty_mask_has_no_iou_but_an_area():
    counts = pixel_metrics.count_pixels(square(8, 0, 4), np.zeros((8, 8)))
    assert np.isnan(counts.iou)
    assert np.isnan(counts.dice)
    assert counts.area == 0.25


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        pixel_metrics.count_pixels(np.zeros((4, 4)), np.zeros((4, 4, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_pixel_auc_lies_within_its_stated_error(seed):
    rng = np.random.default_rng(seed)
    mask = (rng.random((64, 64)) < 0.3).astype(np.float32)
    probability = 1 / (1 + np.exp(-(rng.normal(size=mask.shape) * 2 - 6 + mask)))  # almost all near 0, as networks do
    exact = metrics.roc_auc_score(mask.ravel(), probability.ravel())
    histograms = pixel_metrics.PixelHistograms.empty()
    histograms.add_fake(probability, mask)
    value, error = histograms.pixel_auc()
    assert abs(value - exact) <= error + 1e-12
    assert error < 0.005


def test_histograms_add_over_frames():
    rng = np.random.default_rng(0)
    frames = [(rng.random((16, 16)), square(16, 4, 12), rng.random((16, 16))) for _ in range(3)]
    one, parts = pixel_metrics.PixelHistograms.empty(), []
    for frame in frames:
        one.add_fake(*frame)
        parts.append(pixel_metrics.PixelHistograms.empty())
        parts[-1].add_fake(*frame)
    faked, untouched = (clustered.stacked(parts, name) for name in ("faked", "untouched"))
    pooled = clustered.ClusteredAuc.from_histograms(faked, untouched, np.array(["a", "b", "a"]), np.arange(3))
    assert pooled.value() == pytest.approx(one.pixel_auc()[0])
    assert pooled.value(np.array([0.0, 1.0, 0.0])) == pytest.approx(parts[1].pixel_auc()[0])


def test_painting_the_face_everywhere_earns_iou_but_no_region_auc():
    mask = square(32, 8, 24)
    hull = square(32, 6, 26)  # on fake and original alike
    histograms = pixel_metrics.PixelHistograms.empty()
    histograms.add_fake(hull, mask, original=hull)
    assert pixel_metrics.count_pixels(hull, mask).iou > 0.6
    assert histograms.pixel_auc()[0] > 0.8
    assert histograms.region_auc()[0] == pytest.approx(0.5)


def test_region_auc_is_one_when_the_original_is_dark_at_the_faked_pixels():
    mask = square(32, 8, 24)
    histograms = pixel_metrics.PixelHistograms.empty()
    histograms.add_fake(0.9 * mask + 0.05, mask, original=np.full_like(mask, 0.05))
    assert histograms.region_auc() == (1.0, 0.0)


def test_region_auc_uses_only_fakes_whose_original_is_there():
    mask = square(32, 8, 24)
    histograms = pixel_metrics.PixelHistograms.empty()
    histograms.add_fake(np.full_like(mask, 0.05), mask)  # no original: counts for pixel AUC alone
    histograms.add_fake(np.full_like(mask, 0.9), mask, original=np.full_like(mask, 0.1))
    assert histograms.region_auc()[0] == 1.0


def test_nothing_to_compare_is_undefined():
    assert np.isnan(pixel_metrics.PixelHistograms.empty().pixel_auc()[0])
    assert np.isnan(pixel_metrics.PixelHistograms.empty().region_auc()[1])


def test_histogram_refuses_what_is_no_probability():
    for bad in (np.array([np.nan]), np.array([1.2]), np.array([-0.1])):
        with pytest.raises(ValueError, match="probabilities"):
            pixel_metrics.histogram(bad)
    assert pixel_metrics.histogram(np.array([0.0, 1.0])).sum() == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_histogram_auc_error_bound_holds_for_any_scores(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    exact = metrics.roc_auc_score(labels, positive + negative)
    value, error = pixel_metrics.histogram_auc(pixel_metrics.histogram(positive), pixel_metrics.histogram(negative))
    assert abs(value - exact) <= error + 1e-9
