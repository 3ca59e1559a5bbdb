"""The flags that several subcommands of the runtime share and no configuration holds, and those of measuring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mask_generation import cli

if TYPE_CHECKING:
    from runtime.evaluation.measure import Settings
    from runtime.model.saved_model import Trust

MODEL_NEEDED = "Folder of an exported model."
MODEL_OR_PACKAGED = f"{MODEL_NEEDED} [default: the experimental one of this installation]"


def define_data_dir(required: bool) -> None:
    flags.DEFINE_string("data_dir", None, "Folder of TFRecords: SPLIT*.tfrecord or SPLIT/*.tfrecord.")
    if required:
        flags.mark_flag_as_required("data_dir")


def define_train_split() -> None:
    flags.DEFINE_string("train_split", "train", "Split to train on.")


def define_threads() -> None:
    flags.DEFINE_integer("threads", 0, "TensorFlow threads of one operation; 0: the cores shared out.", lower_bound=0)


def define_packaged_model() -> None:
    """--model, for subcommands that take the packaged model where none is given, and --trust_model."""
    flags.DEFINE_string("model", None, MODEL_OR_PACKAGED)
    define_trust_model()


def define_trust_model() -> None:
    flags.DEFINE_boolean("trust_model", False, "Load a model whose hash is unknown. A SavedModel is a program.")


def given_model() -> tuple[Path, Trust]:
    """(folder of --model, whether the user vouches for it), or the packaged model and the key this installation built.

    Raises:
        ModelError: no --model, and this installation has no model of its own.
    """
    from runtime.model.saved_model import shipped_model

    if flags.FLAGS.model:
        return Path(flags.FLAGS.model), flags.FLAGS.trust_model
    return shipped_model()


def define_measuring(threshold: bool = True) -> None:
    """Flags of `Settings`: threshold (unless the subcommand defines its own), resamples, confidence, cluster, seed."""
    from runtime.evaluation.measure import Settings

    cli.define(Settings, *(["threshold"] if threshold else []), "resamples", "confidence", "seed", "cluster")


def make_settings() -> Settings:
    """The `Settings` that the flags of `define_measuring` describe; a --threshold that was given decides every verdict.

    Raises:
        UsageError: a value is impossible.
    """
    from runtime.evaluation.measure import Settings

    return cli.make(Settings, own_verdicts="threshold" not in cli.given(Settings, "threshold"))
