"""Clip groups → shards, over processes or a Ray cluster, so that a run killed at any point goes on where it stopped.

A finished group is a part in `.work`; once all parts of a shard are there, they are joined in the plan's order and
dropped, so the order in which workers finish leaves no trace. What is on the disk is the only state: a new run looks
at it and does the rest.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from mask_generation import manifest, ray_workers, workers, writer
from mask_generation.clip_result import FAILED, SKIPPED, WRITTEN, GroupConfig, new_outcome
from mask_generation.datasets import Inventory, dagm
from mask_generation.plan import (
    ERRORS,
    SUMMARY,
    WORK,
    GenerateConfig,
    Job,
    PipelineError,
    check_plan,
    locked,
    plan_jobs,
)
from mask_generation.video import TIMEOUT
from mask_generation.workers import Answer, Work

ATTEMPTS = 3  # deaths at one clip before it is given up
SAME_BUG_LIMIT = 5  # groups in a row that end with an unexpected error, before that is taken for a bug of ours


@dataclasses.dataclass
class Totals:
    """Found = written + skipped + failed, in clips; `reasons` counts the states."""

    found: int
    written: int
    skipped: int
    failed: int
    examples: int
    records: int
    reasons: dict[str, int]
    seconds: dict[str, float]
    wall_s: float
    resumed_groups: int


def build_detector(device: str) -> Any:
    """What a worker needs: one MTCNN on one thread, so that results do not depend on the number of processes."""
    if device.startswith("CPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import logging

    import cv2
    import tensorflow as tf

    from mask_generation.faces import MtcnnDetector

    logging.getLogger("libav").setLevel(logging.CRITICAL)  # what it says about a file is in the file's row
    cv2.setNumThreads(1)
    with contextlib.suppress(RuntimeError):  # already running, as in tests
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return MtcnnDetector(device=device)


def do_job(config: GroupConfig, detector: Any, job: Job) -> list[dict[str, Any]]:
    """In the worker: one group → its part on disk. Returns the rows of its clips."""
    from mask_generation.clip_group import process_group  # both load TensorFlow, which the parent can do without
    from mask_generation.still_group import process_still

    crumb = job.part.with_name(job.part.name + ".at")
    given_up = {name: (state, reason) for name, state, reason in job.given_up}
    try:
        crumb.parent.mkdir(parents=True, exist_ok=True)
        stream = open(crumb, "wb", buffering=0)  # noqa: SIM115  closed below, whatever happens
    except OSError as error:
        raise workers.CannotWrite(str(error)) from error

    def note(name: str) -> None:  # says, should this process die, at which clip
        os.pwrite(stream.fileno(), name.encode("utf-8", "surrogateescape") + b"\n", 0)

    with stream:
        if job.group.dataset == dagm.NAME:
            result = process_still(job.group)
        else:
            result = process_group(job.group, config, detector, given_up, note)
    clips = [dataclasses.asdict(outcome) for outcome in result.outcomes]
    try:
        writer.write_part(job.part, result.groups, clips, result.seconds)
        crumb.unlink(missing_ok=True)
    except OSError as error:
        raise workers.CannotWrite(str(error)) from error
    del result
    workers.free_memory()
    return clips


def generate(
    inventory: Inventory,
    config: GenerateConfig,
    progress: Callable[[int, dict[str, int], bool], None],
    build: Optional[Callable[[], Any]] = None,
) -> Totals:
    """The whole run, or what is left of it.

    Args:
        build: makes a worker's face detector, once; importable, as it travels to other processes. None: MTCNN.
        progress: called for each group that is done, with the number of its clips, their states, and whether an earlier
            run did it.
    Raises:
        PipelineError: the folder holds other records, another run is at work in it, or workers cannot do theirs.
    """
    started = time.monotonic()
    folder = config.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        check_plan(folder, config.content(inventory))
        jobs = plan_jobs(inventory.groups, folder, config.shard_groups)
        shards = list(dict.fromkeys(job.shard for job in jobs))
        run = _Run(config, jobs)
        resumed = run.look(progress)
        if run.left:
            (folder / SUMMARY).unlink(missing_ok=True)
            run.work(progress, build or functools.partial(build_detector, config.device))
        table, tally = manifest.write_manifest(folder, [folder / shard for shard in shards], inventory.problems)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        totals = _totals(table, tally, time.monotonic() - started, resumed)
        writer.write_json(folder / SUMMARY, dataclasses.asdict(totals))
        return totals


class _Run:
    """Which parts are there, and which shards can be joined."""

    def __init__(self, config: GenerateConfig, jobs: Sequence[Job]) -> None:
        self._config, self._folder = config, config.output_dir
        self._of_shard: dict[str, list[Job]] = {}
        for job in jobs:
            self._of_shard.setdefault(job.shard, []).append(job)
        self._open: dict[str, set[Path]] = {}
        self.left: list[Job] = []
        self._deaths: collections.Counter[tuple[Path, str]] = collections.Counter()
        self._damaged: collections.Counter[Path] = collections.Counter()
        self._same_bug: tuple[str, int] = ("", 0)

    def look(self, progress: Callable[[int, dict[str, int], bool], None]) -> int:
        """Find out what an earlier run has done; returns how many groups."""
        done = 0
        for shard, jobs in self._of_shard.items():
            whole = writer.read_contents(self._folder / shard)
            if whole is not None:
                done += len(jobs)
                progress(len(whole.clips), _states(whole.clips), True)
                shutil.rmtree(self._folder / WORK / shard, ignore_errors=True)
                continue
            self._open[shard] = {job.part for job in jobs}
            for job in jobs:
                part = writer.read_contents(job.part)
                if part is None:
                    self.left.append(job)
                else:
                    done += 1
                    self._open[shard].discard(job.part)
                    progress(len(part.clips), _states(part.clips), True)
        for shard in [shard for shard, parts in self._open.items() if not parts]:
            self._join(shard)
        return done

    def work(self, progress: Callable[[int, dict[str, int], bool], None], build: Callable[[], Any]) -> None:
        config = self._config
        work = Work(build, functools.partial(do_job, config.group))
        try:
            while self.left:
                jobs, self.left = self.left, []
                for job, answer in self._answers(jobs, work):
                    clips = answer.content if answer.kind == workers.DONE else self._give_up(job, answer)
                    progress(len(clips), _states(clips), False)
                    self._open[job.shard].discard(job.part)
                    if not self._open[job.shard]:
                        self._join(job.shard)
        except (workers.WorkersError, writer.DamagedPart, OSError) as error:
            raise PipelineError(f"{error}\nWhat is done is kept: the same command goes on from here.") from error

    def _answers(self, jobs: Sequence[Job], work: Work) -> Iterator[tuple[Job, Answer]]:
        config = self._config
        if config.ray_address:
            return ray_workers.run(jobs, work, config.ray_address, config.processes, self._limit_s, self._again)
        processes = config.processes or workers.cpu_cores()
        return workers.run(jobs, work, processes, self._limit_s, self._again)

    def _limit_s(self, job: Job) -> float:
        return self._config.clip_limit_s * (1 + len(job.group.fakes))

    def _again(self, job: Job, answer: Answer) -> Optional[Job]:
        """The job without the clip that kills its worker, once it has done so `ATTEMPTS` times; before, as it is."""
        name = _last_clip(job)
        self._deaths[job.part, name] += 1
        if answer.kind == workers.DIED and self._deaths[job.part, name] < ATTEMPTS:
            return job
        known = {job.group.name, *(fake.name for fake in job.group.fakes)} - {clip for clip, _, _ in job.given_up}
        if name not in known:
            return None
        state, reason = (
            (TIMEOUT, f"its group took longer than {self._limit_s(job):g} s (--clip_limit_s times its clips)")
            if answer.kind == workers.LATE
            else ("crashed", f"the process that read it ended {ATTEMPTS} times ({answer.content})")
        )
        return dataclasses.replace(job, given_up=(*job.given_up, (name, state, reason)))

    def _give_up(self, job: Job, answer: Answer) -> list[dict[str, Any]]:
        """Write an empty part for a group that cannot be done."""
        reason = f"the process that read its group ended ({answer.content})"
        if answer.kind == workers.BUG:
            summary, trace = answer.content
            with open(self._folder / ERRORS, "a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{job.group.name}\n{trace}\n")
            self._same_bug = (summary, self._same_bug[1] + 1 if self._same_bug[0] == summary else 1)
            if self._same_bug[1] >= SAME_BUG_LIMIT:
                raise PipelineError(
                    f"{SAME_BUG_LIMIT} groups in a row ended with the same unexpected error, so it is not the videos: "
                    f"{summary}\nThe traces are in {self._folder / ERRORS}."
                )
            reason = f"unexpected error, see {ERRORS}: {summary}"[:300]
        given_up = {name: (state, why) for name, state, why in job.given_up}
        outcomes = [new_outcome(job.group, fake) for fake in job.group.fakes]
        if job.group.original is not None:
            outcomes.insert(0, new_outcome(job.group))
        for outcome in outcomes:
            outcome.state, outcome.reason = given_up.get(outcome.name, ("crashed", reason))
        clips = [dataclasses.asdict(outcome) for outcome in outcomes]
        writer.write_part(job.part, [], clips, {})
        return clips

    def _join(self, shard: str) -> None:
        """Make a shard of its parts; one that has gone bad since is done again (unless that keeps happening)."""
        parts = {job.part: job for job in self._of_shard[shard]}
        try:
            writer.join_parts(self._folder / shard, list(parts))
        except writer.DamagedPart as error:
            self._damaged[error.path] += 1
            if self._damaged[error.path] >= ATTEMPTS:
                raise
            writer.contents_path(error.path).unlink(missing_ok=True)
            self._open[shard] = {error.path}
            self.left.append(parts[error.path])
            return
        shutil.rmtree(self._folder / WORK / shard, ignore_errors=True)


def _last_clip(job: Job) -> str:
    try:
        text = job.part.with_name(job.part.name + ".at").read_bytes()
    except OSError:
        return ""
    return text.split(b"\n")[0].decode("utf-8", "surrogateescape")


def _states(clips: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(collections.Counter(clip["state"] for clip in clips))


def _totals(table: Any, tally: manifest.Tally, wall_s: float, resumed: int) -> Totals:
    reasons = {str(state): int(count) for state, count in table["state"].value_counts().items()}

    def count(states: Sequence[str]) -> int:
        return sum(reasons.get(state, 0) for state in states)

    return Totals(
        found=len(table),
        written=count(WRITTEN),
        skipped=count(SKIPPED),
        failed=count(FAILED),
        examples=tally.examples,
        records=tally.records,
        reasons=reasons,
        seconds={station: round(seconds, 2) for station, seconds in tally.seconds.items()},
        wall_s=round(wall_s, 2),
        resumed_groups=resumed,
    )
