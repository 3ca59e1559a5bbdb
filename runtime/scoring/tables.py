"""Results → videos.csv, frames.csv (and Parquet), report.json, submission.csv."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pandas as pd

import unet_industrial
from runtime.scoring.manipulation_type import MANIPULATION_TYPES
from runtime.scoring.result import (
    FAILURES,
    STATES,
    FaceRow,
    VideoResult,
    cells,
    columns_of,
    reported_fields,
)
from unet_industrial import files

SCHEMA = "score_report.schema.json"
REPORT_FORMAT = 1
KAGGLE_UNKNOWN = 0.5  # only in submission.csv, where the rules ask for a number for every file
VIDEO_COLUMNS = tuple(column.name for _, column in columns_of(VideoResult))
FRAME_COLUMNS = ("path", *(column.name for _, column in columns_of(FaceRow)))
_LIBRARIES = ("tensorflow", "numpy", "av", "opencv-python-headless", "mtcnn", "pandas", "scikit-learn")


def tables(results: Sequence[VideoResult]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(videos, faces in frames), in the order of the results."""
    videos = pd.DataFrame([cells(result) for result in results], columns=list(VIDEO_COLUMNS))
    rows = [{"path": files.csv_cell(result.path), **cells(row)} for result in results for row in result.rows]
    frames = pd.DataFrame(rows, columns=list(FRAME_COLUMNS))
    return videos.astype(_types(VideoResult)), frames.astype(_types(FaceRow))


def _types(row_type: type) -> dict[str, str]:
    return {column.name: column.dtype for _, column in columns_of(row_type)}


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
    return {
        "format": REPORT_FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        **about,
        "counts": {"files": len(results), **{state: states.get(state, 0) for state in STATES}},
        "videos": [result.to_report() for result in results],
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of report.json: the shipped file, its entry of a video made from the fields of `VideoResult`.

    The file holds that entry too, for readers without Python; a test compares the two.
    """
    content = json.loads((resources.files("runtime.scoring") / "schemas" / SCHEMA).read_text(encoding="utf-8"))
    properties = {field.name: field.metadata["schema"] for field in reported_fields()}
    content["$defs"]["character"]["properties"]["family"] = {"enum": list(MANIPULATION_TYPES)}
    content["$defs"]["video"].update(required=list(properties), properties=properties)
    return content


def write_outputs(output: Path, results: Sequence[VideoResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write videos.csv, frames.csv, both as Parquet, and report.json; returns the report.

    Raises:
        jsonschema.ValidationError: a bug: the report does not have the promised form.
    """
    import jsonschema

    document = report(results, about)
    jsonschema.validate(document, schema())
    videos, frames = tables(results)
    output.mkdir(parents=True, exist_ok=True)
    for name, table in (("videos", videos), ("frames", frames)):
        files.write_csv(output / f"{name}.csv", table)
        with files.atomic_path(output / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    files.write_text(output / "report.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    return document


def write_submission(path: Path, results: Sequence[VideoResult]) -> None:
    """submission.csv as Kaggle's DFDC wants it: the probability (or the score), one half where there is none."""
    rows = []
    for result in results:
        value = result.probability if result.probability is not None else result.score
        rows.append({"filename": os.path.basename(result.path), "label": KAGGLE_UNKNOWN if value is None else value})
    files.write_csv(path, pd.DataFrame(rows))


def failed(results: Sequence[VideoResult]) -> int:
    """Number of files that could not be looked at."""
    return sum(result.state in FAILURES for result in results)
