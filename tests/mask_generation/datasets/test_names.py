"""Names in lists against files on the disk, by one rule."""

from __future__ import annotations

import unicodedata

import pytest

from mask_generation.datasets.names import Folder, last
from tests.helpers.drawn_trees import touch


@pytest.mark.parametrize(
    "name, file",
    [
        ("sub/a.MP4", "sub/a.MP4"),
        ("SUB/A.mp4", "sub/a.MP4"),
        ("sub\\a.mp4", "sub/a.MP4"),
        ("./sub//a.MP4", "sub/a.MP4"),
        (" sub/a.MP4 ", "sub/a.MP4"),
        (unicodedata.normalize("NFD", "é.mp4"), unicodedata.normalize("NFC", "é.mp4")),
        ("c\\d.mp4", "c\\d.mp4"),  # where a file has that very name, it is meant
        ("gone.mp4", None),
        ("", None),
    ],
)
def test_a_name_means_one_file(tmp_path, name, file):
    touch(tmp_path, "sub/a.MP4", unicodedata.normalize("NFC", "é.mp4"), "c\\d.mp4")
    found = Folder(str(tmp_path)).find(name)
    assert found is None if file is None else (tmp_path / file).samefile(found)


def test_a_name_that_fits_several_files_means_none_of_them(tmp_path):
    touch(tmp_path, "a.mp4", "A.MP4")
    folder = Folder(str(tmp_path))
    assert folder.find("a.MP4") is None
    assert folder.find("A.MP4") == str(tmp_path / "A.MP4")


def test_the_last_part_names_a_clip_whatever_stands_before_it():
    assert last("Celeb-DF-v2\\Celeb-real/ID0_0001.MP4") == "id0_0001"
