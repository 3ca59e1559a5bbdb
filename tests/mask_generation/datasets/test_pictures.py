"""A folder of crops with a list: fake → original and label, as people hand such folders on."""

import json

import pytest

from mask_generation.datasets.base import DatasetError, Options
from mask_generation.datasets.registry import detect, find


@pytest.fixture
def folder(tmp_path):
    for name in ("faces/aa/abc.jpg", "faces/aa/fake_b.png", "faces/zz/fake_a.JPG", "faces/zz/other.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def tree(found):
    return {group.name: [fake.name.rsplit("/", 1)[-1] for fake in group.fakes] for group in found.groups}


def test_a_table_by_the_names_of_the_videos(folder):
    """As a well-known set of crops has it: names of videos that are not there, an original for each fake."""
    (folder / "metadata.csv").write_text(
        "videoname,original_width,original_height,label,original\n"
        "fake_a.mp4,129,129,FAKE,abc.mp4\nfake_b.mp4,129,129,FAKE,abc.mp4\nabc.mp4,1,1,REAL,NaN\nother.mp4,1,1,REAL,NaN\n"
        "gone.mp4,1,1,FAKE,abc.mp4\nlost.mp4,1,1,REAL,\n"
    )
    assert detect(str(folder)) == ["pictures"]
    found = find(str(folder), "auto", Options(data_name="crops"))
    assert tree(found) == {
        "crops/original/native/abc": ["fake_a", "fake_b"],
        "crops/original/native/other": [],
    }
    assert all(group.pictures for group in found.groups)
    assert found.groups[0].fakes[0].path == str(folder / "faces/zz/fake_a.JPG")
    assert found.groups[0].identities == found.groups[0].fakes[0].identities == {"crops:abc"}
    assert sorted((problem.state, problem.label) for problem in found.problems) == [("missing", 0), ("missing", 1)]


def test_people_splits_and_methods_are_taken_from_the_list(folder):
    (folder / "list.csv").write_text(
        "path;is_fake;original;split;person;method\n"
        "faces/aa/fake_b.png;1;faces/aa/abc.jpg;valid;p2;swap\nfaces/aa/abc.jpg;0;;valid;p1;\n"
    )
    (group,) = find(str(folder), "auto", Options()).groups
    assert (group.split, group.identities, group.all_identities) == (
        "val",
        {"pictures:p1"},
        {"pictures:p1", "pictures:p2"},
    )
    assert group.fakes[0].name == "pictures/swap/native/faces/aa/fake_b"
    (group,) = find(str(folder), "auto", Options(methods=("other",))).groups
    assert not group.fakes


def test_json_in_dfdc_s_form_when_the_layout_is_named(folder):
    rows = {"abc.jpg": {"label": "REAL"}, "fake_a.jpg": {"label": "FAKE", "original": "abc.jpg"}}
    (folder / "labels.json").write_text(json.dumps(rows))
    assert detect(str(folder)) == []
    assert tree(find(str(folder), "pictures", Options())) == {"pictures/original/native/abc": ["fake_a"]}


def test_a_list_of_pairs_in_the_folder(folder):
    (folder / "pairs.csv").write_text("fake,original\nfake_a,abc\n")
    assert tree(find(str(folder), "pictures", Options())) == {"pairs/original/native/abc": ["fake_a"]}


@pytest.mark.parametrize(
    "lists, message",
    [
        ({}, "no list beside the pictures"),
        ({"a.csv": "fake,original\na,b\n", "b.csv": "fake,original\na,b\n"}, "a.csv, b.csv may all be the list"),
        ({"a.csv": "file,label,original\nabc.jpg,maybe,\n"}, "label of REAL or FAKE.*abc.jpg"),
        ({"a.csv": "file,label,original,split\nabc.jpg,REAL,,holdout\n"}, "a split is train, val or test: abc.jpg"),
        ({"a.csv": "file,label,original\nabc.jpg,REAL,\nabc.jpg,FAKE,other\n"}, "line 3: abc.jpg has another row"),
        ({"a.csv": "file,label,original\nx.jpg,REAL,\n"}, "not one of the 1 files"),
        ({"a.json": "[]"}, "expected"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(folder, lists, message):
    for name, text in lists.items():
        (folder / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        find(str(folder), "pictures", Options())


def test_a_name_that_fits_two_files_is_refused(folder):
    (folder / "faces/zz/abc.png").touch()
    (folder / "a.csv").write_text("file,label,original\nabc.mp4,REAL,\n")
    with pytest.raises(DatasetError, match="abc.mp4 may be faces/aa/abc.jpg or faces/zz/abc.png"):
        find(str(folder), "auto", Options())
