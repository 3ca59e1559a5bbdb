"""Processes: every job is answered once, whatever happens to who does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from mask_generation.parallel import processes
from mask_generation.parallel.processes import Answer, Work
from tests.helpers import drawn_work

WORK = Work(drawn_work.build, drawn_work.do)


def run(folder, orders, count=2, limit_s=60.0, again=lambda job, answer: None, work=WORK):
    answers = list(processes.run(drawn_work.jobs(folder, orders), work, count, lambda job: limit_s, again))
    return {job.name: answer for job, answer in answers}, len(answers)


def test_every_job_is_answered_once_by_the_processes_there_are(tmp_path):
    answers, count = run(tmp_path, ["go"] * 9, count=3)
    assert count == 9
    assert {answer.content[1] for answer in answers.values()} == {str(number) for number in range(9)}
    assert 1 <= len({answer.content[0] for answer in answers.values()}) <= 3


def test_a_job_whose_process_dies_is_given_to_another(tmp_path):
    asked = []

    def again(job, answer):
        asked.append((job.name, answer))
        return job

    answers, count = run(tmp_path, ["go", ("die", "die", "go"), "go"], again=again)
    assert count == 3
    assert {answer.kind for answer in answers.values()} == {processes.DONE}
    assert asked == [("1", Answer(processes.DIED, "signal SIGKILL"))] * 2
    assert len(list(tmp_path.glob("1-*"))) == 3


def test_a_process_has_a_ceiling_of_memory_which_costs_the_job_alone(tmp_path):
    bounded = Work(drawn_work.build, drawn_work.do, memory_mb=500)
    answers, _ = run(tmp_path, ["grow", "go"], count=1, work=bounded)
    assert answers["0"].kind == processes.BUG
    assert answers["0"].content[0].startswith("MemoryError")
    assert answers["1"].kind == processes.DONE


def test_a_process_that_has_grown_is_replaced_before_its_next_job(tmp_path):
    slim = Work(drawn_work.build, drawn_work.do, growth_mb=30)
    answers, count = run(tmp_path, ["go", "swell", "go", "go"], count=1, work=slim)
    workers = [answers[str(number)].content[0] for number in range(4)]
    assert count == 4
    assert workers[0] == workers[1] != workers[2] == workers[3]


def test_a_job_that_is_given_up_is_reported_and_the_others_go_on(tmp_path):
    answers, count = run(tmp_path, ["die", "go", "bug"])
    assert count == 3
    assert answers["0"] == Answer(processes.DIED, "signal SIGKILL")
    assert answers["1"].kind == processes.DONE
    assert answers["2"].kind == processes.BUG
    assert answers["2"].content[0] == "ZeroDivisionError: division by zero"
    assert "drawn_work.py" in answers["2"].content[1]


def test_a_job_that_hangs_is_ended_at_its_limit(tmp_path):
    start = time.monotonic()
    answers, count = run(tmp_path, ["hang", "go"], limit_s=1.0)
    assert count == 2
    assert answers["0"].kind == processes.LATE
    assert time.monotonic() - start < 30


def test_a_full_disk_ends_the_run(tmp_path):
    with pytest.raises(processes.ParallelError, match=r"No space left on device.*/data/x"):
        run(tmp_path, ["full", "go", "go"])


def test_processes_that_cannot_start_end_the_run_with_the_reason(tmp_path):
    with pytest.raises(processes.ParallelError, match="MemoryError: no room"):
        run(tmp_path, ["go"], work=Work(drawn_work.cannot_build, drawn_work.do))
    with pytest.raises(processes.ParallelError, match="end while starting"):
        run(tmp_path, ["go"], work=Work(drawn_work.dies_at_start, drawn_work.do))


def test_no_process_outlives_a_parent_that_is_killed(tmp_path):
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from mask_generation.parallel import processes
        from tests.helpers import drawn_work
        jobs = [drawn_work.Job(str(n), ("hang",), Path({str(tmp_path)!r})) for n in range(2)]
        work = processes.Work(drawn_work.build, drawn_work.do)
        list(processes.run(jobs, work, 2, lambda job: 60.0, lambda job, answer: None))
        """
    )
    (tmp_path / "parent.py").write_text("if __name__ == '__main__':\n" + textwrap.indent(script, "    "))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("?-0-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    at_work = [psutil.Process(int(path.name.split("-")[2])) for path in tmp_path.glob("?-0-*")]
    assert len(at_work) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(at_work, timeout=20)
    assert len(gone) == 2
    assert not alive
