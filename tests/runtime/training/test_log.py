"""Log, stopwatch and progress bar."""

from __future__ import annotations

import io
import json
import math
import sys

import numpy as np
import pytest
import tensorflow as tf

from runtime.training.log import JsonLines, LogError, Stopwatch, TrainLog


def test_rows_are_json_whatever_the_values(tmp_path):
    lines = JsonLines(tmp_path / "deep" / "log.jsonl")
    lines.write("train", loss=tf.constant(0.5), dice={"0.5": np.float32(0.25)}, bad=math.nan, list=(np.int64(3), "x"))
    (row,) = map(json.loads, (tmp_path / "deep" / "log.jsonl").read_text().splitlines())  # flushed before it is closed
    assert row["loss"] == 0.5
    assert row["dice"] == {"0.5": 0.25}
    assert row["bad"] == "nan"
    assert row["list"] == [3, "x"]
    lines.close()


def test_a_log_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="file/log.jsonl cannot be written"):
        JsonLines(tmp_path / "file" / "log.jsonl")


def test_the_stopwatch_leaves_out_what_is_excluded(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("runtime.training.log.time.perf_counter", lambda: now[0])
    watch = Stopwatch()
    with watch.waiting():
        now[0] += 1
    now[0] += 3
    with watch.excluded():
        now[0] += 100
    watch.count(8)
    assert watch.read() == {"images_per_s": 2.0, "waiting_share": 0.25}
    now[0] += 1
    watch.count(1)
    assert watch.read() == {"images_per_s": 1.0, "waiting_share": 0.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals_and_counts_what_was_done_before(tmp_path, monkeypatch, terminal):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    history = TrainLog(tmp_path, None, first_step=5, last_step=10, images=8, chief=True)
    for step in (6, 7, 8, 9, 10):
        history.advance(step, loss=0.125)
    history.close()
    shown = stream.getvalue()
    if terminal:
        assert "train" in shown
        assert "40/80" in shown  # images, not steps, and not from zero
        assert "loss=0.125" in shown
        assert "100%" in shown
    else:
        assert shown == ""


def test_other_workers_write_nothing(tmp_path, capsys):
    history = TrainLog(tmp_path / "run", None, 0, 1, 1, chief=False)
    history.event("train", step=1, loss=1.0)
    history.advance(1, loss=1.0)
    history.masks(1, np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 1)))
    history.close()
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""
