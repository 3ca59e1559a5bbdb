"""What is written agrees in JSON, CSV, Markdown, HTML and plots; hostile names break none. Subcommands end to end."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import tensorflow as tf

from runtime.evaluation import measure, plots, recorder, report
from runtime.training import distributed
from tests.helpers import drawn_records
from tests.helpers.command_line import run
from tests.helpers.score_tables import batch_of, many, right
from unet_industrial.config import DataConfig, ModelConfig

FAST = measure.Settings(resamples=20)
HOSTILE = "<script>alert(1)</script>|\n`x`"


class Page(HTMLParser):
    """Tags, references to anything outside, and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.outside, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and not str(v).startswith("data:")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    frames = many(people=6)
    frames.loc[frames["key"] == frames["key"].iloc[0], "score"] = np.nan
    detectors = {
        "ours": measure.Detector.from_frames(frames),
        HOSTILE: measure.Detector.from_frames(frames.assign(score=1 - frames["score"])),
    }
    result = measure.compare(detectors, FAST)
    return report.write(folder, result, detectors, HOSTILE, {"model": HOSTILE}), result


def test_every_number_stands_in_json_and_csv(written):
    paths, result = written
    document = json.loads(paths["json"].read_text())
    assert document["detectors"] == json.loads(json.dumps(result["detectors"]))
    rows = list(csv.DictReader(paths["csv"].open()))
    value = result["detectors"]["ours"]["video"]["all"]["worst"]["auc"]["value"]
    found = [
        row
        for row in rows
        if (row["detector"], row["level"], row["group_by"], row["undecided"], row["metric"])
        == ("ours", "video", "all", "worst", "auc")
    ]
    assert [float(row["value"]) for row in found] == [value]
    assert {row["group_by"] for row in rows} == {"all", "method", "face_size"}


def test_markdown_has_every_detector_chance_and_both_treatments(written):
    text = written[0]["markdown"].read_text()
    assert text.count("| chance |") >= 4
    assert "undecided counted as the worst answer" in text
    assert "undecided left out" in text
    assert "<script>" not in text
    for line in text.splitlines():
        if line.startswith("| ours |"):
            assert "[" in line  # intervals


def test_the_page_is_whole_alone_and_safe(written):
    paths, _ = written
    page = Page(paths["html"].read_text())
    assert page.outside == []
    assert "script" not in page.tags
    assert any("alert(1)" in text for text in page.text)  # shown, not run
    assert page.tags.count("img") == sum(name.startswith("plot_") for name in paths)
    assert "table" in page.tags


def test_plots_are_pictures_and_equal_numbers_give_equal_bytes(written, tmp_path):
    for name, path in written[0].items():
        if name.startswith("plot_"):
            assert cv2.imread(str(path)).std() > 5
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.4, 0.3])
    twice = [plots.plot_histograms(labels, scores, tmp_path / f"{i}.png").read_bytes() for i in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0]])
def test_plots_of_nothing_or_one_class_say_so_instead_of_failing(labels, tmp_path):
    labels, scores = np.array(labels, dtype=int), np.linspace(0.2, 0.8, len(labels))
    for draw in (plots.plot_roc, plots.plot_precision_recall):
        assert draw({"x": (labels, scores)}, tmp_path / "a.png").exists()
    assert plots.plot_histograms(labels, scores * 9, tmp_path / "b.png").exists()


def test_a_detector_that_decides_nothing_still_gets_a_report(tmp_path):
    frames = many(people=4)
    detector = measure.Detector.from_frames(frames.assign(score=np.nan))
    paths = report.write(tmp_path, measure.compare({"mute": detector}, FAST), {"mute": detector})
    entry = json.loads(paths["json"].read_text())["detectors"]["mute"]["video"]["all"]
    assert entry["dropped"]["auc"]["value"] is None
    assert entry["worst"]["auc"]["value"] == 0.0


def test_numbers_are_printed_as_the_field_prints_them():
    assert [report.number(v) for v in (0.6842, 1.0, -0.0412, 0.0, 12.5, None)] == [
        ".684",
        "1.000",
        "-.041",
        ".000",
        "12.500",
        "–",
    ]
    assert report.estimate({"value": 0.5, "low": 0.4, "high": 0.6, "p_value": 0.2}) == ".500 [.400, .600], p .200"


def test_pixel_tables_stand_beside_the_painted_face():
    recorders = recorder.Recorders("ours")
    mask = np.zeros((64, 64), np.float32)
    mask[20:50, 20:50] = 1
    for person in range(4):
        batch = batch_of(person, 0, mask)
        batch["image"] = np.random.default_rng(person).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
        scores, probability = right(batch)
        recorders.update(batch, scores, probability)
    result = measure.compare(recorders.detectors(), FAST)
    table = next(t for t in report.tables_of({**result, "title": "", "about": {}}) if t.heading == "Pixels")
    rows = dict(table.rows)
    assert list(rows) == ["ours", "face hull", "chance"]
    assert rows["ours"]["region_auc"]["value"] == 1.0
    assert rows["face hull"]["region_auc"]["value"] == pytest.approx(0.5)
    assert rows["face hull"]["area_real"]["value"] > rows["ours"]["area_real"]["value"] == 0.0


def test_compare_from_the_command_line(tmp_path, capsys):
    frames = many(people=5)
    frames.drop(columns=["key", "cluster", "face_size"]).to_csv(tmp_path / "frame_scores.csv", index=False)
    videos = measure.Detector.from_frames(frames).videos
    lines = [f"{key},{score / 2}" for key, score in zip(videos["key"], videos["score"])]
    (tmp_path / "other.csv").write_text("\n".join(["video,score", *lines[1:]]) + "\n")
    out = tmp_path / "out"
    arguments = ["compare", f"--scores={tmp_path / 'frame_scores.csv'}", f"--output={out}", "--resamples=20"]
    assert run(*arguments, f"--other=half={tmp_path / 'other.csv'}") == 0
    assert "| half |" in capsys.readouterr().out
    document = json.loads((out / "evaluation.json").read_text())
    assert document["detectors"]["half"]["video"]["all"]["counts"]["undecided_by_state"] == {"missing": 1}
    assert document["differences"]["half"]["video"]["common"] == len(videos) - 1


def test_compare_counts_the_verdicts_of_score_unless_a_threshold_is_given(tmp_path):
    """A calibrated probability above one half is no verdict: `score` calls by thresholds of its own."""
    labels = [f"{name}.mp4,{label}" for name, label in zip("abcdef", (1, 1, 1, 0, 0, 0))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *labels]) + "\n")
    (tmp_path / "videos.csv").write_text(
        "path,state,score,verdict,probability\n"
        "a.mp4,ok,0.99,fake,0.65\nb.mp4,ok,0.7,unclear,0.6\nc.mp4,no_face,,,\n"
        "d.mp4,ok,0.6,unclear,0.55\ne.mp4,ok,0.05,real,0.51\nf.mp4,ok,0.01,real,0.4\n"
    )
    words = ["compare", f"--labels={tmp_path / 'labels.csv'}", f"--scores={tmp_path / 'videos.csv'}", "--resamples=20"]
    for extra, tpr, fpr, accuracy, rule in (
        ([], 1 / 2, 0, 3 / 5, "the verdicts of its table"),
        (["--threshold=0.5"], 1, 2 / 3, 3 / 5, "above 0.5 (as given)"),
    ):
        assert run(*words, f"--output={tmp_path / 'out'}", *extra) == 0
        document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        videos = document["detectors"]["model"]["video"]["all"]
        rates = tuple(videos["dropped"][name]["value"] for name in ("tpr", "fpr", "accuracy"))
        assert rates == pytest.approx((tpr, fpr, accuracy))
        assert document["verdict_rules"]["video"] == {"model": rule}
        assert ("unclear" in videos["dropped"]) == (not extra)
    (tmp_path / "videos.csv").write_text("path,score,verdict\na.mp4,0.9,FAKE\n")
    assert run(*words, f"--output={tmp_path / 'out'}") == 1


@pytest.mark.parametrize(
    "extra, code, message",
    [
        (["--other=nofile"], 2, "give NAME=FILE"),
        (["--other=model=x.csv"], 2, "taken"),
        (["--other=b=/does/not/exist.csv"], 1, "no such file"),
        (["--confidence=2"], 2, "confidence"),
        (["--cluster=frame"], 2, "cluster"),
    ],
)
def test_compare_says_what_is_wrong(tmp_path, capsys, extra, code, message):
    many(people=4).drop(columns=["key", "cluster"]).to_csv(tmp_path / "s.csv", index=False)
    assert run("compare", f"--scores={tmp_path / 's.csv'}", f"--output={tmp_path / 'o'}", *extra) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_classifier_from_the_command_line(tmp_path, capsys):
    data = drawn_records.write_dataset(tmp_path / "data", train=8, val=20, side=32)
    common = [
        "classifier",
        f"--data_dir={data}",
        f"--output={tmp_path / 'out'}",
        "--eval_split=val",
        "--resamples=20",
    ]
    assert run(*common, "--architecture=plain", "--input_size=32", "--steps=2", "--batch_size=4") == 0
    shown = capsys.readouterr().out
    assert "| plain |" in shown
    assert "| blur |" in shown
    assert run(*common, "--mode=evaluate") == 0
    assert run(*common) == 1
    assert "--overwrite" in capsys.readouterr().err
    # Its frame table is what `compare` reads.
    table = tmp_path / "out" / "frame_scores.csv"
    assert run("compare", f"--scores={table}", f"--output={tmp_path / 'cmp'}", "--resamples=20") == 0


class Half:
    """One of two workers; the other's share of the recorders is known beforehand."""

    def __init__(self, rank, other):
        self.rank, self.size, self.other = rank, 2, other

    def gather(self, value):
        return [value, self.other] if self.rank == 0 else [self.other, value]


def noise_is_fake(images):
    """Marks pixels that differ from their neighbours, as the drawn copies' patches do."""
    rough = tf.reduce_mean(tf.abs(images - tf.nn.avg_pool2d(images, 3, 1, "SAME")), axis=-1, keepdims=True)
    probability = tf.sigmoid(60 * (tf.nn.avg_pool2d(rough, 3, 1, "SAME") - 0.1))
    return probability, tf.reduce_max(probability, axis=(1, 2, 3))


def test_evaluate_fills_the_recorders_with_every_workers_share(tmp_path):
    data_dir = drawn_records.write_dataset(tmp_path, train=2, val=24, side=32)
    files = [str(path) for path in sorted(data_dir.glob("val*"))]
    model, data = ModelConfig(input_size=32), DataConfig()
    alone = recorder.Recorders("ours")
    recorder.record(noise_is_fake, files, model, data, 5, distributed.Workers(), alone)
    numbers = measure.compare(alone.detectors(), FAST)["detectors"]
    assert numbers["ours"]["frame"]["all"]["dropped"]["paired"]["value"] == 1.0
    assert numbers["ours"]["frame"]["all"]["pixels"]["region_auc"]["value"] > 0.9
    assert numbers["ours"]["frame"]["all"]["counts"]["identities"] == 6

    second, first = recorder.Recorders("ours"), recorder.Recorders("ours")
    nothing = recorder.Recorders("ours").state()
    recorder.record(noise_is_fake, files, model, data, 5, Half(1, nothing), second)
    recorder.record(noise_is_fake, files, model, data, 5, Half(0, second.state()), first)
    assert len(second.detectors()["ours"].frames) < len(alone.detectors()["ours"].frames)
    for name in ("ours", recorder.HULL):
        assert first.detectors()[name].frames.equals(alone.detectors()[name].frames)
