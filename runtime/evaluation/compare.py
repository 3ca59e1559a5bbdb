"""Several detectors on the same videos: one table, and the paired bootstrap of each difference to the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from runtime.evaluation import bootstrap, measure, tables
from runtime.evaluation.measure import CLUSTER_COLUMNS, Settings

DIFFERENCES = ("auc", "paired", "same_source_auc", "balanced_accuracy", "brier", "log_loss")


def with_scores(reference: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """The reference's rows with another detector's scores; rows it has none for are undecided.

    Args:
        scores: in the order of `reference`, NaN where missing.
    """
    table = reference.drop(columns=[name for name in ("probability",) if name in reference]).copy()
    table["score"] = scores.to_numpy(dtype=np.float64)
    missing = table["score"].isna()
    table["state"] = np.where(missing, tables.UNDECIDED_STATE, "ok")
    return table


def compare(detectors: Mapping[str, pd.DataFrame], settings: Settings) -> dict[str, Any]:
    """Every detector measured on the same videos, and each against the first.

    Args:
        detectors: name → normalised video (or frame) table; all with the same keys, in the same order.
    Returns:
        {"first": name, "detectors": {name: measure(...)}, "by": {name: measure_groups(...)}, "differences": {name:
        {"dropped": {metric: difference}, "worst": …, "common": rows that both decided}}}; a difference is the other
        minus the first.
    """
    names = list(detectors)
    first = detectors[names[0]]
    for name in names[1:]:
        if list(detectors[name]["key"]) != list(first["key"]):
            raise ValueError(f"{name} and {names[0]} are not tables of the same rows")
    return {
        "first": names[0],
        "detectors": {name: measure.measure(table, settings) for name, table in detectors.items()},
        "by": {name: measure.measure_groups(table, settings) for name, table in detectors.items()},
        "differences": {name: _against(detectors[name], first, settings) for name in names[1:]},
        "chance": dict(measure.CHANCE),
    }


def _against(other: pd.DataFrame, first: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    both = other["score"].notna().to_numpy() & first["score"].notna().to_numpy()
    result: dict[str, Any] = {"common": int(both.sum())}
    tables_of = {
        "dropped": (other[both].reset_index(drop=True), first[both].reset_index(drop=True)),
        "worst": (measure.filled_table(other, "worst"), measure.filled_table(first, "worst")),
    }
    for how, (theirs, ours) in tables_of.items():
        their_statistics = measure.score_statistics(theirs, settings.threshold)
        our_statistics = measure.score_statistics(ours, settings.threshold)
        clusters = ours[CLUSTER_COLUMNS[settings.cluster]].to_numpy()
        result[how] = {
            name: bootstrap.paired_difference(
                their_statistics[name],
                our_statistics[name],
                clusters,
                settings.resamples,
                settings.confidence,
                settings.seed,
            ).to_dict()
            for name in DIFFERENCES
            if name in their_statistics and name in our_statistics
        }
    return result
