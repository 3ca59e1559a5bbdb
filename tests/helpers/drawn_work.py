"""Jobs for worker processes that do as they are told: answer, fail, die, hang."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from mask_generation.parallel.processes import CannotWrite


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
    if order == "hang":
        time.sleep(100)
    if order == "bug":
        raise ZeroDivisionError("division by zero")
    if order == "full":
        raise CannotWrite("[Errno 28] No space left on device: '/data/x'")
    return built, job.name
