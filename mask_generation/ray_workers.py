"""The same jobs as `workers.run`, over a Ray cluster: `pip install deepfake-unet-industrial[ray]`.

Every machine must have the product installed and see the input and output folders under the same paths. A worker is
an actor with one core; it lives until the run ends, so a network is loaded once in each.
"""

from __future__ import annotations

import collections
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mask_generation.workers import (
    DIED,
    FATAL,
    LATE,
    MAX_START_FAILURES,
    START_LIMIT_S,
    Answer,
    Work,
    WorkersError,
    attempt,
    cpu_cores,
)

REACH_S = 10.0
LOCAL = "local"  # an address: a Ray of its own on this machine, ended with the run


class _Body:
    """A worker, on whatever machine Ray puts it."""

    def __init__(self, work: Work) -> None:
        self._work, self._built = work, None

    def start(self) -> tuple[str, Any]:
        """Build what jobs need; an answer of kind `FATAL` says why it cannot be."""
        try:
            self._built = self._work.build()
        except Exception as error:  # noqa: BLE001  whatever it is, the driver must hear of it
            return FATAL, f"a worker cannot start: {type(error).__name__}: {error}"
        return "ready", None

    def do(self, job: Any) -> tuple[str, Any]:
        return attempt(self._work, self._built, job)


class _Actor:
    """A worker seen from the driver: the actor and the answer that is awaited of it."""

    def __init__(self, body: Any, work: Work) -> None:
        self.actor, self.job, self.ready = body.remote(work), None, False
        self.awaited = self.actor.start.remote()
        self.since = time.monotonic()

    def give(self, job: Any) -> None:
        self.job, self.since = job, time.monotonic()
        self.awaited = self.actor.do.remote(job)


def connect(address: str, processes: int) -> Any:
    """The module `ray`, connected to a cluster: "auto", "host:port" or "ray://…"; "local" starts one here.

    Raises:
        WorkersError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise WorkersError("--ray_address needs Ray: pip install 'deepfake-unet-industrial[ray]'") from error
    place: dict[str, Any] = {"address": address}
    if address == LOCAL:
        place = {"num_cpus": processes, "include_dashboard": False}
    try:
        _check_reachable(address)
        ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True, **place)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise WorkersError(f"--ray_address={address}: no Ray cluster there ({_first_line(error)})") from error
    return ray


def _check_reachable(address: str) -> None:
    """Try the port first: Ray itself takes minutes to give up on a machine that is not there.

    Raises:
        OSError: nobody answers.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()


def cores(address: str) -> int:
    """Cores of the cluster: how many workers it has room for.

    Raises:
        WorkersError: as `connect`.
    """
    return max(1, int(connect(address, cpu_cores()).cluster_resources().get("CPU", 1)))


def run(
    address: str,
    jobs: Sequence[Any],
    work: Work,
    processes: int,
    limit_s: Callable[[Any], float],
    again: Callable[[Any, Answer], Any],
) -> Iterator[tuple[Any, Answer]]:
    """Do every job, in whatever order they finish; see `workers.run`.

    Args:
        address: see `connect`.
        processes: actors, each with one core of the cluster; those it has no room for yet wait for it.
    Raises:
        WorkersError: no cluster, workers cannot start, or one cannot write.
    """
    ray = connect(address, processes)
    body = ray.remote(num_cpus=1, max_restarts=0)(_Body)
    queue = collections.deque(jobs)
    pool: list[_Actor] = []
    failures = 0
    try:
        while queue or any(worker.job is not None for worker in pool):
            busy = sum(worker.job is not None for worker in pool)
            while len(pool) < min(processes, busy + len(queue)):
                pool.append(_Actor(body, work))
            for worker in _due(ray, pool, limit_s):
                try:
                    message = ray.get(worker.awaited, timeout=0)
                    how = ""
                except ray.exceptions.GetTimeoutError:
                    message, how = None, "ended after its time"
                except ray.exceptions.RayError as error:
                    message, how = None, _first_line(error)
                if message is None:
                    late = how == "ended after its time"
                    ray.kill(worker.actor)
                    pool.remove(worker)
                    failures = 0 if worker.ready else failures + 1
                    if failures >= MAX_START_FAILURES:
                        raise WorkersError(f"workers end while starting ({how}); is there enough memory?")
                    if worker.job is not None:
                        answer = Answer(LATE if late else DIED, how)
                        next_job = again(worker.job, answer)
                        if next_job is None:
                            yield worker.job, answer
                        else:
                            queue.appendleft(next_job)
                    continue
                kind, content = message
                if kind == FATAL:
                    raise WorkersError(content)
                worker.ready, failures, worker.awaited = True, 0, None
                if kind != "ready":
                    job, worker.job = worker.job, None
                    yield job, Answer(kind, content)
            for worker in pool:
                if worker.ready and worker.job is None and queue:
                    worker.give(queue.popleft())
    finally:
        for worker in pool:
            ray.kill(worker.actor)
        if address == LOCAL:
            ray.shutdown()


def _due(ray: Any, pool: Sequence[_Actor], limit_s: Callable[[Any], float]) -> list[_Actor]:
    """Workers that have answered, died or are late; waits up to a second for one.

    An actor that has not started may be waiting for room in the cluster: that is late only when no other one works.
    """
    now = time.monotonic()
    any_ready = any(worker.ready for worker in pool)
    late = [
        worker
        for worker in pool
        if worker.awaited is not None
        and (now - worker.since > (limit_s(worker.job) if worker.ready else START_LIMIT_S))
        and (worker.ready or not any_ready)
    ]
    awaited = [worker.awaited for worker in pool if worker.awaited is not None]
    answered, _ = ray.wait(awaited, timeout=0 if late else 1.0) if awaited else ([], [])
    return [worker for worker in pool if worker.awaited in answered or worker in late]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
