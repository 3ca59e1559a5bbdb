"""`audit`: what a data set holds, what is missing, broken or unpaired, and whether anybody is in two splits.

Exit codes: 0 nothing leaks; 1 somebody is in two splits, a shard is damaged, or there is nothing to use; 2 the command
line is wrong. Broken and missing clips are reported, and do not count as a failure: `generate` leaves them out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import flags

from mask_generation import cli
from mask_generation.audit import CHECKS, Audit, audit, audit_records, leak_lines, shard_paths, table
from mask_generation.commands.flags import (
    define_data_flags,
    inventory_from_flags,
    refuse_videos_beside_records,
    source_from_flags,
)
from mask_generation.datasets.base import DatasetError, Inventory
from mask_generation.parallel.processes import ParallelError, cpu_cores

USER_ERRORS = (DatasetError, PermissionError, ParallelError)


def define_flags() -> None:
    define_data_flags()
    cli.alias("split", "split_policy")
    cli.define_records()
    flags.DEFINE_enum(
        "check",
        "open",
        CHECKS,
        "list: names only; open: open every file; read: read it to its end, which finds files that were cut short.",
    )
    flags.DEFINE_string("json", None, "File for the whole audit as JSON; - prints it instead of the table.")
    flags.DEFINE_integer("processes", None, "Files looked into at a time. [default: twice the cores]", lower_bound=1)
    cli.alias("threads", "processes")


def main(arguments: list[str]) -> int:
    del arguments
    values = flags.FLAGS
    if values.records:
        refuse_videos_beside_records()
        return _records(Path(values.records), values.json)
    inventory = inventory_from_flags()
    result = _audit(inventory, source_from_flags()[0])
    _write(result.to_dict(), table(result), values.json)
    return cli.OK if result.ok else cli.FAILED


def _audit(inventory: Inventory, source: str) -> Audit:
    from tqdm import tqdm

    values = flags.FLAGS
    threads = values.processes or 2 * cpu_cores()
    with tqdm(total=inventory.clips(), unit="file", disable=not sys.stderr.isatty(), file=sys.stderr) as bar:
        return audit(inventory, source, values.split_policy, values.check, threads=threads, progress=bar.update)


def _records(folder: Path, json_path: str | None) -> int:
    from tqdm import tqdm

    shards = shard_paths(folder)
    if not shards:
        raise cli.Failure(f"{folder}: no records in it (SPLIT-00000-of-00001.tfrecord …)")
    with tqdm(total=len(shards), unit="shard", disable=not sys.stderr.isatty(), file=sys.stderr) as bar:
        wrong, found = audit_records(folder, bar.update)
    lines = [
        f"{folder}: {len(shards)} shards, {len(wrong)} damaged",
        *(f"  {line}" for line in wrong),
        *leak_lines(found),
    ]
    ok = not wrong and not found
    _write({"ok": ok, "shards": len(shards), "damaged": wrong, "leaks": found}, "\n".join(lines), json_path)
    return cli.OK if ok else cli.FAILED


def _write(content: dict, text: str, json_path: str | None) -> None:
    document = json.dumps(content, indent=1)
    if json_path == "-":
        print(document)
        return
    print(text)
    if json_path:
        try:
            Path(json_path).write_text(document + "\n", "utf-8")
        except OSError as error:
            raise cli.Failure(f"{json_path}: cannot be written: {error.strerror}") from error
