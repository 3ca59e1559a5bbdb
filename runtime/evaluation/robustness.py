"""How far an answer holds when the video is disturbed: of one file its score, of a labelled set its metrics.

A detector that answers "fake" at CRF 18 and "real" at CRF 28 knows little about the file, and a user should see that.
Here is what disturbs a video (compression, scaling, dropped frames, blur, noise, re-sharing, trimming), what runs a
detector on each disturbed copy, and what draws the curves. Everything but the disturbance under test is kept nearly
lossless (BASE_CRF), so that a curve shows one thing at a time. Frames are read and written one at a time; memory does
not grow with length.
"""

from __future__ import annotations

import dataclasses
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import cv2
import numpy as np
import pandas as pd

from mask_generation.video.reader import VideoReader
from mask_generation.video.types import TOO_SHORT, Frame, Limits, VideoError
from mask_generation.video.writer import video_file
from runtime.evaluation import markdown, measure, plots, report, tables
from runtime.evaluation.measure import Settings
from runtime.scoring.video_score import verdict
from unet_industrial import files

SCHEMA_VERSION = 1
AS_GIVEN = "as given"
SHOWN = ("auc", "paired", "tpr", "fpr")
COLUMNS = {**report.RANKING_COLUMNS, "tpr": "TPR", "fpr": "FPR"}

BASE_CRF = 12  # visually lossless at 8 bits; what is measured at it is the disturbance, not the codec
LEAST_SIDE_PX = 16
# What a messenger does to a video each time it is passed on: long side in pixels and quality, worse each time.
RESHARES = ((1280, 28), (848, 30), (640, 32), (480, 34))
# Shares of the length that are kept.
CUTS = {"first half": (0.0, 0.5), "second half": (0.5, 1.0), "middle third": (1 / 3, 2 / 3)}

# kind → levels, mildest first. Units: CRF of x264; share of the size; frames a second; sigma in pixels of the frame;
# sigma in grey levels; times re-shared; part kept.
LEVELS: dict[str, tuple[Any, ...]] = {
    "crf": (18, 23, 28, 32, 36, 40),
    "scale": (0.75, 0.5, 0.35, 0.25),
    "fps": (15, 10, 5, 2),
    "blur": (0.5, 1.0, 2.0, 3.0),
    "noise": (2, 5, 10, 20),
    "reshare": (1, 2, 3, 4),
    "trim": tuple(CUTS),
}
TITLES = {
    "crf": "compression (x264 CRF)",
    "scale": "scaled to",
    "fps": "frames a second",
    "blur": "Gaussian blur (σ, px)",
    "noise": "noise (σ, grey levels)",
    "reshare": "times re-shared",
    "trim": "trimmed to",
}


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """One kind at one level; see LEVELS for the units."""

    kind: str
    level: Any

    def __post_init__(self) -> None:
        if self.kind not in LEVELS:
            raise ValueError(f"kind must be one of {', '.join(LEVELS)}, not {self.kind!r}")

    @property
    def label(self) -> str:
        return f"{self.level:g}" if isinstance(self.level, (int, float)) else str(self.level)


def disturb(source: Path, target: Path, what: Disturbance, limits: Optional[Limits] = None) -> None:
    """Write `source` as disturbed to `target` (.mp4, H.264, no sound).

    Raises:
        VideoError: the source cannot be read.
        ValueError: nothing is left of it (fewer frames than the cut or rate needs).
    """
    if what.kind != "reshare":
        write(target, _frames(source, what, limits), what.level if what.kind == "crf" else BASE_CRF)
        return
    current = source
    for number, (long_side, crf) in enumerate(RESHARES[: what.level]):
        last = number + 1 == what.level
        step = target if last else target.with_name(f"{target.stem}.{number}.mp4")
        with VideoReader(current, limits, one_size=True) as reader:
            write(step, (_shrunk(frame, long_side) for frame in reader.frames()), crf)
        if current != source:
            current.unlink()
        current = step


def _frames(source: Path, what: Disturbance, limits: Optional[Limits]) -> Iterator[Frame]:
    start, end = 0.0, float("inf")
    if what.kind == "trim":
        with VideoReader(source, limits, one_size=True) as reader:
            length = max((frame.time_s for frame in reader.frames()), default=0.0)
        start, end = (share * length for share in CUTS[what.level])
    seed = zlib.crc32(source.name.encode("utf-8", "surrogateescape"))  # noise differs by video and is repeatable
    next_s = 0.0
    with VideoReader(source, limits, one_size=True) as reader:
        for frame in reader.frames():
            if not start <= frame.time_s <= end:
                continue
            if what.kind == "fps":
                if frame.time_s < next_s - 1e-6:
                    continue
                next_s = max(next_s, frame.time_s - 1 / what.level) + 1 / what.level
            yield _changed(frame, what, seed)


def _changed(frame: Frame, what: Disturbance, seed: int) -> Frame:
    rgb = frame.rgb
    if what.kind == "scale":
        height, width = (max(LEAST_SIDE_PX, round(side * what.level)) for side in rgb.shape[:2])
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    elif what.kind == "blur":
        rgb = cv2.GaussianBlur(rgb, (0, 0), what.level)
    elif what.kind == "noise":
        rng = np.random.default_rng([seed, frame.index])
        noisy = rgb + rng.normal(0, what.level, rgb.shape).astype(np.float32)
        rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return dataclasses.replace(frame, rgb=rgb)


def _shrunk(frame: Frame, long_side: int) -> Frame:
    scale = long_side / max(frame.rgb.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(LEAST_SIDE_PX, round(side * scale)) for side in frame.rgb.shape[:2])
    return dataclasses.replace(frame, rgb=cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA))


def write(path: Path, frames: Iterable[Frame], crf: int) -> None:
    """Frames of one size as H.264 in MP4, their own times counted from the first; odd sizes lose a row or column.

    Raises:
        ValueError: there are no frames.
    """
    first_s = None
    with video_file(path, crf) as writer:
        for frame in frames:
            first_s = frame.time_s if first_s is None else first_s
            writer.write(frame.rgb, frame.time_s - first_s)


class Answer(NamedTuple):
    """A detector's answer on one file: score None where there is none, and then `state` is the reason.

    verdict: one of VERDICTS, by the detector's own thresholds; None: it gives none. probability: None without
    calibration.
    """

    score: Optional[float]
    state: str
    verdict: Optional[str] = None
    probability: Optional[float] = None


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
    """Every file at every step of the plan: columns path, kind, level, score and probability (NaN where there is
    none), verdict (None where there is none), state.

    Disturbed copies live in a temporary folder and are removed as soon as they are scored. A file that cannot be read,
    or of which nothing is left, is a row with a state.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="robustness-") as folder:
        copy = Path(folder) / "disturbed.mp4"
        for step, path in progress([(step, path) for step in plan(kinds) for path in paths]):
            kind, level = (step.kind, step.label) if step else ("none", AS_GIVEN)
            answer = _answer(path, copy, step, score, limits)
            row = {"path": str(path), "kind": kind, "level": level, **answer._asdict()}
            row.update({name: np.nan if row[name] is None else row[name] for name in ("score", "probability")})
            rows.append(row)
    return pd.DataFrame(rows)


def _answer(path: Path, copy: Path, step: Optional[Disturbance], score: Score, limits: Optional[Limits]) -> Answer:
    if step is None:
        return score(path)
    try:
        disturb(path, copy, step, limits)
        return score(copy)
    except VideoError as error:
        return Answer(None, error.state)
    except ValueError:
        return Answer(None, TOO_SHORT)
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
    """A labelled set's curves: [{kind, name, levels, metrics: [measure(...)]}]. Where the detector gives verdicts, they
    are what its true- and false-positive rates count.

    Args:
        table: as from `answers`.
        videos: normalised video table with the column path, one row a video.
    """
    measured = {}
    for (kind, level), rows in table.groupby(["kind", "level"], sort=False):
        by_path = rows.set_index("path")
        scored = videos.assign(**{name: videos["path"].map(by_path[name]) for name in ("score", "state")})
        if by_path["probability"].notna().any():
            scored["probability"] = videos["path"].map(by_path["probability"])
        if by_path["verdict"].notna().any():
            scored = tables.with_verdicts(scored.assign(verdict=videos["path"].map(by_path["verdict"])))
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
    """One file's curve: robustness.json, .csv, .md, .png, .html.

    threshold: the detector's own, drawn as a line; it decides the verdict of answers that have none of their own.
    """
    curves = file_curves(table)
    document = {"schema_version": SCHEMA_VERSION, "mode": "file", "about": dict(about), "threshold": threshold}
    document["curves"] = curves
    rows = []
    for row in table.to_dict("records"):
        word = row["state"] if np.isnan(row["score"]) else row["verdict"] or verdict(row["score"], threshold)
        rows.append((TITLES.get(row["kind"], "none"), row["level"], report.number(_number(row["score"])), word))
    text = markdown.table(("disturbance", "level", "score", "verdict"), rows)
    drawn = {"score": plots.plot_robustness(curves, folder / "robustness.png", "score", threshold)}
    return _write_all(folder, document, table, text, drawn, [], "Robustness of one file")


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
    text = "\n".join(f"## {entry.heading}\n\n{entry.markdown()}" for entry in shown)
    return _write_all(folder, document, table, text, drawn, shown, "Robustness")


def _table(curve: Mapping[str, Any]) -> report.Table:
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for level, entry in zip(curve["levels"], curve["metrics"]):
        undecided = entry["counts"]["undecided"]
        rows.append((level + (f" ({undecided} undecided)" if undecided else ""), entry["dropped"]))
    return report.Table(f"Videos, {curve['name']}", "", "level", COLUMNS, rows)


def _write_all(
    folder: Path,
    document: Mapping[str, Any],
    table: pd.DataFrame,
    text: str,
    drawn: Mapping[str, Path],
    shown: Sequence[report.Table],
    title: str,
) -> dict[str, Path]:
    facts = [f"{key}: {value}" for key, value in document["about"].items()]
    figures = {f"{name} against each disturbance": path for name, path in drawn.items()}
    folder.mkdir(parents=True, exist_ok=True)
    written = {**drawn, **{kind: folder / f"robustness.{kind}" for kind in ("json", "csv", "md", "html")}}
    files.write_json(written["json"], document)
    page = report.page(title, facts, figures, shown, text="" if shown else text)
    for kind, content in (("csv", files.csv_text(table)), ("md", f"# {title}\n\n{text}"), ("html", page)):
        # A hostile file name may hold bytes that are no UTF-8; they are kept as escapes.
        files.write_bytes(written[kind], content.encode("utf-8", "backslashreplace"))
    return written


def _kinds(table: pd.DataFrame) -> list[str]:
    return [kind for kind in dict.fromkeys(table["kind"]) if kind != "none"]


def _number(value: float) -> Optional[float]:
    return None if np.isnan(value) else float(value)
