"""`compare`: scores of one or several detectors on the same videos → one table with intervals and paired
differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from runtime.commands.flags import define_measuring, make_settings
from runtime.evaluation import measure, report, tables
from runtime.evaluation.report import tables_of
from runtime.evaluation.tables import TableError

USER_ERRORS = (TableError,)


def define_flags() -> None:
    flags.DEFINE_string(
        "scores",
        None,
        "CSV of the detector that is judged, with labels: frame_scores.csv of `evaluate`, or any table with the "
        "columns video, label, score and, where known, dataset, method, compression, original, identity, frame_index "
        "and track.",
    )
    flags.DEFINE_string(
        "labels",
        None,
        "CSV with the labels (video or path, label, and the other columns) where --scores has none, as videos.csv of "
        "`score` has not.",
    )
    flags.DEFINE_string("name", "model", "What to call it.")
    flags.DEFINE_multi_string(
        "other",
        [],
        "NAME=FILE of another detector: a CSV with video,score (names or paths of the same videos) or a table as for "
        "--scores. May be given several times.",
    )
    flags.mark_flag_as_required("scores")
    cli.define_output("Folder for evaluation.json, .csv, .md, .html and plots.", "output_dir")
    define_measuring()


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    settings = make_settings()
    if values.labels:
        reference = measure.Detector(tables.load_labels(Path(values.labels)))
        detectors = {values.name: load_other(Path(values.scores), reference)}
    else:
        detectors = {values.name: load(Path(values.scores))}
    sources = {values.name: values.scores}
    for text in values.other:
        name, _, path = text.partition("=")
        if not name or not path:
            raise cli.UsageError(f"--other={text}: give NAME=FILE")
        if name in detectors:
            raise cli.UsageError(f"--other={text}: the name {name} is taken")
        detectors[name] = load_other(Path(path), detectors[values.name])
        sources[name] = path
    result = measure.compare(detectors, settings)
    write_and_print(Path(values.output), result, detectors, "Comparison", sources)
    return cli.OK


def load(path: Path) -> measure.Detector:
    """A table with labels; one row a video is a video table, more are frames."""
    table = tables.load_frames(path)
    if table["key"].is_unique:
        return measure.Detector(tables.with_verdicts(table, str(path)))
    return measure.Detector.from_frames(table)


def load_other(path: Path, first: measure.Detector) -> measure.Detector:
    """A table with labels and frames as it is; else `video,score`, placed on the first one's videos."""
    columns = set(tables.read_csv(path).columns)
    if {"label", "frame_index", "video"} <= columns:
        other = load(path)
        if measure.aligned(other.videos, first.videos) is None:
            missing = set(first.videos["key"]) ^ set(other.videos["key"])
            raise TableError(f"{path}: not the same videos; {len(missing)} differ, e.g. {min(missing)}")
        return other
    return measure.Detector(measure.with_scores(first.videos, tables.load_foreign(path, first.videos)))


def write_and_print(
    folder: Path,
    result: dict[str, Any],
    detectors: dict[str, measure.Detector],
    title: str,
    about: dict[str, Any],
    frame_table: bool = False,
) -> None:
    """Write the report and print its leading tables (videos, frames, pixels) and where everything lies."""
    written = report.write(folder, result, detectors, title, about, frame_table)
    for table in tables_of({**result, "title": title, "about": about}):
        if " by " in table.heading or "difference" in table.heading:
            continue
        print(f"{table.heading}\n\n{table.markdown()}")
    print(
        f"written: {', '.join(str(written[kind]) for kind in ('json', 'csv', 'markdown', 'html'))}, {folder / 'plots'}/"
    )
