"""The table of all subcommands: `deepfake-unet SUBCOMMAND`, or `python -m runtime SUBCOMMAND` without installing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

from mask_generation import __main__ as mask
from mask_generation.cli import Subcommand, run

PROGRAM = "deepfake-unet"  # the console script of setup.py
SUBCOMMANDS = (
    Subcommand("demo", "The whole pipeline on drawn clips, in some minutes on a CPU.", "runtime.commands.demo"),
    Subcommand("mask", mask.SUMMARY, subcommands=mask.SUBCOMMANDS, default="generate"),
    Subcommand("train", "Train on TFRecords, alone or as one of Horovod's workers.", "runtime.commands.train"),
    Subcommand("evaluate", "Measure a model on TFRecords.", "runtime.commands.evaluate"),
    Subcommand("compare", "Compare detectors' scores on the same videos.", "runtime.commands.compare"),
    Subcommand("classifier", "Train MesoNet or a plain network to compare with.", "runtime.commands.classifier"),
    Subcommand(
        "robustness",
        "How a model's answer holds under compression, scaling, blur, noise, re-sharing.",
        "runtime.commands.robustness",
        "[VIDEO]",
    ),
    Subcommand("export", "Turn a checkpoint into a SavedModel.", "runtime.commands.export"),
    Subcommand("calibrate", "Fit probabilities on labelled scores, into the model.", "runtime.commands.calibrate"),
    Subcommand("score", "Score videos: is it fake, where, when, who.", "runtime.commands.score"),
)


def main(argv: Optional[Sequence[str]] = None, program: str = PROGRAM) -> int:
    """Run one subcommand; returns the exit code, with which the console script ends.

    Args:
        argv: the command line without the program's name; None: that of this process.
        program: how the user started it, for usage lines.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0].startswith("--exec_mode"):
        words.insert(0, "train")  # the reference's command line has no subcommands, only modes
    return run(program, "Train, evaluate, export and use the deepfake segmenter.", SUBCOMMANDS, words)


if __name__ == "__main__":
    sys.exit(main(program="python -m runtime"))
