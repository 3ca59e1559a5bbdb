"""Clips with random damage to their bytes neither crash nor hang: they give frames, or a state and a reason.

More of them, in processes as scoring has them: `python -m tests.helpers.fuzz 2000`.
"""

from __future__ import annotations

import pytest

from tests.helpers import fuzz

EACH = 13  # over 200 in all
BROKE = {"ts": (1892,)}  # numbers that have ended in an exception once


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_mutated_bytes_end_in_frames_or_a_reason(tmp_path, kind):
    whole, path, ends = fuzz.draw(tmp_path, kind), tmp_path / f"mutated.{kind}", set()
    for number in (*range(EACH), *BROKE.get(kind, ())):
        path.write_bytes(fuzz.damage(whole, number))
        end = fuzz.look(path)
        assert end.what != "wrong", (number, end.detail)
        assert end.seconds < 2 * fuzz.LIMIT_S + 5, number
        ends.add(end.what)
    if kind != "3gp":  # so small a file that nearly all of it is header
        assert ends & {fuzz.WHOLE, fuzz.PARTIAL, fuzz.SILENT}, "nothing is ever read"
    assert len(ends) > 1, "no mutation did any harm"


def test_the_damage_is_the_same_every_time_and_over_two_hundred_are_tried(tmp_path):
    whole = fuzz.draw(tmp_path, "mkv")
    assert [fuzz.damage(whole, n) for n in range(20)] == [fuzz.damage(whole, n) for n in range(20)]
    assert len({fuzz.damage(whole, n) for n in range(20)}) == 20
    assert EACH * len(fuzz.KINDS) >= 200


def test_the_long_one_reads_in_processes_and_loses_nothing(capsys):
    assert fuzz.main(17, workers=1) == 0
    assert "tried 17, answered 17, lost 0" in capsys.readouterr().out
