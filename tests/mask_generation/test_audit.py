"""Before any work: what is there, what is not, and who is in two splits."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from mask_generation import __main__ as command
from mask_generation.audit import audit, table
from mask_generation.datasets.base import Options
from mask_generation.datasets.registry import find
from mask_generation.parallel import processes
from mask_generation.parallel.processes import Answer
from tests.helpers import drawn_pairs, drawn_pictures, drawn_records, drawn_trees, odd_videos
from tests.helpers.drawn_work import inline


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(processes, "run", inline)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two originals with a fake each; one fake is cut short, one file is no video, one original is missing."""
    folder = tmp_path_factory.mktemp("videos")
    table = drawn_pairs.pairs_csv(folder, 3, splits=("train", "val", "test"))
    whole = drawn_pairs.drawn_videos.write(folder / "whole.mp4", drawn_pairs.pictures(20), faststart=True).read_bytes()
    (folder / "00_fake.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "01_fake.mp4").write_text("not a video\n" * 20)
    with table.open("a") as stream:
        stream.write("02_fake.mp4,gone.mp4,lost,train\n")
    return table


def rows(result):
    return {(part.method, part.label): part for part in result.parts}


@pytest.mark.parametrize("check, broken", [("list", 0), ("open", 1), ("read", 2)])
def test_files_are_looked_into_as_deep_as_asked(videos, check, broken):
    result = audit(find(str(videos), "pairs_csv", Options()), "x", "official", check)
    part = rows(result)["mouth", 1]
    assert (part.found, part.broken) == (3, broken)
    assert (part.train, part.val, part.test) == (1, int(check == "list"), 1)  # what cannot be opened is not used
    assert part.bytes > 1000
    assert rows(result)["lost", 1].unpaired == 1
    states = [row["state"] for row in result.problems]
    assert sorted(states) == sorted(["missing", "original_missing", *["unreadable", "partial"][:broken]])
    assert all(row["reason"] for row in result.problems)
    assert result.ok


@pytest.fixture(scope="module")
def odd_pairs(tmp_path_factory):
    """Pairs of which one half is trimmed, fragmented, larger or broken; all of 60 pictures otherwise."""
    folder = tmp_path_factory.mktemp("odd")
    frames = drawn_pairs.pictures(60)
    for name in ("real", "fake"):
        drawn_pairs.drawn_videos.write(folder / f"{name}.mp4", frames)
        drawn_pairs.drawn_videos.write(folder / f"short_{name}.mp4", frames[:20])
        odd_videos.copied(
            folder / f"{name}.mp4", folder / f"trimmed_{name}.mp4", earlier_s=44 / drawn_pairs.drawn_videos.FPS
        )
        fragments = {"movflags": "frag_every_frame"}
        odd_videos.copied(folder / f"{name}.mp4", folder / f"fragmented_{name}.mp4", fragments)
    large = [cv2.resize(frame, (448, 320)) for frame in frames[:20]]
    drawn_pairs.drawn_videos.write(folder / "large_fake.mp4", large)
    (folder / "broken_real.mp4").write_bytes(b"0" * 999)
    rows = [
        *("fake,original", "fake.mp4,trimmed_real.mp4", "trimmed_fake.mp4,real.mp4"),
        *("fragmented_fake.mp4,fragmented_real.mp4", "large_fake.mp4,short_real.mp4", "short_fake.mp4,broken_real.mp4"),
    ]
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


@pytest.mark.parametrize("check", ["open", "read"])
def test_what_generate_will_meet_in_a_pair_is_seen(odd_pairs, check):
    """Before, neither check saw a trimmed half of a pair, and a fragmented one counted by its first fragment."""
    result = audit(find(str(odd_pairs), "pairs_csv", Options(shares=(1, 0, 0))), "x", "official", check)
    remarks = {row["name"].rsplit("/", 1)[-1]: row for row in result.remarks}
    assert sorted(remarks) == ["fake", "trimmed_fake"]
    assert remarks["fake"]["state"] == "partial"
    assert "its original has only 16 frames" in remarks["fake"]["reason"]
    assert remarks["trimmed_fake"]["state"] == "ok"
    assert "44 frames shorter than its original's 60" in remarks["trimmed_fake"]["reason"]
    problems = {row["name"].rsplit("/", 1)[-1]: row["state"] for row in result.problems}
    sizes = {"large_fake": "unaligned"} if check == "read" else {}
    assert problems == {"broken_real": "unreadable", "short_fake": "original_failed", **sizes}
    assert rows(result)["fake", 1].train == 5 - len(problems) + 1
    assert "16 frames" in table(result)


def test_a_file_that_kills_or_keeps_whoever_reads_it_costs_its_own_row(videos, monkeypatch):
    def deadly(jobs, work, count, limit_s, again):
        ends = {"00.mp4": (processes.DIED, "signal SIGSEGV"), "01.mp4": (processes.LATE, "signal SIGKILL")}
        ends["02.mp4"] = (processes.BUG, ("MemoryError: ", "trace"))
        built = work.build()
        for job in jobs:
            end = ends.get(Path(job[1]).name)
            yield job, Answer(*(end or processes.attempt(work, built, job)))

    monkeypatch.setattr(processes, "run", deadly)
    result = audit(find(str(videos), "pairs_csv", Options()), "x", "official", "open")
    assert rows(result)["original", 0].broken == 3
    found = {row["name"].rpartition("/")[2]: (row["state"], row["reason"]) for row in result.problems}
    assert found["00"] == ("unreadable", "the process that read it ended (signal SIGSEGV)")
    assert found["01"] == ("timeout", "took longer than 900 s")
    assert found["02"][1].startswith("unexpected error: MemoryError")


def test_files_are_looked_into_in_other_processes(videos, monkeypatch):
    monkeypatch.undo()  # the real ones
    result = audit(find(str(videos), "pairs_csv", Options()), "x", "official", "open", threads=1)
    assert sorted(row["state"] for row in result.problems) == ["missing", "original_missing", "unreadable"]


def test_a_picture_that_is_cut_short_is_broken_as_for_generate(tmp_path):
    table = drawn_pictures.pairs_csv(tmp_path, 2)
    cut = tmp_path / "faces/01/fake01_0.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    result = audit(find(str(table), "pairs_csv", Options()), "x", "official", "open")
    assert [(row["path"], row["state"]) for row in result.problems] == [(str(cut), "unreadable")]
    assert "cut short" in result.problems[0]["reason"]


def test_the_command_prints_the_table_and_writes_json(videos, tmp_path, capsys):
    assert command.main(["audit", f"--pairs_csv={videos}", f"--json={tmp_path / 'audit.json'}"]) == 0
    out = capsys.readouterr().out
    assert "3 originals to work on, in 3 components" in out
    assert "1 missing, 1 original_missing, 1 unreadable" in out
    document = json.loads((tmp_path / "audit.json").read_text())
    assert document["ok"] is True
    assert {part["method"] for part in document["parts"]} == {"original", "mouth", "lost"}
    assert command.main(["audit", f"--pairs_csv={videos}", "--json=-"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"] == 3


def test_a_leak_fails_the_audit_and_the_strict_split_repairs_it(tmp_path, capsys):
    drawn_trees.faceforensics(tmp_path, [("755", "750"), ("756", "760")])
    drawn_trees.split_files(tmp_path / "splits", train=[("756", "760")], test=[("755", "750")])
    arguments = ["audit", f"--data_dir={tmp_path}", "--check=list"]
    assert command.main(arguments) == 1
    out = capsys.readouterr().out
    assert "LEAK: 1 people or sources" in out
    assert "ffpp:youtube:755 in train and test" in out
    assert command.main([*arguments, "--split_policy=strict"]) == 0
    out = capsys.readouterr().out
    assert "No person, target, source or YouTube clip is in two splits." in out
    assert "4 split_leak" in out


def test_generate_says_a_leak_as_the_audit_does(tmp_path, capsys, monkeypatch):
    """Before, it wrote a leaking official split without a word."""
    from mask_generation.commands import generate

    drawn_trees.faceforensics(tmp_path, [("755", "750"), ("756", "760")])
    drawn_trees.split_files(tmp_path / "splits", train=[("756", "760")], test=[("755", "750")])
    totals = generate.Totals(4, 4, 0, 0, 0, 0, {}, {}, 0.0, 0)
    monkeypatch.setattr(generate, "generate", lambda inventory, config, progress: totals)
    arguments = ["generate", f"--data_dir={tmp_path}", f"--output={tmp_path / 'out'}"]
    assert command.main(arguments) == 0
    said = capsys.readouterr().err
    assert "LEAK: 1 people or sources" in said
    assert "--split_policy=strict" in said
    assert "ffpp:youtube:755 in train and test" in said
    assert command.main([*arguments, "--split_policy=strict"]) == 0
    assert "LEAK" not in capsys.readouterr().err


def test_a_data_set_without_anything_to_use_fails(tmp_path, capsys):
    drawn_trees.dfdc(tmp_path, {"": {"a.mp4": "gone.mp4"}})
    assert command.main(["audit", f"--data_dir={tmp_path}", "--check=list"]) == 1
    assert "Nothing that could be used." in capsys.readouterr().out


def test_missing_files_of_a_list_are_counted(tmp_path):
    drawn_trees.dfdc(tmp_path, {"": {"a.mp4": None, "b.mp4": "a.mp4", "gone.mp4": "a.mp4", "gone2.mp4": None}})
    result = audit(find(str(tmp_path), "auto", Options()), "x", "official", "list")
    assert {key: (part.found, part.missing) for key, part in rows(result).items()} == {
        ("real", 0): (1, 1),
        ("dfdc", 1): (1, 1),
    }


def test_records_are_audited_for_damage_and_leaks(tmp_path, capsys):
    from mask_generation import shards

    for split, number in (("train", 0), ("test", 40)):
        shards.write_part(tmp_path / f"{split}-00000-of-00001", [drawn_records.group(number)], [], {})
    assert command.main(["audit", f"--records={tmp_path}"]) == 0
    assert "2 shards, 0 damaged" in capsys.readouterr().out
    import dataclasses

    same = dataclasses.replace(drawn_records.group(1), split="test")  # the person of group 0
    shards.write_part(tmp_path / "test-00000-of-00001", [same], [], {})
    assert command.main(["audit", f"--records={tmp_path}"]) == 1
    assert "person0 in test and train" in capsys.readouterr().out
    (tmp_path / "train-00000-of-00001.tfrecord").write_bytes(b"")
    assert command.main(["audit", f"--records={tmp_path}"]) == 1
    assert "1 damaged" in capsys.readouterr().out


def test_wrong_commands_are_refused(tmp_path, capsys):
    assert command.main(["audit"]) == 2
    assert command.main(["audit", f"--records={tmp_path}", "--pairs_csv=x.csv"]) == 2
    assert command.main(["audit", f"--records={tmp_path}"]) == 1
    assert "no records" in capsys.readouterr().err
