"""An untrusted file on disk → an object FFmpeg may read from, after checks that need no decoder."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import stat
import time
from typing import Any, Optional

from mask_generation.video.types import UNREADABLE, UNSUPPORTED, Limits, PathLike, VideoError, printable

# Demuxers that may read a file: of containers and bare streams that hold pictures, of single pictures, and of the
# sound files that are most often taken for videos, so that these get their own message. What is left out opens other
# files or addresses that the file names (concat, hls, dash, sdp, rtsp, imf, image2), makes pictures of text (tty, all
# subtitles) or is rare. The names are those of `ffmpeg -demuxers`.
_CONTAINERS = (
    *("mov", "matroska", "avi", "asf", "asf_o", "flv", "live_flv", "kux", "mpeg", "mpegts", "mxf", "nut", "ogg", "rm"),
    *("gxf", "wtv", "ty", "pva", "nsv", "dhav", "nuv", "dv", "ivf", "yuv4mpegpipe", "mpjpeg", "smjpeg", "swf", "gif"),
    *("apng", "webp_pipe", "mlv", "ser", "lxf", "cine"),
)
_BARE_STREAMS = (
    *("h261", "h263", "h264", "hevc", "vvc", "av1", "obu", "m4v", "mpegvideo", "mjpeg", "mjpeg_2000", "vc1"),
    *("vc1test", "dirac", "dnxhd", "avs2", "avs3", "cavsvideo", "evc"),
)
_PICTURES = ("jpeg_pipe", "png_pipe", "bmp_pipe", "tiff_pipe", "jpegxl_pipe", "jpegxl_anim", "j2k_pipe")
_SOUND = ("mp3", "wav", "w64", "flac", "aac", "ac3", "eac3", "aiff", "amr", "caf", "au")
# For the `container_options` of PyAV; as `options` PyAV 15 would also hand them to streams, and crashes where those
# appear late (FLV, MPEG-PS). No protocol: the file is given open, and nothing it names is opened, by whatever demuxer.
DEMUXER_OPTIONS = {
    "format_whitelist": ",".join((*_CONTAINERS, *_BARE_STREAMS, *_PICTURES, *_SOUND)),
    "protocol_whitelist": "none",
}
# To these, for a first look at what a header declares: no decoder is made, where FFmpeg otherwise decodes pictures of
# every stream to learn about it. The rest keeps it from reading on for what no header says.
NO_DECODERS = {"codec_whitelist": "none", "probesize": "100000", "analyzeduration": "0"}
SNIFF_BYTES = 4096
# No picture within the limits on pixels has a larger plane, at up to 8 bytes a pixel. FFmpeg sets memory aside by what
# a header claims, in one piece, before anything shows whether the claim is true; a PNG of 2 MB may claim 2 GB.
MAX_BLOCK_BYTES = 400 << 20


def bound_memory_blocks(limit: int = MAX_BLOCK_BYTES) -> bool:
    """Make every larger demand for memory of FFmpeg's fail in this process, by its `av_max_alloc`, which PyAV does not
    show; False where that cannot be reached. OpenCV brings an FFmpeg of its own, so there may be several."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if "/libavutil" in line}
        functions = [ctypes.CDLL(path).av_max_alloc for path in sorted(paths)]
    except (OSError, AttributeError):
        return False
    for function in functions:
        function.argtypes, function.restype = [ctypes.c_size_t], None
        function(limit)
    return bool(functions)


class GuardedFile(io.RawIOBase):
    """A file for FFmpeg that stops giving data once the deadline has passed, so that a demuxer cannot loop for ever.

    No call of FFmpeg's raises: PyAV would throw the exception at whoever asks FFmpeg for something next.

    Attributes:
        problem: why the system would not read; None if it always did.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        # Without waiting: a pipe may stand there since the file was checked.
        self._file = open(path, "rb", 0, opener=_without_waiting)  # noqa: SIM115  closed by close()
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.close()
            raise OSError(errno.EINVAL, "no regular file, not a video file")
        self.deadline: Optional[float] = None
        self.expired = False
        self.problem: Optional[OSError] = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.expired = True
            return b""
        try:
            return self._file.read(size) or b""
        except OSError as error:
            self.problem = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position; negative, FFmpeg's sign of failure, where a damaged index points outside the file."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


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
        if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            raise VideoError(path, UNREADABLE, "a folder that cannot be listed: no permission to read it")
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
    """Whether a file's beginning is nothing but printable text. No container's is, but Y4M's."""
    return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)


def system_reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
