"""`generate`: pairs of videos → face crops and masks as TFRecords, with a table of examples and one of clips.

Exit codes: 0 every clip was written or skipped for a reason that lies in the data (no face, original missing …); 1 some
clip failed, or the run did; 2 the command line is wrong; 130 interrupted. The same command goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from absl import flags

from mask_generation import cli
from mask_generation.commands.flags import define_data_flags, inventory_from_flags
from mask_generation.datasets.base import DatasetError
from mask_generation.masks.registry import RECIPES
from mask_generation.pairs.outcome import FAILED, GroupConfig
from mask_generation.pipeline import GenerateConfig, PipelineError, Totals, clear, generate
from mask_generation.video.types import Limits

USER_ERRORS = (DatasetError, PipelineError, OSError)
STILLS_A_SHARD = 512
_QUIET_S = 30.0  # between two lines of progress where nobody watches a terminal


def define_flags() -> None:
    define_data_flags()
    base, run, limits = GroupConfig(), GenerateConfig(GroupConfig(), Path()), Limits()
    flags.DEFINE_string("output_dir", None, "Folder for the records. A run that was cut off goes on where it stopped.")
    flags.mark_flag_as_required("output_dir")
    flags.DEFINE_boolean("overwrite", False, "Delete the records of an earlier run in --output_dir first.")
    flags.DEFINE_enum("recipe", base.recipe, RECIPES, "How a mask is made.")
    flags.DEFINE_integer("frames", base.frames, "Frames taken from a clip, evenly spread.", lower_bound=1)
    flags.DEFINE_integer("crop_size", base.crop_size, "Side of the crops, px.", lower_bound=16)
    flags.DEFINE_float("crop_margin", base.crop_margin, "Side of the crop over that of the face.", lower_bound=1.0)
    flags.DEFINE_integer("max_faces", base.max_faces, "People at one moment, the most often seen first.", lower_bound=1)
    flags.DEFINE_integer("min_frames", base.min_frames, "Shorter clips are too_short.", lower_bound=1)
    flags.DEFINE_integer("processes", None, "Clip groups done at a time. [default: one a core]", lower_bound=1)
    flags.DEFINE_string(
        "ray_address",
        run.ray_address,
        "Work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local starts one here. Nodes need this package and "
        "all folders at the same paths. Needs the extra `ray`.",
    )
    flags.DEFINE_integer(
        "shard_groups",
        None,
        f"Originals, with their copies, in a record file. [default: {run.shard_groups}, of stills {STILLS_A_SHARD}]",
        lower_bound=1,
    )
    flags.DEFINE_string("detector_device", run.device, "Where faces are found: CPU:0, GPU:0.")
    flags.DEFINE_integer("max_width", limits.max_width, "Widest frame accepted, px.", lower_bound=16)
    flags.DEFINE_integer("max_height", limits.max_height, "Highest frame accepted, px.", lower_bound=16)
    flags.DEFINE_float("max_duration_s", limits.max_duration_s, "Longest video accepted.", lower_bound=0.0)
    flags.DEFINE_integer("max_bytes", limits.max_bytes, "Largest file accepted.", lower_bound=1)
    flags.DEFINE_float("timeout_s", limits.timeout_s, "Seconds of decoding accepted for a file.", lower_bound=0.1)
    flags.DEFINE_float(
        "clip_limit_s", run.clip_limit_s, "Seconds a clip may take before its worker is killed.", lower_bound=0.1
    )


def config_from_flags() -> GenerateConfig:
    values = flags.FLAGS
    limits = Limits(values.max_width, values.max_height, values.max_duration_s, values.max_bytes, values.timeout_s)
    group = GroupConfig(
        frames=values.frames,
        crop_size=values.crop_size,
        crop_margin=values.crop_margin,
        recipe=values.recipe,
        max_faces=values.max_faces,
        min_frames=values.min_frames,
        limits=limits,
    )
    return GenerateConfig(
        group=group,
        output_dir=Path(values.output_dir),
        processes=values.processes,
        shard_groups=values.shard_groups or GenerateConfig.shard_groups,
        clip_limit_s=values.clip_limit_s,
        device=values.detector_device,
        ray_address=values.ray_address,
    )


def main(arguments: list[str]) -> int:
    del arguments
    config = config_from_flags()
    if config.output_dir.exists() and not config.output_dir.is_dir():
        raise cli.UsageError(f"{config.output_dir}: is a file; --output_dir needs a folder")
    inventory = inventory_from_flags()
    if flags.FLAGS.shard_groups is None and all(group.still for group in inventory.groups):
        config = dataclasses.replace(config, shard_groups=STILLS_A_SHARD)
    for text in inventory.notes:
        print(f"note: {text}", file=sys.stderr)
    if flags.FLAGS.overwrite:
        clear(config.output_dir)
    with Progress(inventory.clips()) as progress:
        totals = generate(inventory, config, progress)
    print(summary(totals, config.output_dir))
    return cli.FAILED if totals.failed else cli.OK


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
