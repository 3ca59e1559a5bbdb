"""report.html: one file, offline, with everything of a run; its page is `templates/score_report.html`.

Each video's details are inert JSON that the page reads only when its row is opened, so a thousand videos stay fluid.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from runtime.scoring.result import VideoResult

TEMPLATE = "score_report.html"
SPARK_POINTS = 48
TIMELINE_POINTS = 400  # per face; longer curves keep the highest score of each stretch
PICTURE_BUDGET = 24 << 20  # characters of thumbnails in one page; beyond it each video keeps fewer


def write_report(path: Path, results: Sequence[VideoResult], document: Mapping[str, Any]) -> None:
    """Write the page, atomically.

    Args:
        document: the content of report.json of the same run.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(html(results, document), encoding="utf-8")
    os.replace(temporary, path)


def html(results: Sequence[VideoResult], document: Mapping[str, Any]) -> str:
    """The page as text."""
    template = (resources.files("runtime.scoring") / "templates" / TEMPLATE).read_text(encoding="utf-8")
    before, rest = template.split("@@RUN@@")
    middle, rest = rest.split("@@INDEX@@")
    after, end = rest.split("@@DETAILS@@")
    pictures = _pictures_each(results)
    details = [
        f'<script type="application/json" id="v{number}">{embed(_detail(result, pictures))}</script>'
        for number, result in enumerate(results)
    ]
    shared = _shared_folder([result.path for result in results])
    index = [_index_row(number, result, shared) for number, result in enumerate(results)]
    return "".join([before, embed(_run(document)), middle, embed(index), after, "\n".join(details), end])


def embed(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII only, so no U+2028 either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _pictures_each(results: Sequence[VideoResult]) -> int:
    """Thumbnails each video may keep so that the page stays within PICTURE_BUDGET."""
    most = max((len(result.thumbnails) for result in results), default=0)
    for count in range(most, 1, -1):
        if sum(len(t["jpeg"]) for result in results for t in result.thumbnails[:count]) <= PICTURE_BUDGET:
            return count
    return min(most, 1)


def _run(document: Mapping[str, Any]) -> dict[str, Any]:
    counts, model = document["counts"], document["model"]
    said = ", ".join(
        f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count and state != "files"
    )
    about = [
        ("created", document["created"]),
        ("model", f"{model['path']} (SHA-256 {model['sha256']})"),
        ("input", ", ".join(document["inputs"])),
        ("left out", f"{len(document['skipped'])} files that are no videos by their names"),
        ("time", f"{document['wall_s']} s, {document['resumed']} results from an earlier run"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
        ("settings", json.dumps(document["config"])),
    ]
    return {
        "counts": f"{counts['files']} files: {said}",
        "calibrated": bool(model["calibrated"]),
        "notice": model.get("notice", ""),
        "threshold": document["config"]["aggregate"]["threshold"],
        "about": about,
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
    _, curves = _curves(result, SPARK_POINTS)
    stacked = np.array([curve["scores"] for curve in curves], dtype=np.float64)
    highest = _listed(_highest(stacked)) if curves else []
    return {
        "id": number,
        "path": result.path,
        "name": result.path[len(shared) :],
        "state": result.state,
        "score": result.score,
        "probability": result.probability,
        "verdict": result.verdict,
        "duration_s": (result.video or {}).get("duration_s"),
        "faces": len(result.faces),
        "spark": highest,
    }


def _detail(result: VideoResult, pictures: int) -> dict[str, Any]:
    times, curves = _curves(result, TIMELINE_POINTS)
    video, decode = result.video or {}, result.decode or {}
    facts = [("path", result.path), ("SHA-256", result.sha256 or "–")]
    if video:
        rate = f", {video['fps']:.2f} frames/s" if video.get("fps") else ""
        facts.append(("picture", f"{video['width']}x{video['height']}{rate}, {video['codec']}"))
        facts.append(("looked at", f"{result.frames_sampled} frames, {result.frames_with_face} with a face"))
    if decode:
        facts.append(
            ("decoding", f"{decode['decoded']} frames, {decode['failed']} failures, {decode['corrupt']} damaged")
        )
    if result.score is not None and result.probability_note:
        facts.append(("probability", result.probability_note))
    facts.append(("seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.timings_s.items())))
    strongest = sorted(sorted(result.thumbnails, key=lambda t: -t["score"])[:pictures], key=lambda t: t["time_s"])
    return {
        "reason": result.reason,
        "times": times,
        "curves": curves,
        "segments": [list(segment) for segment in result.segments],
        "thumbnails": [dict(thumbnail) for thumbnail in strongest],
        "overlay": result.overlay,
        "overlay_video": result.overlay_video,
        "character": result.character,
        "facts": facts,
    }


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
