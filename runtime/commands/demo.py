"""`demo`: the whole pipeline on clips drawn from public-domain portraits, each stage run as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from mask_generation import cli
from mask_generation.cli import FAILED, OK, Failure, UsageError
from runtime.commands import demo_clips

MARKER = ".deepfake-demo"  # in a folder that is ours to delete
# On top of the preset, 128 px crops: two minutes on two cores are enough for the demo's coarse fakes. Mirrored only:
# blur, noise and JPEG hide what gives a fake away, and with them a run this short learns where faces are and no more.
TRAINING = (
    "--preset=ffpp",
    "--exec_mode=train",
    "--input_size=128",
    "--augmentations=flip",
    "--seed=1",
    "--display_every=20",
)


def define_flags() -> None:
    cli.define_output(
        "Folder for everything the demo makes; an earlier demo is replaced.", "output_dir", default="demo_output"
    )
    flags.DEFINE_integer("steps", 200, "Training steps of 8 crops.", lower_bound=1)
    flags.DEFINE_integer("np", 2, "Horovod processes to train on, if Horovod is installed.", lower_bound=1)


def main(arguments: list[str]) -> int:
    del arguments
    values = flags.FLAGS
    folder = _prepare(Path(values.output))
    seconds: dict[str, float] = {}
    clips, records, run = folder / "clips", folder / "records", folder / "training"
    model, scores, numbers = folder / "model", folder / "scores", folder / "evaluation"

    started = time.monotonic()
    _announce("1/6 drawing clips and their manipulated copies (Eileen Collins to train on, Grace Hopper to test on)")
    from mask_generation.faces.detector import MtcnnDetector

    demo_clips.draw_pairs(clips, MtcnnDetector())
    seconds["draw"] = time.monotonic() - started
    processes = values.np if importlib.util.find_spec("horovod") else 1
    if processes < values.np:
        print("      Horovod is not installed: training on one process instead of two.")
    stages = [
        ("mask", "2/6 pairs → faces → masks → TFRecords", _mask(clips, records)),
        ("train", f"3/6 training on {processes} process(es)", _train(records, run, values.steps, processes)),
        ("export", "4/6 SavedModel", ["runtime", "export", f"--model={run}", f"--output={model}"]),
        (
            "evaluate",
            "5/6 measuring on the person not trained on",
            [
                "runtime",
                "evaluate",
                f"--data_dir={records}",
                "--split=test",
                f"--model={model}",
                f"--output={numbers}",
            ],
        ),
        (
            "score",
            "6/6 scoring the folder of test clips",
            [
                "runtime",
                "score",
                f"--input={clips / 'test'}",
                f"--model={model}",
                f"--output={scores}",
                "--trust_model",
            ],
        ),
    ]
    for name, text, command in stages:
        _announce(text)
        seconds[name] = _run(name, command, folder / "logs")
    separated = print_ranking(scores / "videos.csv", numbers / "evaluation.json")
    print("\nseconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))
    print(f"all: {time.monotonic() - started:.0f} s\n\nLook at\n  {scores / 'report.html'}\n  {scores / 'overlays'}")
    print(f"  {numbers / 'evaluation.html'}\n  {clips}")
    return OK if separated else FAILED


def print_ranking(videos_csv: Path, evaluation_json: Path) -> bool:
    """Print the videos by score. True where every fake ranks above every real.

    Args:
        videos_csv: what `score` wrote; a file is a fake where its name ends in `_fake`.
    """
    videos = pd.read_csv(videos_csv)
    videos["truth"] = ["fake" if Path(str(path)).stem.endswith("_fake") else "real" for path in videos["path"]]
    videos = videos.sort_values("score", ascending=False, na_position="last")
    print("\nClips of a person the network has never seen, most suspicious first:")
    for row in videos.itertuples():
        print(f"  {row.score:8.4f}  {row.truth}  {Path(str(row.path)).name}  ({row.state})")
    real, fake = (videos.loc[videos["truth"] == truth, "score"] for truth in ("real", "fake"))
    separated = bool(len(real) and len(fake) and not videos["score"].isna().any() and fake.min() > real.max())
    print(
        "Every fake ranks above every real."
        if separated
        else "The fakes are NOT all ranked above the reals: this run did not learn to separate them."
    )
    if evaluation_json.exists():
        _print_mask_numbers(json.loads(evaluation_json.read_text("utf-8")))
    return separated


def _print_mask_numbers(evaluation: Mapping[str, Any]) -> None:
    print(
        f"Over {evaluation['crops']} crops: frame AUC {evaluation['frame_auc']:.3f}, video AUC "
        f"{evaluation['video_auc']:.3f}, pairwise accuracy {evaluation['paired']:.0%}; mask IoU on fakes "
        f"{evaluation['iou_fake']:.3f}, pixel FPR on reals {evaluation['marked_real']:.1%}. A drawn person and "
        "six clips: this shows that the pipeline works, not how good a detector is."
    )


def _prepare(folder: Path) -> Path:
    """An empty folder; one that is not an earlier demo's is left alone."""
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise UsageError(f"{folder} is not empty and not an earlier demo's: choose another --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    return folder


def _mask(clips: Path, records: Path) -> list[str]:
    return ["runtime", "mask", "generate", f"--pairs_csv={clips / 'pairs.csv'}", f"--output={records}", "--frames=16"]


def _train(records: Path, run: Path, steps: int, processes: int) -> list[str]:
    command = ["runtime", "train", f"--data_dir={records}", f"--output={run}", f"--num_iter={steps}", *TRAINING]
    command.append(f"--batch_size={max(2, 8 // processes)}")
    if processes > 1:
        runner = Path(sys.executable).parent / "horovodrun"
        return [str(runner), "--gloo", "-np", str(processes), sys.executable, "-m", *command]
    return command


def _announce(text: str) -> None:
    print(f"demo: {text}", flush=True)


def _run(name: str, command: list[str], logs: Path) -> float:
    """Run one stage, its output in a log file; seconds it took.

    Raises:
        Failure: it failed; the message shows the end of its log.
    """
    if not os.path.isabs(command[0]):
        command = [sys.executable, "-m", *command]
    print("      " + " ".join(command), flush=True)
    logs.mkdir(exist_ok=True)
    log, started = logs / f"{name}.log", time.monotonic()
    with open(log, "wb") as file:
        code = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if code != 0:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-12:])
        raise Failure(f"the stage {name!r} failed with exit code {code}; the end of {log}:\n{tail}")
    return time.monotonic() - started
