"""`calibrate`: scores of labelled videos → a probability for every later score, stored in the model's metadata."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import flags

from mask_generation import cli
from runtime.model import calibration, saved_model
from runtime.scoring import abstention
from runtime.scoring.result import SCORED, scoring_of
from runtime.scoring.video_score import AggregateConfig, marking_level
from unet_industrial.files import read_json_object

USER_ERRORS = (saved_model.ModelError, calibration.CalibrationError)
LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}


def define_flags() -> None:
    flags.DEFINE_string("scores", None, "Output folder of `score` on the validation videos.")
    flags.DEFINE_string("labels", None, "CSV with the columns path (or a file name) and label: REAL, FAKE, 0 or 1.")
    flags.DEFINE_string("model", None, "The exported model that made the scores; its model.json is changed.")
    for name in ("scores", "labels", "model"):
        flags.mark_flag_as_required(name)
    flags.DEFINE_enum("method", "auto", ("auto", *calibration.METHODS), "Curve; auto: isotonic from 1000 videos.")
    for name, old, what in (
        ("max_fpr", "max_false_alarms", "real videos that may be called fake"),
        ("max_fnr", "max_misses", "fakes that may be called real"),
        ("max_frame_fpr", "", "frames of real videos that may be marked"),
    ):
        text = f"Share of {what}; gives a threshold that `score` uses by default."
        flags.DEFINE_float(name, 0.1, text, lower_bound=0.0, upper_bound=0.99)
        if old:
            cli.alias(old, name)
    flags.DEFINE_boolean("domain", True, "Also store the range of face size, sharpness and brightness seen here.")


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    document, videos, frames = read_scores(Path(values.scores))
    model = Path(values.model)
    identity, metadata = saved_model.examine(model)
    sha256 = identity.sha256
    if document["model"]["sha256"] != sha256:
        raise cli.Failure(f"{values.scores}: scores of another model ({document['model']['path']})")
    labels = match_labels(videos["path"], read_labels(Path(values.labels)))
    shares = values.max_fpr, values.max_fnr
    labelled = videos.assign(label=labels)
    labelled = labelled[labelled["label"].notna() & labelled["score"].notna()]
    left_out = len(videos) - len(labelled)
    scoring = scoring_of(saved_model.fingerprint(sha256, metadata), document["config"])
    summary = _calibrate(metadata, labelled, left_out, scoring, values.method, shares)
    summary += _calibrate_frames(metadata, document, labelled, frames, scoring, values.max_frame_fpr)
    scored = set(videos["path"][videos["state"].isin(SCORED)])
    seen = frames[frames["path"].isin(scored)]
    if values.domain and len(seen):
        metadata[abstention.DOMAIN_KEY] = abstention.fit_domain({m: seen[m].to_numpy() for m in abstention.MEASURES})
        summary += f"\ndomain: {metadata[abstention.DOMAIN_KEY]}"
    known = saved_model.pinned()
    saved_model.write_metadata(model, metadata)
    if identity.key in known:  # what was trusted stays so with the calibration that this user gives it
        try:
            saved_model.pin(model, known[identity.key], replaces=identity.key)
        except OSError as error:
            print(f"{saved_model.pin_file()}: {error.strerror}; `score` will want --trust_model", file=sys.stderr)
    print(f"{summary}\nwritten to {model / saved_model.METADATA_PATH}")
    return cli.OK


def _calibrate(
    metadata: dict[str, Any],
    labelled: pd.DataFrame,
    left_out: int,
    scoring: dict[str, Any],
    method: str,
    shares: tuple[float, float],
) -> str:
    """Put curve and thresholds of the videos into the metadata; returns what to tell."""
    scores, truth = labelled["score"].tolist(), labelled["label"].astype(int).tolist()
    fitted = calibration.fit(scores, truth, scoring, method)
    metadata[calibration.KEY] = fitted.to_dict()
    point = calibration.fit_threshold(scores, truth, scoring, *shares)
    metadata[calibration.THRESHOLD_KEY] = point
    before, after = fitted.log_loss["before"], fitted.log_loss["after"]
    return (
        f"{fitted.method} on {fitted.videos['real']} real and {fitted.videos['fake']} fake videos "
        f"({left_out} without a score or a label left out); log loss {before:.3f} → {after:.3f} "
        "on the same videos\n"
        f"called fake above {point['threshold']:.3f}: {point['above']['real']} of {point['videos']['real']} real and "
        f"{point['above']['fake']} of {point['videos']['fake']} fake videos; called real below "
        f"{point['real_below']:.3f}: {point['below']['real']} and {point['below']['fake']}; unclear between"
    )


def _calibrate_frames(
    metadata: dict[str, Any],
    document: dict[str, Any],
    labelled: pd.DataFrame,
    frames: pd.DataFrame,
    scoring: dict[str, Any],
    max_frame_fpr: float,
) -> str:
    """Put the frames' threshold into the metadata; returns what to tell.

    Raises:
        Failure: frames.csv lacks a video that has a score.
    """
    rule = AggregateConfig(**document["config"]["aggregate"])
    without = set(labelled["path"]).difference(frames["path"])
    if without:
        raise cli.Failure(f"frames.csv has no frames of {sorted(without)[0]}, which videos.csv has a score of")
    faces = frames.sort_values("time_s", kind="stable").groupby("path")
    levels: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for path, label in zip(labelled["path"], labelled["label"]):
        tracks = faces.get_group(path).groupby("track")["score"]
        levels[int(label)].append(np.concatenate([marking_level(scores.to_numpy(), rule) for _, scores in tracks]))
    point = calibration.fit_frame_threshold(levels[0], levels[1], scoring, max_frame_fpr)
    metadata[calibration.FRAME_THRESHOLD_KEY] = point
    marked, seen = point["marked"], point["frames"]
    return (
        f"\nframes marked above {point['frame_threshold']:.3f}: {marked['real']} of {seen['real']} of the real and "
        f"{marked['fake']} of {seen['fake']} of the fake videos"
    )


def read_scores(folder: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """(report.json, videos.csv, frames.csv) of a run.

    Raises:
        Failure: one of them is missing or damaged.
    """
    try:
        document = read_json_object(folder / "report.json")
        if not isinstance(document["model"]["sha256"], str) or not isinstance(document["config"], dict):
            raise ValueError("report.json: model or config are not as `score` writes them")
        return document, pd.read_csv(folder / "videos.csv"), pd.read_csv(folder / "frames.csv")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise cli.Failure(f"{folder}: no results of `score` there ({error})") from error


def read_labels(path: Path) -> dict[str, int]:
    """Path or file name → 0 real, 1 fake.

    Raises:
        Failure: the file cannot be read, lacks a column, or holds another label.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise cli.Failure(f"{path}: cannot be read as CSV ({error})") from error
    name = next((column for column in ("path", "filename", "video") if column in table), None)
    if name is None or "label" not in table:
        raise cli.Failure(f"{path}: needs the columns path and label, has {', '.join(table.columns)}")
    labels = {}
    for key, label in zip(table[name], table["label"]):
        if str(label).strip().lower() not in LABELS:
            raise cli.Failure(f"{path}: label {label!r} of {key}; allowed are REAL, FAKE, 0 and 1")
        labels[str(key)] = LABELS[str(label).strip().lower()]
    return labels


def match_labels(paths: Sequence[str], labels: dict[str, int]) -> list[Any]:
    """The label of each path: of the longest tail of the path that the table names; None without one."""
    found = []
    for path in paths:
        parts = str(path).split("/")
        tails = ("/".join(parts[at:]) for at in range(len(parts)))
        found.append(next((labels[tail] for tail in tails if tail in labels), None))
    return found
