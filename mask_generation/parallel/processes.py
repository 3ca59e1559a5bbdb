"""Jobs over processes that may die: a job whose process is killed is given to another one, up to a number of times.

An executor of the standard library loses everything with one process, so here each is a plain one with a pipe. They
watch their parent and end with it, so that a run which was killed leaves nobody behind that writes.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import gc
import multiprocessing
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Optional

from unet_industrial.setting import setting

START_LIMIT_S = 600.0
MAX_START_FAILURES = 3
DONE, BUG, FATAL, DIED, LATE = "done", "bug", "fatal", "died", "late"


class ParallelError(Exception):
    """No process or Ray child can be started, or one cannot write; the message says why."""


class CannotWrite(Exception):
    """Raised by a job: its results cannot be kept, as when the disk is full. No other job would fare better."""


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Where jobs are done, and with how much memory."""

    processes: Optional[int] = setting(None, "Processes on this machine.", shown="one a core", low=1)
    ray_address: str = setting(
        "",
        "Work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local starts one here. Nodes need this package and "
        "all folders at the same paths. Needs the extra `ray`.",
    )
    memory_mb: Optional[int] = setting(
        1500,
        "Memory of a process, MB, its own needs included; a file that needs more gets a reason, no score.",
        low=256,
    )


@dataclasses.dataclass(frozen=True)
class Work:
    """What processes, or Ray's workers, do. Both functions must be importable, as they travel to other processes.

    Attributes:
        build: makes, once in each, whatever `do` needs.
        do: (built, job) → answer. `CannotWrite` from it ends the run; any other exception costs the job alone.
        memory_mb: ceiling of a process's memory once it has built, see `bound_memory`; None: none.
        growth_mb: a process that has grown by more since it was ready is replaced before its next job: what libraries
            keep for every new size of picture would otherwise count against the files that come late.
    """

    build: Callable[[], Any]
    do: Callable[[Any, Any], Any]
    memory_mb: Optional[int] = None
    growth_mb: int = 200


@dataclasses.dataclass(frozen=True)
class Answer:
    """`kind` is `DONE` (content: the answer of `do`), `BUG` (content: one line and the trace), `DIED` or `LATE`
    (content: how the process ended)."""

    kind: str
    content: Any


def _end_with(parent_sentinel: int) -> None:
    wait([parent_sentinel])
    os._exit(1)


def _body(connection: Connection, work: Work) -> None:
    """A process: send "ready", then answer jobs until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they go to all of a group; the parent handles them
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    try:
        built = work.build()
    except Exception as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        connection.send((FATAL, f"a process cannot start: {type(error).__name__}: {error}", True))
        return
    bound_memory(work.memory_mb)
    connection.send(("ready", None, False))
    most = memory_in_use() + work.growth_mb * 1_000_000
    while True:
        try:
            job = connection.recv()
        except EOFError:  # the parent is done, or gone
            return
        answer = attempt(work, built, job)
        leaving = memory_in_use() > most
        connection.send((*answer, leaving))
        if leaving:
            return


def attempt(work: Work, built: Any, job: Any) -> tuple[str, Any]:
    """Do one job and return how it went: (`DONE`, `BUG` or `FATAL`, content)."""
    try:
        return DONE, work.do(built, job)
    except CannotWrite as error:
        return FATAL, str(error)
    except Exception as error:  # noqa: BLE001  one job must not end the run; the trace goes to the log
        return BUG, (f"{type(error).__name__}: {error}", traceback.format_exc())


class _Child:
    """A process seen from the parent."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_body, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Any = None
        self.ready = False
        self.since = time.monotonic()

    def give(self, job: Any) -> bool:
        """False if it turns out to be dead."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        self.job, self.since = job, time.monotonic()
        return True

    def end(self) -> None:
        idle = self.job is None and self.ready
        self.connection.close()
        self.process.join(timeout=5 if idle else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def run(
    jobs: Sequence[Any],
    work: Work,
    processes: int,
    limit_s: Callable[[Any], float],
    again: Callable[[Any, Answer], Any],
) -> Iterator[tuple[Any, Answer]]:
    """Do every job, in whatever order they finish.

    Args:
        limit_s: seconds a job may take before its process is killed.
        again: called with a job whose process died or was late; returns the job to try next, or None to give it up.
    Yields:
        each job, as it was tried last, with its answer.
    Raises:
        ParallelError: processes cannot start, or cannot write.
    """
    queue = collections.deque(jobs)
    children: list[_Child] = []
    failures = 0
    try:
        while queue or any(child.job is not None for child in children):
            busy = sum(child.job is not None for child in children)
            while len(children) < min(processes, busy + len(queue)):
                children.append(_Child(work))
            for child in _due(children, limit_s):
                message = _receive(child)
                if message is None:
                    children.remove(child)
                    late = child.process.is_alive()
                    child.end()
                    how = exit_of(child.process.exitcode)
                    failures = 0 if child.ready else failures + 1
                    if failures >= MAX_START_FAILURES:
                        raise ParallelError(f"processes end while starting ({how}); is there enough memory?")
                    if child.job is not None:
                        answer = Answer(LATE if late else DIED, how)
                        next_job = again(child.job, answer)
                        if next_job is None:
                            yield child.job, answer
                        else:
                            queue.appendleft(next_job)
                    continue
                kind, content, leaving = message
                if kind == FATAL:
                    raise ParallelError(content)
                child.ready, failures = True, 0
                if leaving:
                    children.remove(child)
                if kind != "ready":
                    job, child.job = child.job, None
                    if leaving:
                        child.end()
                    yield job, Answer(kind, content)
            for child in children:
                if child.ready and child.job is None and queue:
                    job = queue.popleft()
                    if not child.give(job):
                        queue.appendleft(job)
    finally:
        for child in children:
            child.end()


def _due(children: Sequence[_Child], limit_s: Callable[[Any], float]) -> list[_Child]:
    """Processes that have sent something, that have died, or that are late; waits up to a second for one."""
    now = time.monotonic()
    late = [c for c in children if now - c.since > (START_LIMIT_S if not c.ready else limit_s(c.job) if c.job else 1e9)]
    talking = wait([child.connection for child in children], timeout=0 if late else 1.0)
    return [child for child in children if child.connection in talking or child in late]


def _receive(child: _Child) -> tuple[str, Any, bool] | None:
    """Its message (kind, content, whether it leaves); None if it has none: it is late or has died."""
    try:
        return child.connection.recv() if child.connection.poll() else None
    except (EOFError, OSError):
        child.process.join(timeout=5)
        return None


def exit_of(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def bound_memory(limit_mb: Optional[int]) -> None:
    """Let the system refuse this process memory beyond `limit_mb`, so that a file ends in a `MemoryError`, or at worst
    costs its process, and not the machine.

    What is bounded is what a process can write to (`RLIMIT_DATA`): address space alone, of which TensorFlow and CUDA
    reserve far more than they use, costs nothing. So the bound is what is reserved now, and what is missing to
    `limit_mb` of memory in use; a quarter of it at least, or nothing could be done at all.
    """
    if limit_mb is None:
        return
    with contextlib.suppress(OSError):
        reserved, used = _memory("VmData"), memory_in_use()
        if not used:  # another system
            return
        limit = limit_mb * 1_000_000
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = reserved + max(limit - used, limit // 4)
        if hard == resource.RLIM_INFINITY or bound < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def memory_in_use() -> int:
    """Bytes of memory that this process has in use; 0 where the system does not say."""
    return _memory("VmRSS")


def _memory(name: str) -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
    return 0


def free_memory() -> None:
    """Hand what is free back to the system: glibc keeps gaps between decoded frames, some 50 MB more a clip group."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def cpu_cores() -> int:
    """Cores this process may use (a container or `taskset` may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
