"""`python -m runtime COMMAND`: everything that trains, measures, exports or uses a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mask_generation import cli

VERBS = (
    cli.Verb("demo", "The whole road on drawn clips, in some minutes on a CPU.", "runtime.commands.demo"),
    cli.Verb("train", "Train on TFRecords, alone or as one of Horovod's workers.", "runtime.commands.train"),
    cli.Verb("evaluate", "Measure a model on TFRecords.", "runtime.commands.evaluate"),
    cli.Verb("compare", "Compare detectors' scores on the same videos.", "runtime.commands.compare"),
    cli.Verb("classifier", "Train MesoNet or a plain network to compare with.", "runtime.commands.classifier"),
    cli.Verb(
        "robustness",
        "How a model's answer holds under compression, scaling, blur, noise, re-sharing.",
        "runtime.commands.robustness",
        "[VIDEO]",
    ),
    cli.Verb("export", "Turn a checkpoint into a SavedModel.", "runtime.commands.export"),
    cli.Verb("calibrate", "Fit probabilities on labelled scores, into the model.", "runtime.commands.calibrate"),
    cli.Verb("score", "Score videos: is it fake, where, when, who.", "runtime.commands.score"),
)


def main(argv: Sequence[str]) -> int:
    words = list(argv)
    if any(word.startswith("--exec_mode") for word in words[:1]):
        words.insert(0, "train")  # the reference's command line has no commands, only modes
    return cli.run("python -m runtime", "Train, evaluate, export and use the deepfake segmenter.", VERBS, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
