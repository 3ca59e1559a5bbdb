"""A video file → frames, lazily: one frame in memory at a time, whatever the file's length.

Files are foreign and may be damaged or hostile. They are handed to FFmpeg as open file objects, so a name is never
taken for an option or a URL; play lists, which would make FFmpeg open other files, are refused; sizes, duration and
time have finite, settable limits. Anything wrong with a file is a `VideoError` with a state and a reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Optional

import numpy as np

from mask_generation.video_reader import VideoReader
from mask_generation.video_types import (
    TIMEOUT,
    TOO_SHORT,
    UNREADABLE,
    UNSUPPORTED,
    DecodeStats,
    Frame,
    Limits,
    PathLike,
    VideoError,
    VideoInfo,
    printable,
)

__all__ = [
    "TIMEOUT",
    "TOO_SHORT",
    "UNREADABLE",
    "UNSUPPORTED",
    "DecodeStats",
    "Frame",
    "Limits",
    "PathLike",
    "VideoError",
    "VideoInfo",
    "VideoReader",
    "count_frames",
    "indices_at_rate",
    "printable",
    "probe",
    "read_frames",
    "sample_indices",
]


def probe(path: PathLike, limits: Optional[Limits] = None) -> VideoInfo:
    """What the container declares.

    Raises:
        VideoError: as `VideoReader`.
    """
    with VideoReader(path, limits) as reader:
        return reader.info


def count_frames(path: PathLike, limits: Optional[Limits] = None) -> int:
    """Declared number of frames, or the number of coded pictures where none is declared.

    Raises:
        VideoError: as `VideoReader`.
    """
    with VideoReader(path, limits) as reader:
        return reader.info.frames or reader.count_packets()


def read_frames(
    path: PathLike,
    indices: Optional[Collection[int]] = None,
    stride: int = 1,
    limits: Optional[Limits] = None,
    threads: int = 1,
) -> Iterator[Frame]:
    """Frames of a file, lazily; see `VideoReader.frames`."""
    with VideoReader(path, limits, threads) as reader:
        yield from reader.frames(indices, stride)


def sample_indices(count: int, samples: int) -> list[int]:
    """At most `samples` indices spread evenly over 0 … count-1, ends included, without repetition."""
    if count < 1 or samples < 1:
        return []
    return np.unique(np.linspace(0, count - 1, min(samples, count)).round().astype(int)).tolist()


def indices_at_rate(count: int, fps: Optional[float], wanted_fps: float) -> list[int]:
    """Indices of about `wanted_fps` frames a second; all where the file's own rate is unknown or lower."""
    if not fps or wanted_fps >= fps:
        return list(range(count))
    return np.unique((np.arange(int(count * wanted_fps / fps) + 1) * fps / wanted_fps).astype(int)).tolist()
