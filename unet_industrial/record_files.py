"""Random access to TFRecord files: where each record lies, and its bytes.

`tf.data.TFRecordDataset` reads from the front only, so resuming means reading everything before again. With an
index, the batch of any step is found at once, the shuffle is over all records, and any number of files feeds any
number of workers. Format: length (8 bytes), its masked CRC-32C (4), data, the data's CRC (4); see TensorFlow,
`tensorflow/core/lib/io/record_writer.h`. Every record is read with its check sums: PNG pixels and labels alike can
change by one bit into others that look as good. Imports nothing of this package, and TensorFlow only to read.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEADER_BYTES, FOOTER_BYTES = 12, 4


class RecordFileError(ValueError):
    """A record file is missing, empty, cut short, damaged or no TFRecord file; the message names it."""


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)  # Castagnoli, reflected
    return table


_TABLE = _crc_table()


def masked_crc(rows: np.ndarray) -> np.ndarray:
    """(N, L) uint8 → (N,) uint32: the masked CRC-32C of each row as the TFRecord format stores it."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Every record of some files: `files[file_of[i]]` holds record i at `offset[i]`, `length[i]` bytes of data."""

    files: tuple[str, ...]
    file_of: np.ndarray
    offset: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def name(self, record: int) -> str:
        """For messages: file and byte, so that a bad record can be found."""
        return f"{self.files[self.file_of[record]]}, byte {self.offset[record]}"


def index_files(files: Sequence[str]) -> RecordIndex:
    """Walk the record headers of all files (data is skipped, not read).

    A damaged length is noticed here through its CRC, damage inside the data when a record is read.

    Raises:
        RecordFileError: no files, no records at all, or a file that is cut short or is no TFRecord file.
    """
    names = tuple(sorted(os.fspath(name) for name in files))
    file_of: list[int] = []
    starts: list[int] = []
    headers: list[bytes] = []
    for number, name in enumerate(names):
        try:
            size = os.path.getsize(name)
            with open(name, "rb", buffering=0) as stream:
                position = 0
                while position < size:
                    stream.seek(position)
                    header = stream.read(HEADER_BYTES)
                    end = position + HEADER_BYTES + int.from_bytes(header[:8], "little") + FOOTER_BYTES
                    if len(header) < HEADER_BYTES or end > size:
                        raise RecordFileError(f"{name}: cut short or no TFRecord file (record at byte {position})")
                    file_of.append(number)
                    starts.append(position + HEADER_BYTES)
                    headers.append(header)
                    position = end
        except OSError as error:
            raise RecordFileError(f"{name}: cannot be read: {error.strerror}") from error
    if not headers:
        raise RecordFileError(
            f"no records in {len(names)} files" + (f", the first of them {names[0]}" if names else "")
        )
    raw = np.frombuffer(b"".join(headers), np.uint8).reshape(-1, HEADER_BYTES)
    index = RecordIndex(
        files=names,
        file_of=np.asarray(file_of, np.int32),
        offset=np.asarray(starts, np.int64),
        length=raw[:, :8].copy().view("<i8")[:, 0],
    )
    bad = np.flatnonzero(masked_crc(raw[:, :8]) != raw[:, 8:].copy().view("<u4")[:, 0])
    if bad.size:
        raise RecordFileError(f"{index.name(int(bad[0]))}: damaged, or no TFRecord file (length fails its check sum)")
    return index


class RecordReader:
    """Reads records of an index from any thread, each with its check sums."""

    def __init__(self, index: RecordIndex) -> None:
        self._index = index
        self._idle: dict[int, Any] = {}  # by file: a reader kept open for the next record
        self._lock = threading.Lock()

    def read(self, record: int) -> bytes:
        """The record's serialised data.

        Raises:
            RecordFileError: the file has gone or has changed since it was indexed, or the record is damaged.
        """
        import tensorflow as tf

        number = int(self._index.file_of[record])
        with self._lock:
            reader = self._idle.pop(number, None)
        try:
            reader = reader or _open_reader(self._index.files[number])
            data: bytes = reader.read(int(self._index.offset[record]) - HEADER_BYTES)[0]
        except (IndexError, tf.errors.OutOfRangeError) as error:
            raise RecordFileError(f"{self._index.name(record)}: cut short since it was indexed") from error
        except tf.errors.DataLossError as error:
            raise RecordFileError(
                f"{self._index.name(record)}: damaged record (its data or length fails its check sum); "
                "restore the file from a copy, or generate it again"
            ) from error
        except tf.errors.OpError as error:
            raise RecordFileError(f"{self._index.name(record)}: cannot be read: {error.message}") from error
        with self._lock:  # a reader has one position, so threads have readers of their own; one a file is kept
            self._idle.setdefault(number, reader)
        if len(data) != self._index.length[record]:
            raise RecordFileError(f"{self._index.name(record)}: changed since it was indexed")
        return data

    def close(self) -> None:
        with self._lock:
            self._idle.clear()


def _open_reader(name: str) -> Any:
    """TensorFlow's own reader of single records: it checks length and data in C++, without holding Python's lock."""
    from tensorflow.python.lib.io.tf_record import tf_record_random_reader

    return tf_record_random_reader(os.fsencode(name))


def read_all(files: Sequence[str]) -> Iterator[bytes]:
    """Serialised data of every record, in the order of the index.

    Raises:
        RecordFileError: files are missing or damaged.
    """
    index = index_files(files)
    reader = RecordReader(index)
    try:
        for record in range(len(index)):
            yield reader.read(record)
    finally:
        reader.close()
