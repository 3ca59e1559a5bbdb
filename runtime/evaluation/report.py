"""One evaluation or comparison on disk: evaluation.json, .csv, .md, .html and the plots, each written atomically."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from runtime.evaluation import layout, measure, page, plots, render
from runtime.evaluation.measure import Detector

SCHEMA_VERSION = 1
CSV_COLUMNS = (
    "detector",
    "level",
    "group_by",
    "group",
    "undecided",
    "metric",
    "value",
    "low",
    "high",
    "clusters",
    "note",
)


def write(
    folder: Path,
    result: Mapping[str, Any],
    detectors: Mapping[str, Detector],
    title: str = "Evaluation",
    about: Optional[Mapping[str, Any]] = None,
    extra: Optional[Mapping[str, Any]] = None,
) -> dict[str, Path]:
    """Write everything under `folder` and return {kind: path}.

    Args:
        result: `compare.compare(detectors, …)` (of one detector as well).
        about: provenance to print and keep (model, record files, hashes, command).
        extra: more entries for the top level of the JSON.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        **dict(extra or {}),
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "about": dict(about or {}),
        **result,
    }
    drawn = draw(folder / "plots", result, detectors)
    markdown_text = markdown(document)
    written = {
        "json": _write(folder / "evaluation.json", json.dumps(document, indent=1, allow_nan=False) + "\n"),
        "csv": _write(folder / "evaluation.csv", table_csv(result)),
        "markdown": _write(folder / "evaluation.md", markdown_text),
        "html": _write(folder / "evaluation.html", page.html_page(document, drawn)),
    }
    return {**written, **{f"plot_{name}": path for name, path in drawn.items()}}


def draw(folder: Path, result: Mapping[str, Any], detectors: Mapping[str, Detector]) -> dict[str, Path]:
    """The plots of the decided videos (ROC, PR of all detectors; reliability and histograms of the first)."""
    decided = {name: measure.filled_table(detector.videos, "dropped") for name, detector in detectors.items()}
    scored = {name: (t["label"].to_numpy(), t["score"].to_numpy(dtype=float)) for name, t in decided.items()}
    drawn = {
        "roc": plots.plot_roc(scored, folder / "roc.png"),
        "precision_recall": plots.plot_precision_recall(scored, folder / "precision_recall.png"),
    }
    first = result["first"]
    labels, scores = scored[first]
    values = measure.calibrated_values(decided[first])
    threshold = result["settings"]["threshold"]
    if values is not None and labels.size:
        title = f"Reliability of {first}, videos"
        drawn["reliability"] = plots.plot_reliability(labels, values, folder / "reliability.png", title)
    shown = scores if values is None else values
    drawn["histograms"] = plots.plot_histograms(
        labels, shown, folder / "histograms.png", threshold, f"Scores of {first}, videos"
    )
    frames = detectors[first].frames
    if frames is not None:
        kept = measure.filled_table(frames, "dropped")
        drawn["frame_histograms"] = plots.plot_histograms(
            kept["label"].to_numpy(),
            kept["score"].to_numpy(dtype=float),
            folder / "frame_histograms.png",
            threshold,
            f"Scores of {first}, frames",
        )
    return drawn


def table_csv(result: Mapping[str, Any]) -> str:
    """Every number of every detector, one a row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, evaluation in result["detectors"].items():
        writer.writerows(render.flat_rows(evaluation, name))
    return out.getvalue()


def markdown(document: Mapping[str, Any]) -> str:
    """The tables a README quotes: all detectors with chance, undecided both ways, pixels, groups, differences,
    notes."""
    settings = document["settings"]
    lines = [f"# {render.cell(document['title'])}", ""]
    lines += [f"- {render.cell(key)}: {render.cell(value)}" for key, value in document["about"].items()]
    lines += [f"- {layout.interval_text(settings)}", f"- {layout.threshold_text(settings)}", ""]
    for table in layout.tables_of(document):
        lines += [f"## {render.cell(table.heading)}", ""]
        lines += [render.cell(table.intro), ""] if table.intro else []
        lines += [render.markdown_table(table.rows, table.used_columns(), table.first_heading)]
    notes = render.all_notes(document["detectors"][document["first"]])
    if notes:
        lines += ["## Notes", "", *(f"- {render.cell(note)}" for note in notes), ""]
    return "\n".join(lines)


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path
