"""Disturbed copies are what they say, curves follow them, and files that cannot be scored are rows, not crashes."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from mask_generation.video.reader import VideoReader
from mask_generation.video.types import Frame
from runtime.__main__ import main
from runtime.evaluation import robustness, tables
from runtime.evaluation.measure import Settings
from runtime.evaluation.robustness import LEVELS, Answer, Disturbance
from runtime.model import calibration
from runtime.model.saved_model import load_model
from runtime.scoring import scorer
from runtime.scoring.result import ScoreConfig
from tests.helpers import drawn_model, drawn_videos

FRAMES, FPS, HEIGHT, WIDTH = 20, 20, 64, 96


def draw_clip(path, seed=0, softness=0.0):
    """A textured picture that slides a pixel a frame."""
    texture = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH + FRAMES, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.0 + softness)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = (Frame(i, i / FPS, np.ascontiguousarray(texture[:, i : i + WIDTH])) for i in range(FRAMES))
    robustness.write(path, frames, 10)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def read(path):
    with VideoReader(path) as reader:
        return list(reader.frames())


def disturbed(clip, tmp_path, kind, level):
    target = tmp_path / "out.mp4"
    robustness.disturb(clip, target, Disturbance(kind, level))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]  # nothing left over from steps in between
    return read(target)


def error(frames, reference):
    return float(np.mean([np.abs(a.rgb.astype(float) - b.rgb).mean() for a, b in zip(frames, reference)]))


@pytest.mark.parametrize("kind", ["crf", "blur", "noise"])
def test_higher_levels_do_more_damage_and_keep_size_and_times(clip, tmp_path, kind):
    reference, errors = read(clip), []
    for level in (LEVELS[kind][0], LEVELS[kind][-1]):
        frames = disturbed(clip, tmp_path, kind, level)
        assert len(frames) == FRAMES
        assert frames[0].rgb.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_allclose([f.time_s for f in frames], [f.time_s for f in reference], atol=1e-4)
        errors.append(error(frames, reference))
    assert errors[0] < 0.6 * errors[1]


def test_noise_has_its_level_and_is_repeatable(clip, tmp_path):
    first = disturbed(clip, tmp_path, "noise", 20)
    difference = first[5].rgb.astype(float) - read(clip)[5].rgb
    assert 8 < difference.std() < 20  # x264 and 4:2:0 take some of it
    again = disturbed(clip, tmp_path, "noise", 20)
    np.testing.assert_array_equal(first[5].rgb, again[5].rgb)


def test_scale_is_the_share_of_the_size(clip, tmp_path):
    assert disturbed(clip, tmp_path, "scale", 0.5)[0].rgb.shape == (HEIGHT // 2, WIDTH // 2, 3)


def test_fps_keeps_frames_at_their_times(clip, tmp_path):
    frames = disturbed(clip, tmp_path, "fps", 10)
    assert len(frames) == FRAMES // 2
    np.testing.assert_allclose(np.diff([f.time_s for f in frames]), 0.1, atol=1e-3)
    assert error(frames, read(clip)[::2]) < 4


def test_fps_above_the_files_own_changes_nothing(clip, tmp_path):
    assert len(disturbed(clip, tmp_path, "fps", 60)) == FRAMES


@pytest.mark.parametrize("part, first", [("first half", 0), ("second half", 10), ("middle third", 7)])
def test_trim_keeps_its_part(clip, tmp_path, part, first):
    frames = disturbed(clip, tmp_path, "trim", part)
    start, end = robustness.CUTS[part]
    assert abs(len(frames) - (end - start) * FRAMES) <= 1
    assert error(frames[:1], read(clip)[first : first + 1]) < 4


def test_each_reshare_is_worse(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(robustness, "RESHARES", ((80, 28), (60, 30)))
    assert disturbed(clip, tmp_path, "reshare", 1)[0].rgb.shape[1] == 80
    assert disturbed(clip, tmp_path, "reshare", 2)[0].rgb.shape[1] == 60


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        Disturbance("pixelate", 3)


def sharpness(path):
    """A toy detector: 1 for a smooth picture, 0 for a sharp one."""
    values = [cv2.Laplacian(f.rgb, cv2.CV_64F).var() for f in read(path)[:3]]
    return Answer(float(1 / (1 + np.mean(values) / 500)), "ok")


def test_one_files_curve_begins_as_given_and_follows_the_blur(clip, tmp_path):
    table = robustness.answers([clip], sharpness, ["blur", "trim"])
    assert len(table) == 1 + len(LEVELS["blur"]) + len(LEVELS["trim"])
    blur, trim = robustness.file_curves(table)
    assert blur["levels"][0] == "as given"
    assert blur["values"] == sorted(blur["values"])
    assert blur["values"][-1] - blur["values"][0] > 0.1
    assert np.ptp(trim["values"]) < 0.1
    written = robustness.write_file(tmp_path, table, 0.5, {"file": "<b>&.mp4"})
    document = json.loads(written["json"].read_text())
    assert document["curves"][0]["values"] == blur["values"]
    html = written["html"].read_text()
    assert "<b>&.mp4" not in html
    assert "&lt;b&gt;&amp;.mp4" in html
    assert cv2.imread(str(written["score"])).shape[0] > 100


def test_files_without_an_answer_are_rows_with_a_state(clip, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    table = robustness.answers(
        [clip, text], lambda path: Answer(None, "unreadable") if path == text else Answer(0.3, "ok"), ["crf"]
    )
    bad = table[table["path"] == str(text)]
    assert bad["score"].isna().all()
    assert set(bad["state"]) == {"unreadable"}
    assert table.loc[table["path"] == str(clip), "score"].eq(0.3).all()
    # A file without any score still gets its report, and bytes of a name that are no UTF-8 become escapes.
    written = robustness.write_file(tmp_path / "out", bad, 0.5, {"file": "\udcff.mp4"})
    assert "\\udcff.mp4" in written["html"].read_text("utf-8")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Six people, each with a sharp original and a softer fake."""
    folder = tmp_path_factory.mktemp("set")
    rows = []
    for person in range(6):
        draw_clip(folder / f"{person}.mp4", person)
        draw_clip(folder / f"{person}_x.mp4", person, softness=0.7)
        rows.append({"path": f"{person}.mp4", "label": 0, "original": f"{person}"})
        rows.append({"path": f"{person}_x.mp4", "label": 1, "original": f"{person}"})
    pd.DataFrame(rows).to_csv(folder / "videos.csv", index=False)
    return folder / "videos.csv"


def test_a_sets_curve_falls_with_blur(labelled, tmp_path):
    videos = robustness.labelled_videos(labelled)
    assert videos["cluster"].nunique() == 6
    paths = [robustness.Path(path) for path in videos["path"]]
    table = robustness.answers(paths, sharpness, ["blur"])
    curve = robustness.set_curves(table, videos, Settings(resamples=20))[0]
    values = [entry["dropped"]["auc"]["value"] for entry in curve["metrics"]]
    assert values[0] == 1.0
    assert len(values) == 1 + len(LEVELS["blur"])
    gaps = []
    for level in ("as given", "3"):
        scores = table[table["level"] == level].set_index("path")["score"]
        fake = scores[videos.loc[videos["label"] == 1, "path"]].mean()
        gaps.append(fake - scores[videos.loc[videos["label"] == 0, "path"]].mean())
    assert gaps[1] < 0.5 * gaps[0]
    written = robustness.write_set(tmp_path, table, videos, Settings(resamples=20), {"model": "toy"})
    assert {"auc", "paired", "json", "csv", "md", "html"} <= set(written)
    assert "| as given |" in written["md"].read_text()
    json.loads(written["json"].read_text())


@pytest.mark.parametrize(
    "content, message",
    [
        ("video,label\na,1\n", "column path missing"),
        ("path,video,label\na.mp4,a,1\na.mp4,b,1\n", "listed twice"),
        ("path,label\nx/a.mp4,1\ny/a.mp4,1\n", "stands twice"),
        ("path\na.mp4\n", "column label"),
    ],
)
def test_lists_of_videos_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "videos.csv"
    path.write_text(content)
    with pytest.raises(tables.TableError, match=message):
        robustness.labelled_videos(path)


@pytest.mark.parametrize("place, word", [("above", "unclear"), ("at", "unclear"), ("below", "fake")])
def test_a_file_gets_the_verdict_that_score_gives_it(tmp_path, monkeypatch, capsys, place, word):
    """The model's metadata carry thresholds: `place` says where the one for "fake" lies beside the file's score."""
    monkeypatch.setattr(scorer, "MtcnnDetector", lambda *sizes: drawn_videos.OvalDetector())
    path = drawn_videos.clip(tmp_path / "fake.mp4", 12, fake={0: range(12)})
    folder = drawn_model.save(tmp_path / "model")
    model = load_model(folder, trust=True)
    score = scorer.Scorer(model).score(path).score
    threshold = {"above": (score + 1) / 2, "at": score, "below": score - 0.01}[place]
    point = {"threshold": threshold, "real_below": 0.1, "scoring": ScoreConfig().scoring(model.sha256)}
    marked = json.loads((folder / "assets.extra" / "model.json").read_text())
    (folder / "assets.extra" / "model.json").write_text(json.dumps({**marked, calibration.THRESHOLD_KEY: point}))
    by_score = scorer.score_video(path, folder, trust=True)
    assert (by_score.score, by_score.verdict) == (score, word)

    out = tmp_path / "out"
    words = ["robustness", str(path), f"--model={folder}", "--trust_model", "--kinds=trim", f"--output={out}"]
    assert main(words) == 0
    assert f"| none | as given | {robustness.report.number(score)} | {word} |" in capsys.readouterr().out
    table = pd.read_csv(out / "robustness.csv")
    assert (table["state"][0], table["verdict"][0]) == (by_score.state, word)
    assert json.loads((out / "robustness.json").read_text())["threshold"] == threshold


def test_rates_of_a_set_count_the_verdicts_not_a_probability_of_a_half(labelled):
    videos = robustness.labelled_videos(labelled)
    answer = {"score": 0.9, "state": "ok", "verdict": "unclear", "probability": 0.8}
    rows = [
        {"path": path, "kind": kind, "level": level, **answer}
        for kind, level in (("none", "as given"), ("crf", "18"))
        for path in videos["path"]
    ]
    table = pd.DataFrame(rows)
    fake = videos.loc[videos["label"] == 1, "path"]
    table.loc[table["path"] == fake.iloc[0], "verdict"] = "fake"
    curve = robustness.set_curves(table, videos, Settings(resamples=20, threshold=None))[0]
    numbers = curve["metrics"][0]["dropped"]
    assert (numbers["tpr"]["value"], numbers["fpr"]["value"]) == (pytest.approx(1 / 6), 0.0)
    assert numbers["brier"]["value"] == pytest.approx((0.8**2 + 0.2**2) / 2)  # the calibrated probability is kept
