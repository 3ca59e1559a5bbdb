"""A folder run: what is found, what a killed run leaves, and that the next one goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from mask_generation.video.guard import check_file
from mask_generation.video.types import UNREADABLE, Limits, VideoError
from runtime.scoring import batch
from runtime.scoring.batch import InputError, find_videos, job_for, read_result, safe_stem, sole_run, write_result
from runtime.scoring.result import FaceRow, ScoreConfig, VideoResult
from tests.helpers import quick_scorer

ROOT = Path(__file__).resolve().parents[3]


def command(tmp_path, *words):
    """The `score` command over tmp_path/in with a scorer that needs no TensorFlow, and its environment."""
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"stands for a model")
    arguments = [f"--input={tmp_path / 'in'}", f"--model={model}", f"--output={tmp_path / 'out'}", "--trust_model"]
    environment = {**os.environ, quick_scorer.LOG: str(tmp_path / "log")}
    return [sys.executable, "-m", "tests.helpers.quick_scorer", "score", *arguments, *words], environment


def run(tmp_path, *words):
    words, environment = command(tmp_path, *words)
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def looked_at(tmp_path):
    path = tmp_path / "log"
    return path.read_text().split() if path.exists() else []


def clips(tmp_path, contents):
    (tmp_path / "in").mkdir(exist_ok=True)
    for name, content in contents.items():
        (tmp_path / "in" / name).write_text(content)


def table(folder):
    return pd.read_csv(folder / "videos.csv").drop(columns=["seconds"])


def test_kill_9_in_the_middle_then_the_same_command(tmp_path):
    names = [f"{i:02d}.mp4" for i in range(24)]
    clips(tmp_path, {name: f"slow 0.15 0.{i:02d}" for i, name in enumerate(names)})
    words, environment = command(tmp_path, "--processes=2")
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = tmp_path / "out" / "results"
    deadline = time.monotonic() + 60
    while not (results.is_dir() and len(list(results.glob("[!.]*.json"))) >= 5):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its processes end with it
    finished = {path.name for path in results.glob("[!.]*.json")}
    before = looked_at(tmp_path)
    assert 5 <= len(finished) < 24
    assert not (tmp_path / "out" / "videos.csv").exists()
    time.sleep(0.5)
    assert looked_at(tmp_path) == before  # nobody is left who goes on in secret

    code, printed, _ = run(tmp_path, "--processes=2")
    assert code == 0
    assert f"{len(finished)} of them from an earlier run" in printed
    again = looked_at(tmp_path)[len(before) :]
    assert len(again) == len(set(again)) == 24 - len(finished)  # what had a result is not looked at again
    assert set(before) | set(again) == set(names)  # and nothing is lost
    # At most the two files in work when it was killed were begun twice; none was finished twice.
    assert sum(count > 1 for count in Counter(looked_at(tmp_path)).values()) <= 2

    os.rename(tmp_path / "out", tmp_path / "interrupted")
    run(tmp_path, "--processes=1")  # from nothing, in one go
    pd.testing.assert_frame_equal(table(tmp_path / "interrupted"), table(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["resumed"] == 0


def test_a_closed_terminal_ends_it_with_what_is_kept(tmp_path):
    clips(tmp_path, {f"{i:02d}.mp4": "0.1" if i < 3 else "slow 30 0.1" for i in range(6)})
    words, environment = command(tmp_path, "--processes=2")
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(looked_at(tmp_path)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGHUP)  # to all of its processes, as a terminal does
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 129
    assert "interrupted (SIGHUP). 3 results are kept in" in complaint
    assert "the same command goes on from there" in complaint
    assert "Traceback" not in complaint
    assert not (tmp_path / "out" / "videos.csv").exists()


def test_a_changed_file_or_setting_is_scored_again_and_an_unchanged_one_is_not(tmp_path):
    clips(tmp_path, {"a.mp4": "0.1", "b.mp4": "0.2"})
    assert run(tmp_path)[0] == 0
    clips(tmp_path, {"b.mp4": "0.25"})
    assert run(tmp_path)[0] == 0
    assert table(tmp_path / "out")["score"].tolist() == [0.1, 0.25]
    assert sorted(looked_at(tmp_path)) == ["a.mp4", "b.mp4", "b.mp4"]
    run(tmp_path, "--threshold=0.7")
    assert sorted(looked_at(tmp_path)) == ["a.mp4", "a.mp4", "b.mp4", "b.mp4", "b.mp4"]


def test_damaged_results_are_made_again(tmp_path):
    clips(tmp_path, {"a.mp4": "0.1"})
    run(tmp_path)
    (result,) = (tmp_path / "out" / "results").iterdir()
    result.write_text(result.read_text()[:50])
    assert run(tmp_path)[0] == 0
    assert looked_at(tmp_path) == ["a.mp4", "a.mp4"]


def test_what_failed_for_the_process_is_tried_again_and_shows_in_the_exit_code(tmp_path):
    clips(tmp_path, {"a.mp4": "0.1", "b.mp4": "die", "c.mp4": "hang"})
    assert run(tmp_path, "--timeout_s=2")[0] == 1
    assert table(tmp_path / "out")["state"].tolist() == ["ok", "unreadable", "timeout"]
    clips(tmp_path, {"c.mp4": "0.3"})
    (tmp_path / "in" / "b.mp4").unlink()
    assert run(tmp_path)[0] == 0


def test_two_runs_do_not_share_an_output_folder(tmp_path):
    clips(tmp_path, {"a.mp4": "0.1"})
    (tmp_path / "out").mkdir()
    with sole_run(tmp_path / "out"):
        code, _, complaint = run(tmp_path)
    assert code == 1
    assert "another run is writing there" in complaint
    assert run(tmp_path)[0] == 0


def test_find_videos_by_name_in_depth_without_hidden_ones_and_the_output(tmp_path):
    for name in ("b.MP4", "a.mkv", "deep/er/c.mpg", "notes.txt", ".hidden.mp4", ".git/x.mp4", "out/masks/m.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_videos([str(tmp_path)], tmp_path / "out")
    assert [os.path.relpath(path, os.fsencode(tmp_path)) for path in found.files] == [
        *(b"a.mkv", b"b.MP4", b"deep/er/c.mpg"),
    ]
    assert [os.path.basename(path) for path in found.skipped] == [b"notes.txt"]
    twice = find_videos([str(tmp_path), str(tmp_path / "a.mkv"), str(tmp_path / "notes.txt")], tmp_path / "out")
    assert len(twice.files) == 4  # a file that is named itself counts whatever its name, and none counts twice


def test_a_file_under_several_spellings_is_one_row_and_a_link_to_it_another(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("1")
    (tmp_path / "in" / "link.mp4").symlink_to("a.mp4")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "in").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    spellings = [
        "in/a.mp4",
        "./in//a.mp4",
        "elsewhere/in/../in/a.mp4",
        str(tmp_path / "in"),
        "elsewhere/in",
        "in/../in",
    ]
    found = find_videos(spellings, tmp_path / "out")
    assert found.files == (b"in/a.mp4", os.fsencode(tmp_path / "in" / "link.mp4"))
    assert len({job_for(os.fsencode(name), "x").key for name in spellings[:3]}) == 1


def test_a_folder_that_cannot_be_listed_is_a_row(tmp_path, monkeypatch):
    (tmp_path / "in" / "closed").mkdir(parents=True)
    (tmp_path / "in" / "a.mp4").write_text("1")
    scandir, access = os.scandir, os.access

    def refusing(path):  # as root, whom no permission stops
        if os.path.basename(os.fsencode(path)) == b"closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: b"closed" not in os.fsencode(path) and access(path, mode))
    found = find_videos([str(tmp_path / "in")], tmp_path / "out")
    assert [os.path.basename(path) for path in found.files] == [b"a.mp4", b"closed"]
    with pytest.raises(VideoError, match="closed: a folder that cannot be listed: no permission") as caught:
        check_file(found.files[1], Limits())
    assert caught.value.state == UNREADABLE
    with pytest.raises(InputError, match="closed: Permission denied"):  # nothing else was asked for
        find_videos([str(tmp_path / "in" / "closed")], tmp_path / "out")


def test_other_content_of_the_same_size_and_time_is_scored(tmp_path):
    clips(tmp_path, {"a.mp4": "0.1"})
    path = tmp_path / "in" / "a.mp4"
    os.utime(path, (1000, 1000))
    before = job_for(os.fsencode(path), "x").key
    path.write_text("0.9")
    os.utime(path, (1000, 1000))
    assert job_for(os.fsencode(path), "x").key != before


def test_an_earlier_result_is_named_as_it_is_asked_for_now(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_text("0.1")
    monkeypatch.chdir(tmp_path)
    write_result(
        tmp_path / "results" / f"{job_for(b'a.mp4', 'settings:False').key}.json",
        VideoResult("a.mp4", "ok", "", 0.5, "real"),
    )
    (again,) = batch.score_folder([b"./a.mp4"], tmp_path, "model", "settings", ScoreConfig()).results
    assert (again.path, again.score) == ("./a.mp4", 0.5)


def test_what_killed_runs_left_half_written_is_swept_by_the_next(tmp_path):
    for part in ("", "results", "overlays", "masks"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / ".0001.99999.partial.json").touch()
        (tmp_path / part / "0001.json").touch()
    with sole_run(tmp_path):
        assert not list(tmp_path.rglob("*.partial*"))
        assert len(list(tmp_path.rglob("0001.json"))) == 4


def test_missing_and_empty_inputs_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file"):
        find_videos([str(tmp_path / "nowhere")], tmp_path / "out")
    with pytest.raises(InputError, match="no video among 0 files"):
        find_videos([str(tmp_path)], tmp_path / "out")


def test_keys_change_with_file_and_settings(tmp_path):
    path = os.fsencode(tmp_path / "a.mp4")
    missing = job_for(path, "x").key
    (tmp_path / "a.mp4").write_text("1")
    first = job_for(path, "x").key
    assert len({missing, first, job_for(path, "y").key}) == 3
    assert job_for(path, "x").key == first
    os.utime(path, (1, 1))
    assert job_for(path, "x").key != first


def test_fingerprint_changes_with_every_setting():
    base = ScoreConfig().fingerprint({"sha256": "a", "metadata_sha256": None})
    assert ScoreConfig(frames=8).fingerprint({"sha256": "a", "metadata_sha256": None}) != base
    assert ScoreConfig().fingerprint({"sha256": "a", "metadata_sha256": "b"}) != base


@pytest.mark.parametrize(
    "name, stem",
    [
        (b"-rf.mp4", "rf"),
        (b"a\nb;$(rm).mp4", "a_b_rm"),
        (b"\xff\xfe.mp4", "video"),
        (b"<img src=x>.mp4", "img_src_x"),
        ("Köln Straße.mp4".encode(), "Koln_Strae"),
        (b"x" * 200 + b".mp4", "x" * 40),
    ],
)
def test_names_of_pictures_are_harmless(name, stem):
    assert safe_stem(b"/videos/" + name) == stem


def test_results_on_disk_come_back_equal(tmp_path):
    row = FaceRow(3, 0.12, 0, 0.5, 1.0, 2.0, 30.0, 40.0, 0.99, 38.0, 12.0, 100.0, (0.1,) * 8)
    result = VideoResult("a", "ok", "", 0.5, "real", rows=(row, row), segments=((0.0, 1.0, 0.6),), sha256="0" * 64)
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    (tmp_path / "r.json").write_text(json.dumps({**result.to_dict(), "format": 0}))
    assert read_result(tmp_path / "r.json") is None
    assert read_result(tmp_path / "none.json") is None


def test_an_overlay_that_was_deleted_is_made_again(tmp_path, monkeypatch):
    """Resuming trusts a result only with the pictures it names."""
    job = job_for(os.fsencode(tmp_path / "a.mp4"), "settings:False")
    result = VideoResult(job.name, "ok", "", 0.5, "real", overlay="overlays/a.png")
    write_result(tmp_path / "results" / f"{job.key}.json", result)
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "a.png").touch()
    files = [os.fsencode(tmp_path / "a.mp4")]
    same = batch.score_folder(files, tmp_path, "model", "settings", ScoreConfig())
    assert (same.resumed, same.results) == (1, (result,))
    (tmp_path / "overlays" / "a.png").unlink()
    monkeypatch.setattr(batch, "score_all", lambda jobs, *_: [(job, result) for job in jobs])
    assert batch.score_folder(files, tmp_path, "model", "settings", ScoreConfig()).resumed == 0
