"""A folder of videos → results on disk, one file each, so that a run that was killed goes on where it stopped.

Videos are scored over the processes of `mask_generation.parallel.processes`, or on Ray: each scores one file after
another and writes its result. They may die: a file that crashes or hangs a decoder costs its own row and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mask_generation.parallel import processes, ray
from mask_generation.video.types import TIMEOUT, UNREADABLE, VideoError, printable
from mask_generation.video.writer import VIDEO_SUFFIXES
from runtime.model.saved_model import Trust
from runtime.scoring import drawing
from runtime.scoring.result import RESULT_FORMAT, SCORED, ScoreConfig, VideoResult
from unet_industrial import files

FILE_LIMIT_S = 900.0  # for one video, however long
RESULTS, OVERLAYS, MASKS = "results", "overlays", "masks"
LOCK = ".running"
ERROR_LOG = "errors.log"

log = logging.getLogger(__name__)


class InputError(Exception):
    """The input is missing or holds no video."""


class ScoringError(Exception):
    """No process or Ray worker can be started, or none can go on; the message gives the reason."""


class OutputError(processes.CannotWrite):
    """A result cannot be written; ends the run."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Files to score, as paths of the file system, and those left out because their names are no video's."""

    files: tuple[bytes, ...]
    skipped: tuple[bytes, ...]


def find_videos(inputs: Sequence[str], output: Path) -> Found:
    """Videos among files and folders (searched in depth, links to folders not followed), sorted by name.

    A file that is named itself is scored whatever its name. One that is given under several spellings (a relative and
    an absolute path, a folder behind a link) is there once, under the first. Hidden files, and what lies in the output
    folder, are left out silently; a folder below the given one that cannot be listed is among the files, as what lies
    in it may be videos: its row says why.

    Raises:
        InputError: an input does not exist or cannot be read, or there is no video at all.
    """
    videos: dict[bytes, bytes] = {}  # by place
    skipped: dict[bytes, bytes] = {}
    own = os.fsencode(os.path.realpath(output))

    def cannot_list(error: OSError) -> None:
        folder = os.fsencode(error.filename)
        if folder == path:
            raise InputError(f"{printable(folder)}: {error.strerror} (--input)") from error
        videos.setdefault(place(folder), folder)

    for given in inputs:
        path = os.fsencode(given)
        if not os.path.isdir(path):
            if not os.path.lexists(path):
                raise InputError(f"{printable(path)}: no such file or folder (--input)")
            videos.setdefault(place(path), path)
            continue

        for folder, folders, names in os.walk(path, onerror=cannot_list):
            folders[:] = sorted(
                f for f in folders if not f.startswith(b".") and os.path.realpath(os.path.join(folder, f)) != own
            )
            for name in sorted(names):
                if name.startswith(b"."):
                    continue
                is_video = os.fsdecode(name).lower().endswith(VIDEO_SUFFIXES)
                found = os.path.join(folder, name)
                (videos if is_video else skipped).setdefault(place(found), found)
    if not videos:
        raise InputError(f"no video among {len(skipped)} files in {', '.join(map(printable, inputs))} (--input)")
    return Found(tuple(videos.values()), tuple(path for where, path in skipped.items() if where not in videos))


def place(path: bytes) -> bytes:
    """Where a file is, however it is spelt. A link is a file of its own: only links to the folders above it are
    followed."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


@contextlib.contextmanager
def sole_run(output: Path) -> Iterator[None]:
    """Hold the output folder for one run: two at once would score every video twice. What killed runs left half
    written is swept.

    Raises:
        InputError: another run holds it.
    """
    try:
        with files.sole_writer(output, LOCK):
            for part in (RESULTS, OVERLAYS, MASKS):
                if (output / part).is_dir():
                    files.remove_leftovers(output / part)
            yield
    except files.FolderBusy as error:
        raise InputError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class FolderRun:
    """What `score_folder` did: results in the order of the files, how many came from an earlier run, and the number
    of processes that made the others (0: there were none; None: as many as the Ray cluster has room for)."""

    results: tuple[VideoResult, ...]
    resumed: int
    processes: int | None


def score_folder(
    paths: Sequence[bytes],
    output: Path,
    model: str,
    fingerprint: str,
    config: ScoreConfig,
    trust: Trust = False,
    num_processes: int | None = None,
    timeout_s: float = FILE_LIMIT_S,
    overlay_video: bool = False,
    progress: Callable[[VideoResult, bool], None] | None = None,
    ray_address: str = "",
    memory_mb: int | None = None,
) -> FolderRun:
    """Score files over processes; those whose result is in the output folder already are not looked at again.

    Args:
        fingerprint: of settings and model, see `ScoreConfig.fingerprint`.
        num_processes: how many; None: one a core.
        ray_address: of a Ray cluster; "": processes on this machine.
        progress: called with each result and whether it came from an earlier run.
        memory_mb: ceiling of a process's memory, see `processes.Parallel`.
    Raises:
        ScoringError: no process or Ray worker can be started.
    """
    jobs = [job_for(path, f"{fingerprint}:{overlay_video}") for path in paths]
    results: dict[str, VideoResult] = {}
    for job in jobs:
        before = read_result(output / RESULTS / f"{job.key}.json")
        if before is not None and all(
            (output / part).exists() for part in (before.overlay, before.overlay_video) if part
        ):
            results[job.key] = dataclasses.replace(before, path=job.name)
            if progress:
                progress(results[job.key], True)
    todo = list({job.key: job for job in jobs if job.key not in results}.values())
    resumed = len(results)
    count: int | None = 0
    if todo:
        # On Ray without a number: as many as the cluster has room for.
        count = num_processes or (None if ray_address else default_processes(len(todo)))
        count = min(count, len(todo)) if count else None
        setup = ScorerSetup(
            model,
            trust,
            config,
            threads=max(1, processes.cpu_cores() // count) if count and not ray_address else 1,
            finish=functools.partial(finish, str(output), overlay_video),
            build=build_scorer,
        )
        for job, result in score_all(todo, setup, count, timeout_s, output / ERROR_LOG, ray_address, memory_mb):
            # A process that was lost wrote nothing: the next run tries that file again, perhaps with more time.
            results[job.key] = result
            if progress:
                progress(result, False)
    return FolderRun(tuple(results[job.key] for job in jobs), resumed, count)


@dataclasses.dataclass(frozen=True)
class Job:
    """One file: `path` as bytes of the file system, `name` as reported, `key` of its result."""

    path: bytes
    name: str
    key: str


def job_for(path: bytes, fingerprint: str) -> Job:
    """The job of a file; its key changes with the file's place, size and times, the settings and the model.

    A program can set the time of modification back, as `cp -p` does, but not the time of the last change (ctime),
    so other content never has the key of the content before it.
    """
    try:
        status = os.stat(path)
        state = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    except (OSError, ValueError):
        state = "missing"
    digest = hashlib.sha256(b"\0".join([place(path), state.encode(), fingerprint.encode()]))
    return Job(path, printable(path), digest.hexdigest()[:24])


@dataclasses.dataclass(frozen=True)
class ScorerSetup:
    """What a process or Ray worker needs. `build(setup)` makes its scorer (`build_scorer`, unless tested), and
    `finish(scorer, job, result)` turns a result with pictures into one on disk."""

    model: str
    trust: Trust
    config: ScoreConfig
    threads: int
    finish: Callable[[Any, Job, VideoResult], VideoResult]
    build: Callable[[ScorerSetup], Any]


def default_processes(videos: int) -> int:
    """One process a core and no more than videos; on a GPU at most four share it."""
    cores = processes.cpu_cores()
    return max(1, min(4 if os.path.exists("/dev/nvidia0") else cores, cores, videos))


def score_all(
    jobs: Sequence[Job],
    setup: ScorerSetup,
    num_processes: int | None,
    timeout_s: float,
    error_log: Path,
    ray_address: str = "",
    memory_mb: int | None = None,
) -> Iterator[tuple[Job, VideoResult]]:
    """Score every job, in whatever order they finish.

    Args:
        num_processes: how many at most; None, on Ray: as many as the cluster has room for.
        timeout_s: seconds one file may take before its process is killed.
        error_log: file to which the trace of an unexpected error is appended.
        ray_address: of a Ray cluster to work on, see `mask_generation.parallel.ray`; "": processes on this machine.
    Raises:
        ScoringError: processes cannot start (model missing, not trusted, out of memory …), or results cannot be
            written.
    """
    work = processes.Work(functools.partial(setup.build, setup), functools.partial(score_one, setup.finish), memory_mb)

    def limit_s(job: Job) -> float:
        return timeout_s

    def again(job: Job, answer: processes.Answer) -> None:
        """A file that ended its process, or kept it too long, is not tried twice in a run."""

    try:
        if ray_address:
            answers = ray.run(jobs, work, ray_address, num_processes, limit_s, again)
        else:
            answers = processes.run(jobs, work, num_processes or 1, limit_s, again)
        for job, answer in answers:
            yield job, _result(job, answer, timeout_s, error_log)
    except processes.ParallelError as error:
        raise ScoringError(str(error)) from error


def _result(job: Job, answer: processes.Answer, timeout_s: float, error_log: Path) -> VideoResult:
    name = printable(job.path)
    if answer.kind == processes.DONE:
        return answer.content
    if answer.kind == processes.LATE:
        return VideoResult(name, TIMEOUT, f"took longer than {timeout_s:g} s (--timeout_s)")
    if answer.kind == processes.DIED:
        reason = f"the process that read it ended ({answer.content}); damaged, or larger than --memory_mb allows"
        return VideoResult(name, UNREADABLE, reason)
    summary, trace = answer.content
    with error_log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{job.name}\n{trace}\n")
    return VideoResult(name, UNREADABLE, f"unexpected error, see {error_log.name}: {summary}"[:300])


def build_scorer(setup: ScorerSetup) -> Any:
    """Load model and detector in this process, with its share of the cores."""
    import cv2
    import tensorflow as tf

    from runtime.model.saved_model import load_model
    from runtime.scoring.scorer import Scorer

    cv2.setNumThreads(setup.threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setup.threads)
    scorer = Scorer(load_model(setup.model, setup.trust), setup.config)
    scorer.warm_up()
    return scorer


def score_one(finish: Callable[[Any, Job, VideoResult], VideoResult], scorer: Any, job: Job) -> VideoResult:
    """In the scoring process: score a file and write its result; the pictures stay there."""
    result = dataclasses.replace(finish(scorer, job, scorer.score(job.path)), pictures=())
    processes.free_memory()
    return result


def finish(output: str, overlay_video: bool, scorer: Any, job: Job, result: VideoResult) -> VideoResult:
    """In the scoring process: write the pictures, then the result; the result's file means that all is there.

    Raises:
        OutputError: something cannot be written.
    """
    folder = Path(output)
    name = f"{safe_stem(job.path)}-{job.key[:8]}"
    try:
        result = _with_pictures(folder, name, job, result)
        if overlay_video and result.rows and result.state in SCORED:
            result = _with_video(folder / MASKS / f"{name}.mp4", scorer, job, result)
        write_result(folder / RESULTS / f"{job.key}.json", result)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written to: {error.strerror or error}") from error
    return result


def _with_pictures(folder: Path, name: str, job: Job, result: VideoResult) -> VideoResult:
    if not result.pictures:
        return result
    score = "no score" if result.score is None else f"score {result.score:.2f}"
    verdict = f", {result.verdict}" if result.verdict else ""
    title = f"{os.path.basename(job.name)}: {result.state}{verdict}, {score}"
    drawing.write_png(folder / OVERLAYS / f"{name}.png", drawing.overlay_picture(result.pictures, title))
    thumbnails = tuple(
        {
            "time_s": round(item.time_s, 2),
            "face": item.track,
            "score": round(item.score, 3),
            "jpeg": drawing.thumbnail(item),
        }
        for item in result.pictures
    )
    return dataclasses.replace(result, overlay=f"{OVERLAYS}/{name}.png", thumbnails=thumbnails)


def _with_video(path: Path, scorer: Any, job: Job, result: VideoResult) -> VideoResult:
    """The answer stands even where its video cannot be drawn."""
    from runtime.scoring.overlay_video import DrawError, write_overlay_video

    try:
        write_overlay_video(job.path, path, scorer, (result.video or {}).get("quarter_turns", 0))
    except (VideoError, DrawError) as error:
        log.warning("no overlay video: %s", error)
        return result
    return dataclasses.replace(result, overlay_video=f"{MASKS}/{path.name}")


def safe_stem(path: bytes) -> str:
    """Part of a file's name that is harmless in every file system, shell and page: letters, digits, _ and - inside."""
    stem = os.path.splitext(os.path.basename(path))[0].decode("utf-8", "replace")
    ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", ascii_only).strip("_")[:40] or "video"


def write_result(path: Path, result: VideoResult) -> None:
    """Write one result; a file with this name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps({"format": RESULT_FORMAT, **result.to_dict()}))


def read_result(path: Path) -> VideoResult | None:
    """A result written before; None where there is none or it cannot be used (the video is then scored again)."""
    try:
        values = files.read_json_object(path)
        return VideoResult.from_dict(values) if values.get("format") == RESULT_FORMAT else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
