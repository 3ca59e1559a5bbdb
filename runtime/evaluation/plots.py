"""Plots of an evaluation, drawn off screen (Agg): ROC, precision-recall, reliability, score histograms, robustness.

Every function takes arrays, writes one PNG atomically and returns its path. Undecided rows must be gone already.
Colours are Okabe and Ito's, which colour-blind readers can distinguish; line styles repeat it for grey prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from runtime.evaluation import metrics
from unet_industrial import files

matplotlib.use("Agg")


REAL_COLOUR, FAKE_COLOUR = "#0072B2", "#D55E00"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
SIZE_INCHES = (5.2, 4.2)
DPI = 120
HISTOGRAM_BARS = 20

Scored = Mapping[str, tuple[np.ndarray, np.ndarray]]  # detector → (labels, scores)


def plot_roc(detectors: Scored, path: Path, title: str = "ROC, videos") -> Path:
    """ROC of every detector with its AUC in the legend; a detector with one class is listed as undefined."""
    figure, axes = _axes(title, "false-positive rate", "true-positive rate")
    for number, (name, (labels, scores)) in enumerate(detectors.items()):
        curve = metrics.Ranking(labels, scores).curve()
        if not curve.both_classes:
            axes.plot([], [], color=_colour(number), label=f"{name}: undefined, one class")
            continue
        fpr, tpr = curve.roc()
        axes.plot(fpr, tpr, color=_colour(number), linestyle=_style(number), label=f"{name}: AUC {_short(curve.auc())}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, label="chance: AUC .50")
    _unit_square(axes)
    axes.legend(loc="lower right", fontsize=8)
    return _save(figure, path)


def plot_precision_recall(detectors: Scored, path: Path, title: str = "Precision and recall, videos") -> Path:
    """Precision against recall, with average precision; chance is the share of fakes."""
    figure, axes = _axes(title, "recall (fakes found)", "precision (share of fakes among those called fake)")
    share = float("nan")
    for number, (name, (labels, scores)) in enumerate(detectors.items()):
        curve = metrics.Ranking(labels, scores).curve()
        if not curve.both_classes:
            axes.plot([], [], color=_colour(number), label=f"{name}: undefined, one class")
            continue
        share = curve.positives / (curve.positives + curve.negatives)
        recall, precision = curve.tp / curve.positives, curve.tp / (curve.tp + curve.fp)
        axes.step(
            np.concatenate([[0.0], recall]),
            np.concatenate([[precision[0]], precision]),
            where="pre",
            color=_colour(number),
            linestyle=_style(number),
            label=f"{name}: AP {_short(curve.average_precision())}",
        )
    if np.isfinite(share):
        axes.axhline(share, color="grey", linewidth=0.8, label=f"chance: {_short(share)} (share of fakes)")
    _unit_square(axes)
    axes.legend(loc="lower left", fontsize=8)
    return _save(figure, path)


def plot_reliability(labels: np.ndarray, probabilities: np.ndarray, path: Path, title: str = "Reliability") -> Path:
    """Share of fakes against the mean probability of each bin, above a histogram of how many rows each bin holds."""
    table = metrics.reliability(labels, probabilities)
    error = metrics.expected_calibration_error(labels, probabilities)
    figure, (axes, bars) = plt.subplots(
        2, 1, figsize=(SIZE_INCHES[0], 5.2), sharex=True, gridspec_kw={"height_ratios": [3, 1]}, layout="constrained"
    )
    axes.set_title(
        f"{title}\nECE {_short(error)} over {metrics.ECE_BINS} equal bins, {int(table.weight.sum())} rows",
        fontsize=10,
    )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, label="calibrated")
    filled = table.weight > 0
    axes.plot(
        table.mean_probability[filled],
        table.fake_share[filled],
        "o-",
        color=FAKE_COLOUR,
        label="observed",
        clip_on=False,
    )
    axes.set_ylabel("share of fakes")
    _unit_square(axes)
    axes.set_aspect("auto")
    axes.legend(loc="upper left", fontsize=8)
    centres = (table.edges[:-1] + table.edges[1:]) / 2
    bars.bar(centres, table.weight, width=0.9 / len(centres), color="#777777")
    bars.set_ylabel("rows")
    bars.set_xlabel("fake probability")
    bars.set_xlim(-0.02, 1.02)
    return _save(figure, path)


def plot_histograms(
    labels: np.ndarray, scores: np.ndarray, path: Path, threshold: Optional[float] = None, title: str = "Scores"
) -> Path:
    """Score histograms of reals and fakes on one axis, each as a share of its class."""
    figure, axes = _axes(title, "score", "share of the class")
    scores = np.asarray(scores, dtype=np.float64)
    low, high = (0.0, 1.0) if metrics.is_probability(scores) else _range(scores)
    edges = np.linspace(low, high, HISTOGRAM_BARS + 1)
    for label, name, colour, hatch in ((0, "real", REAL_COLOUR, ""), (1, "fake", FAKE_COLOUR, "//")):
        values = scores[np.asarray(labels) == label]
        share = np.full(values.size, 1 / max(values.size, 1))
        axes.hist(
            values,
            edges,
            weights=share,
            color=colour,
            alpha=0.55,
            hatch=hatch,
            edgecolor=colour,
            label=f"{name} ({values.size})",
        )
    if threshold is not None and low <= threshold <= high:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3g}")
    axes.set_ylim(top=1.15 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=8, loc="upper center", ncols=3)
    return _save(figure, path)


def plot_robustness(curves: Sequence[Mapping[str, Any]], path: Path, ylabel: str, chance: Optional[float]) -> Path:
    """One panel for each disturbance: value against level, with its interval where there is one.

    Args:
        curves: dicts with name, levels (text), values (None where undefined) and, optionally, low and high, as lists.
        chance: drawn as a line if given.
    """
    columns = min(3, max(1, len(curves)))
    rows = -(-len(curves) // columns) or 1
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 3.0 * rows), squeeze=False, sharey=True, layout="constrained"
    )
    for panel in grid.ravel()[len(curves) :]:
        panel.set_visible(False)
    for panel, curve in zip(grid.ravel(), curves):
        at = np.arange(len(curve["levels"]))
        values = _numbers(curve["values"])
        panel.plot(at, values, "o-", color=FAKE_COLOUR, markersize=4)
        if curve.get("low") and curve.get("high"):
            panel.fill_between(
                at, _numbers(curve["low"]), _numbers(curve["high"]), color=FAKE_COLOUR, alpha=0.18, linewidth=0
            )
        for position in at[np.isnan(values)]:
            panel.annotate("no score", (position, 0.5), ha="center", rotation=90, fontsize=7, color="#555555")
        if chance is not None:
            panel.axhline(chance, color="grey", linewidth=0.8)
        panel.set_xticks(at, curve["levels"], rotation=45 if len(at) > 5 else 0, fontsize=8)
        panel.set_title(curve["name"], fontsize=10)
        panel.set_ylim(-0.02, 1.02)
        panel.grid(alpha=0.25)
    for panel in grid[:, 0]:
        panel.set_ylabel(ylabel)
    return _save(figure, path)


def _numbers(values: Sequence[Optional[float]]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _axes(title: str, xlabel: str, ylabel: str) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=SIZE_INCHES, layout="constrained")
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25)
    return figure, axes


def _unit_square(axes: Any) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)


def _range(scores: np.ndarray) -> tuple[float, float]:
    if not scores.size:
        return 0.0, 1.0
    low, high = float(scores.min()), float(scores.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _style(number: int) -> str:
    return STYLES[number % len(STYLES)]


def _short(value: float) -> str:
    return f"{value:.3f}"


def _save(figure: Any, path: Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(path) as partial:
        # No software version in the file: equal numbers give equal bytes.
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return path
