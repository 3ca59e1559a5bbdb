"""Results → videos.csv, frames.csv (and Parquet), report.json, submission.csv. All written under a temporary name."""

from __future__ import annotations

import functools
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pandas as pd

import unet_industrial
from runtime.scoring.frame_score import FEATURES
from runtime.scoring.result import FAILURES, STATES, VideoResult

SCHEMA = "score_report.schema.json"
REPORT_FORMAT = 1
KAGGLE_UNKNOWN = 0.5  # only in submission.csv, where the rules ask for a number for every file
VIDEO_COLUMNS = (
    *("path", "state", "reason", "score", "verdict", "probability", "segments", "faces", "frames_sampled"),
    *("frames_with_face", "family", "family_confidence", "duration_s", "width", "height", "fps", "codec", "sha256"),
    *("seconds", "overlay", "overlay_video"),
)
FRAME_COLUMNS = (
    *("path", "frame_index", "time_s", "track", "score", "x0", "y0", "x1", "y1", "detection", "face_px", "sharpness"),
    *("brightness", *(f"mask_{name}" for name in FEATURES)),
)
_LIBRARIES = ("tensorflow", "numpy", "av", "opencv-python-headless", "mtcnn", "pandas", "scikit-learn")


def cell(text: str) -> str:
    """A file name or reason as a cell: one line, and never a formula to a spreadsheet or an option to a shell.

    `printable` has escaped control characters already; a name that starts with = + - @ gets "./" before it.
    """
    text = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text)
    return "./" + text if text[:1] in ("=", "+", "-", "@") else text


def video_row(result: VideoResult) -> dict[str, Any]:
    """One row of videos.csv."""
    video, character = result.video or {}, result.character or {}
    segments = [[round(a, 3), round(b, 3), round(c, 4)] for a, b, c in result.segments]
    return {
        "path": cell(result.path),
        "state": result.state,
        "reason": cell(result.reason),
        "score": result.score,
        "verdict": result.verdict,
        "probability": result.probability,
        "segments": json.dumps(segments),
        "faces": len(result.faces),
        "frames_sampled": result.frames_sampled,
        "frames_with_face": result.frames_with_face,
        "family": character.get("family"),
        "family_confidence": character.get("confidence"),
        "duration_s": video.get("duration_s"),
        "width": video.get("width"),
        "height": video.get("height"),
        "fps": video.get("fps"),
        "codec": video.get("codec"),
        "sha256": result.sha256,
        "seconds": result.timings_s.get("total"),
        "overlay": result.overlay,
        "overlay_video": result.overlay_video,
    }


def tables(results: Sequence[VideoResult]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(videos, faces in frames), in the order of the results."""
    videos = pd.DataFrame([video_row(result) for result in results], columns=list(VIDEO_COLUMNS))
    rows = [[cell(r.path), *list(vars(row).values())[:-1], *row.features] for r in results for row in r.rows]
    frames = pd.DataFrame(rows, columns=list(FRAME_COLUMNS))
    numbers = {"score": "float64", "probability": "float64", "duration_s": "float64", "fps": "float64"}
    return videos.astype({**numbers, "width": "Int64", "height": "Int64"}), frames


def versions() -> dict[str, str]:
    """Versions of the product and of what a result depends on."""
    found = {"deepfake-unet-industrial": unet_industrial.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def report(results: Sequence[VideoResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of report.json.

    Args:
        about: `model`, `config`, `inputs`, `skipped`, `wall_s`, `resumed`, `workers` of the run.
    """
    states = Counter(result.state for result in results)
    videos = []
    for result in results:
        values = result.to_dict()
        values["segments"] = [
            {"start_s": start, "end_s": end, "score": score} for start, end, score in values["segments"]
        ]
        for left_out in ("rows", "thumbnails", "sample_times_s"):  # frames.csv and report.html hold them
            del values[left_out]
        videos.append(values)
    return {
        "format": REPORT_FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        **about,
        "counts": {"files": len(results), **{state: states.get(state, 0) for state in STATES}},
        "videos": videos,
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of report.json, as shipped in the package."""
    return json.loads((resources.files("runtime.scoring") / "schemas" / SCHEMA).read_text(encoding="utf-8"))


def write_outputs(output: Path, results: Sequence[VideoResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write videos.csv, frames.csv, both as Parquet, and report.json; returns the report.

    Raises:
        jsonschema.ValidationError: a bug: the report does not have the promised form.
    """
    import jsonschema

    document = report(results, about)
    jsonschema.validate(document, schema())
    videos, frames = tables(results)
    for name, table in (("videos", videos), ("frames", frames)):
        _atomic(output / f"{name}.csv", functools.partial(table.to_csv, index=False))
        _atomic(output / f"{name}.parquet", functools.partial(table.to_parquet, index=False))
    text = json.dumps(document, indent=1, allow_nan=False)
    _atomic(output / "report.json", lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return document


def write_submission(path: Path, results: Sequence[VideoResult]) -> None:
    """submission.csv as Kaggle's DFDC wants it: the probability (or the score), one half where there is none."""
    rows = []
    for result in results:
        value = result.probability if result.probability is not None else result.score
        rows.append(
            {"filename": cell(os.path.basename(result.path)), "label": KAGGLE_UNKNOWN if value is None else value}
        )
    _atomic(path, lambda temporary: pd.DataFrame(rows).to_csv(temporary, index=False))


def failed(results: Sequence[VideoResult]) -> int:
    """Number of files that could not be looked at."""
    return sum(result.state in FAILURES for result in results)


def _atomic(path: Path, write: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    os.replace(temporary, path)
