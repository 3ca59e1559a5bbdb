"""`synthesize`: a face bank → records of real and manipulated pictures with exact masks.

For everything that reads records: `evaluate` on people held out, `classifier` on what `train --preset=sbi` trains on.
Pair number i is the same whoever makes it, so shards may be made in any order and by any process.
"""

from __future__ import annotations

import dataclasses
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
from mask_generation.commands.flags import define_face_bank_flags, mix_from_flags
from mask_generation.parallel.processes import Parallel, cpu_cores
from mask_generation.synthesis import face_bank
from mask_generation.synthesis.pairs import Mix
from unet_industrial import files
from unet_industrial.config import TrainConfig
from unet_industrial.setting import same_setting, setting

USER_ERRORS = (face_bank.FaceBankError, OSError, BrokenProcessPool)
SHARD_PAIRS = 500


class Shard(NamedTuple):
    """What one process makes without a pause; `path` is without suffix."""

    path: str
    first: int
    end: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What all shards of a run share."""

    bank: str
    shares: dict[str, float]
    mix: dict[str, float]
    split: str = setting("val", "People to draw: those to train on, or those held out.", choices=face_bank.SPLITS)
    seed: int = same_setting(TrainConfig, "seed")
    size: int = setting(256, "Side of the pictures, px.", low=16)
    difficulty: float = setting(1.0, "0: easiest, hardly compressed; 1: hardest.", low=0.0, high=1.0)


def define_flags() -> None:
    define_face_bank_flags()
    flags.mark_flag_as_required("face_bank")
    cli.define_output("Folder for SPLIT-*.tfrecord. Shards that are whole are kept.", "output_dir")
    cli.define(Job)
    flags.DEFINE_integer("num_pairs", 500, "Pictures, and as many fakes.", lower_bound=1)
    cli.alias("pairs", "num_pairs")
    cli.define(Parallel, "processes")
    cli.alias("num_workers", "processes")


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    job = cli.make(Job, bank=values.face_bank, shares=cli.numbers("face_bank_shares"), mix=mix_from_flags())
    face_bank.load(job.bank, job.split, job.shares or None)  # an unusable one is an error before any process starts
    folder = Path(values.output)
    folder.mkdir(parents=True, exist_ok=True)
    same_settings(folder / f"{job.split}.settings.json", {**dataclasses.asdict(job), "pairs": values.num_pairs})
    planned = plan(folder, job.split, values.num_pairs)
    missing = [shard for shard in planned if shards.read_contents(Path(shard.path)) is None]
    processes = values.processes or cpu_cores()
    bar = tqdm(total=sum(s.end - s.first for s in missing), unit="pair", disable=not sys.stderr.isatty())
    with bar, ProcessPoolExecutor(min(processes, max(1, len(missing))), get_context("spawn")) as executor:
        for done in as_completed([executor.submit(make_shard, job, shard) for shard in missing]):
            bar.update(done.result())
    print(f"{values.num_pairs} pairs in {len(planned)} files in {folder} ({len(planned) - len(missing)} were there)")
    return cli.OK


def same_settings(path: Path, settings: dict[str, object]) -> None:
    """Keep to the settings of an earlier run in the same folder, or write them down.

    Raises:
        UsageError: the earlier ones differ; its shards and new ones must not be mixed.
    """
    try:
        earlier = files.read_json_object(path)
    except FileNotFoundError:
        files.write_json(path, settings)
        return
    except ValueError as error:
        raise cli.UsageError(f"{path}: damaged ({error}); choose another --output") from error
    differing = sorted(name for name in settings if settings[name] != earlier.get(name))
    if differing:
        raise cli.UsageError(f"{path}: made with another {', '.join(differing)}; choose another --output")


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
    people = face_bank.load(job.bank, job.split, job.shares or None)
    pairs = range(shard.first, shard.end)
    groups = face_groups(people, job.split, job.seed, pairs, job.size, job.difficulty, Mix(**job.mix))
    shards.write_part(Path(shard.path), groups, [], {})
    return len(pairs)
