"""One evaluation: `train`, `evaluate` and `compare` give the same numbers, those of videos by the product's rule."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from runtime.evaluation import measure, tables
from runtime.model import calibration
from runtime.model.saved_model import load_model
from runtime.scoring import video_score
from runtime.scoring.result import ScoreConfig
from tests.helpers import drawn_model, drawn_records
from tests.helpers.command_line import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(records, results folder) of a network that has made one step; its validation split has six clips and fakes."""
    folder = tmp_path_factory.mktemp("trained")
    data = drawn_records.write_dataset(folder / "data", train=2, val=24)
    small = ("--input_size=16", "--batch_size=4", "--num_iter=1")
    assert run("train", f"--data_dir={data}", f"--results_dir={folder / 'run'}", *small) == 0
    return data, folder / "run"


def evaluate(trained, folder):
    data, results = trained
    words = ("evaluate", f"--model={results}", f"--data_dir={data}", "--split=val", "--resamples=20")
    assert run(*words, f"--output_dir={folder}") == 0
    return json.loads((folder / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(trained, folder), folder


def test_a_name_means_one_number_in_a_report(evaluated):
    document, _ = evaluated
    levels = document["detectors"]["model"]
    for name, level, metric in (
        ("video_auc", "video", "auc"),
        ("frame_auc", "frame", "auc"),
        ("paired", "frame", "paired"),
    ):
        assert document[name] == pytest.approx(levels[level]["all"]["dropped"][metric]["value"])
    assert (document["crops"], document["clips"], document["pairs"]) == (48, 12, 24)
    assert document["mean_score_fake"] > 0
    assert {"dice@0.75", "dice_fake@0.75", "tpr@0.75", "tnr@0.75"} <= set(document["by_threshold"])
    assert document["video_rules"] == {
        "model": "video_score",
        "blur": tables.HIGHEST_FACE_MEAN,
        "face hull": "video_score",
    }


def test_training_ends_with_the_numbers_of_evaluate(trained, evaluated):
    written = json.loads((trained[1] / "evaluation.json").read_text())
    assert set(evaluated[0]) - set(written) <= {"checkpoint", "data_dir", "workers"}  # what describes the source
    for name in (*measure.SUMMARY_PIXELS, "crops", "frame_auc", "video_auc", "paired", "by_threshold"):
        assert written[name] == pytest.approx(evaluated[0][name]), name
    for name in ("evaluation.md", "evaluation.csv", "evaluation.html", "frame_scores.csv"):
        assert (trained[1] / name).exists()


def test_another_rule_from_frames_to_a_video_moves_the_video_numbers_of_evaluate(
    trained, evaluated, tmp_path, monkeypatch
):
    before = evaluated[0]
    combine = video_score._combine
    monkeypatch.setattr(video_score, "_combine", lambda *arguments: 1 - combine(*arguments))  # real ones rank highest
    after = evaluate(trained, tmp_path)
    assert after["frame_auc"] == before["frame_auc"]
    assert before["video_auc"] != 0.5
    assert after["video_auc"] == pytest.approx(1 - before["video_auc"])
    assert after["detectors"]["model"]["video"]["all"]["dropped"]["auc"]["value"] == after["video_auc"]


def test_compare_shows_the_pixel_table_of_the_frame_scores_that_evaluate_wrote(evaluated, tmp_path, capsys):
    document, folder = evaluated
    table = pd.read_csv(folder / "frame_scores.csv")
    real = table["label"] == 0
    assert table.loc[real, ["iou", "dice"]].isna().all(axis=None)
    assert table.loc[~real, ["iou", "dice"]].notna().all(axis=None)
    assert table["area"].between(0, 1).all()
    assert not {"key", "cluster", "face_size"} & set(table)
    assert run("compare", f"--scores={folder / 'frame_scores.csv'}", f"--output_dir={tmp_path}", "--resamples=20") == 0
    assert "Pixels" in capsys.readouterr().out
    compared = json.loads((tmp_path / "evaluation.json").read_text())["detectors"]["model"]
    ours = document["detectors"]["model"]
    for name in ("iou", "dice", "area_real", "area_fake"):
        assert compared["frame"]["all"]["pixels"][name] == pytest.approx(ours["frame"]["all"]["pixels"][name])
    assert compared["video"]["all"]["dropped"]["auc"] == ours["video"]["all"]["dropped"]["auc"]


def counted(folder):
    """(JSON, of the model's videos the numbers and the counts, text) of a report."""
    document = json.loads((folder / "evaluation.json").read_text())
    videos = document["detectors"]["model"]["video"]["all"]
    rates = {name: entry["value"] for name, entry in videos["dropped"].items()}
    return document, rates, videos["counts"], (folder / "evaluation.md").read_text()


def test_videos_are_called_as_score_calls_them_by_the_models_own_thresholds(trained, tmp_path):
    data, model = trained[0], drawn_model.save(tmp_path / "model")
    words = ["evaluate", f"--model={model}", "--trust_model", f"--data_dir={data}", "--split=val", "--resamples=20"]
    assert run(*words, f"--output={tmp_path / 'plain'}") == 0
    assert "videos called fake: model, blur, face hull: above 0.5 (the default)" in counted(tmp_path / "plain")[3]
    videos = tables.to_videos(tables.load_frames(tmp_path / "plain" / "frame_scores.csv"))
    ranked = np.sort(videos["score"])
    real_below, threshold = (ranked[3] + ranked[2]) / 2, ranked[8]  # the ninth lies at the threshold: unclear
    path = model / "assets.extra" / "model.json"
    marked = json.loads(path.read_text())
    point = {"threshold": threshold, "real_below": real_below}
    point["scoring"] = ScoreConfig().scoring(load_model(model, trust=True).sha256)
    path.write_text(json.dumps({**marked, calibration.THRESHOLD_KEY: point}))

    verdicts = np.array([video_score.verdict(score, threshold, real_below) for score in videos["score"]])
    assert {word: int((verdicts == word).sum()) for word in video_score.VERDICTS} == {
        "fake": 3,
        "unclear": 6,
        "real": 3,
    }
    fake = videos["label"].to_numpy() == 1
    assert run(*words, f"--output={tmp_path / 'own'}") == 0
    assert run("compare", f"--scores={tmp_path / 'own' / 'frame_scores.csv'}", f"--output={tmp_path / 'again'}") == 0
    for folder in ("own", "again"):
        document, rates, counts, text = counted(tmp_path / folder)
        assert rates["tpr"] == pytest.approx((verdicts[fake] == "fake").mean())
        assert rates["fpr"] == pytest.approx((verdicts[~fake] == "fake").mean())
        assert rates["accuracy"] == pytest.approx((verdicts == np.where(fake, "fake", "real")).mean())
        assert rates["unclear"] == 0.5
        assert counts["unclear_real"] + counts["unclear_fake"] == 6
        assert "verdict unclear 6 (" in text
        assert document["verdict_rules"]["frame"]["model"] == "above 0.5 (the default)"
    rule = f"above {threshold:g}, real below {real_below:g}, unclear between (the model's own thresholds)"
    assert counted(tmp_path / "own")[0]["verdict_rules"]["video"]["model"] == rule

    assert run(*words, f"--output={tmp_path / 'given'}", f"--threshold={ranked[5]}") == 0
    document, rates, counts, _ = counted(tmp_path / "given")
    assert rates["tpr"] == pytest.approx((videos["score"][fake] > ranked[5]).mean())
    assert "unclear" not in rates
    assert document["verdict_rules"]["video"]["model"].endswith("(as given)")


def test_a_videos_score_is_that_of_score_on_the_same_faces():
    rng = np.random.default_rng(0)
    tracks = [rng.uniform(0, 1, 12), rng.uniform(0, 0.3, 7)]
    rows = [
        {"video": "a", "label": 1, "frame_index": index, "track": str(track), "score": value}
        for track, scores in enumerate(tracks)
        for index, value in enumerate(scores)
    ]
    shuffled = pd.DataFrame(rows).sample(frac=1, random_state=1)  # rows come in any order, time decides
    frames = tables.normalise(pd.concat([shuffled, pd.DataFrame([{"video": "b", "label": 0, "score": np.nan}])]))
    videos = tables.to_videos(frames).set_index("video")
    assert videos.loc["a", "score"] == pytest.approx(video_score.video_score(tracks).score, abs=1e-12)
    assert np.isnan(videos.loc["b", "score"])
    strict = video_score.AggregateConfig(power=float("inf"))
    assert tables.to_videos(frames, config=strict).set_index("video").loc["a", "score"] == pytest.approx(
        video_score.video_score(tracks, config=strict).score, abs=1e-12
    )


def test_scores_on_another_scale_get_a_rule_with_another_name():
    frames = tables.normalise(
        pd.DataFrame({"video": ["a", "a"], "label": 1, "frame_index": [0, 1], "score": [-3.0, -5.0]})
    )
    detector = measure.Detector.from_frames(frames)
    assert (detector.rule, detector.videos["score"][0]) == (tables.HIGHEST_FACE_MEAN, -4.0)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        tables.to_videos(frames)
    with pytest.raises(ValueError, match="rule must be one of"):
        tables.to_videos(frames, "median")
