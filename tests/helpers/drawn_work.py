"""Jobs for processes that do as ordered: answer, fail, die, hang."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mask_generation.parallel.processes import Answer, CannotWrite, Work, attempt

KEPT: list[bytes] = []  # what a process never lets go of


class Job(NamedTuple):
    """`orders`: what to do at the first try, the second …; the last one from then on. `tries`: a folder to count in."""

    name: str
    orders: tuple[str, ...]
    tries: Path


def build() -> str:
    return f"worker {os.getpid()}"


def cannot_build() -> None:
    raise MemoryError("no room")


def dies_at_start() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def do(built: str, job: Job) -> tuple[str, str]:
    tried = len(list(job.tries.glob(f"{job.name}-*")))
    (job.tries / f"{job.name}-{tried}-{os.getpid()}").touch()
    order = job.orders[min(tried, len(job.orders) - 1)]
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "grow":
        bytearray(2_000_000_000)
    if order == "swell":
        KEPT.append(b"x" * 60_000_000)
    if order == "hang":
        time.sleep(100)
    if order == "bug":
        raise ZeroDivisionError("division by zero")
    if order == "full":
        raise CannotWrite("[Errno 28] No space left on device: '/data/x'")
    return built, job.name


def jobs(folder: Path, orders: list) -> list[Job]:
    """A job for each order, or for each tuple of orders, named by its number."""
    return [Job(str(n), order if isinstance(order, tuple) else (order,), folder) for n, order in enumerate(orders)]


def inline(jobs: list, work: Work, processes: int, limit_s: Any, again: Any) -> Iterator[tuple[Any, Answer]]:
    """Stands in for `processes.run` without any process."""
    built = work.build()
    for job in jobs:
        yield job, Answer(*attempt(work, built, job))
