"""`runtime.scoring.batch`: a process that dies, hangs or fails costs the file it was at, and nothing else."""

from __future__ import annotations

import functools
import os
import time

import pytest

from runtime.scoring.batch import OutputError, ScoringError, default_processes
from tests.helpers import quick_scorer


@pytest.fixture
def run(tmp_path):
    """contents → results in the order of the contents, scored by two processes."""
    return functools.partial(quick_scorer.score_contents, tmp_path)


def test_every_job_is_answered_once(run):
    results = run([f"0.{i}" for i in range(8)])
    assert [r.score for r in results] == [i / 10 for i in range(8)]


def test_processes_that_die_hang_or_break_cost_one_file_each(run, tmp_path):
    start = time.monotonic()
    results = run(["0.1", "die", "0.3", "hang", "break", "0.6", "damaged", "0.8"], timeout_s=3)
    assert [r.state for r in results] == [
        *("ok", "unreadable", "ok", "timeout", "unreadable", "ok", "unreadable", "ok"),
    ]
    assert "SIGKILL" in results[1].reason
    assert "took longer than 3 s (--timeout_s)" in results[3].reason
    assert "errors.log" in results[4].reason
    assert "a bug" in results[4].reason
    assert time.monotonic() - start < 45
    log = (tmp_path / "out" / "errors.log").read_text()
    assert "ZeroDivisionError" in log
    assert "4.mp4" in log
    # What was lost is tried again next time; what was answered is kept.
    assert len(list((tmp_path / "out" / "results").iterdir())) == 5


def test_a_process_that_cannot_start_ends_the_run_with_its_reason(run):
    with pytest.raises(ScoringError, match="the model is missing"):
        run(["0.1"], build=quick_scorer.build_failing)


def test_processes_that_die_while_starting_end_the_run(run):
    with pytest.raises(ScoringError, match=r"SIGKILL.*memory"):
        run(["0.1", "0.2"], build=quick_scorer.build_dying, processes=1)


def full_disk(output, overlay_video, scorer, job, result):
    raise OutputError(f"{output}: cannot be written to: No space left on device")


def test_a_full_disk_ends_the_run(run):
    with pytest.raises(ScoringError, match="No space left"):
        run(["0.1", "0.2", "0.3"], save=full_disk)


def test_number_of_processes():
    assert default_processes(1) == 1
    assert 1 <= default_processes(1000) <= (os.cpu_count() or 1)
