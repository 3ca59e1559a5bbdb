"""A video with its masks drawn in, beside the original: every frame, decoded, tracked and predicted anew."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Union

import av
import cv2
import numpy as np

from mask_generation.faces.detector import crop_geometry
from mask_generation.faces.tracker import FaceTracker
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import Frame, printable
from runtime.scoring import drawing

MAX_HEIGHT = 480  # of each half, px
TIME_BASE = Fraction(1, 90_000)
DEFAULT_FPS = 25.0  # written into the header where the file states no rate; the time stamps decide


class DrawError(Exception):
    """The encoder does not take these frames."""


def write_overlay_video(path: Union[str, bytes], out: Path, scorer: Any) -> None:
    """Write `out`, an H.264 .mp4 with the time stamps of the original: left the original, right the masks.

    Args:
        scorer: a `runtime.scoring.scorer.Scorer`.
    Raises:
        VideoError: the video cannot be read.
        DrawError: the drawn one cannot be encoded.
        OSError: it cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}-{out.name}")
    tracker = FaceTracker(scorer.detector, scorer.config.detect_every_s)
    try:
        with VideoReader(path, scorer.config.limits) as reader, av.open(str(temporary), "w") as container:
            writer = _Writer(container, reader.info.fps or DEFAULT_FPS)
            for frame in reader.frames():
                writer.add(frame, _drawn(frame, tracker, scorer))
            writer.close()
        os.replace(temporary, out)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise DrawError(f"{printable(path)}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _drawn(frame: Frame, tracker: FaceTracker, scorer: Any) -> np.ndarray:
    """(H,W) mask of the whole frame, the maximum over its faces."""
    mask = np.zeros(frame.rgb.shape[:2], np.float32)
    squares = [crop_geometry(face.box, scorer.model.face_margin) for face in tracker.update(frame)]
    squares = squares[: scorer.config.max_faces]
    if squares:
        crops = np.stack([square.crop(frame.rgb, scorer.model.input_size) for square in squares])
        for square, part in zip(squares, scorer.model.predict(crops, scorer.config.batch_size)[0]):
            corners = (square.x0, square.y0, square.x0 + square.side, square.y0 + square.side)
            drawing.paste_mask(mask.shape, corners, part, mask)
    return mask


class _Writer:
    """Frames and masks → packets. The stream is set up by the first frame."""

    def __init__(self, container: Any, fps: float) -> None:
        self._container, self._fps, self._last = container, fps, -1
        self._stream: Any = None

    def add(self, frame: Frame, mask: np.ndarray) -> None:
        pair = _pair(frame.rgb, mask)
        if self._stream is None:
            rate = Fraction(self._fps).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
            self._stream.width, self._stream.height, self._stream.pix_fmt = pair.shape[1], pair.shape[0], "yuv420p"
            self._stream.codec_context.time_base = TIME_BASE
        picture = av.VideoFrame.from_ndarray(pair, format="rgb24")
        # Damaged files may hold time stamps that stand still or jump back; an encoder takes rising ones only.
        self._last = max(int(frame.time_s / TIME_BASE), self._last + 1)
        picture.pts, picture.time_base = self._last, TIME_BASE
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())


def _pair(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Original and overlay side by side, reduced to MAX_HEIGHT, sides even as yuv420p wants them."""
    factor = min(1.0, MAX_HEIGHT / rgb.shape[0])
    width, height = (max(2, round(side * factor) // 2 * 2) for side in (rgb.shape[1], rgb.shape[0]))
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([small, drawing.tint(small, cv2.resize(mask, (width, height)))], axis=1)
