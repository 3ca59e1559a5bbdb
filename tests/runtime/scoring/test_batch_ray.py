"""Scoring on a real Ray of its own; skipped with a message where Ray is not installed. Jobs in general: test_ray.py."""

from __future__ import annotations

import functools
import importlib.util

import pytest

from mask_generation.parallel import processes, ray
from runtime.scoring.batch import ScoringError
from tests.helpers import quick_scorer

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install -e .[ray] -c constraints.txt")


score = functools.partial(quick_scorer.score_contents, ray_address="local")


@needs_ray
def test_workers_that_die_hang_or_break_cost_one_file_each(tmp_path):
    results = score(tmp_path, ["0.1", "die", "hang", "break", "0.5"], timeout_s=8)
    assert [result.state for result in results] == ["ok", "unreadable", "timeout", "unreadable", "ok"]
    assert [result.score for result in results] == [0.1, None, None, None, 0.5]
    assert "a bug" in results[3].reason
    assert len(list((tmp_path / "out" / "results").iterdir())) == 2


@needs_ray
def test_a_worker_that_cannot_start_ends_the_run_with_its_reason(tmp_path):
    with pytest.raises(ScoringError, match="the model is missing"):
        score(tmp_path, ["0.1"], build=quick_scorer.build_failing)


@needs_ray
def test_an_address_without_a_cluster_is_named():
    with pytest.raises(processes.ParallelError, match="no Ray cluster at '127.0.0.1:9'"):
        ray.connect("127.0.0.1:9")
