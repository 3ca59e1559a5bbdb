"""Does a file end where its container says it ends? Told from a few bytes of the container, without a demuxer.

What tells, by container: MP4 and MOV the sizes of their boxes, Matroska and WebM that of the segment, AVI those of its
RIFF chunks, ASF (WMV) its own size, FLV the size written behind its last tag, NUT the index at its end, Ogg its last
page's mark, MPEG-TS whole packets, GIF its last byte. Nothing tells in MPEG-PS, in bare streams, in an MPEG-TS cut
between packets, in a fragmented MP4 cut between fragments, and in Matroska, WebM or FLV written to a pipe.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Optional

_CUT = "the file is cut short"
_PICTURE_BOXES = (b"mdat", b"moof", b"moov")
_MAX_BOXES = 100_000  # top-level boxes of an MP4 that are walked: two a fragment
_NUT_INDEX = bytes.fromhex("4e58dd672f23e64e")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OGG_TAIL = 65_307  # longest page


def missing_end(file: Any, formats: str, size: int) -> Optional[str]:
    """How a file shows that it is cut short; None: it does not.

    Args:
        file: open and seekable; it is left at another place.
        formats: names of the demuxer, as `av.format.ContainerFormat` has them.
        size: of the file, in bytes.
    """
    for name in formats.split(","):
        if name in _CHECKS:
            return _CHECKS[name](file, size)
    return None


def _at(file: Any, place: int, length: int) -> bytes:
    if place < 0 or file.seek(place) < 0:
        return b""
    return file.read(length)


def _beyond(what: str, end: int, size: int) -> Optional[str]:
    return f"{_CUT}: {what} should end {end - size} bytes after the file does" if end > size else None


def _mp4(file: Any, size: int) -> Optional[str]:
    place = 0
    for _ in range(_MAX_BOXES):
        head = _at(file, place, 16)
        if len(head) < 8:
            return None
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length < 8 or not kind.isalnum():  # to the end of the file, or no box: something that was appended
            return None
        if place + length > size:
            return _beyond(f"its part '{kind.decode()}'", place + length, size) if kind in _PICTURE_BOXES else None
        place += length
    return None


def _matroska(file: Any, size: int) -> Optional[str]:
    place = 0
    for _ in range(8):  # EBML header and what stands before the segment
        head = _at(file, place, 12)
        if len(head) < 2 or not head[0]:
            return None
        id_length = 9 - head[0].bit_length()
        if id_length > 4 or len(head) <= id_length or not head[id_length]:
            return None
        width = 9 - head[id_length].bit_length()
        raw = int.from_bytes(head[id_length : id_length + width], "big")
        length = raw & ((1 << 7 * width) - 1)
        start = place + id_length + width
        if head[:id_length] == b"\x18\x53\x80\x67":
            unknown = length == (1 << 7 * width) - 1  # written to a pipe
            return None if unknown else _beyond("its segment", start + length, size)
        place = start + length
    return None


def _avi(file: Any, size: int) -> Optional[str]:
    place = 0
    while True:
        head = _at(file, place, 12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] not in (b"AVI ", b"AVIX"):
            return None
        (length,) = struct.unpack("<I", head[4:8])
        if not length or length >= (1 << 32) - 9:  # not filled in, or more than the field holds
            return None
        if place + 8 + length > size:
            return _beyond("its RIFF chunk", place + 8 + length, size)
        place += 8 + length + length % 2


def _asf(file: Any, size: int) -> Optional[str]:
    head = _at(file, 0, 65_536)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return None
    (declared,) = struct.unpack("<Q", head[at + 40 : at + 48])
    (flags,) = struct.unpack("<I", head[at + 88 : at + 92])
    return None if flags & 1 else _beyond("it", declared, size)  # flag 1: a broadcast, sizes unknown


def _flv(file: Any, size: int) -> Optional[str]:
    tail = _at(file, size - 4, 4)
    if len(tail) < 4 or size < 32:
        return None
    (length,) = struct.unpack(">I", tail)
    tag = _at(file, size - 4 - length, 4) if 11 <= length < size else b""
    if len(tag) == 4 and tag[0] & 31 in (8, 9, 18) and int.from_bytes(tag[1:], "big") + 11 == length:
        return None
    return f"{_CUT}: it ends within a tag"


def _nut(file: Any, size: int) -> Optional[str]:
    tail = _at(file, size - 12, 12)
    back = int.from_bytes(tail[:8], "big") if len(tail) == 12 else 0
    if 0 < back <= size and _at(file, size - back, 8) == _NUT_INDEX:
        return None
    return f"{_CUT}: the index at its end is not there"


def _ogg(file: Any, size: int) -> Optional[str]:
    tail = _at(file, max(0, size - _OGG_TAIL), _OGG_TAIL)
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26] or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return f"{_CUT}: it ends within a page"
    return None if page[5] & 4 else f"{_CUT}: its last page is not marked as the last"


def _ts(file: Any, size: int) -> Optional[str]:
    head = _at(file, 0, 5 * 204)
    for length, first in ((188, 0), (192, 4), (204, 0)):
        if len(head) > first + 4 * length and all(head[first + length * i] == 0x47 for i in range(5)):
            rest = size % length
            whole = not rest or _at(file, size - rest + first, 1) != b"\x47"  # something else was appended
            return None if whole else f"{_CUT}: it ends within a packet"
    return None


def _gif(file: Any, size: int) -> Optional[str]:
    return None if _at(file, max(0, size - 64), 64).rstrip(b"\0").endswith(b";") else f"{_CUT}: it has no end mark"


_CHECKS: dict[str, Callable[[Any, int], Optional[str]]] = {
    **{"mov": _mp4, "matroska": _matroska, "avi": _avi, "asf": _asf, "flv": _flv},
    **{"nut": _nut, "ogg": _ogg, "mpegts": _ts, "gif": _gif},
}
