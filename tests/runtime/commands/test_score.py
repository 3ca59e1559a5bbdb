"""The `score` command over a folder with everything that can be wrong with a file: states, tables, exit codes."""

from __future__ import annotations

import csv
import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest

from runtime.__main__ import main
from runtime.model import saved_model
from runtime.scoring import batch
from runtime.scoring.result import SCORED
from tests.helpers import drawn_model, drawn_videos, quick_scorer

HOSTILE = {
    "dash": b"-rf.mp4",
    "newline": b"two\nlines.mp4",
    "bytes": b"\xff\xfe.mp4",
    "html": b"<img src=x onerror=alert(1)>.mp4",
    "formula": b"=HYPERLINK(1).mp4",
    "shell": b"$(touch pwned); `id` 'q' \"q\", x.mp4",
}
FUZZED = 8


def fill(folder):
    """Every kind of file, two good ones among them."""
    drawn_videos.clip(folder / "real.mp4", 16)
    drawn_videos.clip(folder / "fake.mp4", 32, fake={0: range(8, 16)})
    room = [np.full((120, 160, 3), level, np.uint8) for level in range(60, 76)]
    drawn_videos.write(folder / "room.mp4", room)
    drawn_videos.clip(folder / "short.mp4", 2)
    drawn_videos.clip(folder / "far.mp4", 8, size=(28, 20))
    drawn_videos.voice(folder / "voice.mp4")
    upright = [drawn_videos.frame(2, [1], shift=i % 3) for i in range(12)]
    drawn_videos.turned(drawn_videos.write(folder / "phone.mp4", [np.rot90(picture) for picture in upright]))
    (folder / "text.mp4").write_bytes(b"not a video\n" * 40)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "link.mp4").symlink_to("nowhere")
    (folder / "notes.txt").write_text("no video")
    whole = drawn_videos.write(
        folder / "cut.mp4", [drawn_videos.frame(1, shift=i % 3) for i in range(64)], faststart=True
    ).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    good = drawn_videos.clip(folder / "plain.mp4", 8)
    for name in HOSTILE.values():
        (folder / os.fsdecode(name)).write_bytes(good.read_bytes())
    good.unlink()
    (folder / "fuzzed").mkdir()
    for seed in range(FUZZED):
        rng = np.random.default_rng(seed)
        data = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(data) if seed % 2 else 2000, 40)
        data[places] = rng.integers(0, 256, len(places))
        (folder / "fuzzed" / f"{seed}.mp4").write_bytes(data.tobytes()[: rng.integers(500, len(data))])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(exit code, output folder, input folder) of one run over all of them."""
    base = tmp_path_factory.mktemp("score")
    (base / "in").mkdir()
    fill(base / "in")
    model = drawn_model.save(base / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "build_scorer", quick_scorer.build_ovals)
        words = [f"--input={base / 'in'}", f"--model={model}", f"--output={base / 'out'}", "--trust_model", "--kaggle"]
        code = main(["score", *words, "--processes=2", "--overlay_video"])
    return code, base / "out", base / "in"


@pytest.fixture(scope="module")
def document(run):
    return json.loads((run[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def videos(document):
    return {os.path.relpath(video["path"], document["inputs"][0]): video for video in document["videos"]}


@pytest.mark.parametrize(
    "name, state, reason",
    [
        ("real.mp4", "ok", ""),
        ("fake.mp4", "ok", ""),
        ("phone.mp4", "ok", ""),
        ("cut.mp4", "partial", "declared frames"),
        ("room.mp4", "no_face", "no face found in any of 16 frames"),
        ("far.mp4", "inconclusive", "faces too small"),
        ("short.mp4", "too_short", "2 frames can be read, 3 are needed"),
        ("voice.mp4", "unsupported", "audio only"),
        ("text.mp4", "unreadable", "text file"),
        ("empty.mp4", "unreadable", "0 bytes"),
        ("link.mp4", "unreadable", "a link to nowhere"),
    ],
)
def test_states_and_reasons(videos, name, state, reason):
    video = videos[name]
    assert video["state"] == state
    assert reason in video["reason"]
    assert (video["reason"] == "") == (state == "ok")


def test_answers(videos):
    assert (videos["real.mp4"]["verdict"], videos["fake.mp4"]["verdict"]) == ("real", "fake")
    ((start, end),) = [(s["start_s"], s["end_s"]) for s in videos["fake.mp4"]["segments"]]
    assert (start, end) == (8 / drawn_videos.FPS, 15 / drawn_videos.FPS)
    assert videos["cut.mp4"]["verdict"] == "real"


def test_a_turned_clip_is_seen_as_it_is_shown(videos):
    """Both faces lie beside each other only when it is turned, and the green patch is the mouth only upright."""
    phone = videos["phone.mp4"]
    assert (phone["verdict"], len(phone["faces"])) == ("fake", 2)
    assert phone["character"]["shares"]["mouth"] > 0.5


def test_no_score_without_an_answer(run, document):
    for video in document["videos"]:
        assert (video["score"] is not None) == (video["verdict"] is not None) == (video["state"] in SCORED)
    table = pd.read_csv(run[1] / "videos.csv")
    assert table["score"].notna().tolist() == table["state"].isin(SCORED).tolist()
    assert not (table["score"] == 0.5).any()


def test_a_half_stands_in_the_kaggle_file_only(run, document):
    label = pd.read_csv(run[1] / "submission.csv")["label"]
    unknown = [video["score"] is None for video in document["videos"]]
    assert (label[unknown] == 0.5).all()
    assert label.notna().all()
    assert list(pd.read_csv(run[1] / "submission.csv")) == ["filename", "label"]


def test_exit_code_counts_and_skipped(run, document):
    assert run[0] == 1  # some files could not be looked at
    counts = document["counts"]
    assert counts["files"] == len(document["videos"]) == 11 + len(HOSTILE) + FUZZED
    assert sum(counts.values()) == 2 * counts["files"]
    assert [os.path.basename(path) for path in document["skipped"]] == ["notes.txt"]


def test_fuzzed_files_are_rows(videos):
    states = [video["state"] for name, video in videos.items() if name.startswith("fuzzed")]
    assert len(states) == FUZZED
    assert len(set(states)) > 1


def test_hostile_names_are_one_harmless_cell_each(run):
    with (run[1] / "videos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [os.path.basename(row["path"]) for row in rows]
    assert len(names) == len(set(names))
    assert all(name.isprintable() for name in names)
    assert any("two\\nlines" in name for name in names)
    assert any("\\udcff" in name for name in names)
    assert all(row["state"] == "ok" for row in rows if "<img" in row["path"] or "-rf" in row["path"])
    assert len((run[1] / "videos.csv").read_text().splitlines()) == len(rows) + 1  # no cell spans lines


def test_hostile_names_cannot_run_in_the_page(run):
    page = (run[1] / "report.html").read_text()
    assert "<img src=x" not in page
    assert "\\u003cimg src=x onerror=alert(1)\\u003e" in page


def test_names_of_written_files_are_plain(run):
    for folder, _, names in os.walk(run[1]):
        for name in [*names, os.path.basename(folder)]:
            assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), name
            assert not name.startswith("-")


def test_every_answer_has_its_pictures(run, videos):
    for video in videos.values():
        if video["score"] is not None:
            assert (run[1] / video["overlay"]).stat().st_size > 1000
            assert (run[1] / video["overlay_video"]).stat().st_size > 1000
    assert videos["far.mp4"]["overlay"]  # an abstention too can be looked at
    assert videos["far.mp4"]["overlay_video"] is None


def test_one_file_given_by_itself_and_a_name_like_an_option(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batch, "build_scorer", quick_scorer.build_ovals)
    monkeypatch.chdir(run[2])
    words = ["--input=-rf.mp4", f"--model={run[1].parent / 'model'}", f"--output={tmp_path}", "--trust_model"]
    assert main(["score", *words, "--nohtml"]) == 0
    assert not (tmp_path / "report.html").exists()
    assert "1 ok" in capsys.readouterr().out
    (row,) = pd.read_csv(tmp_path / "videos.csv").to_dict("records")
    assert (row["path"], row["state"]) == ("./-rf.mp4", "ok")
    echoed = subprocess.run(["ls", row["path"]], capture_output=True, text=True, cwd=run[2])
    assert echoed.stdout.strip() == "./-rf.mp4"  # as a shell takes it from the table


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--output=OUT"], 2, "--input"),
        (["--input=/nowhere", "--model=MODEL", "--output=OUT", "--trust_model"], 1, "/nowhere: no such file"),
        (["--input=IN", "--model=/nowhere", "--output=OUT"], 1, "no SavedModel there"),
        (["--input=IN", "--model=MODEL", "--output=OUT"], 1, "--trust_model"),
        (["--input=IN", "--model=MODEL", "--output=IN/real.mp4", "--trust_model"], 1, "is a file"),
        (["--input=IN", "--output=OUT"], 1, "none comes with this installation"),
        (["--input=IN", "--model=MODEL", "--output=OUT", "--top_k=9"], 2, "top_k=9"),
        (["--input=IN", "--model=MODEL", "--output=OUT", "--fps=0"], 2, "fps"),
        (["--input=IN", "--model=MODEL", "--output=OUT", "--scorer=best"], 2, "scorer"),
        (["--input=IN", "--model=MODEL", "--output=OUT", "--frams=3"], 2, "--frames"),
        (["--input=IN", "--model=MODEL", "--output=OUT", "--scorer=learned"], 2, "scorer"),
    ],
)
def test_what_is_wrong_with_the_command_is_named(run, tmp_path, words, code, message, capsys, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "none.json"))
    monkeypatch.setattr(saved_model, "PACKAGED", "runtime.not_there")
    monkeypatch.setattr(batch, "build_scorer", quick_scorer.build_ovals)
    known = {"IN": str(run[2]), "OUT": str(tmp_path / "out"), "MODEL": str(run[1].parent / "model")}
    filled = words
    for key, value in known.items():
        filled = [word.replace(f"={key}", f"={value}") for word in filled]
    assert main(["score", *filled]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_the_packaged_model_is_the_default_and_trusted(run, tmp_path, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "none.json"))
    model = run[1].parent / "model"
    key = saved_model.examine(model)[0].key
    (tmp_path / "packaged_model.py").write_text(f"def shipped(): return {str(model)!r}, {key!r}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(saved_model, "PACKAGED", "packaged_model")
    monkeypatch.setattr(batch, "build_scorer", quick_scorer.build_ovals)
    assert main(["score", f"--input={run[2] / 'real.mp4'}", f"--output={tmp_path / 'out'}"]) == 0
    assert pd.read_csv(tmp_path / "out" / "videos.csv")["state"].tolist() == ["ok"]
