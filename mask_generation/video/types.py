"""What reading a video deals in: frames, limits, what a file declares, what went wrong and how it is called."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Optional, Union

import numpy as np

from unet_industrial.setting import setting

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

UNREADABLE, UNSUPPORTED, TOO_SHORT, TIMEOUT = "unreadable", "unsupported", "too_short", "timeout"


class VideoError(Exception):
    """A file that gives no usable frames.

    Attributes:
        state: `unreadable` (missing, damaged, no permission), `unsupported` (no video stream, over a limit),
            `too_short` or `timeout`.
        reason: what is wrong and what to do, without the file's name.
    """

    def __init__(self, path: PathLike, state: str, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path, self.state, self.reason = path, state, reason

    def __reduce__(self) -> tuple[Any, ...]:  # exceptions with own arguments do not cross processes otherwise
        return VideoError, (self.path, self.state, self.reason)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may demand. None: no limit.

    Attributes:
        max_width, max_height: 8192 lets 8K UHD (7680 x 4320) pass either way up.
        max_pixels: 48 million lets 8K pass beside a stream of 4K, and keeps a worker within 1.5 GB.
        max_duration_s: as the container declares it.
        timeout_s: not counting what the reader's user does between frames.
        max_bad_run: decoding failures in a row after which the rest is given up to the next key frame (PySceneDetect
            allows 8 with PyAV).
    """

    max_width: Optional[int] = setting(8192, "Widest frame accepted, px.", low=16)
    max_height: Optional[int] = setting(8192, "Highest frame accepted, px.", low=16)
    max_duration_s: Optional[float] = setting(4 * 3600.0, "Longest video accepted, in seconds.", low=0.0)
    max_bytes: Optional[int] = setting(64 << 30, "Largest file accepted.", low=1)
    timeout_s: Optional[float] = setting(
        3600.0, "Seconds of decoding accepted for a file.", flag="decode_limit_s", low=0.1
    )
    max_pixels: Optional[int] = setting(
        48_000_000, "Pixels accepted in a frame, of all video streams together.", low=256
    )
    max_streams: Optional[int] = setting(16, "Video streams accepted in a file.", low=1)
    max_bad_run: int = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One picture as a viewer shows it.

    Attributes:
        index: place among the frames that are shown, from 0; frames that cannot be decoded keep theirs.
        time_s: presentation time since the first frame; index / rate where the file holds no times.
        rgb: (H,W,3) uint8: colours, shape of pixels, rotation and mirroring as the file declares them.
    """

    index: int
    time_s: float
    rgb: np.ndarray


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What the container declares, before any frame is decoded.

    Attributes:
        width, height: of the first picture with square pixels, before it is turned as the header says.
        fps: average rate; None where the file declares none, or 0.
        frames: declared number of frames; None where there is none.
        duration_s: None where the file declares none.
    """

    width: int
    height: int
    fps: Optional[float]
    frames: Optional[int]
    duration_s: Optional[float]
    codec: str
    pixel_format: str
    has_audio: bool
    size_bytes: int


@dataclasses.dataclass
class DecodeStats:
    """What happened while reading, complete once the frames are used up.

    Attributes:
        decoded: good frames, converted or not; failed: packets that did not decode; corrupt: frames that FFmpeg marked
            as damaged (they keep their index and are not handed out); seconds: spent inside decoding.
        seeks: jumps to key frames; 0: decoded from the start.
        lost_s: seconds of the video that cannot be decoded, as far as it was looked at.
        problem: what is missing and where; None if nothing is.
        notes: what else is worth saying of how the file was read; nothing in it is missing for that.
    """

    decoded: int = 0
    failed: int = 0
    corrupt: int = 0
    seconds: float = 0.0
    seeks: int = 0
    lost_s: float = 0.0
    problem: Optional[str] = None
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def partial(self) -> bool:
        """Whether frames are missing from what was read."""
        return self.problem is not None or self.failed > 0 or self.corrupt > 0


def printable(path: PathLike) -> str:
    """The path for messages: no control characters, no undecodable bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fsdecode(path))
