"""Many videos over processes that may die: a file that crashes or hangs a decoder costs its own row and nothing else.

The processes are those of `mask_generation.workers`; what they do here is to score one file and write its result.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mask_generation import ray_workers, workers
from mask_generation.video import TIMEOUT, UNREADABLE, printable
from runtime.score_result import ScoreConfig, VideoResult


class PoolError(Exception):
    """No worker can be started, or none can go on; the message says why."""


class OutputError(workers.CannotWrite):
    """A result cannot be written; ends the run."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One file: `path` as bytes of the file system, `name` as reported, `key` of its result."""

    path: bytes
    name: str
    key: str


@dataclasses.dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs. `build(setup)` makes its scorer (`build_scorer`, unless tested), and
    `finish(scorer, job, result)` turns a result with pictures into one on disk."""

    model: str
    trust: bool
    config: ScoreConfig
    threads: int
    finish: Callable[[Any, Job, VideoResult], VideoResult]
    build: Callable[[WorkerSetup], Any]


def build_scorer(setup: WorkerSetup) -> Any:
    """Load model and detector in this process, with its share of the cores."""
    import cv2
    import tensorflow as tf

    from runtime.models import load_model
    from runtime.score import Scorer

    cv2.setNumThreads(setup.threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setup.threads)
    scorer = Scorer(load_model(setup.model, setup.trust), setup.config)
    scorer.warm_up()
    return scorer


def score_one(finish: Callable[[Any, Job, VideoResult], VideoResult], scorer: Any, job: Job) -> VideoResult:
    """In the worker: score a file and write what came of it; the pictures stay there."""
    return dataclasses.replace(finish(scorer, job, scorer.score(job.path)), evidence=())


def score_all(
    jobs: Sequence[Job],
    setup: WorkerSetup,
    processes: int | None,
    timeout_s: float,
    error_log: Path,
    ray_address: str = "",
) -> Iterator[tuple[Job, VideoResult]]:
    """Score every job, in whatever order they finish.

    Args:
        processes: how many at most; None, on Ray: as many as the cluster has room for.
        timeout_s: seconds one file may take before its worker is killed.
        error_log: file to which the trace of an unexpected error is appended.
        ray_address: of a Ray cluster to work on, see `mask_generation.ray_workers`; "": processes on this machine.
    Raises:
        PoolError: workers cannot start (model missing, not trusted, out of memory …), or results cannot be written.
    """
    work = workers.Work(functools.partial(setup.build, setup), functools.partial(score_one, setup.finish))

    def limit_s(job: Job) -> float:
        return timeout_s

    def again(job: Job, answer: workers.Answer) -> None:
        """A file that ended its worker, or kept it too long, is not tried twice in a run."""

    try:
        if ray_address:
            answers = ray_workers.run(jobs, work, ray_address, processes, limit_s, again)
        else:
            answers = workers.run(jobs, work, processes or 1, limit_s, again)
        for job, answer in answers:
            yield job, _result(job, answer, timeout_s, error_log)
    except workers.WorkersError as error:
        raise PoolError(str(error)) from error


def _result(job: Job, answer: workers.Answer, timeout_s: float, error_log: Path) -> VideoResult:
    name = printable(job.path)
    if answer.kind == workers.DONE:
        return answer.content
    if answer.kind == workers.LATE:
        return VideoResult(name, TIMEOUT, f"took longer than {timeout_s:g} s (--timeout_s)")
    if answer.kind == workers.DIED:
        reason = f"the process that read it ended ({answer.content}); damaged or too large"
        return VideoResult(name, UNREADABLE, reason)
    summary, trace = answer.content
    with error_log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{job.name}\n{trace}\n")
    return VideoResult(name, UNREADABLE, f"unexpected error, see {error_log.name}: {summary}"[:300])


def default_workers(files: int) -> int:
    """One process a core and no more than files; on a GPU at most four share it."""
    cores = workers.cpu_cores()
    return max(1, min(4 if os.path.exists("/dev/nvidia0") else cores, cores, files))
