"""`score`: a file or a folder of videos → tables, a report and pictures.

Exit codes: 0 every file could be looked at (no_face and inconclusive are answers); 1 some file is unreadable,
unsupported, too short or timed out, or the run failed; 2 the command line is wrong.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from mask_generation.video.types import Limits, printable
from runtime.model.calibration import CalibrationError
from runtime.model.saved_model import ModelError, default_model
from runtime.scoring.abstention import Thresholds
from runtime.scoring.batch import Found, InputError, PoolError, find_videos, score_folder, sole_run
from runtime.scoring.frame_score import SCORERS, ScorerConfig
from runtime.scoring.result import ScoreConfig, VideoResult, text_cell
from runtime.scoring.video_score import DEFAULT_THRESHOLD, AggregateConfig

NOTICE_CHARACTERS = 500
USER_ERRORS = (ModelError, CalibrationError, InputError, PoolError, PermissionError)


def define_flags() -> None:
    flags.DEFINE_multi_string("input", None, "A video or a folder of videos; may be given several times.")
    flags.DEFINE_string("model", None, "Folder of an exported model. [default: the one that comes along, if any]")
    flags.DEFINE_string("output", None, "Folder for the results. A run that was cut off goes on where it stopped.")
    for name in ("input", "output"):
        flags.mark_flag_as_required(name)
    flags.DEFINE_boolean("trust_model", False, "Load a model whose hash is unknown. A SavedModel is a program.")
    flags.DEFINE_integer("num_workers", None, "Processes. [default: one a core]", lower_bound=1)
    flags.DEFINE_string("ray_address", "", "Score on a Ray cluster: auto, HOST:PORT, or local (a Ray of its own here).")
    flags.DEFINE_float("timeout_s", 900.0, "Seconds one file may take.", lower_bound=0.1)
    flags.DEFINE_boolean("overlay_video", False, "Write each scored video with its masks drawn in, to masks/.")
    flags.DEFINE_boolean("html", True, "Write report.html.")
    flags.DEFINE_boolean("kaggle", False, "Write submission.csv, with 0.5 where there is no score.")
    define_scoring_flags()


def define_scoring_flags() -> None:
    """The flags behind `config_from_flags`, shared with `calibrate`."""
    base, scorer, aggregate = ScoreConfig(), ScorerConfig(), AggregateConfig()
    flags.DEFINE_integer("frames", base.frames, "Frames looked at in a video, evenly spread; 0: all.", lower_bound=0)
    flags.DEFINE_float("fps", None, "Frames a second to look at, instead of --frames.", lower_bound=0.001)
    flags.DEFINE_enum("scorer", scorer.name, SCORERS, "How a mask becomes the score of a frame.")
    flags.DEFINE_float("area_threshold", scorer.threshold, "With --scorer=area: a pixel above it counts as fake.")
    flags.DEFINE_float("top_percent", scorer.top_percent, "With --scorer=topk: share of the pixels averaged, in %.")
    flags.DEFINE_integer("window", aggregate.window, "Successive frames of a face judged together.", lower_bound=1)
    flags.DEFINE_integer("top_k", aggregate.top_k, "The highest of them that are averaged.", lower_bound=1)
    flags.DEFINE_float("power", aggregate.power, "1: full correction for many frames and faces; more: less.")
    flags.DEFINE_float(
        "threshold",
        aggregate.threshold,
        f"Scores above it are called fake. [default: the model's own, else {DEFAULT_THRESHOLD}]",
    )
    flags.DEFINE_float(
        "real_below",
        aggregate.real_below,
        "With --threshold: scores below it are called real, those between unclear. [default: --threshold]",
    )
    limits, thresholds = base.limits, base.thresholds
    flags.DEFINE_integer("min_frames", thresholds.min_frames, "Frames, and frames with a face, needed for a score.")
    flags.DEFINE_float("min_face_px", thresholds.min_face_px, "Faces smaller than this get no score.")
    flags.DEFINE_float("min_sharpness", thresholds.min_sharpness, "Faces more blurred than this get no score.")
    flags.DEFINE_integer("max_faces", base.max_faces, "Faces scored in one frame, the largest first.", lower_bound=1)
    flags.DEFINE_integer("batch_size", base.batch_size, "Crops in one pass of the network.", lower_bound=1)
    flags.DEFINE_integer("detect_size", base.detect_size, "Long side at which faces are searched, px.", lower_bound=64)
    flags.DEFINE_float("detect_every_s", base.detect_every_s, "Seconds between two full searches; faces are followed.")
    flags.DEFINE_integer("max_width", limits.max_width, "Widest frame accepted, px.", lower_bound=16)
    flags.DEFINE_integer("max_height", limits.max_height, "Highest frame accepted, px.", lower_bound=16)
    flags.DEFINE_float("max_duration_s", limits.max_duration_s, "Longest video accepted.", lower_bound=0.0)
    flags.DEFINE_integer("max_bytes", limits.max_bytes, "Largest file accepted.", lower_bound=1)


def config_from_flags() -> ScoreConfig:
    """
    Raises:
        UsageError: a value, or a combination, is impossible.
    """
    values = flags.FLAGS
    try:
        return ScoreConfig(
            frames=values.frames,
            fps=values.fps,
            scorer=ScorerConfig(values.scorer, values.area_threshold, values.top_percent),
            aggregate=AggregateConfig(values.window, values.top_k, values.power, values.threshold, values.real_below),
            thresholds=Thresholds(values.min_frames, values.min_face_px, values.min_sharpness),
            limits=Limits(values.max_width, values.max_height, values.max_duration_s, values.max_bytes),
            detect_size=values.detect_size,
            detect_every_s=values.detect_every_s,
            max_faces=values.max_faces,
            batch_size=values.batch_size,
        )
    except ValueError as error:
        raise cli.UsageError(str(error)) from error


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    config = config_from_flags()
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # what it says about a file is in the file's row
    start = time.monotonic()
    output = Path(values.output)
    folder, trust = (Path(values.model), values.trust_model) if values.model else (default_model(), True)
    check_output(output)
    found = find_videos(values.input, output)
    model, metadata = describe_model(folder, trust)
    config = config.for_model(model["sha256"], metadata)
    output.mkdir(parents=True, exist_ok=True)
    with sole_run(output):
        return _run(found, output, folder, trust, model, notice_of(metadata), config, start)


def _run(
    found: Found,
    output: Path,
    folder: Path,
    trust: bool,
    model: dict[str, Any],
    notice: str,
    config: ScoreConfig,
    start: float,
) -> int:
    """Score what was found, write everything, say what came of it; returns the exit code."""
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
            values.num_workers,
            values.timeout_s,
            values.overlay_video,
            progress,
            values.ray_address,
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


def describe_model(folder: Path, trust: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(hashes of a model, its metadata), after the check that it may be loaded; TensorFlow stays out of this process.

    Raises:
        ModelError: it is missing, unknown, or its metadata are damaged.
    """
    from runtime.model import saved_model

    sha256 = saved_model.program_sha256(folder)
    saved_model.check_trust(folder, sha256, trust)
    metadata, metadata_sha256 = saved_model.read_metadata(folder)
    return {"sha256": sha256, "metadata_sha256": metadata_sha256}, metadata


def summary(results: Sequence[VideoResult], document: dict[str, Any]) -> str:
    """A table of all results (of the first 50 in a large folder) and the counts."""
    shown = results[:50]
    width = min(60, max(len(text_cell(result.path)) for result in shown))
    lines = [f"{'video':<{width}}  {'state':<12} {'score':>6}  verdict  segments or reason"]
    for result in shown:
        name = text_cell(result.path)
        name = name if len(name) <= width else "…" + name[-(width - 1) :]
        score = "" if result.score is None else f"{result.score:.3f}"
        segments = ", ".join(f"{a:.1f}–{b:.1f} s" for a, b, _ in result.segments[:4])
        rest = "; ".join(part for part in (segments, text_cell(result.reason)) if part)
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
