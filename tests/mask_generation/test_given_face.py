"""--faces=given: where the face is in pictures that are one, measured once and kept, or stated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mask_generation import __main__ as command
from mask_generation import given_face, pipeline
from mask_generation.pairs.outcome import GroupConfig
from mask_generation.parallel import processes
from tests.helpers import drawn_pairs, drawn_pictures
from tests.helpers.drawn_videos import OvalDetector
from tests.helpers.drawn_work import inline
from unet_industrial.record_files import read_all
from unet_industrial.records import decode_group


@pytest.fixture(autouse=True)
def ovals(monkeypatch):
    monkeypatch.setattr(processes, "run", inline)
    monkeypatch.setattr(pipeline, "build_detector", lambda device: drawn_pairs.build_quick())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return drawn_pictures.pairs_csv(tmp_path_factory.mktemp("crops"), 6)


def generate(table, output, *more):
    words = [f"--pairs_csv={table}", f"--output={output}", "--mask_recipe=article", "--crop_size=112", *more]
    return command.main(["generate", *words])


def groups(folder):
    return [decode_group(data) for path in sorted(folder.glob("*.tfrecord")) for data in read_all([str(path)])]


def test_margin_and_offset_are_measured_and_stored(table, tmp_path):
    """The drawn face is an oval of 61 x 85 pixels about the middle of 112."""
    assert generate(table, tmp_path / "out", "--faces=given") == 0
    plan = json.loads((tmp_path / "out/generate.json").read_text())
    measured = plan["given_face"]
    assert (measured["looked_at"], measured["found"]) == (6, 6)
    assert measured["margin"] == pytest.approx(112 / 85, abs=0.02)
    assert np.abs(measured["offset"]).max() < 0.02
    assert plan["settings"]["given_margin"] == plan["settings"]["crop_margin"] == measured["margin"]
    assert pipeline.crop_margin([str(path) for path in (tmp_path / "out").glob("*.tfrecord")]) == measured["margin"]
    written = groups(tmp_path / "out")
    assert [len(group.images) for group in written] == [3] * 6
    assert {group.split for group in written} == {"train", "val", "test"}
    assert {group.identity for group in written} == {f"pairs:p{person:02d}" for person in range(6)}
    x0, y0, x1, y1 = written[0].box
    assert (x0 + x1) / 2 == pytest.approx(56, abs=2)
    assert y1 - y0 == pytest.approx(85, abs=2)
    assert len(list((tmp_path / "out").glob("train-*.tfrecord"))) == 1  # many pictures go into a file


def test_a_later_run_takes_what_was_measured(table, tmp_path, monkeypatch):
    assert generate(table, tmp_path / "out", "--faces=given") == 0
    monkeypatch.setattr(given_face, "look", None)
    assert generate(table, tmp_path / "out", "--faces=given") == 0
    other = drawn_pictures.pairs_csv(tmp_path / "more", 7)
    monkeypatch.setattr(given_face, "look", lambda config, detector, sample: {"looked_at": 7, "found": 1})
    with pytest.raises(given_face.GivenFaceError, match="in 1 of 7 pictures"):
        given_face.place_face(
            GroupConfig(faces="given"),
            pipeline_groups(other),
            OvalDetector,
            json.loads((tmp_path / "out/generate.json").read_text())["given_face"],
        )


def pipeline_groups(table):
    from mask_generation.datasets.base import Options
    from mask_generation.datasets.registry import find

    return find(str(table), "pairs_csv", Options()).groups


def test_what_is_stated_is_not_measured(table, tmp_path, monkeypatch):
    monkeypatch.setattr(given_face, "look", None)
    assert generate(table, tmp_path / "out", "--faces=given", "--given_margin=0.85", "--given_offset=0,-0.1") == 0
    plan = json.loads((tmp_path / "out/generate.json").read_text())
    assert plan["settings"]["crop_margin"] == 0.85
    assert "given_face" not in plan
    _, y0, _, y1 = groups(tmp_path / "out")[0].box
    assert y1 - y0 == pytest.approx(112 / 0.85, abs=0.01)
    assert (y0 + y1) / 2 == pytest.approx(56 - 11.2, abs=0.01)


@pytest.mark.parametrize(
    "more, code, message",
    [
        (["--given_margin=1"], 2, "with --faces=given"),
        (["--faces=given", "--given_margin=0"], 2, "0.2 to 10"),
        (["--faces=given", "--given_margin=1", "--given_offset=0.1"], 2, "two numbers from -1 to 1"),
        (["--faces=given", "--given_margin=1", "--given_offset=a,b"], 2, "two numbers from -1 to 1"),
        (["--faces=given", "--given_offset=0,0"], 2, "needs --given_margin"),
        (["--faces=given", "--crop_margin=1.3"], 2, "--crop_margin has no effect"),
    ],
)
def test_wrong_flags_are_refused_in_a_line(table, tmp_path, capsys, more, code, message):
    assert generate(table, tmp_path / "out", *more) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_pictures_without_faces_and_videos_are_no_given_faces(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        drawn_pictures.write(tmp_path / name, drawn_pictures.crop()[:20, :20])
    (tmp_path / "pairs.csv").write_text("fake,original\nb.png,a.png\n")
    assert generate(tmp_path / "pairs.csv", tmp_path / "out", "--faces=given") == 1
    assert "MTCNN finds a face in 0 of 1 pictures" in capsys.readouterr().err
    (tmp_path / "pairs.csv").write_text("fake,original\nb.mp4,a.mp4\n")
    (tmp_path / "a.mp4").touch()
    assert generate(tmp_path / "pairs.csv", tmp_path / "out", "--faces=given", "--overwrite") == 1
    assert "pairs/original/native/a is none" in capsys.readouterr().err


def test_the_preview_shows_given_faces(table, tmp_path, capsys):
    words = [f"--pairs_csv={table}", f"--output={tmp_path / 'sheet.png'}", "--mask_recipe=article", "--count=4"]
    assert command.main(["preview", *words, "--faces=given"]) == 0
    assert "4 examples" in capsys.readouterr().out


def test_a_run_that_is_cut_off_ends_with_the_same_bytes(table, tmp_path, monkeypatch):
    """With a broken picture among them; the second half is done without measuring anew."""
    done = []

    def stops(job):
        done.append(job)
        return len(done) > 3

    def cut_off(jobs, work, processes, limit_s, again):
        for job, answer in inline(jobs, work, processes, limit_s, again):
            if not isinstance(job, list) and stops(job):
                raise KeyboardInterrupt
            yield job, answer

    (table.parent / "faces/04/fake04_1.jpg").write_bytes(b"\xff\xd8\xff")
    assert generate(table, tmp_path / "whole", "--faces=given") == 1
    monkeypatch.setattr(processes, "run", cut_off)
    assert generate(table, tmp_path / "cut", "--faces=given") == 130
    monkeypatch.setattr(processes, "run", inline)
    monkeypatch.setattr(given_face, "look", None)
    assert generate(table, tmp_path / "cut", "--faces=given") == 1
    names = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.suffix in (".tfrecord", ".csv"))
    assert len(names) == 5
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
