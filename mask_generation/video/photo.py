"""A picture file → pixels, with the checks and the error that videos have."""

from __future__ import annotations

import struct
from typing import Optional

import cv2
import numpy as np

from mask_generation.video.guard import check_file, system_reason
from mask_generation.video.types import UNREADABLE, UNSUPPORTED, Limits, PathLike, VideoError

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_SCAN = 0xDA  # of a JPEG: the pixels begin
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG that hold its size


def read_picture(path: PathLike, limits: Optional[Limits] = None) -> np.ndarray:
    """(H,W,3) uint8 RGB, turned as a viewer shows it; grey pictures become RGB, transparency is left out.

    Raises:
        VideoError: no picture, a damaged one or one cut short (a decoder would fill in grey), or over a limit.
    """
    limits = limits or Limits()
    check_file(path, limits)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise VideoError(path, UNREADABLE, system_reason(error)) from error
    size, whole = _look(data)
    if size is not None:
        check_size(path, *size, limits)
    if not whole:
        raise VideoError(path, UNREADABLE, "the picture is cut short; copy the file again")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # more pixels than OpenCV allows
        raise VideoError(path, UNSUPPORTED, f"OpenCV cannot decode it ({error.err})") from error
    if pixels is None:
        raise VideoError(path, UNREADABLE, "no picture that OpenCV knows, or a damaged one")
    check_size(path, pixels.shape[1], pixels.shape[0], limits)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def check_size(path: PathLike, width: int, height: int, limits: Limits) -> None:
    """Raise VideoError for a picture over the limits."""
    if (limits.max_width or width) < width or (limits.max_height or height) < height:
        reason = f"{width}x{height} pixels, over the limit of {limits.max_width}x{limits.max_height}"
        raise VideoError(path, UNSUPPORTED, f"{reason} (--max_width, --max_height)")


def _look(data: bytes) -> tuple[Optional[tuple[int, int]], bool]:
    """((width, height) as the header has it, whether the file ends as its format does) of JPEG and PNG, the formats
    that OpenCV decodes when they are cut short, and fills up; (None, True) of others."""
    if data.startswith(_PNG):
        size = struct.unpack(">II", data[16:24]) if len(data) >= 24 else None
        return size, _PNG_END in data[-64:]
    if not data.startswith(_JPEG):
        return None, True
    size, at = None, 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:  # what ends before it is the thumbnail of a camera
            return size, data.rfind(_JPEG_END) > at
        if marker in _SIZES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return size, False
