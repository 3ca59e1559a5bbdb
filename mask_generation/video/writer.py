"""Writing videos: the only encoder of the project, and the only list of names that are taken for videos or pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Optional, Union

import av
import numpy as np
from av.video.reformatter import ColorRange

from mask_generation.video.picture import BT601
from unet_industrial.files import atomic_path

# What FFmpeg reads and cameras, phones, editors and the web write; in lower case, with the dot, for `str.endswith`.
VIDEO_SUFFIXES = (
    *(".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".ivf", ".m2ts", ".m2v", ".m4v", ".mjpeg"),
    *(".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt"),
    *(".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # what OpenCV reads

TIME_BASE = Fraction(1, 90_000)  # s; of MPEG, exact for every common frame rate
# Options of x264 without which the same frames may give other bytes, beside one thread: its vector code for macroblock
# trees reads what it never wrote where rows of blocks do not fill a register (widths such as 130, 150 and 320).
_REPEATABLE = {"x264-params": "cpu-independent=1"}


class NoFramesError(ValueError):
    """A video without any frame was to be written."""


@contextlib.contextmanager
def video_file(
    path: Union[str, os.PathLike[str]], crf: int, preset: str = "veryfast", fps: float = 25, threads: int = 1
) -> Iterator[VideoWriter]:
    """Write a video: frames in, H.264 out, whole and under its name when the block ends well.

    It is yuv420p in BT.601 and limited range, without sound.
    The same frames give the same bytes on every run and machine, unless several threads are allowed.

    Args:
        path: its suffix decides the container; an .mp4 is what plays everywhere.
        crf: constant rate factor of x264, from 0 (keeps every bit of yuv420p) to 51.
        preset: of x264, `ultrafast` to `veryslow`.
        fps: frames a second; where frames have times of their own, those decide and this is only declared.
        threads: encoder threads; 0: as many as x264 likes. With more than one, bytes differ from run to run.
    Raises:
        NoFramesError: the block ended and no frame was written.
        OSError, av.error.FFmpegError: the file cannot be written, or x264 does not take the frames.
    """
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        writer = VideoWriter(container, crf, preset, fps, threads)
        yield writer
        writer.finish()


def encode(frames: Sequence[np.ndarray], crf: int, preset: str = "veryfast", fps: float = 25) -> list[Any]:
    """uint8 RGB frames of one size → packets of H.264, in memory; arguments and errors as in `video_file`."""
    writer = VideoWriter(None, crf, preset, fps)
    for frame in frames:
        writer.write(frame)
    writer.finish()
    return writer.packets


class VideoWriter:
    """Frames → coded pictures, in an open container or in a list; made by `video_file` and `encode`.

    The stream is set up by the first frame.

    Attributes:
        packets: what was coded so far, where there is no container.
    """

    def __init__(self, container: Any, crf: int, preset: str, fps: float, threads: int = 1) -> None:
        self.packets: list[Any] = []
        self._container = container
        self._options = {"crf": str(crf), "preset": preset, **_REPEATABLE}
        self._rate, self._threads = Fraction(fps).limit_denominator(1001), threads
        self._encoder: Any = None  # a stream of the container or, in memory, a bare codec
        self._codec: Any = None
        self._count, self._last_pts = 0, -1

    def write(self, rgb: np.ndarray, time_s: Optional[float] = None) -> None:
        """Add a frame.

        Args:
            rgb: (H, W, 3) uint8, of one size for all frames; an odd last row or column is left out, as 4:2:0 wants
                even sides.
            time_s: when it is shown, in seconds from 0, for all frames or for none. Damaged files hold times that stand
                still or jump back; an encoder takes rising ones only, so such a frame follows the one before at once.
        """
        height, width = (side - side % 2 for side in rgb.shape[:2])
        if self._encoder is None:
            self._start(height, width, 1 / self._rate if time_s is None else TIME_BASE)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), format="rgb24")
        wanted = self._count if time_s is None else round(time_s / TIME_BASE)
        self._count, self._last_pts = self._count + 1, max(self._last_pts + 1, wanted)
        picture.pts, picture.time_base = self._last_pts, self._codec.time_base
        self._keep(self._encoder.encode(picture))

    def finish(self) -> None:
        """Code what x264 holds back for prediction.

        Raises:
            NoFramesError: no frame was written.
        """
        if self._encoder is None:
            raise NoFramesError("no frames to write")
        self._keep(self._encoder.encode(None))

    def _start(self, height: int, width: int, time_base: Fraction) -> None:
        if self._container is None:
            self._encoder = self._codec = av.CodecContext.create("libx264", "w")
            self._codec.framerate = self._rate
        else:
            self._encoder = self._container.add_stream("libx264", rate=self._rate)
            self._codec = self._encoder.codec_context
        self._codec.width, self._codec.height, self._codec.pix_fmt = width, height, "yuv420p"
        self._codec.time_base, self._codec.options = time_base, self._options
        # Named, as players take BT.709 for large pictures that name nothing.
        self._codec.colorspace, self._codec.color_range = BT601, ColorRange.MPEG
        self._codec.thread_count = self._threads

    def _keep(self, packets: list[Any]) -> None:
        if self._container is None:
            self.packets += packets
        else:
            self._container.mux(packets)
