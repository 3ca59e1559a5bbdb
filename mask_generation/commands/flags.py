"""The flags that several subcommands of `mask` share: which clips are meant, and how to draw from a face bank."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from mask_generation import cli
from mask_generation.cli import UsageError
from mask_generation.datasets import registry
from mask_generation.datasets.base import SPLIT_POLICIES, SPLITS, Inventory, Options


def define_data_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Folder of a data set, as downloaded.")
    flags.DEFINE_string("pairs_csv", None, "CSV with the columns fake,original,method,split, instead of --data_dir.")
    cli.alias("pairs", "pairs_csv")
    flags.DEFINE_enum(
        "dataset",
        "auto",
        ["auto", *(name for name, layout in registry.LAYOUTS.items() if not layout.is_file)],
        "Layout of --data_dir.",
    )
    cli.define(Options)


class SplitFlag(flags.EnumFlag):
    """--split of `preview`: it names a part of the data, and until 0.1 took what --split_policy takes now."""

    def __init__(self) -> None:
        self.moved: list[tuple[flags.Flag, Any]] = []
        super().__init__("split", None, "Only this part. [default: all]", list(SPLITS))

    def parse(self, argument: Any) -> None:
        if argument in SPLIT_POLICIES:
            cli.hand_over(self, flags.FLAGS["split_policy"], argument)
        else:
            super().parse(argument)


def options_from_flags() -> Options:
    """
    Raises:
        UsageError: the shares are not three numbers of which the first is above 0.
    """
    options = cli.make(Options)
    try:
        train, val, test = (float(share) for share in options.shares)
    except ValueError as error:
        given = ",".join(map(str, options.shares))
        raise UsageError(f"--shares takes three numbers, such as 0.72,0.14,0.14, not {given}") from error
    if not train > 0 or min(val, test) < 0:
        raise UsageError("--shares: train must be above 0, the others at least 0")
    return dataclasses.replace(options, shares=(train, val, test))


def source_from_flags() -> tuple[str, str]:
    """(path, layout) of what is meant.

    Raises:
        UsageError: not exactly one of --data_dir and --pairs_csv.
    """
    values = flags.FLAGS
    if bool(values.data_dir) == bool(values.pairs_csv):
        raise UsageError("pass either --data_dir=FOLDER or --pairs_csv=FILE.csv")
    return (values.pairs_csv, "pairs_csv") if values.pairs_csv else (values.data_dir, values.dataset)


def inventory_from_flags() -> Inventory:
    """
    Raises:
        UsageError, DatasetError: see `source_from_flags`, `registry.find`.
    """
    path, layout = source_from_flags()
    return registry.find(path, layout, options_from_flags())


def refuse_videos_beside_records() -> None:
    """
    Raises:
        UsageError: --records is given together with --data_dir or --pairs_csv.
    """
    if flags.FLAGS.data_dir or flags.FLAGS.pairs_csv:
        raise UsageError("--records takes the place of --data_dir and --pairs_csv")


def define_face_bank_flags() -> None:
    flags.DEFINE_string("face_bank", None, "File of real faces, as `mask face_bank` writes it.")
    cli.alias("pool", "face_bank")
    flags.DEFINE_list("face_bank_shares", [], "SOURCE=SHARE of the draws. [default: by the root of its people]")
    cli.alias("pool_shares", "face_bank_shares")
    flags.DEFINE_list("mix", [], "NAME=VALUE: settings of the synthesis, see Mix in synthesis/pairs.py.")


def mix_from_flags() -> dict[str, float]:
    """The value of the flag `mix`, as arguments of `Mix`.

    Raises:
        UsageError: an item is not NAME=NUMBER, a name is unknown or a value impossible.
    """
    from mask_generation.synthesis.pairs import Mix

    mix = cli.numbers("mix")
    try:
        Mix(**mix)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--mix: {error}; allowed are {', '.join(Mix.__dataclass_fields__)}") from error
    return mix
