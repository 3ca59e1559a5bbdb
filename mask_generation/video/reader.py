"""A video file → frames, lazily: one frame in memory at a time, whatever the file's length.

Files are foreign and may be damaged or hostile. They are handed to FFmpeg (through PyAV) as open file objects, so a
name is never taken for an option or a URL; nothing that a file names is opened; sizes, duration and time have finite,
settable limits. Anything wrong with a file is a `VideoError` with a state and a reason,
or counted.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Optional

import av
import numpy as np

from mask_generation.video.guard import (
    DEMUXER_OPTIONS,
    SNIFF_BYTES,
    GuardedFile,
    check_file,
    is_text,
    refuse_other_files,
    system_reason,
)
from mask_generation.video.picture import PictureConverter
from mask_generation.video.types import (
    TIMEOUT,
    UNREADABLE,
    UNSUPPORTED,
    DecodeStats,
    Frame,
    Limits,
    PathLike,
    VideoError,
    VideoInfo,
)

_READ_BYTES = 1 << 18
# What PyAV raises on files: FFmpeg's own, and Python's where a number of the file does not fit or divides by zero.
_FAULTS = (av.error.FFmpegError, OSError, MemoryError, ValueError, ArithmeticError)


class VideoReader:
    """One open video. Use it in a `with` block; `frames` may be called once.

    Args:
        threads: decoder threads; 0: as many as FFmpeg likes. One keeps memory and load predictable where many
            processes decode at once.
        one_size: bring pictures that change size to the size of the first; otherwise each has its own.
    Raises:
        VideoError: the file cannot be opened, holds no video, or is over a limit.
    """

    def __init__(
        self, path: PathLike, limits: Optional[Limits] = None, threads: int = 1, one_size: bool = False
    ) -> None:
        self.path, self.limits, self._one_size = path, limits or Limits(), one_size
        self.stats = DecodeStats()
        self._seen_s = 0.0  # end of the last picture so far
        size = check_file(path, self.limits)
        try:
            self._file = GuardedFile(path)
        except OSError as error:
            raise VideoError(path, UNREADABLE, system_reason(error)) from error
        self._container: Any = None
        try:
            with self._Clock(self):
                self._open(threads)
                self.info = self._describe(size)
            self._check_limits()
        except _FAULTS as error:
            self.close()
            raise VideoError(path, UNREADABLE, f"damaged header ({_first_line(error)})") from error
        except BaseException:
            self.close()
            raise

    def _open(self, threads: int) -> None:
        head = self._file.read(SNIFF_BYTES)
        self._file.seek(0)
        self._check_expired()
        try:
            self._container = av.open(
                self._file,
                mode="r",
                buffer_size=_READ_BYTES,
                io_open=refuse_other_files,
                container_options=DEMUXER_OPTIONS,
                metadata_errors="replace",
            )
        except _FAULTS as error:
            self._check_expired()
            raise VideoError(self.path, UNREADABLE, _not_opened(head, error)) from error
        streams = [s for s in self._container.streams.video if not _is_cover(s)]
        if not streams:
            kind = "audio only" if self._container.streams.audio else "it holds no pictures"
            raise VideoError(self.path, UNSUPPORTED, f"no video stream ({kind})")
        self._stream = streams[0]
        if self._stream.codec_context is None:
            raise VideoError(self.path, UNSUPPORTED, "no decoder for its codec in this FFmpeg")
        self._stream.codec_context.thread_count = threads
        if threads != 1:
            self._stream.thread_type = "AUTO"
        stream = self._stream
        self._convert = PictureConverter(
            stream.codec_context, stream.sample_aspect_ratio, self._one_size, stream.metadata
        )
        self.stats.notes = self._convert.notes

    def _describe(self, size: int) -> VideoInfo:
        stream, context = self._stream, self._stream.codec_context
        duration, audio = _stream_duration(stream), bool(self._container.streams.audio)
        self._pictures_last_s = duration
        if duration is None and self._container.duration:
            duration = self._container.duration / av.time_base
            self._pictures_last_s = None if audio else duration  # with sound, it is the longer of the two
        rate = stream.average_rate or stream.guessed_rate
        width, height = self._convert.size(context.width, context.height)
        return VideoInfo(
            width=width,
            height=height,
            fps=float(rate) if rate else None,
            frames=stream.frames or None,
            duration_s=duration if duration and duration > 0 else None,
            codec=context.name,
            pixel_format=context.pix_fmt or "",
            has_audio=audio,
            size_bytes=size,
        )

    def _check_limits(self) -> None:
        info, limits = self.info, self.limits
        if info.width < 1 or info.height < 1:
            raise VideoError(self.path, UNREADABLE, "its header gives no picture size")
        self._check_size(info.width, info.height)
        if limits.max_duration_s is not None and (info.duration_s or 0) > limits.max_duration_s:
            reason = f"{info.duration_s:.0f} s long, over the limit of {limits.max_duration_s:.0f} s (--max_duration_s)"
            raise VideoError(self.path, UNSUPPORTED, reason)

    def _check_size(self, width: int, height: int) -> None:
        limits = self.limits
        if (limits.max_width or width) < width or (limits.max_height or height) < height:
            reason = f"{width}x{height} pixels, over the limit of {limits.max_width}x{limits.max_height}"
            raise VideoError(self.path, UNSUPPORTED, f"{reason} (--max_width, --max_height)")

    class _Clock:
        """Counts the time inside FFmpeg, and hands the file its deadline."""

        def __init__(self, reader: VideoReader) -> None:
            self._reader = reader

        def __enter__(self) -> None:
            reader, self._start = self._reader, time.monotonic()
            if reader.limits.timeout_s is not None:
                reader._file.deadline = self._start + reader.limits.timeout_s - reader.stats.seconds

        def __exit__(self, *exception: object) -> None:
            self._reader.stats.seconds += time.monotonic() - self._start

    def _check_expired(self) -> None:
        limit = self.limits.timeout_s
        if self._file.problem is not None:
            raise VideoError(self.path, UNREADABLE, f"reading it failed: {self._file.problem.strerror}")
        if self._file.expired or (limit is not None and self.stats.seconds > limit):
            raise VideoError(self.path, TIMEOUT, f"decoding took longer than {limit:g} s (--decode_limit_s)")

    def frames(self, indices: Optional[Collection[int]] = None, stride: int = 1) -> Iterator[Frame]:
        """Frames in order of display. Those not asked for are decoded, as later ones depend on them, but not converted.

        Args:
            indices: only these frames; reading ends after the last of them. None: every `stride`-th.
        Raises:
            VideoError: not one frame can be decoded, or time is up.
        """
        wanted = None if indices is None else frozenset(indices)
        last = None if wanted is None else max(wanted, default=-1)
        if last == -1:
            return
        index, first_pts = -1, None
        for picture in self._pictures():
            index += 1
            if picture.pts is not None and first_pts is None:
                first_pts = picture.pts
            if picture.is_corrupt:
                self.stats.corrupt += 1
            else:
                self.stats.decoded += 1
                if index in wanted if wanted is not None else index % stride == 0:
                    try:
                        rgb = self._shown(picture, self._convert.rgb)
                    except VideoError as error:
                        if self.stats.decoded == 1:
                            raise
                        self.stats.problem = f"from frame {index} on {error.reason}; the rest is left out"
                        return
                    yield Frame(index, self._time(picture, index, first_pts), rgb)
            if index == last:
                return
        self._check_end(index + 1)

    def greys(self) -> Iterator[np.ndarray]:
        """Every frame as (H,W) uint8 luma in limited range; much cheaper than colour. Damaged ones included.

        Raises:
            VideoError: not one frame can be decoded, or time is up.
        """
        count = 0
        for picture in self._pictures():
            count += 1
            yield self._shown(picture, self._convert.grey)
        self._check_end(count)

    def _check_end(self, seen: int) -> None:
        self._check_expired()
        if not seen:
            raise VideoError(self.path, UNREADABLE, "not one frame can be decoded; the file is damaged")
        declared, last_s = self.info.frames, self._pictures_last_s
        if self.stats.problem is not None or self.info.codec == "gif":
            return
        if declared:
            if declared - seen > max(2, 0.02 * declared):  # edit lists and trailing empty packets account for a few
                self.stats.problem = f"{seen} of {declared} declared frames are there; the file is cut short or damaged"
        elif last_s and last_s - self._seen_s > max(0.5, 0.03 * last_s):
            self.stats.problem = f"{self._seen_s:.1f} of {last_s:.1f} s are there; the file is cut short or damaged"

    def _pictures(self) -> Iterator[Any]:
        """Decoded frames of all packets; single failures are counted and skipped, a long run of them ends it."""
        failures, first_pts = 0, None
        packets = self._container.demux(self._stream)
        while True:
            with self._Clock(self):
                try:
                    packet = next(packets, None)
                    pictures = [] if packet is None else packet.decode()
                    failures = 0 if pictures else failures
                except av.error.EOFError:
                    packet, pictures = None, []
                except _FAULTS as error:
                    failures += 1
                    self.stats.failed += 1
                    pictures = []
                    if failures > self.limits.max_bad_run:
                        self.stats.problem = f"{failures} decoding failures in a row, the last: {_first_line(error)}"
                        packet = None
            self._check_expired()
            for picture in pictures:
                if picture.pts is not None and picture.time_base:
                    first_pts = picture.pts if first_pts is None else first_pts
                    end = picture.pts + (getattr(picture, "duration", 0) or 0) - first_pts
                    self._seen_s = max(self._seen_s, float(end * picture.time_base))
                yield picture
            if packet is None:
                return

    def _time(self, picture: Any, index: int, first_pts: Optional[int]) -> float:
        if picture.pts is not None and picture.time_base and first_pts is not None:
            return float((picture.pts - first_pts) * picture.time_base)
        return index / self.info.fps if self.info.fps else 0.0

    def _shown(self, picture: Any, convert: Callable[[Any], np.ndarray]) -> np.ndarray:
        start = time.monotonic()
        self._check_size(*self._convert.size(picture.width, picture.height))
        pixels = convert(picture)
        self.stats.seconds += time.monotonic() - start
        return pixels

    def count_packets(self) -> int:
        """Number of coded pictures, without decoding; uses the reader up. For files that declare no count."""
        with self._Clock(self):
            try:
                count = sum(1 for packet in self._container.demux(self._stream) if packet.size)
            except _FAULTS as error:
                raise VideoError(self.path, UNREADABLE, f"damaged ({_first_line(error)})") from error
        self._check_expired()
        return count

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._file.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


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


def _stream_duration(stream: Any) -> Optional[float]:
    """Seconds that the pictures last as their stream declares it; Matroska does so in a tag, as HH:MM:SS.fraction."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None


def _not_opened(head: bytes, error: Exception) -> str:
    if is_text(head):
        return "a text file or a play list, not a video, whatever its name says"
    if isinstance(error, av.error.FFmpegError):
        if error.errno == errno.EINVAL:  # FFmpeg's answer to a format that is not on the list
            return "a text file or a play list, or of a rare kind that is not read here; a video converted to MP4 is"
        return f"no video that FFmpeg knows, or damaged at its start ({error.strerror})"
    return f"damaged header ({_first_line(error)})"  # PyAV on absurd values


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_cover(stream: Any) -> bool:
    """Whether a "video" stream is the cover picture of a song."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)
