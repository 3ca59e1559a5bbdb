"""Files that are whole or not there at all, and their hashes: the one way every stage writes what it leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

PathLike = Union[str, "os.PathLike[str]"]
_CHUNK_BYTES = 1 << 20
_LEFTOVER = re.compile(r"\..+\.\d+\.partial(\.\w+)?")


@contextlib.contextmanager
def atomic_path(path: PathLike, sync: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The temporary name is hidden, unique to this process and keeps the suffix, by which image and video writers choose
    their format. A killed process leaves at most such a hidden file; a reader never sees half a file under `path`.

    Args:
        path: where the file shall be; its folder must exist.
        sync: flush the file to the disk before the rename, so that it survives a power cut too.
    Raises:
        OSError: the file cannot be written or renamed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: PathLike) -> None:
    """Remove what killed processes left of unfinished files directly in `folder`; only for whoever alone writes there.

    Raises:
        OSError: the folder cannot be read, or a file not be removed.
    """
    for path in Path(folder).iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_bytes(path: PathLike, data: bytes, sync: bool = False) -> None:
    """Write `data` to `path`, atomically."""
    with atomic_path(path, sync) as temporary:
        temporary.write_bytes(data)


def write_text(path: PathLike, text: str, sync: bool = False) -> None:
    """Write `text` to `path` as UTF-8, atomically; file names that are not UTF-8 keep their bytes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), sync)


def write_json(path: PathLike, content: Any, sync: bool = False) -> None:
    """Write `content` to `path` as indented JSON with a last newline, atomically.

    Raises:
        TypeError, ValueError: `content` is not JSON; NaN and infinity are refused, as other readers refuse them.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", sync)


@contextlib.contextmanager
def locked(path: PathLike) -> Iterator[None]:
    """While the block runs, no other process is in a block that locks the same file or folder, which must exist.

    File systems without locks (some network ones) are let through: the lock saves work done twice, no more.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which ends the lock too


class FolderBusy(Exception):
    """Another process writes in the folder."""

    def __init__(self, folder: PathLike) -> None:
        super().__init__(f"{os.fspath(folder)}: another run is writing there; wait for it, or choose another --output")


@contextlib.contextmanager
def sole_writer(folder: PathLike, name: str = ".lock") -> Iterator[None]:
    """While the block runs, no other process is in such a block with this folder; what killed ones left is swept first.

    The system lets go of the folder when the process ends, however it ends. File systems without locks (some network
    ones) are let through, and nothing is swept there, as another process may be at work.

    Args:
        folder: must exist.
        name: of the empty file that is locked; it stays.
    Raises:
        FolderBusy: another process is in such a block.
        OSError: the folder cannot be written to.
    """
    with open(Path(folder) / name, "a", encoding="utf-8") as stream:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderBusy(folder) from None
            remove_leftovers(folder)
        yield


def file_sha256(path: PathLike) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits, read in pieces so that size does not matter.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    update_digest(digest, path)
    return digest.hexdigest()


def update_digest(digest: Any, path: PathLike) -> None:
    """Feed a file's bytes to a `hashlib` digest, in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(block)
