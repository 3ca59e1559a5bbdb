"""`robustness`: how a model's answer on one file, or its metrics on a labelled set, hold under compression and the
like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from runtime.commands.flags import define_measuring, define_packaged_model, given_model
from runtime.evaluation import robustness
from runtime.evaluation.measure import Settings
from runtime.evaluation.robustness import LEVELS
from runtime.evaluation.tables import TableError
from runtime.model.calibration import CalibrationError
from runtime.model.saved_model import ModelError, Trust
from runtime.scoring.result import ScoreConfig
from runtime.scoring.video_score import AggregateConfig

USER_ERRORS = (TableError, ModelError, CalibrationError)


def define_flags() -> None:
    define_packaged_model()
    flags.DEFINE_string(
        "videos", None, "CSV with path (relative to it) and label, as of `compare`; leave out to try one file."
    )
    flags.DEFINE_list("kinds", list(LEVELS), f"Disturbances, of {', '.join(LEVELS)}.")
    cli.define(ScoreConfig, "frames")
    cli.define_output("Folder for robustness.json, .csv, .md, .png and .html.", "output_dir")
    cli.define(AggregateConfig, "threshold")
    define_measuring(threshold=False)


def main(arguments: Sequence[str]) -> int:
    values = flags.FLAGS
    settings = cli.make(Settings, threshold=None)  # verdicts are the scorer's
    for kind in values.kinds:
        if kind not in LEVELS:
            raise cli.UsageError(f"--kinds={kind}: there are {', '.join(LEVELS)}")
    if bool(values.videos) == bool(arguments) or len(arguments) > 1:
        raise cli.UsageError("give one video file, or --videos=CSV")
    model, trust = given_model()
    config = cli.make(ScoreConfig, aggregate=cli.make(AggregateConfig))
    score, rule = scorer(model, trust, config)
    folder, about = Path(values.output), {"model": str(model), "frames a video": values.frames, **verdict_text(rule)}
    if arguments:
        path = Path(arguments[0])
        table = robustness.answers([path], score, values.kinds, _progress)
        about["file"] = str(path)
        written = robustness.write_file(folder, table, rule.cut, about)
        failed = bool(table.loc[table["kind"] == "none", "score"].isna().any())
    else:
        videos = robustness.labelled_videos(Path(values.videos))
        table = robustness.answers([Path(name) for name in videos["path"]], score, values.kinds, _progress)
        about["videos"] = values.videos
        written = robustness.write_set(folder, table, videos, settings, about)
        failed = bool(table.loc[table["kind"] == "none", "score"].isna().any())
    print(written["md"].read_text(encoding="utf-8"))
    print(f"written: {', '.join(str(path) for path in written.values())}")
    return cli.FAILED if failed else cli.OK


def verdict_text(rule: AggregateConfig) -> dict[str, str]:
    """When a video is called what, for the report."""
    band = rule.real_below is not None and rule.real_below < rule.cut
    return {"called fake": f"above {rule.cut:g}", "called real": f"below {rule.real_below:g}" if band else "otherwise"}


def scorer(model: Path, trust: Trust, config: ScoreConfig) -> tuple[robustness.Score, AggregateConfig]:
    """(the model as `score` uses it: same score, verdict, state and probability; its thresholds and video rule).

    Raises:
        ModelError: the model is missing, not trusted or not one of ours.
    """
    from runtime.model.saved_model import load_model
    from runtime.scoring.scorer import Scorer

    ready = Scorer(load_model(model, trust), config)

    def score(path: Path) -> robustness.Answer:
        result = ready.score(path)
        return robustness.Answer(result.score, result.state, result.verdict, result.probability)

    return score, ready.config.aggregate


def _progress(steps: Iterable[Any]) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(steps, unit="video", desc="robustness", disable=None)
