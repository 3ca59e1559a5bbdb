"""Measured numbers as text: Markdown tables and flat CSV rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

# name in the JSON → heading. Order is the order of the columns.
RANKING_COLUMNS = {
    "auc": "AUC",
    "paired": "paired",
    "same_source_auc": "same-source AUC",
    "ap": "AP",
    "eer": "EER",
    "tpr_at_fpr_1": "TPR@1 %FPR",
    "tpr_at_fpr_10": "TPR@10 %FPR",
}
PROBABILITY_COLUMNS = {
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "accuracy": "accuracy",
    "tpr": "fakes found",
    "fpr": "reals called fake",
}
PIXEL_COLUMNS = {
    "iou": "IoU (fakes)",
    "dice": "Dice (fakes)",
    "region_auc": "region AUC",
    "pixel_auc": "pixel AUC (fakes)",
    "area_real": "area marked on reals",
    "area_fake": "area marked on fakes",
}
LEVELS = ("frame", "video")
MISSING = "–"
CHANCE_NAME = "chance"


def number(value: Optional[float]) -> str:
    """Three digits without the leading zero, as the field prints rates: .684; 1.000; –.041."""
    if value is None:
        return MISSING
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def estimate(entry: Optional[Mapping[str, Any]]) -> str:
    """`.684 [.602, .755]`, without brackets where there is no interval, with p for a difference."""
    if entry is None or entry.get("value") is None:
        return MISSING
    text = number(entry["value"])
    if entry.get("low") is not None:
        text += f" [{number(entry['low'])}, {number(entry['high'])}]"
    if entry.get("p_value") is not None:
        text += f", p {number(entry['p_value'])}"
    return text


def markdown_table(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Mapping[str, str], first: str) -> str:
    """A table with one row for each (name, {metric: estimate}).

    Args:
        columns: metric → heading.
        first: heading of the name column.
    """
    lines = [f"| {cell(first)} | {' | '.join(columns.values())} |", f"|{' --- |' * (len(columns) + 1)}"]
    for name, entry in rows:
        lines.append(f"| {cell(name)} | {' | '.join(estimate(entry.get(metric)) for metric in columns)} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text that cannot break a Markdown table, whatever a file is called."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def chance_row(columns: Mapping[str, str], chance: Mapping[str, float]) -> tuple[str, dict[str, Any]]:
    """The row of a detector that always answers 0.5."""
    return CHANCE_NAME, {name: {"value": chance[name]} for name in columns if name in chance}


def counts_line(counts: Mapping[str, Any]) -> str:
    """One sentence on what was measured and what was not."""
    line = (
        f"{counts['videos']} videos ({counts['real_videos']} real, {counts['fake_videos']} fake), "
        f"{counts['rows']} rows, {counts['pairs']} pairs, {counts['identities']} identities"
    )
    if counts["undecided"]:
        states = ", ".join(f"{state} {count}" for state, count in sorted(counts["undecided_by_state"].items()))
        by_class = f"{counts['undecided_real']} real, {counts['undecided_fake']} fake"
        line += f"; undecided {counts['undecided']} ({by_class}: {states})"
    return line


def flat_rows(evaluation: Mapping[str, Any], detector: str = "model") -> Iterator[dict[str, Any]]:
    """One dict for each number: detector, level, group_by, group, undecided, metric, value, low, high, clusters,
    note."""
    for level in LEVELS:
        if level not in evaluation:
            continue
        groups = [("all", "all", evaluation[level]["all"])]
        groups += [
            (column, name, entry) for column, parts in evaluation[level]["by"].items() for name, entry in parts.items()
        ]
        for column, name, entry in groups:
            for treatment in ("dropped", "worst", "pixels"):
                for metric, value in entry.get(treatment, {}).items():
                    yield {
                        "detector": detector,
                        "level": level,
                        "group_by": column,
                        "group": name,
                        "undecided": treatment if treatment != "pixels" else "dropped",
                        "metric": metric,
                        **value,
                    }


def all_notes(evaluation: Mapping[str, Any]) -> list[str]:
    """Every distinct note of the overall numbers, with the metrics it belongs to."""
    notes: dict[str, list[str]] = {}
    for level in filter(evaluation.__contains__, LEVELS):
        for treatment in ("dropped", "worst", "pixels"):
            for metric, value in evaluation[level]["all"].get(treatment, {}).items():
                for part in filter(None, value.get("note", "").split("; ")):
                    notes.setdefault(part, []).append(f"{level} {metric}")
    return [f"{note} ({_list(metrics)})" for note, metrics in notes.items()]


def _list(names: Sequence[str], limit: int = 4) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
