"""FaceForensics++ as people have it: Kaggle's flat copy, marks before lists, partial downloads, masks as pictures."""

from __future__ import annotations

import codecs
import json

import pytest

from mask_generation.audit import audit
from mask_generation.datasets.base import DatasetError, Options
from mask_generation.datasets.registry import detect, find
from tests.helpers import drawn_trees
from tests.helpers.drawn_trees import touch


def members(inventory):
    return {group.name: [fake.name for fake in group.fakes] for group in inventory.groups}


def splits(folder, train, mark=b""):
    folder.mkdir(exist_ok=True)
    for split, pairs in (("train", train), ("val", []), ("test", [])):
        (folder / f"{split}.json").write_bytes(mark + json.dumps(pairs).encode())


@pytest.mark.parametrize("below", ["", "videos/"])
def test_kaggles_flat_copy_is_read(tmp_path, below):
    root = tmp_path / "FaceForensics++_C23"
    touch(root, f"original/{below}000.mp4", f"original/{below}003.mp4")
    touch(root, f"Deepfakes/{below}000_003.mp4", f"FaceSwap/{below}003_000.mp4", "csv/original.csv")
    touch(root, f"DeepFakeDetection/{below}01_02__walk__ABCDEFGH.mp4")
    assert detect(str(root)) == ["faceforensics", "dfd"]
    for folder in (root, tmp_path):  # and as it lies in the folder it was unpacked into
        found = find(str(folder), "auto", Options(compressions=("c23",)))
        assert members(found) == {
            "faceforensics/youtube/c23/000": ["faceforensics/Deepfakes/c23/000_003"],
            "faceforensics/youtube/c23/003": ["faceforensics/FaceSwap/c23/003_000"],
        }
        assert [problem.name for problem in found.problems] == ["dfd/DeepFakeDetection/c23/01_02__walk__ABCDEFGH"]


def test_a_folder_of_several_data_sets_names_them(tmp_path):
    drawn_trees.faceforensics(tmp_path / "a", [("000", "003")])
    touch(tmp_path, "b/Celeb-real/id0_0000.mp4")
    with pytest.raises(DatasetError, match=r"several folders.*a \(FaceForensics\+\+\).*b \(Celeb-DF\)"):
        find(str(tmp_path), "auto", Options())


def test_the_folder_videos_may_be_left_out(tmp_path):
    touch(tmp_path, "original_sequences/youtube/c40/000.mp4", "manipulated_sequences/Deepfakes/c40/000_003.mp4")
    found = find(str(tmp_path), "auto", Options())
    assert members(found) == {"faceforensics/youtube/c40/000": ["faceforensics/Deepfakes/c40/000_003"]}


@pytest.mark.parametrize("pairs", [[["000", "003"]], [[0, 3]], ["000_003"], ["000.mp4", "youtube/003.mp4"]])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_split_files_are_read_in_several_forms(tmp_path, pairs, mark):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    splits(tmp_path / "splits", pairs, mark)
    found = find(str(tmp_path), "auto", Options())
    assert {group.split for group in found.groups} == {"train"}
    assert not found.problems


def test_what_the_split_names_and_is_not_there_is_counted_in_each_method(tmp_path):
    """Before, the audit said "missing 0"."""
    drawn_trees.faceforensics(tmp_path, [("000", "003")], ("Deepfakes", "FaceSwap"))
    (tmp_path / "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4").unlink()
    (tmp_path / "original_sequences/youtube/c23/videos/003.mp4").unlink()
    splits(tmp_path / "splits", [["000", "003"], ["100", "104"]])
    result = audit(find(str(tmp_path), "auto", Options()), "x", "official", "list")
    counts = {part.method: (part.found, part.missing, part.unpaired) for part in result.parts}
    assert counts == {"youtube": (1, 3, 0), "Deepfakes": (2, 2, 1), "FaceSwap": (1, 3, 1)}
    assert "faceforensics/youtube/c23/100" in {row["name"] for row in result.problems}


def test_a_split_that_matches_nothing_or_says_two_things_is_refused(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    splits(tmp_path / "splits", [["500", "501"]])
    with pytest.raises(DatasetError, match=r"name none of the 2 originals here \(000, 003"):
        find(str(tmp_path), "auto", Options())
    (tmp_path / "splits" / "test.json").write_text('[["000", "003"]]')
    splits(tmp_path / "more", [["000", "003"]])
    (tmp_path / "more" / "test.json").write_text('[["003", "500"]]')
    with pytest.raises(DatasetError, match=r"test\.json: 003 is in train\.json too"):
        find(str(tmp_path), "auto", Options(split_dir=str(tmp_path / "more")))
    (tmp_path / "more" / "test.json").write_text('[["003", null]]')
    with pytest.raises(DatasetError, match=r"test\.json.*entry 1 is"):
        find(str(tmp_path), "auto", Options(split_dir=str(tmp_path / "more")))
    (tmp_path / "splits" / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"no val\.json"):
        find(str(tmp_path), "auto", Options())


def test_originals_that_no_split_names_are_noted(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003"), ("100", "104")])
    splits(tmp_path / "splits", [["000", "003"]])
    found = find(str(tmp_path), "auto", Options())
    assert any("2 originals are in none of" in note and "100, 104" in note for note in found.notes)


def test_masks_are_videos_or_folders_of_pictures(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    touch(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/000_003/0000.png")
    touch(tmp_path, "manipulated_sequences/Deepfakes/c23/masks/003_000/000.png")
    fakes = [fake for group in find(str(tmp_path), "auto", Options()).groups for fake in group.fakes]
    assert [fake.official_mask[-22:] for fake in fakes] == ["s/masks/videos/000_003", "akes/c23/masks/003_000"]


def test_files_of_one_name_are_not_dropped_in_silence(tmp_path):
    drawn_trees.faceforensics(tmp_path, [("000", "003")])
    touch(tmp_path, "original_sequences/youtube/c23/videos/000.avi")
    found = find(str(tmp_path), "auto", Options())
    assert any("000.mp4: left out, as 000.avi" in note for note in found.notes)
