"""Rows of `benchmarks.masks` → tables, a plot, and pictures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

from benchmarks.mask_truth import CRFS, RECODED, UNTOUCHED, Case
from runtime.evaluation.markdown import table

TARGETS = {0: 0.90, 23: 0.80, 40: 0.65}  # mean IoU
MOST_FALSE_AREA = 0.005
KINDS = ("self_blend", "swap", "mouth", "expression")
THUMB = 128


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """{"clips", "frames", "recipes": {recipe: {crf: {"iou", "dice": {kind or "mean": value}, "false_area": …}}}}.

    A clip counts once for each kind, whatever the number of its frames; "mean" is that of the kinds.
    """
    recipes = sorted({row["recipe"] for row in rows})
    table: dict[str, dict[str, Any]] = {}
    for recipe in recipes:
        for crf in CRFS:
            here = [row for row in rows if row["recipe"] == recipe and row["crf"] == crf]
            entry: dict[str, Any] = {}
            for measure in ("iou", "dice"):
                values = {kind: _mean_of_clips(here, kind, measure) for kind in KINDS}
                entry[measure] = {**values, "mean": float(np.mean(list(values.values())))}
            entry["false_area"] = {kind: _mean_of_clips(here, kind, "area") for kind in (UNTOUCHED, RECODED)}
            table.setdefault(recipe, {})[str(crf)] = entry
    return {
        "clips": sorted({row["clip"] for row in rows}),
        "frames": len({(row["clip"], row["kind"], row["crf"], row["frame"]) for row in rows}),
        "recipes": table,
        "targets": {"mean_iou": {str(crf): value for crf, value in TARGETS.items()}, "false_area": MOST_FALSE_AREA},
    }


def _mean_of_clips(rows: Sequence[dict[str, Any]], kind: str, measure: str) -> float:
    by_clip: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] == kind and row[measure] != "":
            by_clip.setdefault(row["clip"], []).append(float(row[measure]))
    return float(np.mean([np.mean(values) for values in by_clip.values()])) if by_clip else float("nan")


def markdown(summary: dict[str, Any]) -> str:
    """Tables of mean IoU by manipulation, Dice, and false area."""
    names = (*KINDS, "mean")
    lines = [f"{len(summary['clips'])} clips, {summary['frames']} frame pairs.", ""]
    for measure, title in (("iou", "IoU"), ("dice", "Dice")):
        rows = []
        for crf in CRFS:
            best = max(entry[str(crf)][measure]["mean"] for entry in summary["recipes"].values())
            for recipe, entry in summary["recipes"].items():
                values = entry[str(crf)][measure]
                cells = [f"{values[name]:.3f}" for name in names]
                if values["mean"] == best:
                    cells[-1] = f"**{cells[-1]}**"
                rows.append((recipe, crf, *cells))
        lines.append(table((title, "CRF", *names), rows))
    rows = []
    for crf in CRFS:
        for recipe, entry in summary["recipes"].items():
            areas = entry[str(crf)]["false_area"]
            rows.append((recipe, crf, f"{100 * areas[UNTOUCHED]:.2f}", f"{100 * areas[RECODED]:.2f}"))
    lines.append(table(("false area, % of the crop", "CRF", "untouched", "recoded"), rows))
    return "\n".join(lines)


def plot(summary: dict[str, Any], path: Path) -> None:
    """Mean IoU and false area against CRF, a line for each recipe."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for recipe, entry in summary["recipes"].items():
        style = {"marker": "o", "linewidth": 2.5 if recipe.startswith("adaptive") else 1.2, "label": recipe}
        left.plot(CRFS, [entry[str(crf)]["iou"]["mean"] for crf in CRFS], **style)
        right.plot(CRFS, [100 * max(1e-5, *entry[str(crf)]["false_area"].values()) for crf in CRFS], **style)
    left.plot(list(TARGETS), list(TARGETS.values()), "k_", markersize=14, label="target")
    left.set(xlabel="CRF", ylabel="mean IoU", ylim=(0, 1), xticks=CRFS)
    right.axhline(100 * MOST_FALSE_AREA, color="k", linewidth=0.8, linestyle=":")
    right.set(xlabel="CRF", ylabel="false area, % of the crop (worse kind)", yscale="log", xticks=CRFS)
    left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


class Sheet:
    """Rows of thumbnails: original, fake, truth, then each recipe's mask on the fake; one picture for each clip."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[str, int], list[np.ndarray]]] = {}

    def add(
        self,
        case: Case,
        crf: int,
        recipe: str,
        original: np.ndarray,
        fake: np.ndarray,
        truth: Optional[np.ndarray],
        found: np.ndarray,
    ) -> None:
        row = self._rows.setdefault(case.clip.name, {}).setdefault((case.kind, crf), [])
        if not row:
            known = np.zeros(found.shape, bool) if truth is None else truth
            row += [_thumb(original), _thumb(fake), _thumb(np.repeat((known * 255).astype(np.uint8)[..., None], 3, 2))]
        marked = fake.copy()
        marked[found] = (0.4 * fake[found] + 0.6 * np.array([255, 0, 60])).astype(np.uint8)
        row.append(_thumb(marked))

    def write(self, folder: Path) -> None:
        for clip, rows in self._rows.items():
            picture = np.vstack([np.hstack(row) for row in rows.values()])
            cv2.imwrite(str(folder / f"sheet_{clip}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _thumb(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
