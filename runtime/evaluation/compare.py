"""Several detectors on the same videos: one table, and the paired bootstrap of each difference to the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Optional

import pandas as pd

from runtime.evaluation import bootstrap, measure, probability
from runtime.evaluation.measure import Detector, Settings

DIFFERENCES = ("auc", "paired", "same_source_auc", "balanced_accuracy", "brier", "log_loss")


def with_scores(reference: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows with another detector's answers.

    Args:
        scores: columns score, state and, if it has one, probability, in the order of `reference`
            (`tables.load_foreign`).
    """
    table = reference.drop(columns=[name for name in ("probability",) if name in reference]).copy()
    for name in scores:
        table[name] = scores[name].to_numpy()
    return table


def compare(detectors: Mapping[str, Detector], settings: Settings) -> dict[str, Any]:
    """Every detector measured on the same videos, and each against the first.

    Args:
        detectors: name → detector; all with the same videos (by key), in any order. The first is the one that is
            judged.
    Returns:
        JSON-able dict: settings, first, detectors {name: `measure.evaluate`}, chance, and differences {name: {"video":
        {"common": rows both decided, "dropped": {metric: other minus first}, "worst": …}, "frame": the same where both
        have the same frames}}.
    Raises:
        ValueError: no detector, or tables of different videos.
    """
    if not detectors:
        raise ValueError("nothing to compare")
    names = list(detectors)
    first = detectors[names[0]]
    differences = {}
    for name in names[1:]:
        other = detectors[name]
        videos = aligned(other.videos, first.videos)
        if videos is None:
            raise ValueError(f"{name} and {names[0]} are not tables of the same videos")
        differences[name] = {"video": _against(videos, first.videos, settings)}
        if other.frames is not None and first.frames is not None:
            frames = aligned(other.frames, first.frames)
            if frames is not None:
                differences[name]["frame"] = _against(frames, first.frames, settings)
    return {
        "settings": {**asdict(settings), "ece_bins": probability.ECE_BINS, "log_loss_clip": probability.LOG_LOSS_CLIP},
        "positive_class": "fake = 1",
        "first": names[0],
        "detectors": {name: measure.evaluate(detector, settings) for name, detector in detectors.items()},
        "differences": differences,
        "chance": dict(measure.CHANCE),
    }


ROW_COLUMNS = ["key", "frame_index", "track"]


def aligned(other: pd.DataFrame, first: pd.DataFrame) -> Optional[pd.DataFrame]:
    """`other` in the row order of `first`, or None if the two do not hold the same rows once each."""
    theirs, ours = (pd.MultiIndex.from_frame(table[ROW_COLUMNS].astype(str)) for table in (other, first))
    if len(theirs) != len(ours) or theirs.has_duplicates:
        return None
    order = theirs.get_indexer(ours)
    return None if (order < 0).any() else other.iloc[order].reset_index(drop=True)


def _against(other: pd.DataFrame, first: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    both = other["score"].notna().to_numpy() & first["score"].notna().to_numpy()
    result: dict[str, Any] = {"common": int(both.sum())}
    tables_of = {
        "dropped": (other[both].reset_index(drop=True), first[both].reset_index(drop=True)),
        "worst": (measure.filled_table(other, "worst"), measure.filled_table(first, "worst")),
    }
    for how, (theirs, ours) in tables_of.items():
        their_statistics = measure.score_statistics(theirs, settings)
        our_statistics = measure.score_statistics(ours, settings)
        clusters = measure.clusters_of(ours, settings)
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
