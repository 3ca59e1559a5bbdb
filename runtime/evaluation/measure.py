"""A normalised score table → every number with its interval, overall and by group, undecided rows both ways.

Several detectors on the same videos (`compare`) are measured alike, and the paired bootstrap gives each one's
difference to the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

import numpy as np
import pandas as pd

from runtime.evaluation import bootstrap, metrics, tables
from runtime.evaluation.bootstrap import Statistic
from runtime.evaluation.metrics import ClusteredAuc, stacked
from runtime.evaluation.pixel_metrics import PixelHistograms
from runtime.scoring.video_score import DEFAULT_THRESHOLD, called_fake, verdict
from unet_industrial.config import FAKE_ABOVE
from unet_industrial.metrics import SegmentationResult
from unet_industrial.setting import setting

TREATMENTS = ("dropped", "worst")
DIFFERENCES = ("auc", "paired", "same_source_auc", "balanced_accuracy", "brier", "log_loss")  # to the first detector
ROW_COLUMNS = ["key", "frame_index", "track"]
AS_GIVEN = "as given"  # video scores that the table itself holds
SUMMARY_PIXELS = ("iou", "iou_fake", "dice", "dice_fake", "precision", "recall", "marked_real")
CLUSTER_COLUMNS = {"identity": "cluster", "original": "original", "video": "key"}
# What calling every score 0.5 earns: the row every table begins with.
CHANCE = {
    "auc": 0.5,
    "paired": 0.5,
    "same_source_auc": 0.5,
    "region_auc": 0.5,
    "log_loss": float(np.log(2)),
    "brier": 0.25,
    "eer": 0.5,
    "tpr_at_fpr_1": 0.0,
    "tpr_at_fpr_10": 0.0,
    "balanced_accuracy": 0.5,
}


@dataclass(frozen=True)
class Settings:
    """How to measure.

    threshold: a video or frame is called fake above this probability (or score, where a table has no probabilities).
    Where the table has the column `called_fake`, that counts instead. None: no operating point.
    own_verdicts: False: the threshold was asked for, and decides everywhere, over `called_fake` too.
    cluster: what the bootstrap draws: "identity" (people connected through swaps), "original", or "video".
    """

    threshold: Optional[float] = setting(
        DEFAULT_THRESHOLD,
        "What lies above it is called fake, whatever the detector's own verdict.",
        shown=f"{DEFAULT_THRESHOLD}; for videos the detector's own verdicts or thresholds, where it has them",
    )
    resamples: int = setting(bootstrap.DEFAULT_RESAMPLES, "Bootstrap resamples for the intervals.", low=1)
    confidence: float = setting(bootstrap.DEFAULT_CONFIDENCE, "Confidence of the intervals, between 0 and 1.")
    seed: int = setting(0, "Seed of the resampling.", flag="bootstrap_seed", low=0)
    cluster: str = setting(
        "identity", "What the bootstrap draws: people, originals or videos.", choices=tuple(CLUSTER_COLUMNS)
    )
    own_verdicts: bool = True

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTER_COLUMNS:
            raise ValueError(f"cluster must be one of {', '.join(CLUSTER_COLUMNS)}, not {self.cluster!r}")
        if self.resamples < 1:
            raise ValueError(f"resamples must be at least 1, not {self.resamples}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")


def score_statistics(table: pd.DataFrame, settings: Settings) -> dict[str, Statistic]:
    """Functions of row weights for a normalised table whose undecided rows are dropped or filled.

    Log loss, Brier and ECE need a `probability` column or scores within [0, 1] and are absent otherwise; the operating
    point is taken on the same values, or on the scores if there are none.
    """
    labels = table["label"].to_numpy()
    scores = table["score"].to_numpy(dtype=np.float64)
    ranking = metrics.Ranking(labels, scores)
    same = metrics.SameSource(labels, scores, table["original"].to_numpy(dtype=str))
    pairs = tables.match_pairs(table)
    wins = metrics.pair_wins(scores[pairs[:, 0]], scores[pairs[:, 1]])
    statistics: dict[str, Statistic] = {
        "auc": ClusteredAuc.from_scores(labels, scores, clusters_of(table, settings)).value,
        "ap": lambda weights: ranking.curve(weights).average_precision(),
        "eer": lambda weights: ranking.curve(weights).equal_error_rate(),
        "tpr_at_fpr_1": lambda weights: ranking.curve(weights).tpr_at_fpr(0.01),
        "tpr_at_fpr_10": lambda weights: ranking.curve(weights).tpr_at_fpr(0.10),
        "paired": lambda weights: metrics.weighted_mean(wins, weights[pairs[:, 0]]),
        "same_source_auc": same.value,
    }
    values = calibrated_values(table)
    everyone, fakes, reals = np.arange(labels.size), np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if values is not None:
        chances = metrics.as_probabilities(values)
        statistics["log_loss"] = _mean_of(metrics.log_loss_rows(labels, chances), everyone)
        statistics["brier"] = _mean_of((chances - labels) ** 2, everyone)
        statistics["ece"] = lambda weights: metrics.expected_calibration_error(labels, chances, weights)
    called = verdicts(table, scores if values is None else values, settings)
    if called is not None:
        unclear = unclear_rows(table, settings)
        right = (called == (labels == 1)) & (True if unclear is None else ~unclear)
        statistics["accuracy"] = _mean_of(right, everyone)
        statistics["tpr"] = tpr = _mean_of(called, fakes)
        statistics["fpr"] = _mean_of(called, reals)
        real_found = _mean_of(right, reals)
        statistics["balanced_accuracy"] = lambda weights: (tpr(weights) + real_found(weights)) / 2
        if unclear is not None:
            statistics["unclear"] = _mean_of(unclear, everyone)
    return statistics


def verdicts(table: pd.DataFrame, values: np.ndarray, settings: Settings) -> Optional[np.ndarray]:
    """(N,) bool, whether each row is called fake: by the column `called_fake` where there is one, else by the
    threshold; None where there is neither. A row filled with the worst answer (±inf) is called by its sign."""
    if settings.own_verdicts and tables.CALLED in table:
        return np.where(np.isinf(values), values > 0, table[tables.CALLED].to_numpy() == 1)
    return None if settings.threshold is None else called_fake(values, settings.threshold)


def unclear_rows(table: pd.DataFrame, settings: Settings) -> Optional[np.ndarray]:
    """(N,) bool, whether the detector's own verdict on each row is neither fake nor real; None where it never is."""
    counted = settings.own_verdicts and {tables.CALLED, tables.UNCLEAR} <= set(table)
    return table[tables.UNCLEAR].to_numpy() == 1 if counted else None


def clusters_of(table: pd.DataFrame, settings: Settings) -> np.ndarray:
    """(N,) what the bootstrap draws."""
    return table[CLUSTER_COLUMNS[settings.cluster]].to_numpy()


def calibrated_values(table: pd.DataFrame) -> Optional[np.ndarray]:
    """(N,) values that can be read as probabilities (±inf for rows filled with the worst answer), or None."""
    scores = table["score"].to_numpy(dtype=np.float64)
    filled = np.isinf(scores)
    if "probability" in table:
        values = np.where(filled, scores, table["probability"].to_numpy(dtype=np.float64))
        if not np.isnan(values).any() and metrics.is_probability(np.where(filled, np.nan, values)):
            return values
    return scores if metrics.is_probability(np.where(filled, np.nan, scores)) else None


def pixel_statistics(
    frames: pd.DataFrame, histograms: Mapping[str, PixelHistograms], settings: Settings
) -> dict[str, Statistic]:
    """Pixel numbers of a frame table with the columns iou, dice and area (share of the crop marked).

    `iou` and `dice` are means over fake frames with a mask, `area_real` over real frames; AUCs pool the videos'
    histograms.
    """
    fake = frames["label"].to_numpy() == 1
    statistics: dict[str, Statistic] = {}
    if not {"iou", "dice", "area"} <= set(frames):
        return statistics
    for name, column, rows in (
        ("iou", "iou", fake),
        ("dice", "dice", fake),
        ("area_fake", "area", fake),
        ("area_real", "area", ~fake),
    ):
        values = frames[column].to_numpy(dtype=np.float64)
        statistics[name] = _mean_of(values, np.flatnonzero(rows & ~np.isnan(values)))
    keys = frames["key"].to_numpy()
    names, first_row = np.unique(keys, return_index=True)
    rows = np.array([row for name, row in zip(names, first_row) if name in histograms], dtype=np.int64)
    if rows.size:
        found = [histograms[keys[row]] for row in rows]
        clusters = clusters_of(frames, settings)[rows]
        for name, positive, negative in (
            ("pixel_auc", "faked", "untouched"),
            ("region_auc", "faked_with_original", "original"),
        ):
            stacks = stacked(found, positive), stacked(found, negative)
            statistics[name] = ClusteredAuc.from_histograms(*stacks, clusters, rows).value
    return statistics


def _mean_of(values: np.ndarray, rows: np.ndarray) -> Statistic:
    chosen = values[rows].astype(np.float64)
    return lambda weights: metrics.weighted_mean(chosen, weights[rows])


def filled_table(table: pd.DataFrame, how: str) -> pd.DataFrame:
    """The table with undecided rows dropped or given the worst answer (`metrics.fill_undecided`)."""
    _, scores, kept = metrics.fill_undecided(table["label"].to_numpy(), table["score"].to_numpy(), how)
    filled = table.iloc[kept].reset_index(drop=True)
    filled["score"] = scores
    return filled


def counts(table: pd.DataFrame) -> dict[str, Any]:
    """Rows, classes, and why rows have no score. `table` is normalised, its undecided rows still NaN."""
    undecided = table["score"].isna()
    fake = table["label"] == 1
    return {
        "rows": len(table),
        "videos": int(table["key"].nunique()),
        "real_videos": int(table.loc[~fake, "key"].nunique()),
        "fake_videos": int(table.loc[fake, "key"].nunique()),
        "identities": int(table["cluster"].nunique()),
        "undecided": int(undecided.sum()),
        "undecided_real": int((undecided & ~fake).sum()),
        "undecided_fake": int((undecided & fake).sum()),
        "undecided_by_state": {str(k): int(v) for k, v in table.loc[undecided, "state"].value_counts().items()},
        "pairs": len(tables.match_pairs(table)),
    }


def measure(
    table: pd.DataFrame, settings: Settings, histograms: Optional[Mapping[str, PixelHistograms]] = None
) -> dict[str, Any]:
    """One group's numbers: {"counts": …, "dropped": {name: estimate}, "worst": {name: estimate}}.

    With nothing undecided, "worst" is the same as "dropped". Pixel numbers (rows that have them) stand under "pixels".
    """
    result: dict[str, Any] = {"counts": counts(table)}
    unclear = unclear_rows(table, settings)
    if unclear is not None:
        fake = table["label"].to_numpy() == 1
        result["counts"]["unclear_real"] = int((unclear & ~fake).sum())
        result["counts"]["unclear_fake"] = int((unclear & fake).sum())
    for how in TREATMENTS:
        if how == "worst" and not result["counts"]["undecided"]:
            result["worst"] = result["dropped"]
            continue
        filled = filled_table(table, how)
        result[how] = _estimates(score_statistics(filled, settings), filled, settings)
        _note_resolution(result[how], filled)
    pixel = pixel_statistics(table, histograms or {}, settings)
    if pixel:
        result["pixels"] = _estimates(pixel, table, settings)
        fake = table["label"] == 1
        result["counts"]["fake_frames_without_mask"] = int((fake & table["iou"].isna() & table["score"].notna()).sum())
    return result


def _estimates(statistics: dict[str, Statistic], table: pd.DataFrame, settings: Settings) -> dict[str, dict[str, Any]]:
    clusters = clusters_of(table, settings)
    estimates = bootstrap.bootstrap(statistics, clusters, settings.resamples, settings.confidence, settings.seed)
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _note_resolution(estimates: dict[str, dict[str, Any]], table: pd.DataFrame) -> None:
    reals = int((table["label"] == 0).sum())
    for name, limit in (("tpr_at_fpr_1", 0.01), ("tpr_at_fpr_10", 0.10)):
        if reals < metrics.reals_needed(limit) and estimates[name]["value"] is not None:
            note = f"{reals} reals cannot show a false-positive rate of {limit:.0%}: this is the rate without any"
            estimates[name]["note"] = "; ".join(part for part in (estimates[name]["note"], note) if part)


def measure_groups(
    table: pd.DataFrame, settings: Settings, histograms: Optional[Mapping[str, PixelHistograms]] = None
) -> dict[str, dict[str, Any]]:
    """{column: {value: measure(...)}} for every breakdown that the table has more than one group of."""
    groups: dict[str, dict[str, Any]] = {}
    for column in tables.BREAKDOWNS:
        parts = tables.breakdown(table, column)
        if parts:
            groups[column] = {name: measure(table.iloc[rows], settings, histograms) for name, rows in parts}
    return groups


@dataclass(frozen=True)
class Detector:
    """One detector's scores.

    Attributes:
        videos: normalised video table; frames: the same of frames, where it has them.
        rule: how the video scores were made of the frames' (one of `tables.RULES`), or AS_GIVEN.
        histograms: pixel histograms by video key.
        pixels: pixel numbers at every threshold of the reference, over all crops.
        thresholds: the model's own for videos, by which their verdicts were given: above the first fake, below the
            second real. None: it has none.
    """

    videos: pd.DataFrame
    frames: Optional[pd.DataFrame] = None
    rule: str = AS_GIVEN
    histograms: Mapping[str, PixelHistograms] = field(default_factory=dict)
    pixels: Optional[SegmentationResult] = None
    thresholds: Optional[tuple[float, float]] = None

    @classmethod
    def from_frames(
        cls,
        frames: pd.DataFrame,
        histograms: Optional[Mapping[str, PixelHistograms]] = None,
        pixels: Optional[SegmentationResult] = None,
    ) -> Detector:
        """Video scores by the rule of the product, or the one that `tables.video_rule` names for such scores."""
        rule = tables.video_rule(frames)
        return cls(tables.to_videos(frames, rule), frames, rule, histograms or {}, pixels)

    def judged(self, threshold: float, real_below: float) -> Detector:
        """The same with the verdicts that `score` gives by a model's own thresholds.

        They stand in the frames too, as `verdict`, so that a frame table that is written leads back to them.
        """
        scores = self.videos.set_index("key")["score"]
        words = scores.map(lambda score: verdict(score, threshold, real_below), na_action="ignore")
        videos = tables.with_verdicts(self.videos.assign(verdict=self.videos["key"].map(words)))
        frames = None if self.frames is None else self.frames.assign(verdict=self.frames["key"].map(words))
        return replace(self, videos=videos, frames=frames, thresholds=(threshold, real_below))


def summary(detector: Detector) -> dict[str, Any]:
    """The leading numbers of a detector with frames and pixel counts, without intervals: for logs and the head of
    evaluation.json. A number that is undefined is None; `by_threshold` holds the reference's pixel numbers.

    Raises:
        ValueError: it has no frames or no pixel counts.
    """
    if detector.frames is None or detector.pixels is None:
        raise ValueError("a summary needs frames and pixel counts")
    frames, videos = filled_table(detector.frames, "dropped"), filled_table(detector.videos, "dropped")
    labels, scores = frames["label"].to_numpy(), frames["score"].to_numpy(dtype=np.float64)
    pairs = tables.match_pairs(frames)
    at = detector.pixels.at(FAKE_ABOVE)
    numbers = {
        "crops": len(labels),
        "fake_crops": int(labels.sum()),
        "clips": len(videos),
        "fake_clips": int(videos["label"].sum()),
        "frame_auc": metrics.auc(labels, scores),
        "video_auc": metrics.auc(videos["label"].to_numpy(), videos["score"].to_numpy()),
        "paired": metrics.pairwise_accuracy(scores[pairs[:, 0]], scores[pairs[:, 1]]),
        "pairs": len(pairs),
        "mean_score_real": metrics.weighted_mean(scores[labels == 0]),
        "mean_score_fake": metrics.weighted_mean(scores[labels == 1]),
        "mask_threshold": FAKE_ABOVE,
        **{name: at[name] for name in SUMMARY_PIXELS},
        "by_threshold": {name: number_or_none(value) for name, value in detector.pixels.flat().items() if "@" in name},
    }
    return {name: number_or_none(value) for name, value in numbers.items()}


def number_or_none(value: Any) -> Any:
    """NaN (undefined) becomes None, `null` in JSON; all else stays."""
    return None if isinstance(value, float) and np.isnan(value) else value


def evaluate(detector: Detector, settings: Settings) -> dict[str, Any]:
    """{"video": {"all": measure(...), "by": measure_groups(...)}, "frame": the same, if there are frames}."""
    levels: dict[str, Any] = {}
    if detector.frames is not None:
        levels["frame"] = {
            "all": measure(detector.frames, settings, detector.histograms),
            "by": measure_groups(detector.frames, settings, detector.histograms),
        }
    levels["video"] = {"all": measure(detector.videos, settings), "by": measure_groups(detector.videos, settings)}
    return levels


def with_scores(reference: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows with another detector's answers.

    Args:
        scores: columns score, state and, if it has them, probability, called_fake and unclear, in the order of
            `reference` (`tables.load_foreign`).
    """
    answers = ("probability", tables.CALLED, tables.UNCLEAR)
    table = reference.drop(columns=[name for name in answers if name in reference]).copy()
    for name in scores:
        table[name] = scores[name].to_numpy()
    return table


def compare(detectors: Mapping[str, Detector], settings: Settings) -> dict[str, Any]:
    """Every detector measured on the same videos, and each against the first.

    Args:
        detectors: name → detector; all with the same videos (by key), in any order. The first is the one that is
            judged.
    Returns:
        JSON-able dict: settings, first, detectors {name: `evaluate`}, video_rules {name: how video scores were
        made}, `verdict_rules`, chance, and differences {name: {"video":
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
        "settings": {**asdict(settings), "ece_bins": metrics.ECE_BINS, "log_loss_clip": metrics.LOG_LOSS_CLIP},
        "positive_class": "fake = 1",
        "first": names[0],
        "detectors": {name: evaluate(detector, settings) for name, detector in detectors.items()},
        "differences": differences,
        "video_rules": {name: detector.rule for name, detector in detectors.items()},
        "verdict_rules": verdict_rules(detectors, settings),
        "chance": dict(CHANCE),
    }


def verdict_rules(detectors: Mapping[str, Detector], settings: Settings) -> dict[str, dict[str, str]]:
    """{"video": {name: by what its rows are called fake}, "frame": the same of the detectors with frames}."""
    return {
        "video": {name: _verdict_rule(each.videos, settings, each.thresholds) for name, each in detectors.items()},
        "frame": {n: _verdict_rule(each.frames, settings) for n, each in detectors.items() if each.frames is not None},
    }


def _verdict_rule(table: pd.DataFrame, settings: Settings, own: Optional[tuple[float, float]] = None) -> str:
    if settings.own_verdicts and tables.CALLED in table:
        if own is None:
            return "the verdicts of its table"
        band = f", real below {own[1]:g}, unclear between" if own[1] < own[0] else ""
        return f"above {own[0]:g}{band} (the model's own thresholds)"
    if settings.threshold is None:
        return "no threshold"
    return f"above {settings.threshold:g} ({'the default' if settings.own_verdicts else 'as given'})"


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
        "worst": (filled_table(other, "worst"), filled_table(first, "worst")),
    }
    for how, (theirs, ours) in tables_of.items():
        their_statistics = score_statistics(theirs, settings)
        our_statistics = score_statistics(ours, settings)
        clusters = clusters_of(ours, settings)
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
