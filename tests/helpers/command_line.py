"""The product's subcommands, run inside the test's own process."""

from __future__ import annotations

from runtime.__main__ import main


def run(*words: object) -> int:
    """The exit code of `deepfake-unet` with these words; whatever they are (paths, numbers), they become text."""
    return main([str(word) for word in words])
