"""Probabilities: fitted on labelled scores, stored with the model, and used for nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from runtime.__main__ import main
from runtime.model import calibration, saved_model
from runtime.scoring import abstention, tables
from runtime.scoring.result import FaceRow, ScoreConfig, VideoResult
from runtime.scoring.video_score import AggregateConfig

SCORING = {"model": "abc", "scorer": {"name": "model"}, "aggregate": {"window": 5}}


def drawn(count, seed=0, overconfident=1.0):
    """Scores whose true probability is known: the label is 1 with probability p; the score's logit is p's, scaled."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
    return 1 / (1 + np.exp(-overconfident * logits)), labels, 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("method, count", [("platt", 400), ("isotonic", 4000)])
def test_overconfident_scores_become_probabilities(method, count):
    scores, labels, truth = drawn(count, overconfident=3.0)
    fitted = calibration.fit(scores, labels, SCORING, method)
    found = np.array([fitted.probability(score) for score in scores])
    assert np.abs(found - truth).mean() < 0.05 < np.abs(scores - truth).mean()
    assert fitted.log_loss["after"] < fitted.log_loss["before"]
    assert fitted.videos == {"real": int((labels == 0).sum()), "fake": int((labels == 1).sum())}


def test_many_videos_give_isotonic_and_few_platt():
    assert calibration.fit(*drawn(200)[:2], SCORING).method == "platt"
    assert calibration.fit(*drawn(calibration.ISOTONIC_FROM)[:2], SCORING).method == "isotonic"


def test_both_classes_weigh_the_same():
    """Nine times as many reals in the validation set must not make every later video more likely real."""
    scores, labels, _ = drawn(3000)
    few = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:160]])
    balanced = calibration.fit(scores, labels, SCORING, "platt")
    skewed = calibration.fit(scores[few], labels[few], SCORING, "platt")
    assert skewed.probability(0.5) == pytest.approx(balanced.probability(0.5), abs=0.05)


def test_no_probability_is_more_certain_than_the_number_of_videos_allows():
    fitted = calibration.fit([0.01] * 6 + [0.99] * 6, [0] * 6 + [1] * 6, SCORING)
    assert calibration.CLIP <= fitted.probability(0.0) < 0.2
    assert 0.8 < fitted.probability(1.0) <= 1 - calibration.CLIP


@pytest.mark.parametrize("method", calibration.METHODS)
def test_curves_rise_and_come_back_from_json(method):
    fitted = calibration.fit(*drawn(300)[:2], SCORING, method)
    again = calibration.Calibration.from_dict(fitted.to_dict())
    grid = np.linspace(0, 1, 50)
    curve = [again.probability(score) for score in grid]
    assert np.all(np.diff(curve) >= 0)
    assert curve == [fitted.probability(score) for score in grid]
    assert again.fits(SCORING)
    assert not again.fits({**SCORING, "model": "other"})


@pytest.mark.parametrize(
    "scores, labels, message",
    [
        ([0.1] * 4 + [0.9] * 9, [0] * 4 + [1] * 9, "at least 5 of each"),
        ([0.9] * 6 + [0.1] * 6, [0] * 6 + [1] * 6, "do not rank"),
        ([0.1, 1.2], [0, 1], r"in \[0, 1\]"),
        ([0.1, 0.2], [0, 2], "labels 0 or 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(scores, labels, message):
    with pytest.raises(calibration.CalibrationError, match=message):
        calibration.fit(scores, labels, SCORING)


@pytest.mark.parametrize(
    "damage", [{"method": "magic"}, {"parameters": {}}, {"parameters": {"slope": -1, "intercept": 0}}]
)
def test_a_damaged_calibration_is_refused(damage):
    stored = {**calibration.fit(*drawn(100)[:2], SCORING, "platt").to_dict(), **damage}
    with pytest.raises(calibration.CalibrationError, match="calibrate"):
        calibration.of_model({calibration.KEY: stored}, SCORING)


def test_a_calibration_for_other_settings_is_not_used():
    stored = {calibration.KEY: calibration.fit(*drawn(100)[:2], SCORING).to_dict()}
    assert calibration.of_model(stored, SCORING)[0] is not None
    found, note = calibration.of_model(stored, {**SCORING, "aggregate": {"window": 9}})
    assert found is None
    assert "other scoring settings" in note
    assert "no calibration" in calibration.of_model({}, SCORING)[1]


@pytest.mark.parametrize("share, above", [(0.0, 0), (0.1, 1), (0.19, 1), (0.2, 2), (0.4, 4)])
def test_thresholds_keep_fpr_and_fnr_to_their_share_and_no_further(share, above):
    reals = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    fakes = [round(1 - score, 2) for score in reals]
    point = calibration.fit_threshold([*reals, *fakes], [0] * 10 + [1] * 10, SCORING, share, share)
    assert point["above"]["real"] == above == sum(score > point["threshold"] for score in reals)
    assert sum(score > point["threshold"] - 0.06 for score in reals) > share * 10
    assert point["real_below"] == pytest.approx(1 - point["threshold"])  # the fakes mirror the reals
    assert point["below"]["fake"] == above
    found = calibration.threshold_of_model({"threshold": point}, SCORING)
    assert found == (point["threshold"], point["real_below"])
    assert calibration.threshold_of_model({"threshold": point}, {**SCORING, "model": "another"}) is None


def test_the_two_thresholds_never_cross():
    """Fakes that all score higher than the reals leave no band between."""
    point = calibration.fit_threshold([0.1] * 5 + [0.2] * 5 + [0.9] * 9, [0] * 10 + [1] * 9, SCORING, 0.1, 0.1)
    assert point["real_below"] == point["threshold"] == pytest.approx(0.55)


def test_a_threshold_needs_both_classes_and_leaves_room_on_both_sides():
    with pytest.raises(calibration.CalibrationError, match="4 real and 9 fake"):
        calibration.fit_threshold([0.1] * 4 + [0.9] * 9, [0] * 4 + [1] * 9, SCORING, 0.1, 0.1)
    with pytest.raises(calibration.CalibrationError, match="max_fnr=1"):
        calibration.fit_threshold([0.1] * 9 + [0.9] * 9, [0] * 9 + [1] * 9, SCORING, 0.1, 1)
    for score in (0.0, 1.0):
        point = calibration.fit_threshold([score] * 10, [0] * 5 + [1] * 5, SCORING, 0.1, 0.1)
        assert 0 < point["threshold"] < 1


@pytest.mark.parametrize(
    "damaged",
    [
        {"threshold": 0.5, "real_below": 0.1},
        {"threshold": 2.0, "real_below": 0.1, "scoring": SCORING},
        {"threshold": 0.5, "real_below": 0.6, "scoring": SCORING},
        {"scoring": {}},
        "x",
    ],
)
def test_a_damaged_threshold_is_named(damaged):
    with pytest.raises(calibration.CalibrationError, match="calibrate"):
        calibration.threshold_of_model({"threshold": damaged}, SCORING)


@pytest.mark.parametrize("rate, marked", [(0.0, 0), (0.05, 5), (0.1, 10)])
def test_the_threshold_of_frames_marks_no_more_real_frames_than_asked(rate, marked):
    rng = np.random.default_rng(0)
    real, fake = ([rng.beta(*shape, 20) for _ in range(5)] for shape in ((1, 4), (4, 1)))
    point = calibration.fit_frame_threshold(real, fake, SCORING, rate)
    frames = np.concatenate(real)
    assert point["marked"]["real"] == marked == (frames > point["frame_threshold"]).sum()
    assert point["frames"] == {"real": 100, "fake": 100}
    assert point["videos"] == {"real": 5, "fake": 5}
    assert point["max_frame_fpr"] == rate
    assert point["marked"]["fake"] > 50
    found = calibration.frame_threshold_of_model({"frame_threshold": point}, SCORING)
    assert found == point["frame_threshold"]
    assert calibration.frame_threshold_of_model({"frame_threshold": point}, {**SCORING, "model": "another"}) is None
    assert calibration.frame_threshold_of_model({}, SCORING) is None


def test_a_threshold_of_frames_needs_real_videos_only():
    point = calibration.fit_frame_threshold([np.array([0.1, 0.3])] * 5, [], SCORING, 0.0)
    assert 0.3 < point["frame_threshold"] < 1
    assert point["marked"] == {"real": 0, "fake": 0}
    with pytest.raises(calibration.CalibrationError, match="4 real videos"):
        calibration.fit_frame_threshold([np.array([0.1])] * 4, [], SCORING, 0.1)
    with pytest.raises(calibration.CalibrationError, match="max_frame_fpr=1"):
        calibration.fit_frame_threshold([np.array([0.1])] * 5, [], SCORING, 1)


@pytest.mark.parametrize("damaged", [{"frame_threshold": 0.5}, {"frame_threshold": 1.5, "scoring": SCORING}, "x", 3])
def test_a_damaged_threshold_of_frames_is_named(damaged):
    with pytest.raises(calibration.CalibrationError, match="threshold of frames.*calibrate"):
        calibration.frame_threshold_of_model({"frame_threshold": damaged}, SCORING)


# The subcommand.


@pytest.fixture
def scored(tmp_path):
    """(folder of scores, model, labels file) of 20 videos: ten real ones with low scores, ten fake ones with high."""
    model = tmp_path / "model"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"model")
    saved_model.write_metadata(model, {"format": 1, "input_size": 64})
    rng = np.random.default_rng(0)
    results = []
    for i in range(20):
        score = float(np.clip(0.2 + 0.5 * (i % 2) + rng.normal(0, 0.15), 0, 1))
        rows = tuple(
            FaceRow(f, f / 25, 0, score, 0, 0, 90, 90, 1.0, 80.0 + i, 50.0, 120.0, (score,) * 8) for f in range(4)
        )
        results.append(VideoResult(f"/v/{i}.mp4", "ok", "", score, "real", rows=rows))
    results.append(VideoResult("/v/none.mp4", "no_face", "no face"))
    config = ScoreConfig().to_dict()
    about = {
        "sha256": saved_model.program_sha256(model),
        "path": str(model),
        "metadata_sha256": None,
        "calibrated": False,
    }
    rest = {"inputs": [], "skipped": [], "wall_s": 0.0, "resumed": 0, "workers": 1}
    tables.write_outputs(tmp_path / "scores", results, {"model": about, "config": config, **rest})
    labels = pd.DataFrame({"path": [f"{i}.mp4" for i in range(20)], "label": ["REAL", "FAKE"] * 10})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "scores", model, tmp_path / "labels.csv"


def calibrate(scored, *words):
    scores, model, labels = scored
    return main(["calibrate", f"--scores={scores}", f"--model={model}", f"--labels={labels}", *words])


def test_the_subcommand_stores_the_curve_and_the_domain_in_the_model(scored, capsys):
    program = saved_model.program_sha256(scored[1])
    assert calibrate(scored) == 0
    assert "10 real and 10 fake videos (1 without a score or a label left out)" in capsys.readouterr().out
    metadata, _ = saved_model.read_metadata(scored[1])
    assert metadata["input_size"] == 64  # what was there stays
    assert saved_model.program_sha256(scored[1]) == program  # and the model is still the same program
    found, note = calibration.of_model(metadata, ScoreConfig().scoring(program))
    assert note == ""
    assert found.probability(0.2) < 0.5 < found.probability(0.7)
    own = ScoreConfig().for_model(program, metadata).aggregate
    stored = metadata["threshold"]
    assert (own.threshold, own.real_below) == (stored["threshold"], stored["real_below"])
    assert own.threshold != 0.5
    assert own.frame_threshold == metadata["frame_threshold"]["frame_threshold"] != 0.5
    assert metadata["frame_threshold"]["frames"] == {"real": 40, "fake": 40}
    given = ScoreConfig(aggregate=AggregateConfig(frame_threshold=0.3)).for_model(program, metadata).aggregate
    assert (given.threshold, given.frame_threshold) == (own.threshold, 0.3)
    assert ScoreConfig(aggregate=AggregateConfig(threshold=0.5)).for_model(program, metadata).aggregate.threshold == 0.5
    assert ScoreConfig(aggregate=AggregateConfig(window=7)).for_model(program, metadata).aggregate.threshold == 0.5
    low, high = abstention.domain_of(metadata)["face_px"]
    assert low < 80 < 100 < high


def test_the_curve_goes_with_the_weights_wherever_their_savedmodel_is_built(scored):
    saved_model.write_metadata(scored[1], {"format": 1, "weights_sha256": "w" * 64})
    assert calibrate(scored) == 0
    metadata, _ = saved_model.read_metadata(scored[1])
    for program in ("a" * 64, "b" * 64):
        assert calibration.of_model(metadata, ScoreConfig().scoring(saved_model.fingerprint(program, metadata)))[0]
    other = {**metadata, "weights_sha256": "x" * 64}
    assert calibration.of_model(other, ScoreConfig().scoring(saved_model.fingerprint("a" * 64, other)))[0] is None


@pytest.mark.parametrize(
    "labels, message",
    [
        ("a,b\n1,2\n", "needs the columns path and label"),
        ("path,label\n0.mp4,maybe\n", "label 'maybe' of 0.mp4"),
        ("path,label\n0.mp4,REAL\n", "at least 5 of each"),
    ],
)
def test_bad_labels_are_named(scored, labels, message, capsys):
    scored[2].write_text(labels)
    assert calibrate(scored) == 1
    assert message in capsys.readouterr().err
    assert calibration.KEY not in saved_model.read_metadata(scored[1])[0]


def test_scores_of_another_model_are_refused(scored, capsys):
    (scored[1] / "saved_model.pb").write_bytes(b"another")
    assert calibrate(scored) == 1
    assert "scores of another model" in capsys.readouterr().err


def test_a_folder_without_scores_is_named(scored, tmp_path, capsys):
    assert calibrate((tmp_path / "nowhere", *scored[1:])) == 1
    assert "no results of `score` there" in capsys.readouterr().err
