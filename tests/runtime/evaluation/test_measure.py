"""The whole table of numbers: undecided both ways, breakdowns, pixels, comparison of detectors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.evaluation import measure, metrics, pixel_metrics, tables
from tests.helpers.score_tables import METHODS, ffpp, many

FAST = measure.Settings(resamples=50)


def test_numbers_are_those_of_the_metric_functions():
    table = many()
    result = measure.measure(table, FAST)
    assert result["dropped"]["auc"]["value"] == pytest.approx(metrics.auc(table["label"], table["score"]))
    assert result["counts"]["identities"] == result["dropped"]["auc"]["clusters"] == 8
    assert result["counts"]["pairs"] == int(table["label"].sum())
    assert result["dropped"]["paired"]["value"] > result["dropped"]["auc"]["value"]  # the person's own shift is gone
    assert result["worst"] == result["dropped"]
    reals = table.loc[table["label"] == 0, "score"]
    assert result["dropped"]["fpr"]["value"] == pytest.approx((reals > 0.5).mean())


def test_undecided_rows_are_counted_and_reported_both_ways():
    table = ffpp()
    gone = (table["video"] == "183_253") & (table["method"] == "Deepfakes")
    table.loc[gone, "score"] = np.nan
    table["state"] = np.where(gone, "no_face", "ok")
    videos = tables.to_videos(tables.normalise(table))
    result = measure.measure(videos, FAST)
    assert result["counts"]["undecided_by_state"] == {"no_face": 1}
    assert (result["counts"]["undecided_fake"], result["counts"]["undecided_real"]) == (1, 0)
    assert result["worst"]["auc"]["value"] < result["dropped"]["auc"]["value"]
    assert result["worst"]["tpr"]["value"] == pytest.approx(result["dropped"]["tpr"]["value"] * 3 / 4)
    assert result["worst"]["paired"]["value"] == pytest.approx(result["dropped"]["paired"]["value"] * 3 / 4)


def test_scores_that_are_no_probabilities_have_no_log_loss():
    table = many()
    table["score"] = 10 * table["score"] - 3
    result = measure.measure(table, measure.Settings(resamples=20, threshold=None))
    assert not {"log_loss", "brier", "ece", "accuracy"} & set(result["dropped"])
    assert result["dropped"]["auc"]["value"] == pytest.approx(metrics.auc(table["label"], table["score"]))


def test_a_probability_column_is_what_is_calibrated_and_judged():
    table = many()
    table["probability"] = np.where(table["label"] == 1, 0.9, 0.1)
    table["score"] = 100 * table["score"]
    result = measure.measure(table, FAST)
    assert result["dropped"]["brier"]["value"] == pytest.approx(0.01)
    assert result["dropped"]["accuracy"]["value"] == 1.0
    assert result["dropped"]["auc"]["value"] < 1.0  # ranking stays with the score


def test_a_score_exactly_at_the_threshold_is_not_called_fake():
    table = many().assign(score=0.5)
    numbers = measure.measure(table, measure.Settings(resamples=5, threshold=0.5))["dropped"]
    assert (numbers["tpr"]["value"], numbers["fpr"]["value"]) == (0.0, 0.0)


def test_verdicts_of_the_detector_itself_outrank_the_threshold():
    table = many(people=4)
    table[tables.CALLED] = (table["label"] == 1).astype(int)
    table.loc[table.index[0], "score"] = np.nan
    result = measure.measure(table, FAST)
    assert (result["dropped"]["tpr"]["value"], result["dropped"]["fpr"]["value"]) == (1.0, 0.0)
    assert result["worst"]["fpr"]["value"] > 0  # the undecided real counts as called fake


def test_too_few_reals_for_a_false_positive_rate_are_noted():
    result = measure.measure(many(people=3), FAST)
    assert "cannot show a false-positive rate of 1%" in result["dropped"]["tpr_at_fpr_1"]["note"]


def test_breakdown_holds_every_method_with_its_own_counts():
    groups = measure.measure_groups(many(people=3), FAST)
    assert set(groups["method"]) == set(METHODS)
    assert groups["method"]["Deepfakes"]["counts"]["fake_videos"] == 6
    assert groups["method"]["Deepfakes"]["counts"]["real_videos"] == 6


def test_pixels_of_a_perfect_and_of_a_hull_painting_model():
    table = many(people=3, frames=1)
    mask = np.zeros((16, 16), np.float32)
    mask[4:12, 4:12] = 1
    fake = table["label"].to_numpy() == 1
    for paint_everywhere, expected in ((False, (1.0, 0.0, 1.0)), (True, (1.0, 0.25, 0.5))):
        histograms = {}
        for key in table.loc[fake, "key"]:
            histograms[key] = pixel_metrics.PixelHistograms.empty()
            histograms[key].add_fake(mask, mask, original=mask if paint_everywhere else np.zeros_like(mask))
        scored = table.assign(
            iou=np.where(fake, 1.0, np.nan),
            dice=np.where(fake, 1.0, np.nan),
            area=np.where(fake | paint_everywhere, mask.mean(), 0.0),
        )
        result = measure.measure(scored, FAST, histograms)["pixels"]
        values = tuple(result[name]["value"] for name in ("iou", "area_real", "region_auc"))
        assert values == pytest.approx(expected)


def test_evaluation_is_deterministic_and_json():
    detector = measure.Detector.from_frames(many(people=12, frames=1))
    settings = measure.Settings(resamples=20)
    first, second = (json.dumps(measure.evaluate(detector, settings), allow_nan=False) for _ in range(2))
    assert first == second
    other = measure.evaluate(detector, measure.Settings(resamples=20, seed=9))
    assert other["frame"]["all"]["dropped"]["auc"] != json.loads(first)["frame"]["all"]["dropped"]["auc"]


@pytest.mark.parametrize("bad", [{"cluster": "frame"}, {"resamples": 0}, {"confidence": 1.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        measure.Settings(**bad)


def test_comparison_finds_the_better_detector_and_leaves_gaps_undecided():
    ours = tables.to_videos(many(gain=0.3))
    better = ours.assign(score=0.5 * ours["score"] + 0.5 * ours["label"])
    gaps = ours.assign(score=ours["score"].where(ours.index > 3))
    detectors = {"ours": ours, "better": better.iloc[::-1], "gaps": gaps}  # the order of rows does not matter
    detectors = {name: measure.Detector(videos) for name, videos in detectors.items()}
    result = measure.compare(detectors, measure.Settings(resamples=200))
    difference = result["differences"]["better"]["video"]["dropped"]["auc"]
    assert difference["low"] > 0
    assert difference["p_value"] < 0.05
    assert result["detectors"]["gaps"]["video"]["all"]["counts"]["undecided"] == 4
    same = result["differences"]["gaps"]["video"]
    assert same["common"] == len(ours) - 4
    assert same["dropped"]["auc"]["value"] == 0.0  # equal where both decided
    assert same["worst"]["auc"]["value"] < 0


def test_comparison_of_frames_where_both_have_the_same_ones():
    frames = many(people=3)
    half = frames.assign(score=frames["score"] / 2)
    detectors = {name: measure.Detector.from_frames(table) for name, table in {"a": frames, "b": half}.items()}
    differences = measure.compare(detectors, FAST)["differences"]["b"]
    assert differences["frame"]["dropped"]["auc"]["value"] == 0.0
    assert differences["frame"]["dropped"]["brier"]["value"] != 0.0


def test_comparison_refuses_tables_of_different_videos():
    ours = measure.Detector(tables.to_videos(many(people=3)))
    with pytest.raises(ValueError, match="same videos"):
        measure.compare({"a": ours, "b": measure.Detector(ours.videos.iloc[1:])}, FAST)
    with pytest.raises(ValueError, match="nothing"):
        measure.compare({}, FAST)
