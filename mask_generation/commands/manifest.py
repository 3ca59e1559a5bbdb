"""`manifest`: make examples.csv and clips.csv again from the shards of a folder, without the videos."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from mask_generation import cli, manifest
from mask_generation.audit import shard_paths
from mask_generation.pipeline import read_problems
from mask_generation.shards import CLIPS, EXAMPLES
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError, OSError)


def define_flags() -> None:
    cli.define_records(required=True)


def main(arguments: list[str]) -> int:
    del arguments
    folder = Path(flags.FLAGS.records)
    shards = shard_paths(folder)
    if not shards:
        raise cli.Failure(f"{folder}: no records in it (SPLIT-00000-of-00001.tfrecord …)")
    repaired = manifest.repair(shards)
    table, tally = manifest.write_manifest(folder, shards, read_problems(folder))
    for path in repaired:
        print(f"{path.name}.json was lost; made again from its records, so clips without an example are not in it")
    print(f"{len(table)} clips, {tally.examples} examples in {len(shards)} shards: {EXAMPLES}, {CLIPS}")
    return cli.OK
