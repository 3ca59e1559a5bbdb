"""A video file → the same video as it arrives after compression, scaling, dropped frames, blur, noise or re-sharing.

Everything but the disturbance under test is kept nearly lossless (BASE_CRF), so that a curve shows one thing at a time.
Frames are read and written one at a time; memory does not grow with length.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional

import av
import cv2
import numpy as np

from mask_generation.synthesis import degrade
from mask_generation.video import Frame, Limits, VideoReader

BASE_CRF = 12  # visually lossless at 8 bits; what is measured at it is the disturbance, not the codec
PRESET = "veryfast"
TIME_BASE = Fraction(1, 90_000)  # of MPEG; exact for every common frame rate
LEAST_SIDE_PX = 16
# What a messenger does to a video each time it is passed on: long side in pixels and quality, worse each time.
RESHARES = ((1280, 28), (848, 30), (640, 32), (480, 34))
# Shares of the length that are kept.
CUTS = {"first half": (0.0, 0.5), "second half": (0.5, 1.0), "middle third": (1 / 3, 2 / 3)}

# kind → levels, mildest first. Units: CRF of x264; share of the size; frames a second; sigma in pixels of the frame;
# sigma in grey levels; times re-shared; part kept.
LEVELS: dict[str, tuple[Any, ...]] = {
    "crf": (18, 23, 28, 32, 36, 40),
    "scale": (0.75, 0.5, 0.35, 0.25),
    "fps": (15, 10, 5, 2),
    "blur": (0.5, 1.0, 2.0, 3.0),
    "noise": (2, 5, 10, 20),
    "reshare": (1, 2, 3, 4),
    "trim": tuple(CUTS),
}
TITLES = {
    "crf": "compression (x264 CRF)",
    "scale": "scaled to",
    "fps": "frames a second",
    "blur": "Gaussian blur (σ, px)",
    "noise": "noise (σ, grey levels)",
    "reshare": "times re-shared",
    "trim": "trimmed to",
}


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """One kind at one level; see LEVELS for the units."""

    kind: str
    level: Any

    def __post_init__(self) -> None:
        if self.kind not in LEVELS:
            raise ValueError(f"kind must be one of {', '.join(LEVELS)}, not {self.kind!r}")

    @property
    def label(self) -> str:
        return f"{self.level:g}" if isinstance(self.level, (int, float)) else str(self.level)


def disturb(source: Path, target: Path, what: Disturbance, limits: Optional[Limits] = None) -> None:
    """Write `source` as disturbed to `target` (.mp4, H.264, no sound, at the end of the road).

    Raises:
        VideoError: the source cannot be read.
        ValueError: nothing is left of it (fewer frames than the cut or rate needs).
    """
    if what.kind != "reshare":
        write(target, _frames(source, what, limits), what.level if what.kind == "crf" else BASE_CRF)
        return
    current = source
    for number, (long_side, crf) in enumerate(RESHARES[: what.level]):
        last = number + 1 == what.level
        step = target if last else target.with_name(f"{target.stem}.{number}.mp4")
        with VideoReader(current, limits) as reader:
            write(step, (_shrunk(frame, long_side) for frame in reader.frames()), crf)
        if current != source:
            current.unlink()
        current = step


def _frames(source: Path, what: Disturbance, limits: Optional[Limits]) -> Iterator[Frame]:
    start, end = 0.0, float("inf")
    if what.kind == "trim":
        with VideoReader(source, limits) as reader:
            length = max((frame.time_s for frame in reader.frames()), default=0.0)
        start, end = (share * length for share in CUTS[what.level])
    seed = zlib.crc32(source.name.encode("utf-8", "surrogateescape"))  # noise differs by video and is repeatable
    next_s = 0.0
    with VideoReader(source, limits) as reader:
        for frame in reader.frames():
            if not start <= frame.time_s <= end:
                continue
            if what.kind == "fps":
                if frame.time_s < next_s - 1e-6:
                    continue
                next_s = max(next_s, frame.time_s - 1 / what.level) + 1 / what.level
            yield _changed(frame, what, seed)


def _changed(frame: Frame, what: Disturbance, seed: int) -> Frame:
    rgb = frame.rgb
    if what.kind == "scale":
        height, width = (max(LEAST_SIDE_PX, round(side * what.level)) for side in rgb.shape[:2])
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    elif what.kind == "blur":
        rgb = cv2.GaussianBlur(rgb, (0, 0), what.level)
    elif what.kind == "noise":
        rng = np.random.default_rng([seed, frame.index])
        noisy = rgb + rng.normal(0, what.level, rgb.shape).astype(np.float32)
        rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return dataclasses.replace(frame, rgb=rgb)


def _shrunk(frame: Frame, long_side: int) -> Frame:
    scale = long_side / max(frame.rgb.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(LEAST_SIDE_PX, round(side * scale)) for side in frame.rgb.shape[:2])
    return dataclasses.replace(frame, rgb=cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA))


def write(path: Path, frames: Iterator[Frame], crf: int) -> None:
    """Frames of one size as H.264 in MP4 with their own time stamps; a size that is odd loses a row or column.

    Raises:
        ValueError: there are no frames.
    """
    container, stream, last_pts, first_s = None, None, -1, 0.0
    try:
        for frame in frames:
            height, width = (side - side % 2 for side in frame.rgb.shape[:2])
            if container is None or stream is None:
                container = av.open(str(path), "w", format="mp4")
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = TIME_BASE
                stream.options = {"crf": str(crf), "preset": PRESET, **degrade.X264_REPEATABLE}
                stream.codec_context.thread_count = 1  # with more, its output varies from run to run
                first_s = frame.time_s
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.rgb[:height, :width]), format="rgb24")
            last_pts = max(last_pts + 1, round((frame.time_s - first_s) / TIME_BASE))  # damaged files jump back
            picture.pts, picture.time_base = last_pts, TIME_BASE
            container.mux(stream.encode(picture))
        if container is None or stream is None:
            raise ValueError("no frames are left")
        container.mux(stream.encode(None))
    finally:
        if container is not None:
            container.close()
