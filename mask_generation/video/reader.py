"""A video file → frames, lazily: one frame in memory at a time, whatever the file's length.

Files are foreign and may be damaged or hostile. They are handed to FFmpeg (through PyAV) as open file objects, so a
name is never taken for an option or a URL; nothing that a file names is opened; sizes, duration and time have finite,
settable limits. Anything wrong with a file is a `VideoError` with a state and a reason,
or counted.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Optional

import av
import numpy as np

from mask_generation.video.ending import missing_end
from mask_generation.video.guard import (
    DEMUXER_OPTIONS,
    NO_DECODERS,
    SNIFF_BYTES,
    GuardedFile,
    bound_memory_blocks,
    check_file,
    is_text,
    refuse_other_files,
    system_reason,
)
from mask_generation.video.packets import ERRORS, resumed
from mask_generation.video.picture import PictureConverter
from mask_generation.video.seeking import Plan, Seeker, UnsafeSeekError
from mask_generation.video.streams import choose, several, stills, video_streams
from mask_generation.video.timeline import Timeline, scan
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

bound_memory_blocks()
_READ_BYTES = 1 << 18
_NOTHING = "not one frame can be decoded; the file is damaged"
_SAME_TIME_S = 1e-4  # rounding of time stamps
# Containers whose header says how long they are; for others FFmpeg estimates it by the bit rate.
_DECLARES_DURATION = frozenset(("mov", "matroska", "webm", "flv", "asf", "avi", "mxf", "rm", "wtv"))
_TAIL_BYTES = 1 << 16  # at the end of a file, of which a demuxer makes nothing, that are no rest of anything
_END: Any = object()


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
        self._starved = False  # some packet needed more memory than there was
        self.readable = np.zeros(0, int)  # indices of the frames that could be decoded, once `frames` has ended
        size = check_file(path, self.limits)
        try:
            self._file = GuardedFile(path)
        except OSError as error:
            raise VideoError(path, UNREADABLE, system_reason(error)) from error
        self._container: Any = None
        self._timeline: Optional[Timeline] = None
        try:
            with self._Clock(self):
                self._open(threads)
                self.info = self._describe(size)
            self._check_limits()
        except ERRORS as error:
            self.close()
            raise VideoError(path, UNREADABLE, f"damaged header ({_first_line(error)})") from error
        except BaseException:
            self.close()
            raise

    def _open(self, threads: int) -> None:
        head = self._file.read(SNIFF_BYTES)
        self._check_expired()
        self._threads, self._head = threads, head
        with contextlib.closing(self._opened(NO_DECODERS)) as container:
            self._check_streams(container.streams.video)
        self._container = self._opened()
        self._check_streams(self._container.streams.video)
        streams = video_streams(self._container)
        if not streams:
            kind = "audio only" if self._container.streams.audio else "it holds no pictures"
            raise VideoError(self.path, UNSUPPORTED, f"no video stream ({kind})")
        still: set[int] = set()
        if several(streams):
            still = stills(self._container, streams, self._file.tell)
            self._container.close()
            self._container = self._opened()
        stream, choice = choose(video_streams(self._container), still)
        if stream.codec_context is None:
            raise VideoError(self.path, UNSUPPORTED, "no decoder for its codec in this FFmpeg")
        self._number = stream.index
        self._use(stream)
        self._convert = PictureConverter(
            stream.codec_context, stream.sample_aspect_ratio, self._one_size, stream.metadata
        )
        self.stats.notes = self._convert.notes
        if choice:
            self.stats.notes.append(choice)

    def _opened(self, options: Optional[dict[str, str]] = None) -> Any:
        """A container at its start; every time a new demuxer, with more options if given."""
        self._file.seek(0)
        try:
            return av.open(
                self._file,
                mode="r",
                buffer_size=_READ_BYTES,
                io_open=refuse_other_files,
                container_options={**DEMUXER_OPTIONS, **(options or {})},
                metadata_errors="replace",
            )
        except ERRORS as error:
            self._check_expired()
            raise VideoError(self.path, UNREADABLE, _not_opened(self._head, error)) from error

    def _check_streams(self, streams: Sequence[Any]) -> None:
        """Refuse more pictures than there is memory for; streams whose header gives no size count from a frame on."""
        limits, pixels = self.limits, 0
        if limits.max_streams is not None and len(streams) > limits.max_streams:
            reason = f"{len(streams)} video streams, over the limit of {limits.max_streams} (--max_streams)"
            raise VideoError(self.path, UNSUPPORTED, reason)
        for stream in streams:
            if stream.codec_context is not None:
                width, height = stream.codec_context.width, stream.codec_context.height
                self._check_size(width, height)
                pixels += width * height
        self._check_pixels(pixels, "pixels in all video streams together")

    def _check_pixels(self, pixels: int, what: str) -> None:
        if self.limits.max_pixels is not None and pixels > self.limits.max_pixels:
            reason = f"{pixels} {what}, over the limit of {self.limits.max_pixels} (--max_pixels)"
            raise VideoError(self.path, UNSUPPORTED, reason)

    def _use(self, stream: Any) -> None:
        self._stream = stream
        stream.codec_context.thread_count = self._threads
        if self._threads != 1:
            stream.thread_type = "AUTO"

    def _rewind(self) -> None:
        """To the first packet, with a decoder that knows nothing."""
        self._container.close()
        self._container = self._opened()
        self._use(self._container.streams[self._number])
        self._convert.use(self._stream.codec_context)

    def _describe(self, size: int) -> VideoInfo:
        stream, context = self._stream, self._stream.codec_context
        duration, audio = _stream_duration(stream), bool(self._container.streams.audio)
        self._pictures_last_s = duration
        if duration is None and self._container.duration:
            duration = self._container.duration / av.time_base
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
        info = self.info
        if (info.width < 1 or info.height < 1) and self._container.format.name == "webp_pipe":
            raise VideoError(
                self.path, UNSUPPORTED, "an animated WebP, which FFmpeg does not read; an MP4 or GIF it does"
            )
        if info.width < 1 or info.height < 1:
            raise VideoError(self.path, UNREADABLE, "its header gives no picture size")
        self._check_size(info.width, info.height)
        self._check_duration(info.duration_s or 0)

    def _check_duration(self, seconds: float) -> None:
        limit = self.limits.max_duration_s
        if limit is not None and seconds > limit:
            reason = f"{seconds:.0f} s long, over the limit of {limit:.0f} s (--max_duration_s)"
            raise VideoError(self.path, UNSUPPORTED, reason)

    def _check_size(self, width: int, height: int) -> None:
        limits = self.limits
        if (limits.max_width or width) < width or (limits.max_height or height) < height:
            reason = f"{width}x{height} pixels, over the limit of {limits.max_width}x{limits.max_height}"
            raise VideoError(self.path, UNSUPPORTED, f"{reason} (--max_width, --max_height)")
        self._check_pixels(width * height, f"pixels ({width}x{height})")

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

    @property
    def timeline(self) -> Timeline:
        """What is there, by all packets of the file; made when it is first asked for.

        Raises:
            VideoError: there is nothing, or time is up.
        """
        if self._timeline is None:
            with self._Clock(self):
                streams = [self._stream, *self._container.streams.audio]  # PyAV crashes on types that it does not know
                packets = resumed(self._container, streams, self._file.tell)
                self._timeline = scan(packets, self._stream, self._container.format.name, self.info.fps)
            self._check_expired()
            self.stats.notes.extend(self._timeline.notes)
            if not self._timeline.count:
                raise VideoError(self.path, UNREADABLE, _NOTHING)
            self._check_duration(self._timeline.end_s)
            self.stats.problem = self._cut_short(self._timeline)
        return self._timeline

    def _cut_short(self, timeline: Timeline) -> Optional[str]:
        """What shows that the end of the file is missing: its declared length, or its container."""
        format_name, declared, packets = self._container.format.name, self.info.frames, len(timeline.dead)
        last, there = self._pictures_last_s, timeline.end_s
        if last is None and _DECLARES_DURATION & set(format_name.split(",")):
            last, there = self.info.duration_s, timeline.heard_s
        there += 0.0 if "mov" in format_name else max(0.0, timeline.start_s)
        is_short = last is not None and last - there > max(0.5, 0.03 * last) and self.info.codec != "gif"
        try:
            end = missing_end(self._file, format_name, self.info.size_bytes)
        except OSError as error:
            end = system_reason(error)
        # Fewer packets than declared are nothing missing where an edit list leaves some out, or a place is left empty.
        if declared and declared - packets > max(2, 0.02 * declared) and (is_short or end or not last):
            return f"{packets} of {declared} declared frames are there; the file is cut short or damaged"
        if is_short:
            return f"{there:.1f} of {last:.1f} s are there; the file is cut short or damaged"
        if end is None and timeline.is_broken_off and self.info.size_bytes - timeline.last_byte > _TAIL_BYTES:
            return f"nothing can be read behind {timeline.end_s:.1f} s; the file is damaged"
        return end

    def frames(self, indices: Optional[Collection[int]] = None, stride: int = 1) -> Iterator[Frame]:
        """Frames in order of display. Those not asked for are not converted; where frames asked for are few and far
        between in a long video, only those from the last key frame on are decoded.

        Args:
            indices: only these frames, by their places on the `timeline`; None: every `stride`-th.
        Raises:
            VideoError: not one frame can be decoded, or time is up.
        """
        wanted = None if indices is None else sorted({index for index in indices if index >= 0})
        if wanted is not None and not wanted:
            return
        timeline, given = self.timeline, -1
        plan = Seeker.plan(timeline, wanted) if wanted is not None else None
        if wanted is not None and plan is None and Seeker.is_barred(timeline, wanted):
            self.stats.notes.append("decoded from the start: its packets do not show where decoding may begin")
        if plan is not None:
            try:
                for index, picture in self._sought(plan):
                    frame = self._frame(index, picture)
                    if frame is None:
                        return
                    yield frame
                    given = index
                good = bytearray(timeline.count)
                for index in timeline.there():
                    good[index] = True
                self._account(good, timeline.count)
                return
            except UnsafeSeekError as error:
                self.stats.notes.append(f"decoded from the start: {error}")
                self.stats.decoded, self.stats.seeks = 0, 0
        chosen = None if wanted is None else frozenset(wanted)
        last = timeline.count if wanted is None else wanted[-1]
        good = bytearray(timeline.count)
        for index, picture in self._pictures():
            if index > last:
                break
            if picture.is_corrupt:
                self.stats.corrupt += 1
            else:
                self.stats.decoded += 1
                if index < len(good):
                    good[index] = True
                if index > given and (index in chosen if chosen is not None else index % stride == 0):
                    frame = self._frame(index, picture)
                    if frame is None:
                        return
                    yield frame
            if index == last:
                break
        self._account(good, last)

    def greys(self) -> Iterator[np.ndarray]:
        """Every frame as (H,W) uint8 luma in limited range; much cheaper than colour. Damaged ones included; one that
        cannot be decoded is the one before it again, as players show it, so that places are those of `frames`.

        Raises:
            VideoError: not one frame can be decoded, or time is up.
        """
        good, due = bytearray(self.timeline.count), 0
        grey = None
        for index, picture in self._pictures():
            lost, before = index - due, grey if grey is None or index == due else grey.copy()
            grey = self._shown(picture, self._convert.grey)
            for _ in range(lost):
                yield grey if before is None else before
            yield grey
            due = index + 1
            if index < len(good):
                good[index] = not picture.is_corrupt
        self._account(good, len(good))

    def _frame(self, index: int, picture: Any) -> Optional[Frame]:
        """The frame of a picture; None where it is over a limit that others were not."""
        times = self.timeline.times_s
        try:
            rgb = self._shown(picture, self._convert.rgb)
        except VideoError as error:
            if self.stats.decoded <= 1:
                raise
            self.stats.problem = f"from frame {index} on {error.reason}; the rest is left out"
            return None
        return Frame(index, float(times[index]) if index < len(times) else self.timeline.end_s, rgb)

    def _account(self, good: bytearray, last: int) -> None:
        """Say what of the pictures up to `last` is lost.

        Raises:
            VideoError: everything.
        """
        self._check_expired()
        timeline, stats = self.timeline, self.stats
        seen = np.frombuffer(good, np.uint8)[: last + 1].astype(bool)
        if not seen.any() and not stats.corrupt and self._starved:
            reason = "its pictures need more memory than there is for a file (--memory_mb), or it is damaged"
            raise VideoError(self.path, UNSUPPORTED, reason)
        if not seen.any() and not stats.corrupt:
            raise VideoError(self.path, UNREADABLE, _NOTHING)
        missing = np.flatnonzero(~seen)
        self.readable = np.flatnonzero(np.frombuffer(good, np.uint8))
        hurt = stats.failed or stats.corrupt or timeline.dead[timeline.place[missing]].any() or timeline.hole_s > 0
        if not hurt:
            return
        stats.lost_s = round(timeline.lasts(missing) + timeline.hole_s, 3)
        if stats.lost_s <= 0:
            return
        lost = f"{stats.lost_s:.2g}" if stats.lost_s < 0.1 else f"{stats.lost_s:.1f}"
        where = ""
        if len(missing):
            first, end = (float(timeline.times_s[i]) for i in (missing[0], missing[-1]))
            where = f" between {first:.1f} and {end:.1f} s" if end - first >= 0.1 else f" at {first:.1f} s"
        problem = f"{lost} of {timeline.end_s:.1f} s are damaged and left out{where}"
        stats.problem = "; ".join(part for part in (stats.problem, problem) if part)

    def _pictures(self) -> Iterator[tuple[int, Any]]:
        """(index, picture) of all that can be decoded, from the start; failures are counted.

        After a hole in the file, or a long run of failures, decoding goes on at the next key frame.
        """
        timeline, context = self.timeline, self._stream.codec_context
        with self._Clock(self):
            self._rewind()
            context = self._stream.codec_context
        packets = resumed(self._container, [self._stream], self._file.tell)
        index, place, failures, resting, waiting = -1, -1, 0, False, False
        while True:
            pictures: list[Any] = []
            with self._Clock(self):
                packet = next(packets, _END)
                if packet is _END:
                    pictures = self._drained(context)
                elif packet is None or not packet.size:
                    continue
                else:
                    place += 1
                    dead = place < len(timeline.dead) and timeline.dead[place]
                    waiting = waiting and not packet.is_keyframe
                    if dead or waiting:
                        pictures = [] if resting else self._drained(context)
                        resting = True
                    else:
                        if resting and timeline.stamps is None:  # pictures are counted; these were not seen
                            index = max(index, int((timeline.place < place).sum()) - 1)
                        resting = False
                        pictures = self._decoded(packet)
                        failures = 0 if pictures or not self._failed else failures + 1
                        waiting = failures > self.limits.max_bad_run and bool(len(timeline.keys))
                        failures = 0 if waiting else failures
            self._check_expired()
            for picture in pictures:
                at = self._index(picture, index)
                if at is not None:
                    index = at
                    yield index, picture
            if packet is _END:
                return

    def _decoded(self, packet: Any) -> list[Any]:
        self._failed = False
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except ERRORS as error:
            self._starved = self._starved or isinstance(error, MemoryError)
            self._failed = True
            self.stats.failed += 1
            return []

    @staticmethod
    def _drained(context: Any) -> list[Any]:
        """What the decoder holds back; then it starts anew."""
        try:
            pictures = context.decode(None)
        except (*ERRORS, av.error.EOFError):
            pictures = []
        context.flush_buffers()
        return pictures

    def _index(self, picture: Any, before: int) -> Optional[int]:
        """A picture's place on the timeline, after `before`; None where it is none of those shown."""
        timeline = self.timeline
        if timeline.stamps is None:
            return before + 1
        at = timeline.index_of(picture.pts, before)
        if at is not None or picture.pts is None:
            return before + 1 if at is None else at
        last = min(
            max(before, 0), len(timeline.stamps) - 1
        )  # a damaged file may decode to more pictures than it declares
        if picture.pts <= timeline.stamps[last] and len(timeline.clocks) == 1:
            return None  # before the first that is shown, or shown already
        return before + 1

    def _sought(self, plan: Plan) -> Iterator[tuple[int, Any]]:
        """(index, picture) of the pictures of a plan, by way of key frames.

        Raises:
            UnsafeSeekError: something is not where it should be; those handed out are right.
        """
        seeker = Seeker(self._container, self._stream, self.timeline, self._file.tell, self._threads)
        pictures = seeker.pictures(plan)
        while True:
            with self._Clock(self):
                item = next(pictures, None)
            self._check_expired()
            if item is None:
                return
            self.stats.seeks, self.stats.decoded = seeker.seeks, seeker.decoded
            yield item

    def _shown(self, picture: Any, convert: Callable[[Any], np.ndarray]) -> np.ndarray:
        start = time.monotonic()
        self._check_size(*self._convert.size(picture.width, picture.height))
        pixels = convert(picture)
        self.stats.seconds += time.monotonic() - start
        return pixels

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._file.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def count_frames(path: PathLike, limits: Optional[Limits] = None) -> int:
    """Number of frames that are shown, whatever the header declares; none is decoded.

    Raises:
        VideoError: as `VideoReader`.
    """
    with VideoReader(path, limits) as reader:
        return reader.timeline.count


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


def indices_at_rate(times_s: Sequence[float], wanted_fps: float) -> list[int]:
    """Indices of the frames that are on screen at 0, 1/`wanted_fps`, … s; all where they follow more slowly.

    Args:
        times_s: (N,) when each frame is shown, rising from 0.
    """
    times = np.asarray(times_s, float)
    if not len(times):
        return []
    lasts = np.median(np.diff(times)) if len(times) > 1 else 1 / wanted_fps
    # Number of the first moment from each frame on, and from the end on: a frame with none of its own is left out.
    due = np.ceil((np.append(times, times[-1] + lasts) - _SAME_TIME_S) * wanted_fps)
    return np.flatnonzero(np.diff(due) > 0).tolist()


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
