"""Scorers for processes in tests: one without TensorFlow that obeys the file's content, one that sees ovals.

Processes are started anew and import what they run, so these live in a module of their own.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

from mask_generation.video.types import UNREADABLE, printable
from runtime.scoring.batch import ScorerSetup, finish, job_for, score_all
from runtime.scoring.result import OK, ScoreConfig, VideoResult

LOG = "SCORED_LOG"  # environment variable: file that gets a line for each file looked at


class Obedient:
    """Does what the file contains: a number is its score; die, hang, break, slow N are orders."""

    def score(self, path: bytes) -> VideoResult:
        words = Path(os.fsdecode(path)).read_text().split()
        if os.environ.get(LOG):
            with open(os.environ[LOG], "a") as log:  # one short write: atomic
                log.write(f"{os.path.basename(os.fsdecode(path))}\n")
        if words[0] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if words[0] == "hang":
            time.sleep(1000)
        if words[0] == "break":
            raise ZeroDivisionError("a bug")
        if words[0] == "damaged":
            return VideoResult(printable(path), UNREADABLE, "damaged")
        if words[0] == "slow":
            time.sleep(float(words[1]))
        return VideoResult(printable(path), OK, "", score=float(words[-1]), verdict="real")


def build_obedient(setup: ScorerSetup) -> Any:
    return Obedient()


def build_failing(setup: ScorerSetup) -> Any:
    raise ValueError("the model is missing")


def build_dying(setup: ScorerSetup) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def build_ovals(setup: ScorerSetup) -> Any:
    """The real scorer with the drawn clips' detector."""
    from runtime.model.saved_model import load_model
    from runtime.scoring.scorer import Scorer
    from tests.helpers.drawn_videos import OvalDetector

    return Scorer(load_model(setup.model, setup.trust), setup.config, OvalDetector())


def score_contents(
    folder: Path,
    contents: list[str],
    build: Any = build_obedient,
    processes: int = 2,
    timeout_s: float = 60.0,
    save: Any = finish,
    ray_address: str = "",
) -> list[VideoResult]:
    """Results of files that hold `contents`, in that order, scored by processes or on Ray."""
    jobs = []
    for index, content in enumerate(contents):
        (folder / f"{index}.mp4").write_text(content)
        jobs.append(job_for(os.fsencode(folder / f"{index}.mp4"), "settings"))
    output = folder / "out"
    output.mkdir(exist_ok=True)
    done = functools.partial(save, str(output), False)
    setup = ScorerSetup("model", True, ScoreConfig(), threads=1, finish=done, build=build)
    found = dict(score_all(jobs, setup, processes, timeout_s, output / "errors.log", ray_address))
    return [found[job] for job in jobs]


def main(words: list[str]) -> int:
    """`python -m tests.helpers.quick_scorer score …`: the product's command line with `Obedient` for a scorer."""
    from runtime.__main__ import main as command
    from runtime.scoring import batch

    batch.build_scorer = build_obedient
    return command(words)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
