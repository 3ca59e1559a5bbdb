"""Clip groups → shards, over processes or a Ray cluster, so that a run killed at any point goes on where it stopped.

Which group goes into which shard, and what a folder of records is made of, depends on the inventory and the settings
alone, and is written down before the first clip is read. A finished group is a part in `.work`; once all parts of a
shard are there, they are joined in the plan's order and dropped, so the order in which processes finish leaves no
trace. What is on the disk is the only state: a new run looks at it and does the rest.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from mask_generation import manifest, shards
from mask_generation.datasets.base import SPLITS, ClipGroup, Inventory, Problem
from mask_generation.given_face import place_face
from mask_generation.pairs.outcome import FAILED, SKIPPED, WRITTEN, GroupConfig, new_outcome
from mask_generation.parallel import processes, ray
from mask_generation.parallel.processes import Answer, Parallel, Work
from mask_generation.shards import CLIPS, EXAMPLES
from mask_generation.video.types import TIMEOUT
from unet_industrial import __version__, files
from unet_industrial.setting import same_setting, setting

STILLS_A_SHARD, PICTURES_A_SHARD = 512, 256
ATTEMPTS = 3  # deaths at one clip before it is given up
SAME_BUG_LIMIT = 5  # groups in a row that end with an unexpected error, before that is taken for a bug of ours
PLAN, SUMMARY, WORK, ERRORS = "generate.json", "summary.json", ".work", "errors.log"


class PipelineError(Exception):
    """The run cannot start or go on; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """How a run is done. Only `group` and `shard_groups` decide what the shards hold.

    Attributes:
        processes: each works on one clip group at a time; None: one a core, of this machine or of the cluster.
        clip_limit_s: over decoding's own limit (`Limits.timeout_s`).
        given_face: with --faces=given and no stated margin, how it was measured; see `given_face.place_face`.
        device: where MTCNN runs, in TensorFlow's words.
        ray_address: empty: processes on this machine.
    """

    group: GroupConfig
    output_dir: Path
    processes: Optional[int] = same_setting(Parallel, "processes")
    shard_groups: int = setting(
        16,
        f"Originals, with their copies, in a record file; if not given and all are pictures, {PICTURES_A_SHARD}, or "
        f"stills, {STILLS_A_SHARD}.",
        low=1,
    )
    clip_limit_s: float = setting(900.0, "Seconds a clip may take before its process is killed.", low=0.1)
    given_face: Optional[dict[str, Any]] = None
    device: str = setting("CPU:0", "Where faces are found: CPU:0, GPU:0.", flag="detector_device")
    ray_address: str = same_setting(Parallel, "ray_address")
    memory_mb: Optional[int] = setting(
        4000,  # more than in scoring: an original and all its copies are read side by side
        "Memory of a process, MB, its own needs included; the clips of a group that needs more are left out.",
        low=256,
    )

    def content(self, inventory: Inventory) -> dict[str, Any]:
        """All that the records depend on; a folder holds the records of one such content only."""
        clips = [[g.name, g.split, g.identity, *map(_state, _paths(g))] for g in inventory.groups]
        digest = hashlib.sha256(json.dumps(sorted(clips)).encode())
        return {
            "format": shards.FORMAT,
            "version": __version__,
            "settings": dataclasses.asdict(self.group),
            **({"given_face": self.given_face} if self.given_face else {}),
            "shard_groups": self.shard_groups,
            "clips": inventory.clips(),
            "inventory_sha256": digest.hexdigest(),
            "problems": [dataclasses.asdict(problem) for problem in inventory.problems],
        }


@dataclasses.dataclass(frozen=True)
class Job:
    """One group and where its part goes. `given_up`: (clip's name, state, reason) of clips to be left out."""

    group: ClipGroup
    shard: str
    part: Path
    given_up: tuple[tuple[str, str, str], ...] = ()


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


def generate(
    inventory: Inventory,
    config: GenerateConfig,
    progress: Callable[[int, dict[str, int], bool], None],
    build: Optional[Callable[[], Any]] = None,
) -> Totals:
    """The whole run, or what is left of it.

    Args:
        build: makes a process's face detector, once; importable, as it travels to other processes. None: MTCNN.
        progress: called for each group that is done, with the number of its clips, their states, and whether an earlier
            run did it.
    Raises:
        PipelineError: the folder holds other records, another run is at work in it, or processes cannot do theirs.
    """
    started = time.monotonic()
    folder = config.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        build = build or functools.partial(build_detector, config.device)
        group, measured = place_face(config.group, inventory.groups, build, _plan(folder).get("given_face"))
        config = dataclasses.replace(config, group=group, given_face=measured)
        check_plan(folder, config.content(inventory))
        jobs = plan_jobs(inventory.groups, folder, config.shard_groups)
        paths = [folder / shard for shard in dict.fromkeys(job.shard for job in jobs)]
        run = _Run(config, jobs)
        resumed = run.look(progress)
        if run.left:
            (folder / SUMMARY).unlink(missing_ok=True)
            run.work(progress, build)
        table, tally = manifest.write_manifest(folder, paths, inventory.problems)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        totals = _totals(table, tally, time.monotonic() - started, resumed)
        files.write_json(folder / SUMMARY, dataclasses.asdict(totals))
        return totals


def _plan(folder: Path) -> dict[str, Any]:
    """What an earlier run noted down; empty where there is none, or nothing that can be read."""
    try:
        content = files.read_json_object(folder / PLAN)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
            whole = shards.read_contents(self._folder / shard)
            if whole is not None:
                done += len(jobs)
                progress(len(whole.clips), _states(whole.clips), True)
                shutil.rmtree(self._folder / WORK / shard, ignore_errors=True)
                continue
            self._open[shard] = {job.part for job in jobs}
            for job in jobs:
                part = shards.read_contents(job.part)
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
        work = Work(build, functools.partial(do_job, config.group), config.memory_mb)
        try:
            while self.left:
                jobs, self.left = self.left, []
                for job, answer in self._answers(jobs, work):
                    if answer.kind != processes.BUG:
                        self._same_bug = ("", 0)
                    clips = answer.content if answer.kind == processes.DONE else self._give_up(job, answer)
                    progress(len(clips), _states(clips), False)
                    self._open[job.shard].discard(job.part)
                    if not self._open[job.shard]:
                        self._join(job.shard)
        except (processes.ParallelError, shards.DamagedPart, OSError) as error:
            raise PipelineError(f"{error}\nWhat is done is kept: the same command goes on from here.") from error

    def _answers(self, jobs: Sequence[Job], work: Work) -> Iterator[tuple[Job, Answer]]:
        config = self._config
        if config.ray_address:
            return ray.run(jobs, work, config.ray_address, config.processes, self._limit_s, self._again)
        count = config.processes or processes.cpu_cores()
        return processes.run(jobs, work, count, self._limit_s, self._again)

    def _limit_s(self, job: Job) -> float:
        return self._config.clip_limit_s * (1 + len(job.group.fakes))

    def _again(self, job: Job, answer: Answer) -> Optional[Job]:
        """The job without the clip that kills its process, once it has done so `ATTEMPTS` times; before, as it is."""
        name = _last_clip(job)
        self._deaths[job.part, name] += 1
        if answer.kind == processes.DIED and self._deaths[job.part, name] < ATTEMPTS:
            return job
        known = {job.group.name, *(fake.name for fake in job.group.fakes)} - {clip for clip, _, _ in job.given_up}
        if name not in known:
            return None
        state, reason = (
            (TIMEOUT, f"its group took longer than {self._limit_s(job):g} s (--clip_limit_s times its clips)")
            if answer.kind == processes.LATE
            else ("crashed", f"the process that read it ended {ATTEMPTS} times ({answer.content})")
        )
        return dataclasses.replace(job, given_up=(*job.given_up, (name, state, reason)))

    def _give_up(self, job: Job, answer: Answer) -> list[dict[str, Any]]:
        """Write an empty part for a group that cannot be done."""
        reason = f"the process that read its group ended ({answer.content})"
        if answer.kind == processes.BUG:
            summary, trace = answer.content
            starved = summary.startswith("MemoryError")
            with open(self._folder / ERRORS, "a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{job.group.name}\n{trace}\n")
            self._same_bug = (summary, self._same_bug[1] + 1 if self._same_bug[0] == summary and not starved else 1)
            if self._same_bug[1] >= SAME_BUG_LIMIT:
                raise PipelineError(
                    f"{SAME_BUG_LIMIT} groups in a row ended with the same unexpected error, so it is not the videos: "
                    f"{summary}\nThe traces are in {self._folder / ERRORS}."
                )
            reason = f"unexpected error, see {ERRORS}: {summary}"[:300]
            if starved:
                reason = f"its group needs more memory than a process may use (--memory_mb={self._config.memory_mb})"
        given_up = {name: (state, why) for name, state, why in job.given_up}
        outcomes = [new_outcome(job.group, fake) for fake in job.group.fakes]
        if job.group.original is not None:
            outcomes.insert(0, new_outcome(job.group))
        for outcome in outcomes:
            outcome.state, outcome.reason = given_up.get(outcome.name, ("crashed", reason))
        clips = [dataclasses.asdict(outcome) for outcome in outcomes]
        shards.write_part(job.part, [], clips, {})
        return clips

    def _join(self, shard: str) -> None:
        """Make a shard of its parts; one that has gone bad since is done again (unless that keeps happening)."""
        parts = {job.part: job for job in self._of_shard[shard]}
        try:
            shards.join_parts(self._folder / shard, list(parts))
        except shards.DamagedPart as error:
            self._damaged[error.path] += 1
            if self._damaged[error.path] >= ATTEMPTS:
                raise
            shards.contents_path(error.path).unlink(missing_ok=True)
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
        seconds={stage: round(seconds, 2) for stage, seconds in tally.seconds.items()},
        wall_s=round(wall_s, 2),
        resumed_groups=resumed,
    )


def _paths(group: ClipGroup) -> list[str]:
    masks = [fake.official_mask for fake in group.fakes if fake.official_mask]
    return [*([group.original] if group.original else []), *(fake.path for fake in group.fakes), *masks]


def _state(path: str) -> str:
    try:
        status = os.stat(path)
        return f"{os.path.basename(path)}:{status.st_size}:{status.st_mtime_ns}"
    except (OSError, ValueError):
        return f"{os.path.basename(path)}:missing"


def plan_jobs(groups: Sequence[ClipGroup], output_dir: Path, shard_groups: int) -> list[Job]:
    """Every group with its shard; shards mix clips, as training reads several of them at a time."""
    jobs = []
    for split in SPLITS:
        mine = sorted((g for g in groups if g.split == split), key=lambda g: hashlib.sha256(_bytes(g.name)).digest())
        count = -(-len(mine) // shard_groups)
        for number, group in enumerate(mine):
            shard = shards.shard_name(split, number // shard_groups, count)
            jobs.append(Job(group, shard, output_dir / WORK / shard / f"{number % shard_groups:05d}"))
    return jobs


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs, this process alone writes in the folder.

    Raises:
        PipelineError: another one does.
    """
    try:
        with files.sole_writer(folder):
            yield
    except files.FolderBusy as error:
        raise PipelineError(str(error)) from error


def check_plan(folder: Path, content: dict[str, Any]) -> None:
    """Note what this folder's records are made of, or see that it is the same as before.

    Raises:
        PipelineError: it is not, or the folder holds something else.
    """
    path = folder / PLAN
    try:
        before = files.read_json_object(path)
    except FileNotFoundError:
        strangers = [entry.name for entry in os.scandir(folder) if entry.name != ".lock"]
        if strangers:
            raise PipelineError(
                f"{folder}: not empty, and nothing of ours in it ({', '.join(sorted(strangers)[:3])} …): "
                "choose another --output"
            ) from None
        files.write_text(path, json.dumps(content, indent=2) + "\n")  # a limit may be infinite
        return
    except ValueError as error:
        raise PipelineError(f"{path}: damaged ({error}); --overwrite starts afresh") from error
    content = json.loads(json.dumps(content))
    if before == content:
        return
    changed = sorted(key for key in {*before, *content} if before.get(key) != content.get(key))
    if "settings" in changed:
        old, new = before.get("settings"), content["settings"]
        old = old if isinstance(old, dict) else {}
        names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        changed[changed.index("settings")] = ", ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in names)
    of_clips = ("inventory_sha256", "clips", "problems")
    words = sorted({"clips on disk" if key in of_clips else key for key in changed})
    raise PipelineError(
        f"{folder}: holds records made otherwise (changed: {'; '.join(words)}). Choose another --output, or "
        "--overwrite to delete them"
    )


def crop_margin(paths: Iterable[str]) -> Optional[float]:
    """The margin (`GroupConfig.crop_margin`) of the crops in record files, as noted beside them when they were made.

    None where it is not known: the files lie alone, or come from runs with different margins.
    """
    margins: set[Optional[float]] = set()
    for folder in {Path(name).parent for name in paths}:
        plans = [path for path in (folder / PLAN, folder.parent / PLAN) if path.is_file()]  # DIR, or DIR/SPLIT
        try:
            margins.add(float(files.read_json(plans[0])["settings"]["crop_margin"]))
        except (OSError, LookupError, TypeError, ValueError):
            margins.add(None)
    return margins.pop() if len(margins) == 1 else None


def read_problems(folder: Path) -> list[Problem]:
    """Clips that the run of this folder found and could not try; none where its plan is lost."""
    try:
        return [Problem(**row) for row in _plan(folder)["problems"]]
    except (KeyError, TypeError):
        return []


def clear(folder: Path) -> None:
    """Delete the records of an earlier run, and nothing else.

    Raises:
        PipelineError: the folder holds none, but other things.
    """
    if not folder.is_dir() or not any(path.name != ".lock" for path in folder.iterdir()):
        return
    if not (folder / PLAN).exists():
        raise PipelineError(f"{folder}: not empty, and no records of ours in it: nothing is deleted")
    with locked(folder):
        for split in SPLITS:
            for path in folder.glob(f"{split}-?????-of-?????.*"):
                path.unlink()
        shutil.rmtree(folder / WORK, ignore_errors=True)
        for name in (SUMMARY, EXAMPLES, CLIPS, ERRORS, PLAN):
            (folder / name).unlink(missing_ok=True)


def build_detector(device: str) -> Any:
    """What a process needs: one MTCNN on one thread, so that results do not depend on the number of processes."""
    if device.startswith("CPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import logging

    import cv2
    import tensorflow as tf

    from mask_generation.faces.detector import MtcnnDetector

    logging.getLogger("libav").setLevel(logging.CRITICAL)  # its findings about a file are in the file's row
    cv2.setNumThreads(1)
    with contextlib.suppress(RuntimeError):  # already running, as in tests
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return MtcnnDetector(device=device)


def do_job(config: GroupConfig, detector: Any, job: Job) -> list[dict[str, Any]]:
    """In a process or Ray worker: one group → its part on disk. Returns the rows of its clips."""
    from mask_generation.pairs.groups import process  # TensorFlow: not in the parent

    marker = job.part.with_name(job.part.name + ".at")
    given_up = {name: (state, reason) for name, state, reason in job.given_up}
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        stream = open(marker, "wb", buffering=0)  # noqa: SIM115  closed below, whatever happens
    except OSError as error:
        raise processes.CannotWrite(str(error)) from error

    def note(name: str) -> None:  # at which clip this process was, should it die
        os.pwrite(stream.fileno(), name.encode("utf-8", "surrogateescape") + b"\n", 0)

    with stream:
        result = process(job.group, config, detector, given_up, note)
    clips = [dataclasses.asdict(outcome) for outcome in result.outcomes]
    try:
        shards.write_part(job.part, result.groups, clips, result.seconds)
        marker.unlink(missing_ok=True)
    except OSError as error:
        raise processes.CannotWrite(str(error)) from error
    del result
    if not (job.group.still or job.group.pictures):  # it takes longer than a pair of pictures, which leaves no gaps
        processes.free_memory()
    return clips
