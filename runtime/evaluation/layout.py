"""Which tables an evaluation shows, in which order: shared by the Markdown and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.evaluation import render
from runtime.evaluation.render import PIXEL_COLUMNS, PROBABILITY_COLUMNS, RANKING_COLUMNS

LEVEL_NAMES = {"video": "Videos", "frame": "Frames"}
TREATMENT_NAMES = {"dropped": "undecided left out", "worst": "undecided counted as the worst answer"}
DIFFERENCE_COLUMNS = {
    "auc": "AUC",
    "paired": "paired",
    "same_source_auc": "same-source AUC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier",
    "log_loss": "log loss",
}


@dataclass(frozen=True)
class Table:
    """heading and intro in plain text; columns: metric → heading; rows: (name, {metric: estimate})."""

    heading: str
    intro: str
    first_heading: str
    columns: Mapping[str, str]
    rows: list[tuple[str, Mapping[str, Any]]]

    def used_columns(self) -> dict[str, str]:
        """The columns that at least one row has a number for, chance aside."""
        measured = [entry for name, entry in self.rows if name != render.CHANCE_NAME]
        return {metric: heading for metric, heading in self.columns.items() if any(metric in e for e in measured)}


def tables_of(document: Mapping[str, Any]) -> list[Table]:
    """Every table of an evaluation document that has numbers, most important first."""
    detectors, first = document["detectors"], document["first"]
    tables = []
    for level in ("video", "frame"):
        if level not in detectors[first]:
            continue
        tables += _overall(document, level)
    tables += _pixels(document)
    tables += _differences(document)
    for level in ("video", "frame"):
        for column, groups in detectors[first].get(level, {}).get("by", {}).items():
            tables += _by_group(document, level, column, groups)
    return [table for table in tables if table.used_columns() and table.rows]


def _overall(document: Mapping[str, Any], level: str) -> list[Table]:
    tables = []
    entries = {name: e[level]["all"] for name, e in document["detectors"].items() if level in e}
    any_undecided = any(entry["counts"]["undecided"] for entry in entries.values())
    intro = "; ".join(f"{name}: {render.counts_line(entry['counts'])}" for name, entry in entries.items())
    for treatment, treatment_name in TREATMENT_NAMES.items():
        if treatment == "worst" and not any_undecided:
            continue
        suffix = f", {treatment_name}" if any_undecided else ""
        for what, columns in (("ranking", RANKING_COLUMNS), ("probabilities and verdicts", PROBABILITY_COLUMNS)):
            rows: list[tuple[str, Mapping[str, Any]]] = [(name, e[treatment]) for name, e in entries.items()]
            rows.append(render.chance_row(columns, document["chance"]))
            heading = f"{LEVEL_NAMES[level]}: {what}{suffix}"
            tables.append(Table(heading, intro if what == "ranking" else "", "detector", columns, rows))
    return tables


def _pixels(document: Mapping[str, Any]) -> list[Table]:
    entries = {name: e["frame"]["all"] for name, e in document["detectors"].items() if "frame" in e}
    rows: list[tuple[str, Mapping[str, Any]]] = [(n, e["pixels"]) for n, e in entries.items() if "pixels" in e]
    if not rows:
        return []
    rows.append(render.chance_row(PIXEL_COLUMNS, document["chance"]))
    intro = (
        "Read IoU beside the area marked on reals and region AUC (faked pixels against the same pixels of the "
        "original): "
        "a template of the face painted on every image earns IoU without having seen anything."
    )
    return [Table("Pixels", intro, "detector", PIXEL_COLUMNS, rows)]


def _differences(document: Mapping[str, Any]) -> list[Table]:
    tables = []
    for level, level_name in LEVEL_NAMES.items():
        rows: list[tuple[str, Mapping[str, Any]]] = [
            (f"{name} ({parts[level]['common']} rows decided by both)", parts[level]["dropped"])
            for name, parts in document["differences"].items()
            if level in parts
        ]
        heading = f"{level_name}: difference to {document['first']}"
        intro = f"Each detector minus {document['first']} on the same rows, paired bootstrap; p is two-sided."
        tables.append(Table(heading, intro, "detector", DIFFERENCE_COLUMNS, rows))
    return tables


def _by_group(document: Mapping[str, Any], level: str, column: str, groups: Mapping[str, Any]) -> list[Table]:
    columns = {**RANKING_COLUMNS, **{name: PROBABILITY_COLUMNS[name] for name in ("tpr", "fpr")}}
    if level == "frame":
        columns.update({name: PIXEL_COLUMNS[name] for name in ("iou", "region_auc", "area_real")})
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for group in groups:
        for name, evaluation in document["detectors"].items():
            entry = evaluation.get(level, {}).get("by", {}).get(column, {}).get(group)
            if entry is not None:
                count = entry["counts"]
                label = f"{group} · {name} ({count['real_videos']} real, {count['fake_videos']} fake)"
                rows.append((label, {**entry["dropped"], **entry.get("pixels", {})}))
    heading = f"{LEVEL_NAMES[level]} by {column.replace('_', ' ')}"
    return [Table(heading, "", f"{column.replace('_', ' ')} · detector", columns, rows)]


def interval_text(settings: Mapping[str, Any]) -> str:
    """How the intervals were made, in one line."""
    return (
        f"{settings['confidence']:.0%} intervals in brackets: {settings['resamples']} bootstrap resamples of each "
        f"{settings['cluster']}, percentiles widened for few of them, seed {settings['seed']}"
    )


def threshold_text(settings: Mapping[str, Any]) -> str:
    """The operating point and the calibration bins, in one line."""
    threshold = settings["threshold"]
    point = "no operating point given" if threshold is None else f"called fake at {threshold:g} and above"
    return f"{point}; ECE over {settings['ece_bins']} equal bins; log loss clipped at {settings['log_loss_clip']:g}"
