"""A few frames of a long video, without decoding what lies between: from the last key frame before each.

The frames are those that decoding from the start gives, bit for bit. That holds from an IDR picture (H.264), an IDR,
BLA or CRA picture (HEVC) or a key frame of the other codecs, for pictures shown at or after it. On the way from there,
pictures that no other one is predicted from are not decoded unless they are asked for. Whatever is not where it should
be raises, and the caller decodes from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from mask_generation.video.packets import ERRORS, resumed
from mask_generation.video.timeline import NO_STAMP, Timeline

FROM_PICTURES = 1000  # below, everything is decoded: it takes little time, and damage between samples is seen
WORTH_SHARE = 0.7  # of the pictures that decoding from the start would take
_NEAR = 8  # pictures up to the next key frame that are rather decoded than jumped over
_BEHIND = 100  # packets that a decoder is fed after a picture's own, before it is given up
_TRIES = (0, 1, 4, 16)  # key frames before the right one from which it is looked for
_DISPOSABLE = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}  # decoders that leave out such pictures when told


class UnsafeSeekError(Exception):
    """A packet or picture is not where the timeline has it; the message says what."""


class Group(NamedTuple):
    """Pictures to be decoded in one go, from the packet at place `entry`."""

    entry: int
    indices: tuple[int, ...]


Plan = tuple[Group, ...]


class Seeker:
    """Seeks and decodes in an open container.

    Attributes:
        seeks: jumps so far; decoded: pictures that came out of the decoder.
    """

    def __init__(
        self, container: Any, stream: Any, timeline: Timeline, tell: Callable[[], int], threads: int = 1
    ) -> None:
        self._container, self._stream, self._timeline, self._tell = container, stream, timeline, tell
        self._context = stream.codec_context
        self._leaves_out = threads == 1 and self._context.name in _DISPOSABLE
        self._order = np.argsort(timeline.pts, kind="stable")
        self._by_pts = "matroska" in container.format.name  # the indices of other containers are of decoding times
        self.seeks = self.decoded = 0

    @staticmethod
    def is_barred(timeline: Timeline, wanted: Sequence[int]) -> bool:
        """Whether so few frames of so long a video would be sought, if its key frames were safe to start at."""
        few = timeline.count >= FROM_PICTURES and 4 * len(wanted) < timeline.count
        return few and len(timeline.keys) > 1 and 2 * len(timeline.entries) < len(timeline.keys)

    @staticmethod
    def plan(timeline: Timeline, wanted: Sequence[int]) -> Optional[Plan]:
        """How to get at the frames `wanted` (rising); None where decoding from the start is safer, or no slower."""
        there = [index for index in wanted if index < timeline.count and not timeline.dead[timeline.place[index]]]
        if not there or not len(timeline.entries) or timeline.stamps is None:
            return None
        reach = int(timeline.place[there].max()) + 1
        if reach < FROM_PICTURES:
            return None
        groups: list[Group] = []
        cost, end = 0, -1  # end: place of the last picture of the last group
        for index in there:
            place = int(timeline.place[index])
            at = int(np.searchsorted(timeline.entries, place, side="right")) - 1
            while at >= 0 and timeline.pts[timeline.entries[at]] > timeline.stamps[index]:
                at -= 1  # shown before that key frame, it may need what was decoded before it
            if at < 0 or timeline.dead[timeline.entries[at] : place + 1].any():
                return None
            entry = int(timeline.entries[at])
            if groups and entry <= end + _NEAR:
                groups[-1] = Group(groups[-1].entry, (*groups[-1].indices, index))
                cost += max(0, place - end)
            else:
                groups.append(Group(entry, (index,)))
                cost += place - entry + 1
            end = max(end, place)
        return tuple(groups) if cost < WORTH_SHARE * reach else None

    def pictures(self, plan: Plan) -> Iterator[tuple[int, Any]]:
        """(index, picture), indices rising.

        Raises:
            UnsafeSeekError: see there.
        """
        for group in plan:
            yield from self._group(group)

    def _group(self, group: Group) -> Iterator[tuple[int, Any]]:
        timeline, due, ready = self._timeline, list(group.indices), dict[int, Any]()
        places = set(timeline.place[list(group.indices)].tolist())
        last, place = max(places), group.entry - 1
        try:
            for packet in self._from(group.entry):
                if packet is None:
                    raise UnsafeSeekError("the demuxer fails after a jump")
                if not packet.size:
                    continue
                place += 1
                if place >= len(timeline.pts) or packet.pts != timeline.pts[place]:
                    raise UnsafeSeekError("packets after a jump are not those of the whole file")
                self._leave_out(place not in places and place < last)
                yield from self._due(self._decode(packet), due, ready)
                if not due:
                    return
                if place > last + _BEHIND:
                    raise UnsafeSeekError("a picture does not come out of the decoder after a jump")
            yield from self._due(self._decode(None), due, ready)
            if due:
                raise UnsafeSeekError("a picture does not come out of the decoder after a jump")
        finally:
            self._leave_out(False)

    def _due(self, pictures: list[Any], due: list[int], ready: dict[int, Any]) -> Iterator[tuple[int, Any]]:
        """Those of `pictures` and `ready` whose turn it is."""
        self.decoded += len(pictures)
        for picture in pictures:
            index = self._timeline.index_of(picture.pts, -1)
            if index in due:
                if picture.is_corrupt:
                    raise UnsafeSeekError("a picture comes out damaged after a jump")
                ready[index] = picture
        while due and due[0] in ready:
            index = due.pop(0)
            yield index, ready.pop(index)

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return self._context.decode(packet)
        except ERRORS as error:
            raise UnsafeSeekError("a packet does not decode after a jump") from error

    def _leave_out(self, disposable: bool) -> None:
        if self._leaves_out:
            self._context.skip_frame = "NONREF" if disposable else "DEFAULT"

    def _from(self, entry: int) -> Iterator[Any]:
        """Packets of the stream from that place on."""
        entries, timeline = self._timeline.entries, self._timeline
        number = int(np.searchsorted(entries, entry))
        for back in _TRIES:
            target = int(entries[max(0, number - back)])
            known = timeline.dts[target] != NO_STAMP and not self._by_pts
            stamp = timeline.dts[target] if known else timeline.pts[target]
            try:
                self._container.seek(int(stamp), stream=self._stream)
            except ERRORS as error:
                raise UnsafeSeekError("the container cannot be sought in") from error
            self.seeks += 1
            packets = resumed(self._container, [self._stream], self._tell)
            for packet in packets:
                place = self._place(packet)
                if place is None:
                    continue
                if place > entry:
                    break
                if place == entry:
                    return self._chained(packet, packets)
            if back and number < back:
                break
        raise UnsafeSeekError("a key frame is not found by its time")

    def _place(self, packet: Any) -> Optional[int]:
        """The packet's place on the timeline, by its time stamp."""
        if packet is None or not packet.size or packet.pts is None:
            return None
        order, pts = self._order, self._timeline.pts
        at = int(np.searchsorted(pts, packet.pts, sorter=order))
        return int(order[at]) if at < len(order) and pts[order[at]] == packet.pts else None

    @staticmethod
    def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
        yield first
        yield from rest
