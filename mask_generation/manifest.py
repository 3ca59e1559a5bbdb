"""The tables beside the records: `examples.csv`, one row an example, and `clips.csv`, one row a clip with its outcome.

Both are put together from the JSON beside each shard. Where that is lost, the rows of the examples come from the
records themselves; of the clips, only those that have examples are then known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mask_generation import shards
from mask_generation.datasets.base import Problem
from mask_generation.pairs.outcome import ClipOutcome
from mask_generation.shards import CLIPS, COLUMNS, EXAMPLES, Contents
from unet_industrial import files

CLIP_COLUMNS = tuple(field.name for field in dataclasses.fields(ClipOutcome))
_FLOATS = "%.7g"


@dataclasses.dataclass
class Tally:
    """Sums over shards; `seconds` of CPU by stage."""

    records: int = 0
    examples: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, contents: Contents) -> None:
        self.records += contents.records
        self.examples += len(contents.examples)
        for stage, seconds in contents.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def write_manifest(folder: Path, paths: Sequence[Path], problems: Iterable[Problem] = ()) -> tuple[pd.DataFrame, Tally]:
    """Write both tables; returns the clips', and the sums.

    Args:
        paths: of the shards, without suffix, in order.
        problems: clips that were found but not tried.
    """
    clips: list[dict[str, Any]] = [dataclasses.asdict(outcome_of(problem)) for problem in problems]
    tally = Tally()
    with (
        files.atomic_path(folder / EXAMPLES) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        stream.write(files.csv_text(pd.DataFrame(columns=["shard", *COLUMNS])))
        for path in paths:  # one at a time: millions of rows need not fit into memory
            contents = shards.read_contents(path) or rebuild(path)
            tally.add(contents)
            clips += contents.clips
            table = pd.DataFrame(contents.examples, columns=list(COLUMNS))
            table.insert(0, "shard", shards.record_path(path).name)
            stream.write(files.csv_text(table, False, _FLOATS))
    table = pd.DataFrame(clips, columns=list(CLIP_COLUMNS)).sort_values("name", kind="stable", ignore_index=True)
    files.write_csv(folder / CLIPS, table, _FLOATS)
    return table, tally


def repair(paths: Sequence[Path]) -> list[Path]:
    """Make the JSON beside a shard again where it is lost; returns the shards for which it was."""
    lost = [path for path in paths if shards.read_contents(path) is None]
    for path in lost:
        shards.write_contents(path, rebuild(path))
    return lost


def rebuild(shard: Path) -> Contents:
    """What a shard holds, from its records alone. Clips without an example, and why they have none, are not in them.

    Raises:
        RecordFileError: it is missing or damaged.
    """
    from unet_industrial.record_files import RecordReader, index_files
    from unet_industrial.records import located

    index = index_files([str(shards.record_path(shard))])
    reader = RecordReader(index)
    rows = []
    for record in range(len(index)):
        with located(index.name(record)):
            rows += shards.example_rows(reader.read(record), record)
    reader.close()
    path = shards.record_path(shard)
    size, digest = path.stat().st_size, files.file_sha256(path)
    clips: dict[str, ClipOutcome] = {}
    column = {name: place for place, name in enumerate(COLUMNS)}
    for row in rows:
        name = row[column["clip"]]
        if name not in clips:
            clips[name] = ClipOutcome(
                name=name,
                path="",
                dataset=row[column["dataset"]],
                method=row[column["method"]],
                compression=name.split("/")[2] if name.count("/") >= 3 else "",
                split=row[column["split"]],
                identity=row[column["identity"]],
                group=row[column["key"]].rsplit("/", 2)[0],
                label=row[column["label"]],
            )
        clips[name].examples += 1
    return Contents(len(index), size, digest, [dataclasses.asdict(clip) for clip in clips.values()], rows, {})


def outcome_of(problem: Problem) -> ClipOutcome:
    """The row of a clip that a layout found and could not use."""
    return ClipOutcome(
        name=problem.name,
        path=problem.path,
        dataset=problem.name.split("/")[0],
        method=problem.method,
        compression=problem.compression,
        split="",
        identity="",
        group="",
        label=problem.label,
        state=problem.state,
        reason=problem.reason,
    )
