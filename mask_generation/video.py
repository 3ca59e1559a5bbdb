"""A video file → frames, lazily: one frame in memory at a time, whatever the file's length.

Files are foreign and may be damaged or hostile. They are handed to FFmpeg as open file objects, so a name is never
taken for an option or a URL; play lists, which would make FFmpeg open other files, are refused; sizes, duration and
time have finite, settable limits. Anything wrong with a file is a `VideoError` with a state and a reason.
"""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import time
from collections.abc import Collection, Iterator
from typing import Any, Optional, Union

import av
import numpy as np

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

UNREADABLE, UNSUPPORTED, TOO_SHORT, TIMEOUT = "unreadable", "unsupported", "too_short", "timeout"
# Formats whose files make FFmpeg open other files or addresses that they name. It recognises them by content, and
# PyAV 15 crashes on headerless formats when it is given a list of allowed ones, so they are turned away before.
_PLAY_LISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"c=IN IP", b"<?xml", b"[playlist]", b"<smil", b"<AssetMap")
_PLAY_LIST_FORMATS = frozenset(("hls", "concat", "dash", "sdp", "rtsp", "imf", "applehttp", "concatf", "image2", "tty"))
_SNIFF_BYTES = 4096
_READ_BYTES = 1 << 18


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
        max_width, max_height: of a frame, in pixels; 8192 lets 8K UHD (7680 x 4320) pass either way up.
        max_duration_s: as the container declares it.
        max_bytes: size of the file.
        timeout_s: seconds spent inside decoding, not counting what the reader's user does between frames.
        max_bad_run: decoding failures in a row after which the rest of the file is given up (PySceneDetect
            allows 8 with PyAV).
    """

    max_width: Optional[int] = 8192
    max_height: Optional[int] = 8192
    max_duration_s: Optional[float] = 4 * 3600.0
    max_bytes: Optional[int] = 64 << 30
    timeout_s: Optional[float] = 3600.0
    max_bad_run: int = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One picture as a viewer shows it.

    Attributes:
        index: place among the decoded frames, from 0.
        time_s: presentation time since the first frame; index / rate where the file holds no times.
        rgb: (H,W,3) uint8, the display matrix (rotation, mirroring) applied.
    """

    index: int
    time_s: float
    rgb: np.ndarray


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What the container says, before any frame is decoded; width and height are those of the coded picture.

    Attributes:
        fps: average rate; None where the file does not say, or says 0.
        frames: declared number of frames; None where the file does not say.
        duration_s: None where the file does not say.
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
        problem: why reading ended before the declared end; None if it did not.
    """

    decoded: int = 0
    failed: int = 0
    corrupt: int = 0
    seconds: float = 0.0
    problem: Optional[str] = None

    @property
    def partial(self) -> bool:
        """Whether frames are missing from what was read."""
        return self.problem is not None or self.failed > 0 or self.corrupt > 0


def printable(path: PathLike) -> str:
    """The path for messages: no control characters, no undecodable bytes."""
    text = os.fsdecode(path)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text if not _lone(c))
    return shown if all(not _lone(c) for c in text) else text.encode("utf-8", "backslashreplace").decode()


def _lone(character: str) -> bool:
    return 0xD800 <= ord(character) <= 0xDFFF


class _GuardedFile(io.RawIOBase):
    """A file for FFmpeg that stops giving data once the deadline has passed, so that a demuxer cannot loop for ever."""

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  closed by close()
        self.deadline: Optional[float] = None
        self.expired = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.expired = True
            return b""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("a video may not open other files")


def _check_file(path: PathLike, limits: Limits) -> int:
    """Size in bytes of a regular, non-empty file within the limits."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        broken = os.path.islink(path)
        reason = f"a link to {printable(os.readlink(path))}, which does not exist" if broken else "no such file"
        raise VideoError(path, UNREADABLE, reason) from error
    except (OSError, ValueError) as error:
        raise VideoError(path, UNREADABLE, _system_reason(error)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise VideoError(path, UNREADABLE, f"{kind}, not a video file")
    if status.st_size == 0:
        raise VideoError(path, UNREADABLE, "empty file (0 bytes)")
    if limits.max_bytes is not None and status.st_size > limits.max_bytes:
        raise VideoError(
            path, UNSUPPORTED, f"{status.st_size} bytes, over the limit of {limits.max_bytes} (--max_bytes)"
        )
    return status.st_size


def _is_text(head: bytes) -> bool:
    """Whether the beginning of a file is printable text; Y4M is a video that may look like it."""
    return not head.startswith(b"YUV4MPEG2") and not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)


def _system_reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be opened: {getattr(error, 'strerror', None) or error}"


class VideoReader:
    """One open video. Use it in a `with` block; `frames` may be called once.

    Args:
        threads: decoder threads; 0: as many as FFmpeg likes. One keeps memory and load predictable where many
            processes decode at once.
    Raises:
        VideoError: the file cannot be opened, holds no video, or is over a limit.
    """

    def __init__(self, path: PathLike, limits: Optional[Limits] = None, threads: int = 1) -> None:
        self.path, self.limits = path, limits or Limits()
        self.stats = DecodeStats()
        size = _check_file(path, self.limits)
        try:
            self._file = _GuardedFile(path)
        except OSError as error:
            raise VideoError(path, UNREADABLE, _system_reason(error)) from error
        self._container: Any = None
        try:
            with self._Clock(self):
                self._open(threads)
                self.info = self._describe(size)
            self._check_limits()
        except BaseException:
            self.close()
            raise

    def _open(self, threads: int) -> None:
        head = self._file.read(_SNIFF_BYTES)
        self._file.seek(0)
        if _is_text(head) or any(mark in head for mark in _PLAY_LISTS):
            raise VideoError(self.path, UNREADABLE, "a text file or a play list, not a video, whatever its name says")
        try:
            self._container = av.open(
                self._file,
                mode="r",
                buffer_size=_READ_BYTES,
                io_open=_refuse_other_files,
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            self._check_expired()
            raise VideoError(
                self.path, UNREADABLE, f"no video that FFmpeg knows, or damaged at its start ({error.strerror})"
            ) from error
        except (ValueError, OverflowError) as error:  # PyAV on absurd values in headers
            raise VideoError(self.path, UNREADABLE, f"damaged header ({error})") from error
        if _PLAY_LIST_FORMATS & set(self._container.format.name.split(",")):
            raise VideoError(self.path, UNSUPPORTED, f"a play list or text ({self._container.format.name}), no video")
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

    def _describe(self, size: int) -> VideoInfo:
        stream, context = self._stream, self._stream.codec_context
        duration = None
        if stream.duration and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        elif self._container.duration:
            duration = self._container.duration / av.time_base
        rate = stream.average_rate or stream.guessed_rate
        return VideoInfo(
            width=context.width,
            height=context.height,
            fps=float(rate) if rate else None,
            frames=stream.frames or None,
            duration_s=duration if duration and duration > 0 else None,
            codec=context.name,
            pixel_format=context.pix_fmt or "",
            has_audio=bool(self._container.streams.audio),
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
        if self._file.expired or (limit is not None and self.stats.seconds > limit):
            raise VideoError(self.path, TIMEOUT, f"decoding took longer than {limit:g} s (--timeout_s)")

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
        index, first_pts, size = -1, None, None
        for picture in self._pictures():
            index += 1
            if size is None:
                size = (picture.width, picture.height)
            if size != (picture.width, picture.height):
                self.stats.problem = f"the picture changes size at frame {index}; the rest is left out"
                return
            if picture.pts is not None and first_pts is None:
                first_pts = picture.pts
            if picture.is_corrupt:
                self.stats.corrupt += 1
            else:
                self.stats.decoded += 1
                if index in wanted if wanted is not None else index % stride == 0:
                    yield Frame(index, self._time(picture, index, first_pts), self._convert(picture))
            if index == last:
                return
        self._check_end(index + 1)

    def greys(self) -> Iterator[np.ndarray]:
        """Every frame as (H,W) uint8 luma, the display matrix applied; much cheaper than colour. Damaged ones included.

        Raises:
            VideoError: not one frame can be decoded, or time is up.
        """
        count, shape = 0, None
        for picture in self._pictures():
            start = time.monotonic()
            grey = _oriented(picture, _luma(picture))
            self.stats.seconds += time.monotonic() - start
            shape = shape or grey.shape
            if grey.shape != shape:
                return
            count += 1
            yield grey
        self._check_end(count)

    def _check_end(self, seen: int) -> None:
        self._check_expired()
        if not seen:
            raise VideoError(self.path, UNREADABLE, "not one frame can be decoded; the file is damaged")
        declared = self.info.frames
        if declared and seen < declared and self.stats.problem is None and self.info.codec != "gif":
            missing = declared - seen
            if missing > max(2, 0.02 * declared):  # edit lists and trailing empty packets account for a few
                self.stats.problem = f"{seen} of {declared} declared frames are there; the file is cut short or damaged"

    def _pictures(self) -> Iterator[Any]:
        """Decoded frames of all packets; single failures are counted and skipped, a long run of them ends it."""
        failures = 0
        packets = self._container.demux(self._stream)
        while True:
            with self._Clock(self):
                try:
                    packet = next(packets, None)
                    pictures = [] if packet is None else packet.decode()
                    failures = 0 if pictures else failures
                except av.error.EOFError:
                    packet, pictures = None, []
                except (av.error.FFmpegError, MemoryError, ValueError) as error:
                    failures += 1
                    self.stats.failed += 1
                    pictures = []
                    if failures > self.limits.max_bad_run:
                        self.stats.problem = f"{failures} decoding failures in a row, the last: {_first_line(error)}"
                        packet = None
            self._check_expired()
            yield from pictures
            if packet is None:
                return

    def _time(self, picture: Any, index: int, first_pts: Optional[int]) -> float:
        if picture.pts is not None and picture.time_base and first_pts is not None:
            return float((picture.pts - first_pts) * picture.time_base)
        return index / self.info.fps if self.info.fps else 0.0

    def _convert(self, picture: Any) -> np.ndarray:
        start = time.monotonic()
        self._check_size(picture.width, picture.height)
        rgb = picture.to_ndarray(format="rgb24")
        rgb = _oriented(picture, rgb)
        self.stats.seconds += time.monotonic() - start
        return rgb

    def count_packets(self) -> int:
        """Number of coded pictures, without decoding; uses the reader up. For files that declare no count."""
        with self._Clock(self):
            try:
                count = sum(1 for packet in self._container.demux(self._stream) if packet.size)
            except av.error.FFmpegError as error:
                raise VideoError(self.path, UNREADABLE, f"damaged ({error.strerror})") from error
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


def _luma(picture: Any) -> np.ndarray:
    """(H,W) uint8; a view of the decoder's own plane where it has one, so use it before the next frame."""
    plane = picture.planes[0]
    eight_bit_yuv = picture.format.name.startswith(("yuv4", "yuvj4", "nv12", "gray8", "gray")) and (
        picture.format.components[0].bits == 8
    )
    if not eight_bit_yuv or plane.width != picture.width:
        return picture.to_ndarray(format="gray")
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : picture.width]


def _oriented(picture: Any, pixels: np.ndarray) -> np.ndarray:
    matrix = picture.side_data.get("DISPLAYMATRIX") if len(picture.side_data) else None
    return pixels if matrix is None else _orient(pixels, bytes(matrix))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_cover(stream: Any) -> bool:
    """Whether a "video" stream is the cover picture of a song."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _orient(rgb: np.ndarray, matrix: bytes) -> np.ndarray:
    """Apply a display matrix (9 int32, 16.16 fixed point, [a b u c d v x y w]) to a picture; right angles only.

    A coded pixel (x, y) is shown at (a·x + c·y, b·x + d·y), see FFmpeg's libavutil/display.h.
    """
    a, b, _, c, d = np.frombuffer(matrix, "<i4")[:5].tolist()
    swap = abs(b) > abs(a)
    if swap:
        rgb = rgb.swapaxes(0, 1)
    across, down = (c, b) if swap else (a, d)
    rgb = rgb[:, ::-1] if across < 0 else rgb
    rgb = rgb[::-1] if down < 0 else rgb
    return np.ascontiguousarray(rgb)


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
