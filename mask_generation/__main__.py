"""`python -m mask_generation COMMAND`: everything between videos on disk and the records that training reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mask_generation import cli

VERBS = (
    cli.Verb("generate", "Pairs of videos → face crops and masks as TFRecords.", "mask_generation.commands.generate"),
    cli.Verb("audit", "What a data set holds, what is broken, who is in two splits.", "mask_generation.commands.audit"),
    cli.Verb("preview", "A picture of originals, fakes and masks.", "mask_generation.commands.preview"),
    cli.Verb("manifest", "Make the tables beside records again.", "mask_generation.commands.manifest"),
    cli.Verb("pool", "Real photographs and videos → face crops for --recipe=sbi.", "mask_generation.commands.pool"),
    cli.Verb("synthesize", "A pool → records with exact masks.", "mask_generation.commands.synthesize"),
)


def main(argv: Sequence[str]) -> int:
    return cli.run("python -m mask_generation", "From videos to training records.", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
