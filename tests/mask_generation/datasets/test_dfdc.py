"""DFDC's lists in all spellings: before, a label that was not exactly "FAKE" made a real clip of a fake."""

from __future__ import annotations

import codecs
import json

import pytest

from mask_generation import __main__ as command
from mask_generation.datasets.base import DatasetError, Options
from mask_generation.datasets.registry import find
from tests.helpers import drawn_trees
from tests.helpers.drawn_trees import touch


def listed(folder, rows, name="metadata.json", mark=b""):
    touch(folder, *(file for file in rows if not file.startswith("gone")))
    (folder / name).write_bytes(mark + json.dumps(rows).encode())


def clips(inventory):
    """{short name: whether it is taken for a fake} of all that is used."""
    names = {group.name.rsplit("/", 1)[-1]: False for group in inventory.groups if group.original}
    return {**names, **{fake.name.rsplit("/", 1)[-1]: True for group in inventory.groups for fake in group.fakes}}


@pytest.mark.parametrize(
    "real, fake",
    [
        ({"label": "REAL"}, {"label": "FAKE "}),
        ({"label": " real"}, {"label": "fake"}),
        ({"is_fake": 0}, {"is_fake": 1}),
        ({"is_fake": False}, {"is_fake": True}),
        ({"label": 0}, {"label": 1}),
        ({"label": "0"}, {"label": "1"}),
    ],
)
@pytest.mark.parametrize("name", ["metadata.json", "dataset.json"])
def test_known_labels_are_read(tmp_path, real, fake, name):
    listed(tmp_path, {"a.mp4": real, "b.mp4": {**fake, "original": "a.mp4"}}, name)
    assert clips(find(str(tmp_path), "auto", Options())) == {"a": False, "b": True}


@pytest.mark.parametrize("label", [{"label": "FAKED"}, {"label": None}, {"is_fake": 2}, {"method": "swap"}])
@pytest.mark.parametrize("name", ["metadata.json", "dataset.json"])
def test_a_label_that_is_not_known_is_refused_by_row(tmp_path, capsys, label, name):
    listed(tmp_path, {"a.mp4": {"label": "REAL"}, "b.mp4": {**label, "original": "a.mp4"}}, name)
    assert command.main(["audit", f"--data_dir={tmp_path}", "--check=list"]) == 1
    message = capsys.readouterr().err
    assert name in message
    assert "b.mp4" in message
    assert "a.mp4 (" not in message


def test_the_test_set_is_read_from_labels_csv(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\nc.mp4,1\ngone.mp4,0\n")
    found = find(str(tmp_path), "auto", Options())
    assert clips(found) == {"a": False}
    states = {problem.name.rsplit("/", 1)[-1]: (problem.state, problem.label) for problem in found.problems}
    assert states == {"b": ("original_missing", 1), "c": ("original_missing", 1), "gone": ("missing", 0)}
    assert "names no original" in found.problems[-1].reason
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,maybe\n")
    with pytest.raises(DatasetError, match=r"labels\.csv.*b\.mp4"):
        find(str(tmp_path), "auto", Options())


def test_two_lists_of_one_folder_must_agree(tmp_path):
    listed(tmp_path, {"a.mp4": {"is_fake": 0}, "b.mp4": {"is_fake": 1, "original": "a.mp4"}})
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    assert clips(find(str(tmp_path), "auto", Options())) == {"a": False, "b": True}
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,0\n")
    with pytest.raises(DatasetError, match=r"other labels than metadata\.json beside it: b\.mp4"):
        find(str(tmp_path), "auto", Options())


def test_parts_are_found_one_deeper_as_unpacking_leaves_them(tmp_path):
    """Before, the nested part beside a plain one was left out without a word."""
    rows = {"a.mp4": None, "b.mp4": "a.mp4"}
    other = {"c.mp4": None, "d.mp4": "c.mp4"}
    drawn_trees.dfdc(tmp_path / "all", {"dfdc_train_part_0": rows, "dfdc_train_part_01/dfdc_train_part_1": other})
    found = find(str(tmp_path / "all"), "auto", Options())
    assert clips(found) == {"a": False, "b": True, "c": False, "d": True}
    assert {group.identity for group in found.groups} == {"dfdc:dfdc_train_part_0", "dfdc:dfdc_train_part_1"}
    assert find(str(tmp_path), "auto", Options()).clips() == 4  # and in a folder around it all


def test_a_part_unpacked_twice_is_used_once(tmp_path):
    rows = {"a.mp4": None, "b.mp4": "a.mp4"}
    drawn_trees.dfdc(tmp_path, {"dfdc_train_part_0": rows, "dfdc_train_part_00/dfdc_train_part_0": rows})
    found = find(str(tmp_path), "auto", Options())
    assert found.clips() == 2
    assert any("lists the same clips" in note for note in found.notes)


def test_another_metadata_json_far_below_makes_no_part(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    (tmp_path / "original_sequences" / "youtube" / "metadata.json").write_text('{"made": {"by": "hand"}}')
    assert {group.dataset for group in find(str(tmp_path), "auto", Options()).groups} == {"faceforensics"}


def test_names_match_whatever_their_case_and_mark(tmp_path):
    touch(tmp_path, "a.MP4", "b.Mp4")
    rows = {"A.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}}
    (tmp_path / "metadata.json").write_bytes(codecs.BOM_UTF8 + json.dumps(rows).encode())
    found = find(str(tmp_path), "auto", Options())
    assert clips(found) == {"A": False, "b": True}
    assert {fake.path for group in found.groups for fake in group.fakes} == {str(tmp_path / "b.Mp4")}


def test_a_list_away_from_its_videos_is_refused(tmp_path):
    listed(tmp_path, {"gone_a.mp4": {"label": "REAL"}, "gone_b.mp4": {"label": "FAKE", "original": "gone_a.mp4"}})
    with pytest.raises(DatasetError, match="not one of the 2 files"):
        find(str(tmp_path), "auto", Options())


def test_a_list_with_several_splits_is_followed(tmp_path):
    """All of DFDC's own parts say "train", which is no split."""
    rows = {f"{n}.mp4": {"label": "REAL", "split": split} for n, split in enumerate(("train", "TRAIN ", "test", "val"))}
    listed(tmp_path, rows)
    found = find(str(tmp_path), "auto", Options())
    assert [group.split for group in found.groups] == ["train", "train", "test", "val"]
    listed(tmp_path, {**rows, "4.mp4": {"label": "REAL", "split": "holdout"}})
    with pytest.raises(DatasetError, match=r"4\.mp4 \('holdout'\)"):
        find(str(tmp_path), "auto", Options())


@pytest.mark.parametrize(
    "name", ["../../secret.mp4", "/etc/secret.mp4", "..\\..\\secret.mp4", "C:\\secret.mp4", "a/../../secret.mp4"]
)
@pytest.mark.parametrize("as_original", [False, True])
def test_a_list_cannot_name_files_outside_its_data_set(tmp_path, name, as_original):
    """Before, `../` and absolute names in a stranger's metadata.json were followed."""
    touch(tmp_path, "secret.mp4", "set/a.mp4", "set/b.mp4")
    rows = {"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": name if as_original else "a.mp4"}}
    if not as_original:
        rows[name] = {"label": "REAL"}
    (tmp_path / "set" / "metadata.json").write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=r"metadata\.json: a name must lead to a file inside the data set"):
        find(str(tmp_path / "set"), "dfdc", Options())
