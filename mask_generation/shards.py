"""Examples → record files, each whole or not there at all.

A clip group is first a **part**: its records and a JSON beside them, written last, which lists what is in it. The parts
of a shard are then joined byte by byte (record files may be concatenated) into the shard that training reads, again
with a JSON beside it. Every file is written under a temporary name and renamed, so a kill leaves nothing half done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from unet_industrial import files

if TYPE_CHECKING:  # it loads TensorFlow, which only the processes that do the work need
    from unet_industrial.records import FaceGroup

FORMAT = 1
EXAMPLES, CLIPS = "examples.csv", "clips.csv"  # tables beside the shards
COLUMNS = (  # of a manifest's row for one example; `record` and `member` are its place in its shard
    *("record", "member", "key", "dataset", "split", "identity", "clip", "method", "label", "frame_index", "time_s"),
    *("track", "x0", "y0", "x1", "y1", "recipe", "noise_level", "threshold", "fake_area"),
)
_COPY_BYTES = 1 << 20


class DamagedPart(Exception):
    """A part is not what it was when it was written; `path` is without suffix, as everywhere here."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{record_path(path)}: {reason}")
        self.path = path


@dataclasses.dataclass
class Contents:
    """What a part or a shard holds: the JSON beside its records.

    Attributes:
        records: number of face groups; bytes, sha256: of the record file, which is absent where there are none.
        clips: one dictionary a clip, fields of `ClipOutcome`.
        examples: one row an example, values in the order of `COLUMNS`.
        seconds: of CPU, by stage.
    """

    records: int
    bytes: int
    sha256: str
    clips: list[dict[str, Any]]
    examples: list[list[Any]]
    seconds: dict[str, float]


def example_rows(serialised: bytes, record: int) -> list[list[Any]]:
    """The manifest's rows of one record; pictures stay encoded. The same bytes always give the same rows.

    Raises:
        RecordError: the bytes are no record of face groups.
    """
    from unet_industrial.records import fields_of

    fields = fields_of(serialised)

    def plain(value: Any) -> Any:
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value.item()

    rows = []
    for member in range(len(fields["label"])):
        scalar = [plain(fields[name]) for name in ("key", "dataset", "split", "identity")]
        own = [plain(fields[name][member]) for name in ("clip", "method", "label", "image_frame_index")]
        made = [plain(fields[name][member]) for name in ("recipe", "noise_level", "threshold", "fake_area")]
        place = [plain(fields["time_s"]), plain(fields["track"]), *(plain(value) for value in fields["box"])]
        rows.append([record, member, *scalar, *own, *place, *made])
    return rows


def write_part(
    path: Path, groups: Iterable[FaceGroup], clips: Sequence[dict[str, Any]], seconds: dict[str, float]
) -> Contents:
    """Write `<path>.tfrecord` and then `<path>.json`.

    Raises:
        OSError: the disk is full, or the folder is gone.
    """
    import tensorflow as tf

    from unet_industrial.records import encode_group

    started = time.process_time()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = []
    records = 0
    try:
        with files.atomic_path(record_path(path)) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for group in groups:
                    serialised = encode_group(group)
                    writer.write(serialised)
                    rows += example_rows(serialised, records)
                    records += 1
            size, digest = temporary.stat().st_size, files.file_sha256(temporary)
    except tf.errors.OpError as error:
        raise OSError(f"{record_path(path)}: cannot be written: {error.message}") from error
    if not records:
        record_path(path).unlink()
    seconds = {**seconds, "encode": time.process_time() - started}
    contents = Contents(records, size, digest, list(clips), rows, seconds)
    write_contents(path, contents)
    return contents


def join_parts(path: Path, parts: Sequence[Path]) -> Contents:
    """Join parts into `<path>.tfrecord` with `<path>.json`; the parts are left where they are.

    Raises:
        DamagedPart: a part is not what its JSON describes.
        OSError: the disk is full.
    """
    whole = Contents(0, 0, hashlib.sha256().hexdigest(), [], [], {})
    contents_of: dict[Path, Contents] = {}
    for part in parts:
        contents = read_contents(part)
        if contents is None:
            raise DamagedPart(part, "not whole, or not there")
        contents_of[part] = contents
        whole.examples += [[row[0] + whole.records, *row[1:]] for row in contents.examples]
        whole.clips += contents.clips
        whole.records += contents.records
        whole.bytes += contents.bytes
        for stage, seconds in contents.seconds.items():
            whole.seconds[stage] = whole.seconds.get(stage, 0.0) + seconds
    if not whole.records:
        write_contents(path, whole)
        return whole
    with files.atomic_path(record_path(path), sync=True) as temporary:
        digest = hashlib.sha256()
        with open(temporary, "wb") as output:
            for part, contents in contents_of.items():
                for block in _checked_blocks(part, contents):
                    output.write(block)
                    digest.update(block)
        whole.sha256 = digest.hexdigest()
        # The JSON first: a shard that is there always has one, and a JSON without its shard counts for nothing.
        write_contents(path, whole)
    return whole


def _checked_blocks(part: Path, contents: Contents) -> Iterator[bytes]:
    if not contents.records:
        return
    digest = hashlib.sha256()
    with open(record_path(part), "rb") as stream:
        while block := stream.read(_COPY_BYTES):
            digest.update(block)
            yield block
    if digest.hexdigest() != contents.sha256:
        raise DamagedPart(part, "its SHA-256 is not the one it was written with: damaged on the disk")


def shard_name(split: str, number: int, count: int) -> str:
    """Name, without suffix, of shard `number` of `count`."""
    return f"{split}-{number:05d}-of-{count:05d}"


def record_path(path: Path) -> Path:
    return path.with_name(path.name + ".tfrecord")


def contents_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def write_contents(path: Path, contents: Contents) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In few bytes: there are millions of rows in it, and nobody reads it but programs.
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(contents)}, separators=(",", ":"))
    files.write_text(contents_path(path), text + "\n")


def read_contents(path: Path) -> Optional[Contents]:
    """What the part or shard `path` (without suffix) holds; None unless it is all there."""
    try:
        values = files.read_json_object(contents_path(path))
        if values.pop("format") != FORMAT:
            return None
        contents = Contents(**values)
        _check_shape(contents)
        if contents.records and record_path(path).stat().st_size != contents.bytes:
            return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return contents


def _check_shape(contents: Contents) -> None:
    """
    Raises:
        ValueError: not what `write_contents` writes.
    """
    counts = (contents.records, contents.bytes)
    if not all(isinstance(count, int) and count >= 0 for count in counts) or not isinstance(contents.sha256, str):
        raise ValueError("counts or SHA-256 of another kind")
    if not all(isinstance(clip, dict) for clip in contents.clips):
        raise ValueError("clips are objects")
    for row in contents.examples:
        if not isinstance(row, list) or len(row) != len(COLUMNS) or not isinstance(row[0], int):
            raise ValueError("examples are rows of one value a column")
    if not all(isinstance(value, (int, float)) for value in contents.seconds.values()):
        raise ValueError("seconds are numbers")


def check_shard(path: Path) -> Optional[str]:
    """What is wrong with a shard, read in full; None if nothing is."""
    contents = read_contents(path)
    if contents is None:
        return f"{record_path(path)}: missing, of another size than {contents_path(path).name} has it, or without it"
    if contents.records and files.file_sha256(record_path(path)) != contents.sha256:
        return f"{record_path(path)}: its SHA-256 is not the one in {contents_path(path).name}: damaged or changed"
    return None
