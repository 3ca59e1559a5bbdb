"""Text, JSON and CSV as editors and spreadsheets leave them; labels and splits in the spellings people use."""

from __future__ import annotations

import codecs

import pytest

from mask_generation.datasets import lists
from mask_generation.datasets.base import DatasetError

NAME = "ähre.mp4"


@pytest.mark.parametrize(
    "data",
    [
        f'["{NAME}"]'.encode(),
        codecs.BOM_UTF8 + f'["{NAME}"]'.encode(),
        f'["{NAME}"]'.encode("utf-16"),
        codecs.BOM_UTF16_BE + f'["{NAME}"]'.encode("utf-16-be"),
        f'["{NAME}"]'.encode("utf-16-le"),
    ],
    ids=["plain", "utf-8-bom", "utf-16", "utf-16-be", "utf-16-without-bom"],
)
def test_json_is_read_whatever_the_editor_put_in_front(tmp_path, data):
    (tmp_path / "list.json").write_bytes(data)
    assert lists.read_json(str(tmp_path / "list.json"), "a list") == [NAME]


def test_json_that_says_two_things_of_one_file_is_refused(tmp_path):
    (tmp_path / "list.json").write_text('{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}')
    with pytest.raises(DatasetError, match=r"list\.json: has 'a\.mp4' twice"):
        lists.read_json(str(tmp_path / "list.json"), "rows")


@pytest.mark.parametrize(
    "text",
    [
        "fake,original\nf.mp4,r.mp4\n",
        "\ufefffake;original\r\nf.mp4;r.mp4\r\n",
        "fake\toriginal\nf.mp4\tr.mp4\n",
        'sep=;\n"Fake"; "Original" \n f.mp4 ; r.mp4\n;\n',
        "original|fake\nr.mp4|f.mp4\n\n",
    ],
)
def test_a_table_is_read_in_any_dialect(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, "utf-8", newline="")
    ((_, row),) = lists.read_table(str(tmp_path / "list.csv"), ("fake", "original"), "fake,original")
    assert row == {"fake": "f.mp4", "original": "r.mp4"}


def test_a_table_keeps_quoted_delimiters_and_refuses_loose_ones(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('fake,original\n"a, b.mp4",r.mp4\n')
    assert lists.read_table(str(path), ("fake",), "")[0] == (2, {"fake": "a, b.mp4", "original": "r.mp4"})
    path.write_text("fake,original\nx.mp4,r.mp4\na, b.mp4,r.mp4\n")
    with pytest.raises(DatasetError, match=r"line 3: 3 cells under 2 columns"):
        lists.read_table(str(path), ("fake",), "")
    path.write_text("fake;real\na;b\n")
    with pytest.raises(DatasetError, match=r"no column original; expected fake,original"):
        lists.read_table(str(path), ("fake", "original"), "fake,original")


@pytest.mark.parametrize(
    "row, label",
    [
        *(({"label": word}, lists.FAKE) for word in ("FAKE", "fake", "FAKE ", " Fake", 1, "1", 1.0)),
        *(({"label": word}, lists.REAL) for word in ("REAL", "Real\n", 0, "0")),
        *(({"is_fake": word}, lists.FAKE) for word in (1, "1", True, "True", "FAKE")),
        *(({"is_fake": word}, lists.REAL) for word in (0, False, "false")),
        ({"Label": "FAKE", "IS_FAKE": 1}, lists.FAKE),
        ({"label": "REAL", "is_fake": 1}, None),
        *(({"label": word}, None) for word in ("FAKED", "", None, 2, "-1", True, "unknown")),
        ({"original": "a.mp4"}, None),
    ],
)
def test_a_label_is_known_or_not_there(row, label):
    assert lists.label_of(row) == label


def test_a_split_is_known_or_not_there():
    assert [lists.split_of(word) for word in ("TRAIN ", "validation", "dev", "Test", "", None)] == [
        *("train", "val", "val", "test", "", "")
    ]
    assert lists.split_of("holdout") is None
