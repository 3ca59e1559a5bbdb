"""The flags that every measuring command shares, and the Settings they make."""

from __future__ import annotations

from absl import flags

from mask_generation import cli
from runtime.evaluation.measure import CLUSTER_COLUMNS, Settings


def define(threshold: bool = True) -> None:
    """threshold (unless the command defines its own), resamples, confidence, cluster, bootstrap_seed."""
    default = Settings()
    if threshold:
        flags.DEFINE_float(
            "threshold", default.threshold, "A video or frame counts as called fake above this probability (or score)."
        )
    flags.DEFINE_integer("resamples", default.resamples, "Bootstrap resamples for the intervals.", lower_bound=1)
    flags.DEFINE_float("confidence", default.confidence, "Confidence of the intervals, between 0 and 1.")
    flags.DEFINE_enum(
        "cluster", default.cluster, list(CLUSTER_COLUMNS), "What the bootstrap draws: people, originals or videos."
    )
    flags.DEFINE_integer("bootstrap_seed", default.seed, "Seed of the resampling.", lower_bound=0)


def settings() -> Settings:
    """The Settings of the flags.

    Raises:
        cli.UsageError: a value is impossible.
    """
    values = flags.FLAGS
    try:
        return Settings(
            threshold=values.threshold,
            resamples=values.resamples,
            confidence=values.confidence,
            seed=values.bootstrap_seed,
            cluster=values.cluster,
        )
    except ValueError as error:
        raise cli.UsageError(str(error)) from error
