"""`synthesize`: a pool of real faces → records of real and manipulated pictures with exact masks.

For everything that reads records: `evaluate` on people held out, `classifier` on what `train --recipe=sbi` trains on.
Pair number i is the same whoever makes it, so shards may be made in any order and by any process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from absl import flags
from tqdm import tqdm

from mask_generation import cli, shards
from mask_generation.synthesis import face_bank as pool
from mask_generation.synthesis.pairs import Mix
from unet_industrial import files

USER_ERRORS = (pool.PoolError, OSError, BrokenProcessPool)
SHARD_PAIRS = 500


class Shard(NamedTuple):
    """What one process makes without a pause; `path` is without suffix."""

    path: str
    first: int
    end: int


class Job(NamedTuple):
    """What all shards of a run share. The fields are the flags of the same names."""

    pool: str
    split: str
    seed: int
    size: int
    difficulty: float
    shares: dict[str, float]
    mix: dict[str, float]


def define_flags() -> None:
    flags.DEFINE_string("pool", None, "File made by `pool`.")
    flags.DEFINE_string("output_dir", None, "Folder for SPLIT-*.tfrecord. Shards that are whole are kept.")
    for name in ("pool", "output_dir"):
        flags.mark_flag_as_required(name)
    flags.DEFINE_enum("split", "val", pool.SPLITS, "People to draw: those to train on, or those held out.")
    flags.DEFINE_integer("pairs", 500, "Pictures, and as many fakes.", lower_bound=1)
    flags.DEFINE_integer("size", 256, "Side of the pictures, px.", lower_bound=16)
    flags.DEFINE_integer("seed", 0, "Of everything drawn.", lower_bound=0)
    flags.DEFINE_float(
        "difficulty", 1.0, "0: easiest, hardly compressed; 1: hardest.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_list("pool_shares", [], "SOURCE=SHARE of the draws; by the root of its people.")
    flags.DEFINE_list("mix", [], "NAME=VALUE, settings of the synthesis, see mask_generation/synthesis/pairs.py.")
    flags.DEFINE_integer("num_workers", os.cpu_count() or 1, "Processes.", lower_bound=1)


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    shares, mix = cli.numbers("pool_shares"), mix_from_flags()
    job = Job(values.pool, values.split, values.seed, values.size, values.difficulty, shares, mix)
    pool.load(job.pool, job.split, job.shares or None)  # says what is wrong with it before any process starts
    folder = Path(values.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    same_settings(folder / f"{job.split}.settings.json", {**job._asdict(), "pairs": values.pairs})
    planned = plan(folder, job.split, values.pairs)
    missing = [shard for shard in planned if shards.read_contents(Path(shard.path)) is None]
    bar = tqdm(total=sum(s.end - s.first for s in missing), unit="pair", disable=not sys.stderr.isatty())
    with bar, ProcessPoolExecutor(min(values.num_workers, max(1, len(missing))), get_context("spawn")) as executor:
        for done in as_completed([executor.submit(make_shard, job, shard) for shard in missing]):
            bar.update(done.result())
    print(f"{values.pairs} pairs in {len(planned)} files in {folder} ({len(planned) - len(missing)} were there)")
    return cli.OK


def mix_from_flags() -> dict[str, float]:
    """What the flag `mix` says, as arguments of `Mix`.

    Raises:
        UsageError: an item is not NAME=NUMBER, a name is unknown or a value impossible.
    """
    mix = cli.numbers("mix")
    try:
        Mix(**mix)
    except (TypeError, ValueError) as error:
        raise cli.UsageError(f"--mix: {error}; allowed are {', '.join(Mix.__dataclass_fields__)}") from error
    return mix


def same_settings(path: Path, settings: dict[str, object]) -> None:
    """Keep to the settings of an earlier run in the same folder, or write them down.

    Raises:
        UsageError: the earlier ones differ; its shards and new ones must not be mixed.
    """
    try:
        earlier = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        files.write_json(path, settings)
        return
    except ValueError as error:
        raise cli.UsageError(f"{path}: damaged ({error}); choose another --output_dir") from error
    differing = sorted(name for name in settings if settings[name] != earlier.get(name))
    if differing:
        raise cli.UsageError(f"{path}: made with another {', '.join(differing)}; choose another --output_dir")


def plan(folder: Path, split: str, pairs: int) -> list[Shard]:
    """Shards of up to SHARD_PAIRS pairs, named as the other record files are."""
    count = -(-pairs // SHARD_PAIRS)
    return [
        Shard(
            str(folder / shards.shard_name(split, number, count)),
            number * SHARD_PAIRS,
            min(pairs, (number + 1) * SHARD_PAIRS),
        )
        for number in range(count)
    ]


def make_shard(job: Job, shard: Shard) -> int:
    """Make and write one shard; returns its number of pairs."""
    import cv2

    from mask_generation.synthesis.pairs import face_groups

    cv2.setNumThreads(1)  # processes are what shares the cores out
    people = pool.load(job.pool, job.split, job.shares or None)
    pairs = range(shard.first, shard.end)
    groups = face_groups(people, job.split, job.seed, pairs, job.size, job.difficulty, Mix(**job.mix))
    shards.write_part(Path(shard.path), groups, [], {})
    return len(pairs)
