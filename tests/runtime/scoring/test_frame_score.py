"""Frame scorers: from the mask of one face to one number."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.scoring.frame_score import FEATURES, ScorerConfig, features, frame_scores, top_mean


@pytest.fixture
def mask():
    """(1,10,10): four pixels at 0.9, six at 0.6, the rest at 0.1."""
    values = np.full(100, 0.1, np.float32)
    values[:4], values[4:10] = 0.9, 0.6
    return np.random.default_rng(0).permutation(values).reshape(1, 10, 10)


@pytest.mark.parametrize(
    "config, expected",
    [
        (ScorerConfig("max"), 0.9),
        (ScorerConfig("area"), 0.10),
        (ScorerConfig("area", threshold=0.7), 0.04),
        (ScorerConfig("topk", top_percent=4), 0.9),
        (ScorerConfig("topk", top_percent=10), (4 * 0.9 + 6 * 0.6) / 10),
        (ScorerConfig("topk", top_percent=0.01), 0.9),
        (ScorerConfig("model"), 0.42),
    ],
)
def test_each_scorer_by_hand(mask, config, expected):
    assert frame_scores(mask, np.array([0.42], np.float32), config) == pytest.approx([expected], abs=1e-6)


def test_features_by_hand(mask):
    found = dict(zip(FEATURES, features(mask)[0]))
    mean = (4 * 0.9 + 6 * 0.6 + 90 * 0.1) / 100
    expected = {"max": 0.9, "mean": mean, "top_1": 0.9, "top_3": 0.9, "top_10": 0.72}
    expected.update(area_25=0.10, area_50=0.10, area_75=0.04)
    assert found == pytest.approx(expected, abs=1e-6)


def test_top_mean_of_a_constant_is_the_constant():
    assert top_mean(np.full((2, 50), 0.3), 3).tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("bad", [{"name": "best"}, {"name": "learned"}, {"threshold": 1.0}, {"top_percent": 0.0}])
def test_bad_settings_fail_at_once(bad):
    with pytest.raises(ValueError, match=r"scorer|area_threshold|top_percent"):
        ScorerConfig(**bad)
