"""An untrusted file on disk → an object FFmpeg may read from, after checks that need no decoder."""

from __future__ import annotations

import io
import os
import stat
import time
from typing import Any, Optional

from mask_generation.video.types import UNREADABLE, UNSUPPORTED, Limits, PathLike, VideoError, printable

# Formats whose files make FFmpeg open other files or addresses that they name. It recognises them by content, and
# PyAV 15 crashes on headerless formats when it is given a list of allowed ones, so they are turned away before.
_PLAY_LISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"c=IN IP", b"<?xml", b"[playlist]", b"<smil", b"<AssetMap")
PLAY_LIST_FORMATS = frozenset(("hls", "concat", "dash", "sdp", "rtsp", "imf", "applehttp", "concatf", "image2", "tty"))
SNIFF_BYTES = 4096


class GuardedFile(io.RawIOBase):
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


def refuse_other_files(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("a video may not open other files")


def check_file(path: PathLike, limits: Limits) -> int:
    """Size in bytes of a regular, non-empty file within the limits."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        reason = "no such file"
        if os.path.islink(path):
            reason = f"a link to {printable(os.readlink(os.fsdecode(path)))}, which does not exist"
        raise VideoError(path, UNREADABLE, reason) from error
    except (OSError, ValueError) as error:
        raise VideoError(path, UNREADABLE, system_reason(error)) from error
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


def is_text(head: bytes) -> bool:
    """Whether a file's beginning is printable text or names other files; Y4M is a video that may look like text."""
    printable_only = not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return (printable_only and not head.startswith(b"YUV4MPEG2")) or any(mark in head for mark in _PLAY_LISTS)


def system_reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
