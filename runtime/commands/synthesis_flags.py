"""Flags of `train` that choose a recipe and shape its synthesis."""

from __future__ import annotations

import dataclasses

from absl import flags

from mask_generation import cli
from runtime.training import synthesis_source
from unet_industrial.config import STRIDE, ModelConfig, TrainConfig


def define() -> None:
    flags.DEFINE_enum(
        "recipe",
        "reference",
        list(synthesis_source.RECIPES),
        "Settings to begin with: the reference's; ffpp: ours, on records of real and fake pairs; sbi: ours, on "
        "manipulations made on the fly from a --pool of real faces.",
    )
    flags.DEFINE_string("pool", None, "With --recipe=sbi: file made by `mask pool`.")
    flags.DEFINE_list("pool_shares", [], "With --recipe=sbi: SOURCE=SHARE of the draws; by the root of its people.")
    flags.DEFINE_list(
        "mix", [], "With --recipe=sbi: NAME=VALUE, settings of the synthesis, see mask_generation/synthesis/pairs.py."
    )
    flags.DEFINE_integer(
        "picture_size",
        0,
        "With --recipe=sbi: side at which pictures are made; windows of --input_size are cut out of larger ones, and "
        "validation is at this size. 0: --input_size.",
        lower_bound=0,
    )
    flags.DEFINE_integer("ramp_images", 30_000, "With --recipe=sbi: images over which fakes get harder.", lower_bound=0)
    flags.DEFINE_integer("synthesis_processes", 1, "With --recipe=sbi: that make pictures.", lower_bound=0)
    flags.DEFINE_integer("eval_pairs", 200, "With --recipe=sbi: validation pairs, of people held out.", lower_bound=1)
    flags.DEFINE_string("init_from", None, "Checkpoint or results folder whose weights a new run begins with.")


def check_sources(mode: str, model: ModelConfig, train: TrainConfig) -> None:
    """Raise UsageError where data, pool and recipe do not go together."""
    values = flags.FLAGS
    if values.recipe == "sbi":
        if values.pool is None:
            raise cli.UsageError("--recipe=sbi needs --pool, a file made by `mask pool`")
        if values.picture_size % STRIDE:
            raise cli.UsageError(f"--picture_size={values.picture_size}: must be a multiple of {STRIDE}")
        if 0 < values.picture_size < model.input_size:
            raise cli.UsageError(
                f"--picture_size={values.picture_size}: must be at least --input_size={model.input_size}"
            )
        synthesis(model, train)
    elif values.pool is not None:
        raise cli.UsageError("--pool goes with --recipe=sbi only")
    elif values.data_dir is None and not mode.endswith("_benchmark"):
        raise cli.UsageError(f"--data_dir is needed with --exec_mode={mode}")


def synthesis(model: ModelConfig, train: TrainConfig) -> synthesis_source.SynthesisConfig:
    """What the flags ask of the synthesis.

    Raises:
        UsageError: a setting of the mix or a share is impossible.
    """
    from mask_generation.commands.synthesize import mix_from_flags

    values = flags.FLAGS
    return synthesis_source.SynthesisConfig(
        pool=values.pool,
        size=model.input_size,
        seed=train.seed,
        weights=cli.numbers("pool_shares"),
        mix=mix_from_flags(),
        ramp_images=values.ramp_images,
        processes=values.synthesis_processes,
        picture_size=values.picture_size,
    )


def as_evaluated(model: ModelConfig) -> ModelConfig:
    """A network trained on windows is measured on whole pictures."""
    side = flags.FLAGS.picture_size
    return dataclasses.replace(model, input_size=side) if side else model
