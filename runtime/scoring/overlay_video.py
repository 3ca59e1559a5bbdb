"""A video with its masks drawn in, beside the original: every frame, decoded, tracked and predicted anew.

It is read twice: which tracks are faces is known only when all of it has been seen.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import av
import cv2
import numpy as np

from mask_generation.faces import turn
from mask_generation.faces.detector import Box, CropGeometry, crop_geometry
from mask_generation.faces.people import people
from mask_generation.faces.tracker import FaceTracker
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import Frame, printable
from mask_generation.video.writer import NoFramesError, video_file
from runtime.scoring import drawing

MAX_HEIGHT = 480  # of each half, px
CRF = 20
DEFAULT_FPS = 25.0  # written into the header where the file states no rate; the time stamps decide


class DrawError(Exception):
    """The encoder does not take these frames."""


def write_overlay_video(path: Union[str, bytes], out: Path, scorer: Any, turns: int = 0) -> None:
    """Write `out`, an H.264 .mp4 with the time stamps of the original: left the original, right the masks.

    Args:
        scorer: a `runtime.scoring.scorer.Scorer`.
        turns: by quarters to the left, as its frames were looked at.
    Raises:
        VideoError: the video cannot be read.
        DrawError: the drawn one cannot be encoded.
        OSError: it cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    squares = _squares(path, scorer, turns)
    try:
        with (
            VideoReader(path, scorer.config.limits, one_size=True) as reader,
            video_file(
                out,
                CRF,
                fps=reader.info.fps or DEFAULT_FPS,
                threads=0,  # made once, to be looked at: speed is worth more than the same bytes each time
            ) as writer,
        ):
            for frame in (turn.turned(frame, turns) for frame in reader.frames()):
                writer.write(_pair(frame.rgb, _drawn(frame, squares[frame.index], scorer)), frame.time_s)
    except (av.error.FFmpegError, NoFramesError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise DrawError(f"{printable(path)}: {error}") from error


def _squares(path: Union[str, bytes], scorer: Any, turns: int) -> Mapping[int, list[CropGeometry]]:
    """What is looked at in each frame, by its index: faces, larger ones first."""
    tracker = FaceTracker(scorer.detector, scorer.config.detect_every_s)
    with VideoReader(path, scorer.config.limits, one_size=True) as reader:
        for frame in reader.frames():
            tracker.update(turn.turned(frame, turns))
    boxes: dict[int, list[Box]] = defaultdict(list)
    for person in people(tracker.tracks()):
        for track in person:
            for index, box in zip(track.indices, track.boxes):
                boxes[index].append(box)
    squares: dict[int, list[CropGeometry]] = defaultdict(list)
    for index, found in boxes.items():
        found = sorted(found, key=lambda box: -box.area)[: scorer.config.max_faces]
        squares[index] = [crop_geometry(box, scorer.model.face_margin) for box in found]
    return squares


def _drawn(frame: Frame, squares: list[CropGeometry], scorer: Any) -> np.ndarray:
    """(H,W) mask of the whole frame, the maximum over its faces."""
    mask = np.zeros(frame.rgb.shape[:2], np.float32)
    if squares:
        crops = np.stack([square.crop(frame.rgb, scorer.model.input_size) for square in squares])
        for square, part in zip(squares, scorer.model.predict(crops, scorer.config.batch_size)[0]):
            corners = (square.x0, square.y0, square.x0 + square.side, square.y0 + square.side)
            drawing.paste_mask(mask.shape, corners, part, mask)
    return mask


def _pair(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Original and overlay side by side, reduced to MAX_HEIGHT, sides even as yuv420p wants them."""
    factor = min(1.0, MAX_HEIGHT / rgb.shape[0])
    width, height = (max(2, round(side * factor) // 2 * 2) for side in (rgb.shape[1], rgb.shape[0]))
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([small, drawing.tint(small, cv2.resize(mask, (width, height)))], axis=1)
