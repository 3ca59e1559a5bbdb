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
from typing import Any, Optional, Union

PathLike = Union[str, "os.PathLike[str]"]
_CHUNK_BYTES = 1 << 20
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # the last four: their full-width forms
_CELL_WITHIN = re.compile(r"(;\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
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


def parse_json(data: bytes, path: PathLike) -> Any:
    """JSON as any hand may have left it → its value.

    Raises:
        ValueError: it is no UTF-8 or no JSON, or nested too deeply to be read; the message names `path`.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{os.fspath(path)}: damaged, or no JSON of this program (nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: damaged, or no JSON ({error})") from error


def read_json(path: PathLike) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON; see `parse_json`.
    """
    return parse_json(Path(path).read_bytes(), path)


def read_json_object(path: PathLike) -> dict[str, Any]:
    """The value of a JSON file that has to be an object.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON object; the message names the file.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)}: a JSON object is needed, this is {type(content).__name__}")
    return content


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file: text on one line and never a formula to a spreadsheet; anything else as it is.

    Names come from strangers, and a spreadsheet runs what begins with = + - @ (OWASP, "CSV Injection"); so that gets
    "./" before it, which keeps file names what they are. Where ; separates, a text with ; begins a cell in its middle.
    """
    if not isinstance(value, str):
        return value
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", value)
    text = _CELL_WITHIN.sub(r"\1'", text)
    return "./" + text if _FORMULA.match(text) else text


def csv_text(table: Any, header: bool = True, float_format: Optional[str] = None) -> str:
    """A pandas table as CSV, every text in it and in its header through `csv_cell`: the one way to write CSV files."""
    table = table.copy()
    for name in table.columns:
        if table[name].dtype.kind not in "biufcmM":
            table[name] = table[name].map(csv_cell)
    table.columns = [csv_cell(name) for name in table.columns]
    text: str = table.to_csv(index=False, header=header, float_format=float_format, lineterminator="\n")
    return text


def write_csv(path: PathLike, table: Any, float_format: Optional[str] = None) -> None:
    """Write a pandas table to `path` as `csv_text` has it, atomically; bytes of names that are no UTF-8 as escapes."""
    write_bytes(path, csv_text(table, True, float_format).encode("utf-8", "backslashreplace"))


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


def update_digest(digest: Any, path: PathLike, copy: Optional[PathLike] = None) -> int:
    """Feed a file's bytes to a `hashlib` digest, in pieces; returns how many they were.

    Args:
        copy: a new file for the same bytes, so that what is used later is what was hashed, whoever writes to `path`.
    """
    count = 0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Path(path).open("rb"))
        output = stack.enter_context(Path(copy).open("xb")) if copy is not None else None
        for block in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(block)
            count += len(block)
            if output is not None:
                output.write(block)
    return count
