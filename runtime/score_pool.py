"""Many videos over processes that may die: a file that crashes or hangs a decoder costs its own row and nothing else.

The standard pools lose everything when a worker is killed, so workers are plain processes with a pipe each. A worker
that exceeds the time limit is killed and replaced, and the run goes on.
"""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from mask_generation.video import TIMEOUT, UNREADABLE, printable
from runtime.score_result import ScoreConfig, VideoResult

START_LIMIT_S = 300.0  # a worker that has not loaded TensorFlow and the model by then never will
MAX_START_FAILURES = 3


class PoolError(Exception):
    """No worker can be started, or none can go on; the message says why."""


class OutputError(Exception):
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


def _worker(connection: Connection, setup: WorkerSetup) -> None:
    """Body of a worker process: say "ready", then answer jobs until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        scorer = setup.build(setup)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        connection.send(("failed", str(error) or type(error).__name__))
        return
    connection.send(("ready", None))
    while True:
        try:
            job = connection.recv()
        except EOFError:  # the parent is done, or gone
            return
        try:
            answer = setup.finish(scorer, job, scorer.score(job.path))
        except OutputError as error:  # the disk is full: no other file will fare better
            connection.send(("failed", str(error)))
            return
        except Exception as error:  # noqa: BLE001  one file must not end the run; the cause goes to errors.log
            connection.send(("bug", (f"{type(error).__name__}: {error}", traceback.format_exc())))
        else:
            connection.send(("done", dataclasses.replace(answer, evidence=())))


def _end_with_parent() -> None:
    """End this process at once when the parent is gone: nobody may go on scoring what the next run scores."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


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


class _Process:
    """A worker seen from the parent."""

    def __init__(self, setup: WorkerSetup) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_worker, args=(theirs, setup), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.ready = False
        self.since = time.monotonic()

    def give(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        self.connection.send(job)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def close(self) -> None:
        """Let it end by itself; kill it if it does not."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def score_all(
    jobs: Sequence[Job], setup: WorkerSetup, workers: int, timeout_s: float, error_log: Path
) -> Iterator[tuple[Job, VideoResult]]:
    """Score every job, in whatever order they finish.

    Args:
        timeout_s: seconds one file may take before its worker is killed.
        error_log: file to which the trace of an unexpected error is appended.
    Raises:
        PoolError: workers cannot start (model missing, not trusted, out of memory …), or results cannot be written.
    """
    queue = collections.deque(jobs)
    pool: list[_Process] = []
    failures = 0
    try:
        pool += [_Process(setup) for _ in range(max(1, min(workers, len(jobs))))]
        while queue or any(worker.job for worker in pool):
            for worker in [worker for worker in pool if not worker.ready]:
                if time.monotonic() - worker.since > START_LIMIT_S:
                    raise PoolError(f"a worker did not start within {START_LIMIT_S:.0f} s")
            for worker in _due(pool, timeout_s):
                message = _receive(worker)
                if message is None:  # late, or dead
                    job, started = worker.job, worker.ready
                    late = worker.process.is_alive()
                    worker.kill()
                    pool.remove(worker)
                    failures = 0 if started else failures + 1
                    if failures >= MAX_START_FAILURES:
                        raise PoolError(f"workers end while starting ({_exit(worker)}); is there enough memory?")
                    if job is not None:
                        yield job, _lost(job, worker, late, timeout_s)
                    if queue:
                        pool.append(_Process(setup))
                    continue
                kind, content = message
                if kind == "failed":
                    raise PoolError(content)
                worker.ready, failures = True, 0
                if kind != "ready":
                    assert worker.job is not None
                    job, worker.job = worker.job, None
                    yield job, _answer(job, kind, content, error_log)
            for worker in pool:
                if worker.ready and worker.job is None and queue:
                    worker.give(queue.popleft())
    finally:
        for worker in pool:
            if worker.job is not None or not worker.ready:
                worker.kill()
            else:
                worker.close()


def _due(pool: Sequence[_Process], timeout_s: float) -> list[_Process]:
    """Workers with something to say, that have died, or that are late; waits up to a second for one."""
    now = time.monotonic()
    late = [worker for worker in pool if worker.job and now - worker.since > timeout_s]
    talking = wait([worker.connection for worker in pool], timeout=0 if late else 1.0)
    return [worker for worker in pool if worker.connection in talking or worker in late]


def _receive(worker: _Process) -> tuple[str, Any] | None:
    """Its message; None if it has none: it is late or has died."""
    try:
        return worker.connection.recv() if worker.connection.poll() else None
    except (EOFError, OSError):
        worker.process.join(timeout=5)
        return None


def _exit(worker: _Process) -> str:
    code = worker.process.exitcode
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _lost(job: Job, worker: _Process, late: bool, timeout_s: float) -> VideoResult:
    name = printable(job.path)
    if late:
        return VideoResult(name, TIMEOUT, f"took longer than {timeout_s:g} s (--timeout_s)")
    return VideoResult(name, UNREADABLE, f"the process that read it ended ({_exit(worker)}); damaged or too large")


def _answer(job: Job, kind: str, content: Any, error_log: Path) -> VideoResult:
    if kind == "done":
        return content
    summary, trace = content
    with error_log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{job.name}\n{trace}\n")
    return VideoResult(printable(job.path), UNREADABLE, f"unexpected error, see {error_log.name}: {summary}"[:300])


def default_workers(files: int) -> int:
    """One process a core and no more than files; on a GPU at most four share it."""
    from runtime.device import cpu_cores

    cores = cpu_cores()
    return max(1, min(4 if os.path.exists("/dev/nvidia0") else cores, cores, files))
