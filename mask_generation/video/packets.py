"""Packets of a container up to its end, also where a demuxer fails on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

import av

# What PyAV raises on files: FFmpeg's own, and Python's where a number of the file does not fit or divides by zero.
ERRORS = (av.error.FFmpegError, OSError, MemoryError, ValueError, ArithmeticError)
_MAX_STUCK = 8  # failures in a row without getting on in the file, after which it is given up


def resumed(container: Any, streams: Sequence[Any], tell: Callable[[], int]) -> Iterator[Optional[Any]]:
    """Packets of the streams; None where the demuxer failed, and on from there if it gets on.

    Packets of size 0 hold no picture: a place that AVI leaves empty, or PyAV's sign of the end.

    Args:
        tell: the place in the file, by which it is seen whether anything moves.
    """
    stuck = 0
    while stuck < _MAX_STUCK:
        place = tell()
        try:
            for packet in container.demux(*streams):
                stuck = 0
                yield packet
            return
        except ERRORS:
            stuck = stuck + 1 if tell() == place else 0
            yield None
