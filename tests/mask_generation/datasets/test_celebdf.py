"""Celeb-DF's test list: before, one that matched no name was taken for none, and the official test split was gone."""

from __future__ import annotations

import codecs

import pytest

from mask_generation.audit import audit
from mask_generation.datasets.base import DatasetError, Options
from mask_generation.datasets.registry import find
from tests.helpers.drawn_trees import touch

LIST = "List_of_testing_videos.txt"
FILES = ("Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4")


def on_test_side(root):
    found = find(str(root), "auto", Options())
    return {clip.name.rsplit("/", 1)[-1] for g in found.groups if g.split == "test" for clip in (g, *g.fakes)}


@pytest.mark.parametrize(
    "text",
    [
        codecs.BOM_UTF8 + b"1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n",
        b"1 Celeb-DF-v2/Celeb-real/id0_0000.mp4\r\n0 Celeb-DF-v2/Celeb-synthesis/id0_id1_0000.mp4\r\n",
        b"1 celeb-REAL\\ID0_0000.MP4\n\n0 /data/Celeb-synthesis/id0_id1_0000.avi\n",
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n".encode("utf-16"),
    ],
    ids=["byte order mark", "folder in front", "case and slashes", "utf-16"],
)
def test_the_list_is_matched_by_the_last_two_parts(tmp_path, text):
    touch(tmp_path, *FILES)
    (tmp_path / LIST).write_bytes(text)
    assert on_test_side(tmp_path) == {"id0_0000", "id0_id1_0000"}


def test_folders_may_be_spelled_otherwise_and_hold_the_videos_one_deeper(tmp_path):
    touch(
        tmp_path, "Celeb-real/videos/id0_0000.mp4", "Celeb-synthesis/videos/id0_id1_0000.mp4", "Youtube-real/00001.MP4"
    )
    (tmp_path / LIST).write_text("1 YouTube-real/00001.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n")
    assert on_test_side(tmp_path) == {"id0_0000#test", "id0_id1_0000", "00001"}


def test_a_list_that_matches_nothing_is_refused(tmp_path):
    touch(tmp_path, *FILES)
    (tmp_path / LIST).write_text("1 Celeb-real/id7_0000.mp4\n")
    with pytest.raises(DatasetError, match=r"none of its 1 videos is here.*id7_0000"):
        find(str(tmp_path), "auto", Options())
    assert find(str(tmp_path), "auto", Options(split_policy="strict")).groups


@pytest.mark.parametrize(
    "line", ["2 Celeb-real/id0_0000.mp4", "1 id0_0000.mp4", "Celeb-real/id0_0000.mp4", "1 Reals/a.mp4"]
)
def test_another_line_is_refused_with_its_number(tmp_path, line):
    touch(tmp_path, *FILES)
    (tmp_path / LIST).write_text(f"1 Celeb-real/id0_0000.mp4\n{line}\n")
    with pytest.raises(DatasetError, match="line 2: expected"):
        find(str(tmp_path), "auto", Options())


def test_what_the_list_names_and_is_not_there_is_counted(tmp_path):
    """Before, the audit said "missing 0"."""
    touch(tmp_path, *FILES)
    (tmp_path / LIST).write_text(
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id9_id8_0000.mp4\n"
        "1 Celeb-real/id9_0000.mp4\n1 YouTube-real/77.mp4\n"
    )
    found = find(str(tmp_path), "auto", Options())
    assert {(problem.name.split("/", 1)[1], problem.state, problem.label) for problem in found.problems} == {
        ("Celeb-synthesis/native/id9_id8_0000", "missing", 1),
        ("Celeb-real/native/id9_0000", "missing", 0),
        ("YouTube-real/native/77", "missing", 0),
    }
    result = audit(found, "x", "official", "list")
    assert {part.method: part.missing for part in result.parts} == {
        "Celeb-real": 1,
        "Celeb-synthesis": 1,
        "YouTube-real": 1,
    }


def test_lines_that_turn_the_labels_round_are_noted(tmp_path):
    touch(tmp_path, *FILES)
    (tmp_path / LIST).write_text("0 Celeb-real/id0_0000.mp4\n1 Celeb-synthesis/id0_id1_0000.mp4\n")
    notes = find(str(tmp_path), "auto", Options()).notes
    assert any("2 lines say the opposite" in note for note in notes)
