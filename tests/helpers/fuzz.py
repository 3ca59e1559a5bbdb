"""Files with random damage, read in processes as scoring reads them; `python -m tests.helpers.fuzz 2000` prints counts.

The same numbers give the same files on every machine.
"""

from __future__ import annotations

import collections
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mask_generation.parallel import processes
from mask_generation.video import types
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import Limits, VideoError
from tests.helpers import odd_videos

LIMIT_S = 5.0  # of decoding; a process is killed after three times that
FRAMES = 12
KINDS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "3gp": {"codec": "mpeg4"},
    "mkv": {},
    "webm": {"codec": "libvpx-vp9"},
    "ts": {},
    "mpg": {"codec": "mpeg1video", "rate": 25},
    "avi": {"codec": "mpeg4"},
    "wmv": {"codec": "wmv2"},
    "flv": {"codec": "flv"},
    "nut": {"codec": "ffv1"},
    "mxf": {"codec": "mpeg2video", "rate": 25},
    "gif": {"codec": "gif", "pixel_format": "rgb8"},
    "apng": {"codec": "apng", "pixel_format": "rgb24"},
    "ivf": {"codec": "libvpx"},
    "h264": {},
    "mjpeg": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
}
STATES = {types.UNREADABLE, types.UNSUPPORTED, types.TIMEOUT}
WHOLE, PARTIAL, SILENT = "whole", "partial", "fewer frames, unsaid"


class End(NamedTuple):
    """How reading a file ended.

    Attributes:
        what: `WHOLE`, `PARTIAL`, `SILENT` or a state of `VideoError`; "wrong" with what is wrong in `detail`.
    """

    what: str
    detail: str
    seconds: float
    peak_mb: float


class Job(NamedTuple):
    kind: str
    number: int
    path: Path


def draw(folder: Path, kind: str) -> bytes:
    """A whole clip of that kind."""
    return odd_videos.write(folder / f"whole.{kind}", odd_videos.pictures(FRAMES), **KINDS[kind]).read_bytes()


def damage(whole: bytes, number: int) -> bytes:
    return odd_videos.mutate(whole, np.random.default_rng([7, number]))


def look(path: Path) -> End:
    """Read colours and luma."""
    start = time.monotonic()
    what, detail = _read(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return End(what, detail, time.monotonic() - start, peak)


def _read(path: Path) -> tuple[str, str]:
    try:
        with VideoReader(path, Limits(timeout_s=LIMIT_S)) as reader:
            count = 0
            for frame in reader.frames():
                count += 1
                if frame.rgb.dtype != np.uint8 or frame.rgb.ndim != 3 or frame.rgb.shape[2] != 3:
                    return "wrong", f"a frame of shape {frame.rgb.shape}"
                if not (np.isfinite(frame.time_s) and frame.time_s >= 0):
                    return "wrong", f"a time of {frame.time_s}"
            stats = reader.stats
        with VideoReader(path, Limits(timeout_s=LIMIT_S)) as reader:
            if any(grey.ndim != 2 for grey in reader.greys()):
                return "wrong", "luma that is no picture"
    except VideoError as error:
        if error.state not in STATES or not error.reason or "\n" in error.reason:
            return "wrong", f"{error.state}: {error.reason!r}"
        return error.state, error.reason
    if stats.partial:
        return PARTIAL, stats.problem or ""
    return (WHOLE if count >= FRAMES else SILENT), f"{count} frames"


def build() -> None:
    import logging

    logging.getLogger("libav").setLevel(logging.CRITICAL)


def do(_: None, job: Job) -> End:
    end = look(job.path)
    os.unlink(job.path)
    return end


def main(count: int, workers: int = 2) -> int:
    """Read `count` damaged files; 0 if each gave an answer, and none a wrong one."""
    ends: collections.Counter[str] = collections.Counter()
    slowest, highest, examples = 0.0, 0.0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wholes = {kind: draw(folder, kind) for kind in KINDS}
        jobs = []
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            path = folder / f"{number}.{kind}"
            path.write_bytes(damage(wholes[kind], number))
            jobs.append(Job(kind, number, path))
        work = processes.Work(build, do, processes.Parallel().memory_mb)
        for job, answer in processes.run(jobs, work, workers, lambda job: 3 * LIMIT_S, lambda job, answer: None):
            if answer.kind == processes.DONE:
                end = answer.content
                slowest, highest = max(slowest, end.seconds), max(highest, end.peak_mb)
            else:  # it crashed, hung, or another exception escaped
                end = End({processes.BUG: "wrong"}.get(answer.kind, answer.kind), str(answer.content), 0.0, 0.0)
            ends[end.what] += 1
            if end.what in ("wrong", processes.DIED, processes.LATE):
                examples.append(f"  {job.kind} {job.number}: {end.what}: {end.detail}"[:300])
    answered = sum(ends.values())
    print(f"tried {count}, answered {answered}, lost {count - answered}; at most {slowest:.1f} s, {highest:.0f} MB")
    for what, number in ends.most_common():
        print(f"  {number:6d}  {what}")
    print("\n".join(examples))
    return int(answered < count or bool(examples))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
