"""report.html: one file, offline, with everything of a run; its page is `templates/score_report.html` (jinja2).

The table gets each video's row of videos.csv, the details its entry in report.json with curves and small pictures;
which of them are shown, and how, is the template's. Details are inert JSON that the page reads only when a row is
opened, so a thousand videos stay fluid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from runtime.scoring.page_policy import content_policy
from runtime.scoring.result import VideoResult, cells
from unet_industrial import files

TEMPLATE = "score_report.html"
SPARK_POINTS = 48
TIMELINE_POINTS = 400  # per face; longer curves keep the highest score of each stretch
PICTURE_BUDGET = 24 << 20  # characters of thumbnails in one page; beyond it each video keeps fewer


def write_report(path: Path, results: Sequence[VideoResult], document: Mapping[str, Any]) -> None:
    """Write the page, atomically.

    Args:
        document: the content of report.json of the same run.
    """
    files.write_text(path, html(results, document))


def html(results: Sequence[VideoResult], document: Mapping[str, Any]) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("runtime.scoring"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    # `tojson` escapes < > & and ', so that nothing in a script element can end it; mappings keep their order.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    pictures = _pictures_each(results)
    shared = _shared_folder([result.path for result in results])
    return environment.get_template(TEMPLATE).render(
        policy=content_policy(environment, TEMPLATE),
        document=document,
        about=_about(document),
        index=[_index_row(number, result, shared) for number, result in enumerate(results)],
        details=[_detail(result, pictures) for result in results],
    )


def _pictures_each(results: Sequence[VideoResult]) -> int:
    """Thumbnails each video may keep so that the page stays within PICTURE_BUDGET."""
    most = max((len(result.thumbnails) for result in results), default=0)
    for count in range(most, 1, -1):
        if sum(len(t["jpeg"]) for result in results for t in result.thumbnails[:count]) <= PICTURE_BUDGET:
            return count
    return min(most, 1)


def _about(document: Mapping[str, Any]) -> dict[str, str]:
    """What stands under "About this run"."""
    model = document["model"]
    return {
        "created": document["created"],
        "model": f"{model['path']} (SHA-256 {model['sha256']})",
        "input": ", ".join(document["inputs"]),
        "left out": f"{len(document['skipped'])} files that are no videos by their names",
        "time": f"{document['wall_s']} s, {document['resumed']} results from an earlier run",
        "versions": ", ".join(f"{name} {version}" for name, version in document["versions"].items()),
        "settings": json.dumps(document["config"]),
    }


def _shared_folder(paths: Sequence[str]) -> str:
    """The folder that all paths lie in, with its slash: names in the table leave it out."""
    shared = ""
    for parts in zip(*(path.split("/")[:-1] for path in paths)):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]}/"
    return shared


def _index_row(number: int, result: VideoResult, shared: str) -> dict[str, Any]:
    """The row of videos.csv, with the name without the folder that all share, and the highest score over time."""
    _, curves = _curves(result, SPARK_POINTS)
    stacked = np.array([curve["scores"] for curve in curves], dtype=np.float64)
    highest = _listed(_highest(stacked)) if curves else []
    return {**cells(result), "id": number, "name": result.path[len(shared) :], "spark": highest}


def _detail(result: VideoResult, pictures: int) -> dict[str, Any]:
    """The entry in report.json, with the curve of each face and the `pictures` most suspicious thumbnails."""
    times, curves = _curves(result, TIMELINE_POINTS)
    strongest = sorted(sorted(result.thumbnails, key=lambda t: -t["score"])[:pictures], key=lambda t: t["time_s"])
    thumbnails = [dict(thumbnail) for thumbnail in strongest]
    return {**result.to_report(), "times": times, "curves": curves, "thumbnails": thumbnails}


def _curves(result: VideoResult, points: int) -> tuple[list[float], list[dict[str, Any]]]:
    """(time stamps, for each face its scores with None where it is not seen), at most `points` long."""
    indices = sorted({row.frame_index for row in result.rows})
    if not indices:
        return [], []
    # Frames without any face have no row, but their times belong on the axis.
    times = np.unique(np.array([*result.sample_times_s, *(row.time_s for row in result.rows)]))
    tracks = sorted({row.track for row in result.rows})
    scores = np.full((len(tracks), len(times)), np.nan)
    for row in result.rows:
        scores[tracks.index(row.track), np.searchsorted(times, row.time_s)] = row.score
    if len(times) > points:
        edges = np.linspace(0, len(times), points + 1).astype(int)
        scores = np.stack([_highest(scores[:, a:b].T) for a, b in zip(edges, edges[1:])], axis=1)
        times = times[edges[:-1]]
    return [round(float(t), 3) for t in times], [
        {"face": track, "scores": _listed(row)} for track, row in zip(tracks, scores)
    ]


def _highest(values: np.ndarray) -> np.ndarray:
    """(A, B) → (B,) maximum over the first axis; NaN where all are."""
    filled = np.where(np.isnan(values), -1.0, values).max(axis=0)
    return np.where(filled < 0, np.nan, filled)


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 3) for v in values]
