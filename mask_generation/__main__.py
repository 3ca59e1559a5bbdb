"""`deepfake-unet mask`, or `python -m mask_generation`: from videos on disk to the records that training reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

from mask_generation.cli import Subcommand, run

SUMMARY = "From videos to training records."
SUBCOMMANDS = (
    Subcommand("generate", "Pairs of videos → face crops and masks as TFRecords.", "mask_generation.commands.generate"),
    Subcommand(
        "audit", "What a data set holds, what is broken, who is in two splits.", "mask_generation.commands.audit"
    ),
    Subcommand("preview", "A picture of originals, fakes and masks.", "mask_generation.commands.preview"),
    Subcommand("manifest", "Make the tables beside records again.", "mask_generation.commands.manifest"),
    Subcommand(
        "face_bank",
        "Real photographs and videos → face crops to make fakes of.",
        "mask_generation.commands.face_bank",
        earlier_name="pool",
    ),
    Subcommand("synthesize", "A face bank → records of fakes with exact masks.", "mask_generation.commands.synthesize"),
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return run("python -m mask_generation", SUMMARY, SUBCOMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
