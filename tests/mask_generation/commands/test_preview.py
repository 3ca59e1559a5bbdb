"""The contact sheet shows what the records hold, evenly over methods and clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mask_generation import __main__ as command
from mask_generation import pipeline, shards
from mask_generation.commands import preview
from mask_generation.commands.preview import Row, contact_sheet, overlay, spread
from tests.helpers import drawn_pairs, drawn_records


def test_only_what_is_faked_is_tinted():
    fake = np.full((40, 40, 3), 120, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 10:30] = 255
    drawn = overlay(fake, mask)
    changed = (drawn != fake).any(axis=2)
    np.testing.assert_array_equal(changed, mask > 0)
    assert overlay(fake[..., :1], mask).shape == (40, 40, 3)  # grey pictures too


def test_a_sheet_has_a_place_for_every_row():
    picture = np.full((64, 64, 3), 50, np.uint8)
    row = Row(picture, picture, np.zeros((64, 64), np.uint8), "a/very/long/name" * 20, "détail")
    one, five = contact_sheet([row], 2), contact_sheet([row] * 5, 2)
    assert five.shape[1] == 2 * one.shape[1]
    assert five.shape[0] > 2.5 * one.shape[0]
    tiles = (five == 50).all(axis=2).sum() / (preview.TILE_PX**2)
    assert 14 < tiles < 15.1  # fifteen pictures, less what is written on them


def test_examples_come_from_every_method_and_clip_in_turn():
    found = [(f"m{m}", f"m{m}c{c}", r, 0) for m in range(3) for c in range(4) for r in range(5)]
    chosen = spread(found, 12)
    assert len({entry[1] for entry in chosen}) == 12
    assert len({entry[0] for entry in spread(found, 3)}) == 3
    assert spread(found[::-1], 12) == chosen
    assert len(spread(found, 100)) == 60


@pytest.fixture
def folder(tmp_path):
    for split, first in (("train", 0), ("val", 40)):
        groups = [drawn_records.group(first + number, copies=2) for number in range(8)]
        shards.write_part(tmp_path / "records" / f"{split}-00000-of-00001", groups, [], {})
    return tmp_path / "records"


def test_records_are_shown(folder, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    assert command.main(["preview", f"--records={folder}", f"--output={output}", "--count=6"]) == 0
    assert "6 examples" in capsys.readouterr().out
    picture = cv2.imread(str(output))
    assert picture.shape[0] > 3 * preview.TILE_PX
    assert picture.shape[1] > 6 * preview.TILE_PX
    assert len(list(tmp_path.glob("*.png"))) == 1


@pytest.mark.parametrize("arguments, count", [(["--split=val"], 16), (["--methods=noise1"], 16), (["--split=test"], 0)])
def test_records_of_one_split_or_method_are_shown(folder, tmp_path, capsys, arguments, count):
    output = tmp_path / "sheet.png"
    code = command.main(["preview", f"--records={folder}", f"--output={output}", "--count=50", *arguments])
    assert code == (0 if count else 1)
    shown = capsys.readouterr()
    assert (f"{count} examples" if count else "no records in it of the split test") in shown.out + shown.err


def test_pairs_are_masked_and_shown_without_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "build_detector", lambda device: drawn_pairs.build_quick())
    table = drawn_pairs.pairs_csv(tmp_path, 2)
    output = tmp_path / "sheet.png"
    words = [f"--pairs_csv={table}", f"--output={output}", "--mask_recipe=article", "--count=2"]
    assert command.main(["preview", *words]) == 0
    assert "2 examples" in capsys.readouterr().out
    assert output.exists()
    assert not list(tmp_path.glob("*.tfrecord"))


def test_wrong_commands_are_refused(folder, tmp_path, capsys):
    assert command.main(["preview", f"--records={folder}", "--output=sheet.jpg"]) == 2
    assert command.main(["preview"]) == 2
    assert command.main(["preview", f"--records={tmp_path}"]) == 1
    assert "no records" in capsys.readouterr().err
