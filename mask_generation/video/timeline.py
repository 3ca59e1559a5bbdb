"""Which pictures a video holds and when each is shown: from its packets, without decoding one.

What a header declares is not what is there: fragmented MP4 counts its first fragment, a recorder that was switched off
counts nothing, an edit list shows a part. So all packets are looked at, which costs reading the file once.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Optional

import numpy as np

_FROM_CLOCK = {"mpegts", "mpeg", "mpegtsraw", "pva", "wtv"}  # broadcast: may start anywhere, clocks may jump
_JUMP_S = 10.0  # a step of time stamps that is a new clock there, as in FFmpeg's -dts_delta_threshold
_BACK_S = 1.0  # a step back that is a new clock elsewhere; less is a muxer's disorder
_MAX_CLOCKS = 1000
_HOLE_S, _HOLE_STEPS, _HOLE_BYTES = 0.3, 4, 8192  # a step in time that long, with as many bytes of no stream before it
_LAST_BYTES = 1 << 16  # of a picture that a demuxer still gives behind its last failure
_SHORT_HOLE = 8  # empty packets in a row that a decoder is still given
NO_STAMP = -(1 << 62)
# Coded so that no packet begins with zeros; one that does is a hole in the file.
_NEVER_ZERO = {
    *("h264", "hevc", "vvc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "theora"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "flv", "h263", "prores"),
}
_LEADING = 16  # pictures at most that are coded after the first key frame, shown before it and need what came before it
_HEAD_BYTES, _KEY_BYTES = 16, 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """The N pictures that are shown, in order of display, and the M packets that hold them, in order of decoding.

    Attributes:
        times_s: (N,) when each is shown, in seconds since the first, never falling.
        end_s: when the last ends; 0 without pictures.
        stamps: (N,) int64 presentation time stamps; None where they do not tell pictures apart.
        clocks: where in `stamps` the clock starts again, from 0.
        place: (N,) place of a picture's packet among the M; without stamps the place of as many pictures decoded.
        dead: (M,) bool, not to be decoded: holes in the file, and what follows them up to the next key frame.
        keys: (K,) places of key frames, as the container or the stream's parser names them.
        entries: (E,) places of packets that decoding may start at, for seeking; none where that is not safe.
        dts: (M,) decoding time stamps, `pts` (M,) presentation time stamps, for finding a packet again.
        hole_s: seconds in which there should be packets.
        start_s: the first picture's own time stamp, in seconds.
        heard_s: when the last packet of any stream ends, in the time of `times_s`; sound may last longer than pictures.
        is_broken_off: whether the demuxer failed behind the last packet, which ends at `last_byte` of the file.
        notes: what was repaired.
    """

    times_s: np.ndarray
    end_s: float
    stamps: Optional[np.ndarray]
    clocks: tuple[int, ...]
    place: np.ndarray
    dead: np.ndarray
    keys: np.ndarray
    entries: np.ndarray
    pts: np.ndarray
    dts: np.ndarray
    hole_s: float
    start_s: float
    heard_s: float
    is_broken_off: bool
    last_byte: int
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Pictures that are shown, readable or not."""
        return len(self.times_s)

    def there(self) -> np.ndarray:
        """Indices of the pictures that do not lie in a hole."""
        return np.flatnonzero(~self.dead[self.place])

    def index_of(self, stamp: Optional[int], after: int) -> Optional[int]:
        """The first picture after `after` with this time stamp; None if there is none."""
        if self.stamps is None or stamp is None:
            return None
        for start, end in zip(self.clocks, (*self.clocks[1:], self.count)):
            if end > after + 1:
                at = start + int(np.searchsorted(self.stamps[start:end], stamp))
                if at < end and self.stamps[at] == stamp and at > after:
                    return at
        return None

    def lasts(self, indices: np.ndarray) -> float:
        """Seconds for which these pictures are shown, holes not counted."""
        steps = np.diff(np.append(self.times_s, self.end_s))
        usual = float(np.median(steps)) if len(steps) else 0.0
        return float(np.minimum(steps[indices], max(usual * _HOLE_STEPS, _HOLE_S)).sum())


class _Packets:
    """What is kept of each packet of one stream."""

    def __init__(self) -> None:
        self.pts, self.dts, self.duration = array("q"), array("q"), array("q")
        self.key, self.entry, self.hidden, self.blank, self.hole = (bytearray() for _ in range(5))

    def add(self, packet: Any, entry: bool, hidden: bool, blank: bool, hole: bool) -> None:
        pts, dts = packet.pts, packet.dts
        self.pts.append(NO_STAMP if pts is None else pts)
        self.dts.append(NO_STAMP if dts is None else dts)
        self.duration.append(packet.duration or 0)
        self.key.append(packet.is_keyframe)
        self.entry.append(entry)
        self.hidden.append(hidden)
        self.blank.append(blank)
        self.hole.append(hole)


def scan(packets: Iterable[Any], stream: Any, container_format: str, fps: Optional[float]) -> Timeline:
    """The timeline of a stream.

    Args:
        packets: of the stream and of all sound, see `packets.resumed`; used up.
        container_format: name of the demuxer.
        fps: the declared rate, for streams without time stamps.
    """
    kept, others = _Packets(), 0.0
    index, head = stream.index, _Head(stream)
    indexed = "mov" in container_format  # its packets are found by a table, and lie in the file as they like
    failed, failed_at, last_byte, corrupt = False, -1, -1, False
    for packet in packets:
        if packet is None:
            failed, failed_at = True, last_byte
            continue
        size, at = packet.size, packet.pos
        if not size:
            continue
        if packet.stream_index == index:
            gap = at is not None and last_byte >= 0 and at - last_byte > _HOLE_BYTES
            evidence = failed or packet.is_corrupt or corrupt or (gap and not indexed)
            kept.add(packet, *head.look(packet), evidence)
            failed, corrupt = False, packet.is_corrupt
        elif packet.time_base:
            start = packet.pts if packet.pts is not None else packet.dts
            others = max(others, float(((start or 0) + (packet.duration or 0)) * packet.time_base))
        if at is not None and at >= 0:
            last_byte = max(last_byte, at + size)
    timeline = _timeline(kept, others, container_format, stream, fps)
    return dataclasses.replace(timeline, is_broken_off=0 <= last_byte <= failed_at + _LAST_BYTES, last_byte=last_byte)


def _timeline(kept: _Packets, others_s: float, container_format: str, stream: Any, fps: Optional[float]) -> Timeline:
    unit = Fraction(stream.time_base or 0)
    base = float(unit)
    pts, dts = np.array(kept.pts, np.int64), np.array(kept.dts, np.int64)
    key, entry, hidden, blank, hole = (
        np.frombuffer(flags, np.uint8).astype(bool)
        for flags in (kept.key, kept.entry, kept.hidden, kept.blank, kept.hole)
    )
    broadcast = bool(_FROM_CLOCK & set(container_format.split(",")))
    shown = np.flatnonzero(~hidden & ~_unfinished(pts, key) if broadcast and key.any() else ~hidden)
    decoding = _filled(dts) if (dts != NO_STAMP).any() else pts  # when a packet's turn is
    in_order = "avi" in container_format and bool(stream.codec_context.has_b_frames)
    known = bool((pts[shown] != NO_STAMP).all())
    stamp_of = decoding if in_order or not known else pts
    notes = ["AVI holds no times for pictures coded out of order: they are shown in order, at its rate"] * in_order
    starts, usual, stamps = np.zeros(1, int), 0.0, None
    clock = np.zeros(len(pts), int)
    if not len(shown) or (stamp_of[shown] == NO_STAMP).any():
        times = np.arange(len(shown)) / fps if fps else np.zeros(len(shown))
        end_s = len(shown) / fps if fps else 0.0
        start_s = 0.0
        notes.append("it holds no time stamps: times follow from its rate")
    else:
        clock = _clocks(decoding, base, broadcast)
        order = np.lexsort((stamp_of[shown], clock[shown]))
        ordered, clock_of = stamp_of[shown][order], clock[shown][order]
        new = np.diff(clock_of, prepend=-1) != 0
        starts, steps = np.flatnonzero(new), np.diff(ordered)[~new[1:]]
        usual = float(np.median(steps)) if len(steps) else 0.0
        times = _continuous(ordered, starts, unit, usual)
        start_s = float(ordered[0]) * base
        if stamp_of is pts:
            shown = shown[order]
            if (steps > 0).all() and len(starts) <= _MAX_CLOCKS:
                stamps = ordered
        end_s = float(times[-1]) + (kept.duration[int(shown[-1])] or usual) * base
        if len(starts) > 1:
            where = ", ".join(f"{times[start]:.1f}" for start in starts[1:4]) + (" and on" if len(starts) > 4 else "")
            notes.append(f"its time stamps start again (at {where} s): times go on from there")
    step_s = np.diff(decoding, prepend=decoding[:1]) * base
    same = np.diff(clock, prepend=clock[:1]) == 0
    holes = hole & same & (step_s > max(_HOLE_S, _HOLE_STEPS * usual * base))
    dead = _dead(blank, holes, key)
    if key.any() and not broadcast:
        dead[: np.argmax(key & ~blank)] = True  # other containers start with a key frame, unless it is damaged
    safe = stamps is not None and len(starts) == 1 and len(np.unique(pts)) == len(pts)
    return Timeline(
        times_s=times,
        end_s=end_s,
        stamps=stamps,
        clocks=tuple(starts.tolist()),
        place=shown,
        dead=dead,
        keys=np.flatnonzero(key),
        entries=np.flatnonzero(entry & key & ~dead) if safe else np.zeros(0, int),
        pts=pts,
        dts=dts,
        hole_s=float((step_s[holes] - usual * base).sum()),
        start_s=start_s,
        heard_s=max(end_s, others_s - start_s if len(starts) == 1 else 0.0),
        is_broken_off=False,
        last_byte=-1,
        notes=tuple(notes),
    )


def _unfinished(pts: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(M,) bool: what cannot be decoded because a broadcast was joined in the middle. It is not missing."""
    place, first = np.arange(len(pts)), int(np.argmax(key))
    leading = (pts < pts[first]) & (pts != NO_STAMP) & (place <= first + _LEADING)
    return (place < first) | leading


def _filled(stamps: np.ndarray) -> np.ndarray:
    """Stamps, those unknown as the one before (the first ones: as the first known)."""
    known = stamps != NO_STAMP
    last = np.maximum.accumulate(np.where(known, np.arange(len(stamps)), -1))
    return stamps[np.where(last < 0, int(np.argmax(known)), last)]


def _clocks(stamps: np.ndarray, base: float, broadcast: bool) -> np.ndarray:
    """(M,) number of the clock that each packet's stamp is of: a stamp below the one before starts a new one."""
    steps = np.diff(stamps, prepend=stamps[:1]) * base
    new = (steps < 0) | (steps > _JUMP_S) if broadcast else steps < -_BACK_S
    return np.cumsum(new)


def _continuous(stamps: np.ndarray, starts: np.ndarray, unit: Fraction, usual: float) -> np.ndarray:
    """Seconds since the first stamp; a new clock starts one usual step after the last stamp of the one before.

    Multiplied before it is divided, so that each is the float64 next to the true time, on which rules of the form
    "every 0.4 s" depend.
    """
    times, offset = np.zeros(len(stamps)), 0.0
    for start, end in zip(starts, (*starts[1:], len(stamps))):
        steps = (stamps[start:end] - stamps[start]).astype(np.float64)
        times[start:end] = steps * unit.numerator / unit.denominator + offset
        offset = times[end - 1] + usual * float(unit)
    return times


def _dead(blank: np.ndarray, holes: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(M,) long holes, and what follows up to the next key frame: it builds on pictures that are not there.

    Short ones are left to the decoder, which bridges them as players do.
    """
    edges = np.flatnonzero(np.diff(blank.astype(np.int8), prepend=0, append=0))
    long = [(start, end) for start, end in zip(edges[::2], edges[1::2]) if end - start > _SHORT_HOLE]
    dead, keys = np.zeros(len(blank), bool), np.flatnonzero(key & ~blank)
    for start, end in (*long, *((at, at) for at in np.flatnonzero(holes))):
        after = int(np.searchsorted(keys, end))
        dead[start : keys[after] if after < len(keys) else len(dead) if len(keys) else end] = True
    return dead


class _Head:
    """What the first bytes of a packet tell."""

    def __init__(self, stream: Any) -> None:
        context = stream.codec_context
        self._codec = context.name
        extra = bytes(context.extradata or b"")
        self._length = 0  # bytes of the length before each NAL unit; 0: start codes
        if self._codec == "h264" and extra[:1] == b"\x01" and len(extra) > 4:
            self._length = (extra[4] & 3) + 1
        elif self._codec == "hevc" and extra[:1] == b"\x01" and len(extra) > 21:
            self._length = (extra[21] & 3) + 1

    def look(self, packet: Any) -> tuple[bool, bool, bool]:
        """(decoding may start here, it is not shown, it is a hole)"""
        data = memoryview(packet)
        head = bytes(data[:_HEAD_BYTES])
        blank = self._codec in _NEVER_ZERO and not any(head)
        hidden = bool(packet.is_discard) or (self._codec == "vp8" and not blank and not head[0] & 16)
        entry = bool(packet.is_keyframe) and not blank
        if entry and self._codec in ("h264", "hevc", "vvc"):
            entry = self._starts_anew(bytes(data[:_KEY_BYTES]))
        return entry, hidden, blank

    def _starts_anew(self, data: bytes) -> bool:
        """Whether a packet holds a picture that nothing after it in order of display looks back across."""
        if self._codec == "vvc":
            return False
        for first in _units(data, self._length):
            if self._codec == "h264" and first & 31 in (1, 5):
                return first & 31 == 5  # IDR
            if self._codec == "hevc" and first >> 1 & 63 < 32:
                return 16 <= (first >> 1 & 63) <= 21  # BLA, IDR, CRA
        return False


def _units(data: bytes, length: int) -> Iterator[int]:
    """First byte of each NAL unit."""
    at = 0
    while length and at + length < len(data):
        yield data[at + length]
        at += length + int.from_bytes(data[at : at + length], "big")
    at = -1 if length else data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        yield data[at + 3]
        at = data.find(b"\0\0\1", at + 3)
