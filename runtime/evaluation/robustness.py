"""How far an answer holds when the video is disturbed: of one file its score, of a labelled set its metrics.

A detector that says "fake" at CRF 18 and "real" at CRF 28 has said little about the file, and a user should see that.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
import pandas as pd

from mask_generation.video import Limits, VideoError
from runtime.evaluation import disturb, layout, measure, page, plots, render, tables
from runtime.evaluation.disturb import LEVELS, TITLES, Disturbance
from runtime.evaluation.measure import Settings

SCHEMA_VERSION = 1
AS_GIVEN = "as given"
SHOWN = ("auc", "paired", "tpr", "fpr")
COLUMNS = {**layout.RANKING_COLUMNS, "tpr": "fakes found", "fpr": "reals called fake"}


class Answer(NamedTuple):
    """A detector's answer on one file: score None where there is none, and then `state` says why."""

    score: Optional[float]
    state: str


Score = Callable[[Path], Answer]
Progress = Callable[[Iterable[Any]], Iterable[Any]]


def plan(kinds: Sequence[str]) -> list[Optional[Disturbance]]:
    """The file as given (None), then every level of every kind, in order."""
    return [None, *(Disturbance(kind, level) for kind in kinds for level in LEVELS[kind])]


def answers(
    paths: Sequence[Path],
    score: Score,
    kinds: Sequence[str],
    progress: Progress = iter,
    limits: Optional[Limits] = None,
) -> pd.DataFrame:
    """Every file at every step of the plan: columns path, kind, level, score (NaN where there is none), state.

    Disturbed copies live in a temporary folder and are removed as soon as they are scored. A file that cannot be read,
    or of which nothing is left, is a row with a state.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="robustness-") as folder:
        copy = Path(folder) / "disturbed.mp4"
        for step, path in progress([(step, path) for step in plan(kinds) for path in paths]):
            kind, level = (step.kind, step.label) if step else ("none", AS_GIVEN)
            answer = _answer(path, copy, step, score, limits)
            value = np.nan if answer.score is None else float(answer.score)
            rows.append({"path": str(path), "kind": kind, "level": level, "score": value, "state": answer.state})
    return pd.DataFrame(rows)


def _answer(path: Path, copy: Path, step: Optional[Disturbance], score: Score, limits: Optional[Limits]) -> Answer:
    if step is None:
        return score(path)
    try:
        disturb.disturb(path, copy, step, limits)
        return score(copy)
    except VideoError as error:
        return Answer(None, error.state)
    except ValueError:
        return Answer(None, "too_short")
    finally:
        copy.unlink(missing_ok=True)


def file_curves(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One file's curves: [{kind, name, levels, values, states}], each beginning with the file as given."""
    given = table[table["kind"] == "none"].iloc[0]
    curves = []
    for kind in _kinds(table):
        rows = table[table["kind"] == kind]
        scores, states = [given["score"], *rows["score"]], [given["state"], *rows["state"]]
        curves.append(
            {
                "kind": kind,
                "name": TITLES[kind],
                "levels": [AS_GIVEN, *rows["level"]],
                "values": [_number(value) for value in scores],
                "states": states,
            }
        )
    return curves


def set_curves(table: pd.DataFrame, videos: pd.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """A labelled set's curves: [{kind, name, levels, metrics: [measure(...)]}].

    Args:
        table: as from `answers`.
        videos: normalised video table with the column path, one row a video.
    """
    measured = {}
    for (kind, level), rows in table.groupby(["kind", "level"], sort=False):
        by_path = rows.set_index("path")
        scored = videos.assign(score=videos["path"].map(by_path["score"]), state=videos["path"].map(by_path["state"]))
        measured[kind, level] = measure.measure(scored, settings)
    curves = []
    for kind in _kinds(table):
        steps = [("none", AS_GIVEN), *(key for key in measured if key[0] == kind)]
        curves.append(
            {
                "kind": kind,
                "name": TITLES[kind],
                "levels": [level for _, level in steps],
                "metrics": [measured[step] for step in steps],
            }
        )
    return curves


def metric_curves(curves: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Set curves as `plots.plot_robustness` takes them, for one metric with its interval."""
    drawn = []
    for curve in curves:
        entries = [entry["dropped"].get(metric, {}) for entry in curve["metrics"]]
        values = {name: [entry.get(name) for entry in entries] for name in ("value", "low", "high")}
        drawn.append(
            {
                "name": curve["name"],
                "levels": curve["levels"],
                "values": values["value"],
                "low": values["low"],
                "high": values["high"],
            }
        )
    return drawn


def labelled_videos(path: Path) -> pd.DataFrame:
    """Normalised video table of a CSV with the columns of `tables` and `path` (relative to the CSV) beside or for
    `video`.

    Raises:
        tables.TableError: no path column, a file listed twice, no label.
    """
    videos = tables.load_labels(path)
    if "path" not in videos:
        raise tables.TableError(f"{path}: column path missing; found {', '.join(map(str, videos.columns))}")
    videos["path"] = [str((path.parent / str(name)).resolve()) for name in videos["path"]]
    if videos["path"].duplicated().any():
        raise tables.TableError(f"{path}: {videos.loc[videos['path'].duplicated(), 'path'].iloc[0]} is listed twice")
    return videos


def write_file(folder: Path, table: pd.DataFrame, threshold: float, about: Mapping[str, Any]) -> dict[str, Path]:
    """One file's curve: robustness.json, .csv, .md, .png, .html."""
    curves = file_curves(table)
    document = {"schema_version": SCHEMA_VERSION, "mode": "file", "about": dict(about), "threshold": threshold}
    document["curves"] = curves
    lines = ["| disturbance | level | score | verdict |", "| --- | --- | --- | --- |"]
    for row in table.to_dict("records"):
        verdict = row["state"] if np.isnan(row["score"]) else ("fake" if row["score"] >= threshold else "real")
        name = TITLES.get(row["kind"], "none")
        lines.append(f"| {name} | {row['level']} | {render.number(_number(row['score']))} | {render.cell(verdict)} |")
    drawn = {"score": plots.plot_robustness(curves, folder / "robustness.png", "score", threshold)}
    return _write_all(folder, document, table, "\n".join(lines) + "\n", drawn, [], "Robustness of one file")


def write_set(
    folder: Path, table: pd.DataFrame, videos: pd.DataFrame, settings: Settings, about: Mapping[str, Any]
) -> dict[str, Path]:
    """A set's curves: robustness.json, .csv (every score), .md, .html, and a plot for each metric of SHOWN."""
    curves = set_curves(table, videos, settings)
    document = {"schema_version": SCHEMA_VERSION, "mode": "set", "about": dict(about), "curves": curves}
    drawn = {}
    for metric in SHOWN:
        lines = metric_curves(curves, metric)
        if any(value is not None for line in lines for value in line["values"]):
            name = "robustness.png" if metric == "auc" else f"robustness_{metric}.png"
            chance = measure.CHANCE.get(metric)
            drawn[metric] = plots.plot_robustness(lines, folder / name, COLUMNS[metric], chance)
    shown = [_table(curve) for curve in curves]
    text = "\n".join(
        f"## {entry.heading}\n\n{render.markdown_table(entry.rows, entry.used_columns(), entry.first_heading)}"
        for entry in shown
    )
    return _write_all(folder, document, table, text, drawn, shown, "Robustness")


def _table(curve: Mapping[str, Any]) -> layout.Table:
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for level, entry in zip(curve["levels"], curve["metrics"]):
        undecided = entry["counts"]["undecided"]
        rows.append((level + (f" ({undecided} undecided)" if undecided else ""), entry["dropped"]))
    return layout.Table(f"Videos, {curve['name']}", "", "level", COLUMNS, rows)


def _write_all(
    folder: Path,
    document: Mapping[str, Any],
    table: pd.DataFrame,
    markdown: str,
    drawn: Mapping[str, Path],
    shown: Sequence[layout.Table],
    title: str,
) -> dict[str, Path]:
    facts = page.items([f"{page.escape(str(k))}: {page.escape(str(v))}" for k, v in document["about"].items()])
    figures = "".join(page.figure(path, f"{name} against each disturbance") for name, path in drawn.items())
    tables_html = "".join(page.table(entry) for entry in shown) or f"<pre>{page.escape(markdown)}</pre>"
    contents = {
        "json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "csv": table.to_csv(index=False),
        "md": f"# {title}\n\n{markdown}",
        "html": page.frame(title, f"<h1>{title}</h1>{facts}{figures}{tables_html}"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = dict(drawn)
    for kind, text in contents.items():
        partial = folder / f".robustness.{kind}.{os.getpid()}"
        # A hostile file name may hold bytes that are no UTF-8; they are kept as escapes.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(partial, folder / f"robustness.{kind}")
        written[kind] = folder / f"robustness.{kind}"
    return written


def _kinds(table: pd.DataFrame) -> list[str]:
    return [kind for kind in dict.fromkeys(table["kind"]) if kind != "none"]


def _number(value: float) -> Optional[float]:
    return None if np.isnan(value) else float(value)
