"""`score`: a file or a folder of videos → tables, a report and pictures.

Exit codes: 0 every file could be looked at (no_face and inconclusive are answers); 1 some file is unreadable,
unsupported, too short or timed out, or the run failed; 2 the command line is wrong.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from mask_generation.parallel.processes import Parallel
from mask_generation.video.types import Limits, printable
from runtime.commands.flags import define_packaged_model, given_model
from runtime.model.calibration import CalibrationError
from runtime.model.saved_model import ModelError, Trust
from runtime.scoring.abstention import Thresholds
from runtime.scoring.batch import (
    FILE_LIMIT_S,
    RESULTS,
    Found,
    InputError,
    ScoringError,
    find_videos,
    score_folder,
    sole_run,
)
from runtime.scoring.frame_score import ScorerConfig
from runtime.scoring.result import ScoreConfig, VideoResult
from runtime.scoring.video_score import AggregateConfig
from unet_industrial.files import csv_cell

NOTICE_CHARACTERS = 500
LIMITS = (
    "max_width",
    "max_height",
    "max_pixels",
    "max_streams",
    "max_duration_s",
    "max_bytes",
)  # decoding's own is under that of the whole file
USER_ERRORS = (ModelError, CalibrationError, InputError, ScoringError, PermissionError)


def define_flags() -> None:
    flags.DEFINE_multi_string("input", None, "A video or a folder of videos; may be given several times.")
    flags.mark_flag_as_required("input")
    define_packaged_model()
    cli.define_output("Folder for the results. A run that was cut off goes on where it stopped.")
    cli.define(Parallel)
    cli.alias("num_workers", "processes")
    flags.DEFINE_float("timeout_s", FILE_LIMIT_S, "Seconds one file may take.", lower_bound=0.1)
    flags.DEFINE_boolean("overlay_video", False, "Write each scored video with its masks drawn in, to masks/.")
    flags.DEFINE_boolean("html", True, "Write report.html.")
    flags.DEFINE_boolean("kaggle", False, "Write submission.csv, with 0.5 where there is no score.")
    for config in (ScoreConfig, ScorerConfig, AggregateConfig, Thresholds):
        cli.define(config)
    cli.define(Limits, *LIMITS)


def config_from_flags() -> ScoreConfig:
    """
    Raises:
        UsageError: a value, or a combination, is impossible.
    """
    return cli.make(
        ScoreConfig,
        scorer=cli.make(ScorerConfig),
        aggregate=cli.make(AggregateConfig),
        thresholds=cli.make(Thresholds),
        limits=cli.make(Limits, *LIMITS),
    )


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    config = config_from_flags()
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # its findings about a file are in the file's row
    start = time.monotonic()
    output = Path(values.output)
    folder, trust = given_model()
    check_output(output)
    found = find_videos(values.input, output)
    model, metadata, trust = describe_model(folder, trust)
    config = config.for_model(model["sha256"], metadata)
    output.mkdir(parents=True, exist_ok=True)
    with sole_run(output):
        return _run(found, output, folder, trust, model, notice_of(metadata), config, start)


def _run(
    found: Found,
    output: Path,
    folder: Path,
    trust: Trust,
    model: dict[str, Any],
    notice: str,
    config: ScoreConfig,
    start: float,
) -> int:
    """Score what was found, write everything, print a summary; returns the exit code."""
    from runtime.scoring import tables

    values = flags.FLAGS
    with _Progress(len(found.files)) as progress:
        run = score_folder(
            found.files,
            output,
            str(folder),
            config.fingerprint(model),
            config,
            trust,
            values.processes,
            values.timeout_s,
            values.overlay_video,
            progress,
            values.ray_address,
            values.memory_mb,
        )
    about = {
        "model": {
            **model,
            "path": str(folder),
            "calibrated": any(r.probability is not None for r in run.results),
            "notice": notice,
        },
        "config": config.to_dict(),
        "inputs": [printable(given) for given in values.input],
        "skipped": [printable(path) for path in found.skipped],
        "wall_s": round(time.monotonic() - start, 2),
        "resumed": run.resumed,
        "workers": run.processes,
    }
    document = tables.write_outputs(output, run.results, about)
    written = ["videos.csv", "frames.csv", "report.json"]
    if values.kaggle:
        tables.write_submission(output / "submission.csv", run.results)
        written.append("submission.csv")
    if values.html:
        from runtime.scoring.html import write_report

        write_report(output / "report.html", run.results, document)
        written.append("report.html")
    print(summary(run.results, document))
    if notice:
        print(f"about this model: {notice}")
    print(f"written to {output}: {', '.join(written)}; pictures in overlays/")
    return cli.FAILED if tables.failed(run.results) else cli.OK


def kept() -> str:
    """What is left of a run that was stopped."""
    output = Path(flags.FLAGS.output)
    count = sum(1 for _ in (output / RESULTS).glob("[!.]*.json"))
    return f"{count} results are kept in {output / RESULTS}: the same command goes on from there." if count else ""


def check_output(output: Path) -> None:
    """
    Raises:
        InputError: results cannot be written there.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; --output needs a folder")


def notice_of(metadata: dict[str, Any]) -> str:
    """What the model's metadata want every reader of its scores to know; empty without."""
    return str(metadata.get("notice", ""))[:NOTICE_CHARACTERS]


def describe_model(folder: Path, trust: Trust) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(hashes of a model, its metadata, its key), after the check that it may be loaded; without TensorFlow.

    The key is what the scoring processes load by: they take this model and no other, whoever writes there meanwhile.

    Raises:
        ModelError: it is missing, unknown, or its metadata are damaged.
    """
    from runtime.model import saved_model

    identity, metadata = saved_model.examine(folder)
    saved_model.check_trust(folder, identity, trust)
    return dataclasses.asdict(identity), metadata, identity.key


def summary(results: Sequence[VideoResult], document: dict[str, Any]) -> str:
    """A table of all results (of the first 50 in a large folder) and the counts."""
    shown = results[:50]
    width = min(60, max(len(csv_cell(result.path)) for result in shown))
    lines = [f"{'video':<{width}}  {'state':<12} {'score':>6}  verdict  segments or reason"]
    for result in shown:
        name = csv_cell(result.path)
        name = name if len(name) <= width else "…" + name[-(width - 1) :]
        score = "" if result.score is None else f"{result.score:.3f}"
        segments = ", ".join(f"{a:.1f}–{b:.1f} s" for a, b, _ in result.segments[:4])
        if result.verdict == "unclear":  # its reason says where to look
            segments = ""
        rest = "; ".join(part for part in (segments, csv_cell(result.reason)) if part)
        lines.append(f"{name:<{width}}  {result.state:<12} {score:>6}  {result.verdict or '':<7}  {rest}")
    if len(results) > len(shown):
        lines.append(f"… and {len(results) - len(shown)} more, see videos.csv")
    counts = ", ".join(f"{count} {state}" for state, count in document["counts"].items() if count and state != "files")
    again = f", {document['resumed']} of them from an earlier run" if document["resumed"] else ""
    lines.append(f"{document['counts']['files']} files in {document['wall_s']:.0f} s{again}: {counts}")
    return "\n".join(lines)


class _Progress:
    """A bar on stderr with rate and time left, counting only what is scored in this run; none without a terminal."""

    def __init__(self, files: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=files, unit="video", disable=not sys.stderr.isatty(), file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def __call__(self, result: VideoResult, resumed: bool) -> None:
        if resumed:
            self._bar.total -= 1
            self._bar.refresh()
        else:
            self._bar.update()
