"""Each layout on disk → groups of an original and its copies, whose faces they show, and what does not fit."""

from __future__ import annotations

import codecs
import json
import os

import pytest

from mask_generation.datasets.base import DatasetError, Layout, Options
from mask_generation.datasets.registry import LAYOUTS, detect, find
from mask_generation.datasets.splits import leaks
from tests.helpers import drawn_trees
from tests.helpers.drawn_trees import touch


def by_name(inventory):
    return {group.name: group for group in inventory.groups}


def members(inventory):
    """{short name of the original: sorted short names of its fakes}."""
    return {g.name.rsplit("/", 1)[-1]: [f.name.rsplit("/", 1)[-1] for f in g.fakes] for g in inventory.groups}


def test_faceforensics_pairs_each_fake_with_its_target_at_the_same_compression(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")], ("Deepfakes", "FaceSwap"), "c23")
    drawn_trees.faceforensics(tmp_path, [("000", "003")], ("Deepfakes",), "c40")
    touch(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    assert detect(str(tmp_path)) == ["faceforensics"]
    found = find(str(tmp_path), "auto", Options())
    groups = by_name(found)
    assert set(groups) == {f"faceforensics/youtube/{c}/{n}" for c in ("c23", "c40") for n in ("000", "003")}
    group = groups["faceforensics/youtube/c23/000"]
    assert [fake.name for fake in group.fakes] == [f"faceforensics/{m}/c23/000_003" for m in ("Deepfakes", "FaceSwap")]
    assert {fake.compression for fake in group.fakes} == {"c23"}
    assert group.fakes[0].identities == {"ffpp:000", "ffpp:003"}
    assert group.fakes[0].official_mask.endswith("masks/videos/000_003.mp4")
    assert group.fakes[1].official_mask is None
    assert not found.problems
    assert found.clips() == 4 + 4 + 2
    assert len({group.split for group in found.groups}) == 1  # both directions and all compressions together


def test_faceforensics_keeps_to_the_methods_and_compressions_asked_for(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")], ("Deepfakes", "FaceSwap"), "c23")
    drawn_trees.faceforensics(tmp_path, [("000", "003")], ("Deepfakes",), "c40")
    found = find(str(tmp_path), "faceforensics", Options(methods=("FaceSwap",), compressions=("c23",)))
    assert members(found) == {"000": ["000_003"], "003": ["003_000"]}


def test_faceforensics_reads_the_official_split(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003"), ("100", "104"), ("200", "205")])
    drawn_trees.split_files(tmp_path / "splits", train=[("000", "003")], val=[("100", "104")], test=[("200", "205")])
    found = find(str(tmp_path), "auto", Options())
    splits = {group.name[-3:]: group.split for group in found.groups}
    assert splits == {"000": "train", "003": "train", "100": "val", "104": "val", "200": "test", "205": "test"}
    with pytest.raises(DatasetError, match=r"expected train\.json"):
        find(str(tmp_path), "auto", Options(split_dir=str(tmp_path)))
    (tmp_path / "splits" / "val.json").write_text("{broken")
    with pytest.raises(DatasetError, match=r"val\.json"):
        find(str(tmp_path), "auto", Options())


def test_faceforensics_reports_what_has_no_original_or_another_name(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    touch(
        tmp_path,
        "manipulated_sequences/Deepfakes/c23/videos/500_501.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/readme.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/notes.txt",
        "manipulated_sequences/Deepfakes/c23/videos/._000_003.mp4",
    )
    found = find(str(tmp_path), "auto", Options())
    (problem,) = found.problems
    assert (problem.name, problem.state) == ("faceforensics/Deepfakes/c23/500_501", "original_missing")
    assert "500.mp4" in problem.reason
    assert any("readme.mp4" in note for note in found.notes)


def test_dfd_finds_the_original_by_target_and_scene(tmp_path):
    drawn_trees.dfd(tmp_path, ["01_02__walk__ABCDEFGH", "01_03__walk__BCDEFGHI", "02_01__talk__CDEFGHIJ"])
    touch(tmp_path, "manipulated_sequences/DeepFakeDetection/c23/videos/09_01__walk__DEFGHIJK.mp4")
    assert detect(str(tmp_path)) == ["dfd"]
    found = find(str(tmp_path), "auto", Options(shares=(1, 0, 0)))
    assert members(found) == {
        "01__walk": ["01_02__walk__ABCDEFGH", "01_03__walk__BCDEFGHI"],
        "02__talk": ["02_01__talk__CDEFGHIJ"],
    }
    assert by_name(found)["dfd/actors/c23/01__walk"].fakes[0].identities == {"dfd:01", "dfd:02"}
    assert [problem.state for problem in found.problems] == ["original_missing"]


def test_faceforensics_and_dfd_lie_in_one_folder(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    drawn_trees.dfd(tmp_path, ["01_02__walk__ABCDEFGH"])
    assert detect(str(tmp_path)) == ["faceforensics", "dfd"]
    assert {group.dataset for group in find(str(tmp_path), "auto", Options()).groups} == {"faceforensics", "dfd"}


def test_dfdc_follows_its_lists_part_by_part(tmp_path):
    drawn_trees.dfdc(
        tmp_path,
        {
            "dfdc_train_part_0": {"a.mp4": None, "b.mp4": "a.mp4", "c.mp4": "a.mp4", "d.mp4": "gone_d.mp4"},
            "dfdc_train_part_1": {"e.mp4": None, "gone_f.mp4": "e.mp4", "gone_g.mp4": None},
        },
    )
    assert detect(str(tmp_path)) == ["dfdc"]
    found = find(str(tmp_path), "auto", Options())
    assert members(found) == {"a": ["b", "c"], "e": []}
    states = {problem.name.rsplit("/", 1)[-1]: (problem.state, problem.label) for problem in found.problems}
    assert states == {"d": ("original_missing", 1), "gone_f": ("missing", 1), "gone_g": ("missing", 0)}
    assert len({group.identity for group in found.groups}) == 2  # people come back within a part


def test_dfdc_lists_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "metadata.json").write_text("[1, 2]")
    with pytest.raises(DatasetError, match=r"metadata\.json"):
        find(str(tmp_path), "auto", Options())


def test_dfdc_preview_pairs_by_the_beginning_of_the_name(tmp_path):
    rows = {
        "original_videos/643/643_A.mp4": {"label": "real", "set": "train", "target_id": 643},
        "original_videos/643/643_AB.mp4": {"label": "real", "set": "train", "target_id": 643},
        "method_A/1/643_AB_C.mp4": {"label": "fake", "set": "train", "target_id": 643, "swapped_id": 7},
        "method_B/1/999_X_Y.mp4": {"label": "fake", "set": "test", "target_id": 999, "swapped_id": 8},
    }
    touch(tmp_path, *rows)
    (tmp_path / "dataset.json").write_text(json.dumps(rows))
    found = find(str(tmp_path), "auto", Options())
    assert members(found) == {"643_A": [], "643_AB": ["643_AB_C"]}
    assert {group.split for group in found.groups} == {"train"}
    assert [problem.state for problem in found.problems] == ["original_missing"]


@pytest.fixture
def celebdf(tmp_path):
    touch(
        tmp_path,
        *(f"Celeb-real/id{who}_000{clip}.mp4" for who in range(4) for clip in range(2)),
        *(
            f"Celeb-synthesis/id{a}_id{b}_000{clip}.mp4"
            for a in range(4)
            for b in range(4)
            if a != b
            for clip in range(2)
        ),
        "Celeb-synthesis/id9_id1_0000.mp4",
        "YouTube-real/00000.mp4",
    )
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n0 Celeb-synthesis/id2_id0_0001.mp4\n"
    )
    return tmp_path


def test_celebdf_tests_on_the_clips_of_the_list_and_on_no_others(celebdf):
    """In the list 1 means real and 0 means fake."""
    found = find(str(celebdf), "auto", Options())
    test = [group for group in found.groups if group.split == "test"]
    tested = {clip.name.split("/")[-1] for group in test for clip in group.fakes}
    assert {"id0_id1_0000", "id2_id0_0001"} <= tested
    assert any(group.name.endswith("id0_0000") for group in test)
    elsewhere = {clip.name for group in found.groups if group.split != "test" for clip in group.fakes}
    assert not elsewhere & {clip.name for group in test for clip in group.fakes}
    assert [problem.state for problem in found.problems] == ["original_missing"]
    everyone = {clip.name for group in found.groups for clip in group.fakes}
    assert len(everyone) == 24


def test_celebdf_strict_shares_people_out_and_leaves_no_leak(celebdf):
    found = find(str(celebdf), "auto", Options(split_policy="strict", shares=(0.5, 0.25, 0.25)))
    assert not leaks(found.groups)
    assert found.groups


def test_pairs_csv_takes_what_it_lists(tmp_path):
    touch(tmp_path, "r/a.mp4", "r/b.mp4", "f/a_b.mp4", "f/x.mp4", "m.mp4")
    (tmp_path / "pairs.csv").write_text(
        "fake,original,method,split,compression,identity,mask\n"
        "f/a_b.mp4,r/a.mp4,swap,train,c23,,m.mp4\n"
        "f/x.mp4,r/gone.mp4,swap,train,,,\n"
        ",r/b.mp4,,val,,ann;bob,\n"
    )
    found = find(str(tmp_path / "pairs.csv"), "auto", Options())
    assert members(found) == {"a": ["a_b"], "b": []}
    groups = {group.name: group for group in found.groups}
    assert groups["pairs/original/c23/r/a"].fakes[0].official_mask == str(tmp_path / "m.mp4")
    assert groups["pairs/original/native/r/b"].identities == {"pairs:ann", "pairs:bob"}
    assert [(problem.state, problem.label) for problem in found.problems] == [("missing", 0), ("original_missing", 1)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("fake,real\na,b\n", "no column original"),
        ("fake,original,split\na.mp4,b.mp4,training\n", "line 2: split 'training'"),
        ("fake,original,split\nx.mp4,r.mp4,train\ny.mp4,r.mp4,val\n", "line 3"),
        ("fake,original\nx.mp4,r.mp4\nx.mp4,r.mp4\n", "second clip"),
    ],
)
def test_pairs_csv_names_the_line_that_is_wrong(tmp_path, text, message):
    touch(tmp_path, "r.mp4", "x.mp4", "y.mp4")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        find(str(tmp_path / "pairs.csv"), "auto", Options())


def test_pairs_csv_finds_names_without_suffix_in_the_folders_below_it(tmp_path):
    """As lists of face crops have them; the people are in a column of their own."""
    touch(tmp_path, "faces/ab/abc.jpg", "faces/ac/acd.png", "faces/ac/ace.jpg", "x/one/two.mp4", "y/one/two.mp4")
    (tmp_path / "faces/ab/round").symlink_to(tmp_path / "faces")
    (tmp_path / "pairs.csv").write_text(
        "fake,original,person,split,aligned\nacd,abc,p1,train,1\nac/ace,abc,p1,train,0\ngone,abc,p1,train,1\n"
    )
    found = find(str(tmp_path / "pairs.csv"), "auto", Options(data_name="crops"))
    (group,) = found.groups
    assert (group.name, group.original) == ("crops/original/native/abc", str(tmp_path / "faces/ab/abc.jpg"))
    assert group.identities == {"crops:p1"}
    assert group.identity == "crops:p1"
    assert group.pictures
    assert [fake.path for fake in group.fakes] == [
        str(tmp_path / name) for name in ("faces/ac/ace.jpg", "faces/ac/acd.png")
    ]
    assert [(problem.state, problem.name) for problem in found.problems] == [("missing", "crops/fake/native/gone")]
    (tmp_path / "pairs.csv").write_text("fake,original\none/two,abc\n")
    with pytest.raises(DatasetError, match=r"line 2: one/two may be x/one/two.mp4 or y/one/two.mp4; write the path"):
        find(str(tmp_path / "pairs.csv"), "auto", Options())


@pytest.mark.parametrize("delimiter, mark", [(",", b""), (";", codecs.BOM_UTF8), ("\t", b"")])
def test_pairs_csv_is_read_as_written_on_another_system(tmp_path, delimiter, mark):
    """Before, none of this was read, and files that are not there were counted in train and failed."""
    touch(tmp_path, "sub/F.MP4", "o.mp4")
    rows = ("Fake,Original,Split", "sub\\f.mp4,O.mp4,TRAIN", "gone.mp4,o.mp4,train", ",gone_o.mp4,train")
    (tmp_path / "pairs.csv").write_bytes(mark + "\r\n".join(rows).replace(",", delimiter).encode())
    found = find(str(tmp_path / "pairs.csv"), "auto", Options())
    (group,) = found.groups
    assert (group.split, group.original) == ("train", str(tmp_path / "o.mp4"))
    assert [fake.path for fake in group.fakes] == [str(tmp_path / "sub" / "F.MP4")]
    assert {(problem.state, problem.name, problem.label) for problem in found.problems} == {
        ("missing", "pairs/fake/native/gone", 1),
        ("missing", "pairs/original/native/gone_o", 0),
    }


def test_a_pairs_csv_of_which_nothing_is_there_is_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("fake,original\na.mp4,b.mp4\n")
    with pytest.raises(DatasetError, match=r"not one of the 2 files.*b\.mp4: paths are relative"):
        find(str(tmp_path / "pairs.csv"), "auto", Options())


def test_pairs_csv_is_read_as_a_spreadsheet_writes_it(tmp_path):
    """With a byte order mark, `;`, other capitals and slashes, and another word for a split."""
    touch(tmp_path, "Faces/A.JPG", "Faces/b.jpg")
    (tmp_path / "pairs.csv").write_text(
        "\ufeffFake;Original;Split\r\nfaces\\B.jpg;faces\\a.jpg;validation\r\n", "utf-8"
    )
    (group,) = find(str(tmp_path / "pairs.csv"), "auto", Options()).groups
    assert (group.original, group.split) == (str(tmp_path / "Faces/A.JPG"), "val")
    assert group.fakes[0].path == str(tmp_path / "Faces/b.jpg")


def test_a_folder_of_real_videos_is_taken_at_any_depth_when_asked_for(tmp_path):
    touch(tmp_path, "a.mp4", "deep/er/b.MOV", "deep/c.txt")
    assert detect(str(tmp_path)) == []
    with pytest.raises(DatasetError, match="no known layout"):
        find(str(tmp_path), "auto", Options())
    found = find(str(tmp_path), "real_folder", Options())
    assert len(found.groups) == 2
    assert all(not group.fakes for group in found.groups)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no video files"):
        find(str(tmp_path / "empty"), "real_folder", Options())


def test_a_missing_folder_is_reported_as_missing(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        find(str(tmp_path / "nowhere"), "auto", Options())


def test_the_message_about_an_unknown_layout_names_every_known_one(tmp_path):
    with pytest.raises(DatasetError) as caught:
        find(str(tmp_path), "auto", Options())
    for layout in LAYOUTS.values():
        assert f"{layout.title} ({layout.expects})" in str(caught.value)


def test_a_new_layout_is_one_entry(tmp_path, monkeypatch):
    def recognises(root):
        return os.path.isdir(os.path.join(root, "FakeAVCeleb"))

    layout = Layout("fakeavceleb", "FakeAVCeleb", "FakeAVCeleb/", LAYOUTS["real_folder"].find, recognises)
    monkeypatch.setitem(LAYOUTS, layout.name, layout)
    with pytest.raises(DatasetError, match=r"FakeAVCeleb \(FakeAVCeleb/\)"):
        find(str(tmp_path), "auto", Options())
    touch(tmp_path, "FakeAVCeleb/a.mp4")
    assert detect(str(tmp_path)) == ["fakeavceleb"]
    assert len(find(str(tmp_path), "auto", Options()).groups) == 1


def test_only_a_layout_decides_what_is_a_still(tmp_path):
    """The column `dataset` is the user's: before, videos of a set that they called "dagm" were read as pictures."""
    touch(tmp_path, "r.mp4", "f.mp4")
    (tmp_path / "pairs.csv").write_text("fake,original,dataset\nf.mp4,r.mp4,dagm\n")
    (group,) = find(str(tmp_path / "pairs.csv"), "auto", Options()).groups
    assert group.dataset == "dagm"
    assert not group.still
