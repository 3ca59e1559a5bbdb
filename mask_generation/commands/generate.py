"""`generate`: pairs of videos or pictures → crops and masks as TFRecords, with a table of examples and one of clips.

Exit codes: 0 every clip was written or skipped for a reason that lies in the data (no face, original missing …); 1 some
clip failed, or the run did; 2 the command line is wrong; 130, 143 and 129 stopped by a signal (see `cli`). The same
command goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from absl import flags

from mask_generation import cli
from mask_generation.audit import leak_lines
from mask_generation.commands.flags import define_data_flags, inventory_from_flags
from mask_generation.datasets.base import DatasetError
from mask_generation.datasets.splits import leaks
from mask_generation.given_face import GivenFaceError
from mask_generation.pairs.outcome import FAILED, GroupConfig
from mask_generation.pipeline import (
    PICTURES_A_SHARD,
    STILLS_A_SHARD,
    GenerateConfig,
    PipelineError,
    Totals,
    clear,
    generate,
)
from mask_generation.video.types import Limits

USER_ERRORS = (DatasetError, GivenFaceError, PipelineError, OSError)
_QUIET_S = 30.0  # between two lines of progress where nobody watches a terminal


def define_flags() -> None:
    define_data_flags()
    cli.alias("split", "split_policy")
    cli.define_output("Folder for the records. A run that was cut off goes on where it stopped.", "output_dir")
    cli.define_overwrite()
    for config in (GroupConfig, Limits, GenerateConfig):
        cli.define(config)
    cli.alias("recipe", "mask_recipe")
    cli.alias("timeout_s", "decode_limit_s")


def config_from_flags() -> GenerateConfig:
    group = cli.make(GroupConfig, limits=cli.make(Limits))
    return cli.make(GenerateConfig, group=group, output_dir=Path(flags.FLAGS.output))


def main(arguments: list[str]) -> int:
    del arguments
    config = config_from_flags()
    if config.group.faces == "given" and cli.given(GroupConfig, "crop_margin"):
        raise cli.UsageError("--faces=given takes pictures whole, so --crop_margin has no effect: see --given_margin")
    if config.output_dir.exists() and not config.output_dir.is_dir():
        raise cli.UsageError(f"{config.output_dir}: is a file; --output needs a folder")
    inventory = inventory_from_flags()
    if not cli.given(GenerateConfig, "shard_groups"):
        if all(group.still for group in inventory.groups):
            config = dataclasses.replace(config, shard_groups=STILLS_A_SHARD)
        elif all(group.still or group.pictures for group in inventory.groups):
            config = dataclasses.replace(config, shard_groups=PICTURES_A_SHARD)
    for text in inventory.notes:
        print(f"note: {text}", file=sys.stderr)
    shared = leaks(inventory.groups)
    if shared:
        print("\n".join(leak_lines(shared, most=5)), file=sys.stderr)
    if flags.FLAGS.overwrite:
        clear(config.output_dir)
    with Progress(inventory.clips()) as progress:
        totals = generate(inventory, config, progress)
    print(summary(totals, config.output_dir))
    return cli.FAILED if totals.failed else cli.OK


def kept() -> str:
    """What is left of a run that was stopped."""
    folder = Path(flags.FLAGS.output)
    return f"The clips done are kept in {folder}: the same command goes on from there." if folder.is_dir() else ""


def summary(totals: Totals, folder: Path) -> str:
    """What the run comes to, in a few lines."""
    again = f", {totals.resumed_groups} groups of them from an earlier run" if totals.resumed_groups else ""
    lines = [
        f"{totals.found} clips found = {totals.written} written + {totals.skipped} skipped + {totals.failed} failed",
        "  " + ", ".join(f"{count} {state}" for state, count in sorted(totals.reasons.items())),
        f"{totals.examples} examples in {totals.records} face groups; {totals.wall_s:.0f} s{again}",
        "  seconds of CPU: " + ", ".join(f"{name} {value:.1f}" for name, value in totals.seconds.items()),
        f"written to {folder}: SPLIT-*.tfrecord, examples.csv, clips.csv, summary.json",
    ]
    if totals.failed:
        lines.append(f"some clips failed ({', '.join(s for s in FAILED if s in totals.reasons)}): see clips.csv")
    return "\n".join(lines)


class Progress:
    """A bar on stderr over clips, with rate and time left; where that is no terminal, a line now and then.

    Clips that an earlier run did count as done, not into the rate.
    """

    def __init__(self, clips: int) -> None:
        from tqdm import tqdm

        watched = sys.stderr.isatty()
        self._bar = tqdm(
            total=clips,
            unit="clip",
            file=sys.stderr,
            mininterval=0.2 if watched else _QUIET_S,
            dynamic_ncols=watched,
            ascii=not watched,
        )
        self._states: dict[str, int] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def __call__(self, clips: int, states: dict[str, int], resumed: bool) -> None:
        for state, count in states.items():
            self._states[state] = self._states.get(state, 0) + count
        self._bar.set_postfix(self._states, refresh=False)
        if resumed:
            self._bar.initial += clips
            self._bar.n += clips
        else:
            self._bar.update(clips)
