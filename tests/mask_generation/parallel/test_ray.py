"""A Ray cluster does the same as processes. Skipped where Ray is not installed, as it is an extra."""

from __future__ import annotations

import sys

import pytest

from mask_generation.parallel import processes
from mask_generation.parallel import ray as ray_cluster
from mask_generation.parallel.processes import Answer, Work
from tests.helpers import drawn_work

WORK = Work(drawn_work.build, drawn_work.do)


def test_without_ray_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(processes.ParallelError, match=r"pip install .*\[ray\]"):
        ray_cluster.connect("local")


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def run(folder, orders, limit_s=60.0, again=lambda job, answer: None):
    answers = list(ray_cluster.run(drawn_work.jobs(folder, orders), WORK, "auto", 2, lambda job: limit_s, again))
    return {job.name: answer for job, answer in answers}, len(answers)


def test_every_job_is_answered_once(cluster, tmp_path):
    asked = []

    def again(job, answer):
        asked.append((job.name, answer.kind))
        return job if len(asked) < 3 else None

    answers, count = run(tmp_path, ["go", ("die", "go"), "bug", "die", "go", "go"], again=again)
    assert count == 6
    assert {name: answer.kind for name, answer in answers.items() if name in "01245"} == {
        **dict.fromkeys("0145", processes.DONE),
        "2": processes.BUG,
    }
    assert answers["3"].kind == processes.DIED
    assert {kind for _, kind in asked} == {processes.DIED}
    assert isinstance(answers["0"], Answer)


def test_a_job_that_hangs_is_ended_and_a_full_disk_ends_the_run(cluster, tmp_path):
    answers, count = run(tmp_path, ["hang", "go"], limit_s=2.0)
    assert count == 2
    assert answers["0"].kind == processes.LATE
    with pytest.raises(processes.ParallelError, match="No space left"):
        run(tmp_path, ["full", "go"])
