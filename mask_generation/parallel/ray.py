"""Jobs over a Ray cluster, with the same promises as `processes.run`: by the same functions, each job answered once.

Every actor is one worker on one CPU. Nodes need this package installed and the data and output folders at the same
paths, as on any shared file system; nothing but jobs and rows goes through Ray. The only import of Ray.
"""

from __future__ import annotations

import collections
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mask_generation.parallel.processes import (
    DIED,
    FATAL,
    LATE,
    MAX_START_FAILURES,
    START_LIMIT_S,
    Answer,
    ParallelError,
    Work,
    attempt,
)

REACH_S = 10.0


class _Worker:
    """The body of an actor."""

    def __init__(self, work: Work) -> None:
        self._work, self._built = work, work.build()

    def ready(self) -> bool:
        return True

    def do(self, job: Any) -> tuple[str, Any]:
        return attempt(self._work, self._built, job)


class _Actor:
    """A worker seen from here: what it was asked last, and since when."""

    def __init__(self, ray: Any, work: Work) -> None:
        self._ray = ray
        self.handle = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=1)(_Worker).remote(work)
        self.job: Any = None
        self.started = False
        self._ask(self.handle.ready.remote())

    def _ask(self, reference: Any) -> None:
        self.reference, self.since = reference, time.monotonic()

    def give(self, job: Any) -> None:
        self.job = job
        self._ask(self.handle.do.remote(job))

    def kill(self) -> None:
        self._ray.kill(self.handle)


def connect(address: str) -> Any:
    """Ray itself, connected to `address`: `local` starts a cluster on this machine, `auto` finds a running one.

    Raises:
        ParallelError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ParallelError(
            f"--ray_address needs Ray: pip install 'deepfake-unet-industrial[ray]' ({error})"
        ) from error
    try:
        _check_reachable(address)
        options = {} if address != "local" else {"include_dashboard": False}
        stop = signal.getsignal(signal.SIGTERM)
        ray.init(None if address == "local" else address, ignore_reinit_error=True, log_to_driver=False, **options)
        if threading.current_thread() is threading.main_thread():  # Ray's own ends the process without a word
            signal.signal(signal.SIGTERM, stop)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise ParallelError(f"no Ray cluster at {address!r}: {error}") from error
    return ray


def _check_reachable(address: str) -> None:
    """Try the port first: Ray takes five minutes to give up on a machine that is not there.

    Raises:
        OSError: nobody answers.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()


def run(
    jobs: Sequence[Any],
    work: Work,
    address: str,
    processes: int | None,
    limit_s: Callable[[Any], float],
    again: Callable[[Any, Answer], Any],
) -> Iterator[tuple[Any, Answer]]:
    """As `processes.run`, on a cluster.

    Args:
        processes: workers over all nodes; None: as many as the cluster has CPUs.
    """
    ray = connect(address)
    queue = collections.deque(jobs)
    wanted = processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
    actors: list[_Actor] = []
    failures = 0
    try:
        while queue or any(actor.job is not None for actor in actors):
            busy = sum(actor.job is not None for actor in actors)
            while len(actors) < min(wanted, busy + len(queue)):
                actors.append(_Actor(ray, work))
            asked = [actor for actor in actors if actor.job is not None or not actor.started]
            ready, _ = ray.wait([a.reference for a in asked], num_returns=len(asked), timeout=0.5 if asked else 0)
            for actor in asked:
                late = time.monotonic() - actor.since > (limit_s(actor.job) if actor.started else START_LIMIT_S)
                if actor.reference in ready:
                    kind, content = _answer(ray, actor)
                elif late:
                    actor.kill()
                    kind, content = LATE, "killed"
                else:
                    continue
                if kind == FATAL:
                    raise ParallelError(content)
                if kind in (DIED, LATE):
                    actors.remove(actor)
                    failures = 0 if actor.started else failures + 1
                    if failures >= MAX_START_FAILURES:
                        raise ParallelError(f"workers end while starting ({content})")
                    if actor.job is None:
                        continue
                    next_job = again(actor.job, Answer(kind, content))
                    if next_job is not None:
                        queue.appendleft(next_job)
                        continue
                job, actor.job, actor.started = actor.job, None, True
                if job is not None:
                    yield job, Answer(kind, content)
            for actor in actors:
                if actor.started and actor.job is None and queue:
                    actor.give(queue.popleft())
    finally:
        for actor in actors:
            actor.kill()
        if address == "local":
            ray.shutdown()


def _answer(ray: Any, actor: _Actor) -> tuple[str, Any]:
    try:
        answer = ray.get(actor.reference)
    except ray.exceptions.RayActorError as error:  # the node or the process is gone, or `build` raised
        lines = str(error).splitlines() or [type(error).__name__]
        if "creation task" in lines[0]:
            return FATAL, f"a worker cannot start: {lines[-1]}"
        return DIED, lines[0]
    except ray.exceptions.RayTaskError as error:  # `build` raised
        return FATAL, f"a worker cannot start: {str(error).splitlines()[-1]}"
    return ("ready", None) if answer is True else answer
