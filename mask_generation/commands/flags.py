"""The flags that say which clips are meant; shared by `generate`, `audit` and `preview`."""

from __future__ import annotations

from absl import flags

from mask_generation.cli import UsageError
from mask_generation.datasets import registry
from mask_generation.datasets.base import Inventory, Options


def define_data_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Folder of a data set, as downloaded.")
    flags.DEFINE_string("pairs", None, "CSV file with columns fake,original,method,split, instead of --data_dir.")
    flags.DEFINE_enum(
        "dataset",
        "auto",
        ["auto", *(name for name, layout in registry.LAYOUTS.items() if not layout.is_file)],
        "Layout of --data_dir.",
    )
    flags.DEFINE_enum(
        "split",
        "official",
        ["official", "strict"],
        "official: the data set's own split, where it has one; strict: minus all that shares a person, a source or a "
        "YouTube clip with a more held-out part.",
    )
    flags.DEFINE_string("split_dir", "", "Folder with train.json, val.json, test.json in FaceForensics++'s form.")
    flags.DEFINE_list("methods", [], "Only these manipulations. [default: all]")
    flags.DEFINE_list("compressions", [], "Only these compressions, as c23. [default: all]")
    flags.DEFINE_list("shares", ["0.72", "0.14", "0.14"], "Of train, val, test where the data set has no split.")


def options_from_flags() -> Options:
    """
    Raises:
        UsageError: the shares are not three numbers of which the first is above 0.
    """
    values = flags.FLAGS
    try:
        train, val, test = (float(share) for share in values.shares)
    except ValueError as error:
        raise UsageError(
            f"--shares takes three numbers, such as 0.72,0.14,0.14, not {','.join(values.shares)}"
        ) from error
    if not train > 0 or min(val, test) < 0:
        raise UsageError("--shares: train must be above 0, the others at least 0")
    return Options(
        compressions=tuple(values.compressions),
        methods=tuple(values.methods),
        split=values.split,
        split_dir=values.split_dir,
        shares=(train, val, test),
    )


def source_from_flags() -> tuple[str, str]:
    """(path, layout) of what is meant.

    Raises:
        UsageError: not exactly one of --data_dir and --pairs.
    """
    values = flags.FLAGS
    if bool(values.data_dir) == bool(values.pairs):
        raise UsageError("pass either --data_dir=FOLDER or --pairs=FILE.csv")
    return (values.pairs, "pairs_csv") if values.pairs else (values.data_dir, values.dataset)


def inventory_from_flags() -> Inventory:
    """
    Raises:
        UsageError, DatasetError: see `source_from_flags`, `registry.find`.
    """
    path, layout = source_from_flags()
    return registry.find(path, layout, options_from_flags())
