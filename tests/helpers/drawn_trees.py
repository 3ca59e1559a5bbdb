"""Data sets' folders without videos in them: files of a few bytes with the right names, for adapters and audits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def faceforensics(
    root: Path, pairs: Iterable[tuple[str, str]], methods: Iterable[str] = ("Deepfakes",), compression: str = "c23"
) -> Path:
    """Originals of all ids and, for each method, the fakes of both directions of each pair."""
    for a, b in pairs:
        for target, source in ((a, b), (b, a)):
            touch(root, f"original_sequences/youtube/{compression}/videos/{target}.mp4")
            for method in methods:
                touch(root, f"manipulated_sequences/{method}/{compression}/videos/{target}_{source}.mp4")
    return root


def split_files(folder: Path, **pairs: list[tuple[str, str]]) -> Path:
    """`train.json`, `val.json`, `test.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        (folder / f"{split}.json").write_text(json.dumps([list(pair) for pair in pairs.get(split, [])]))
    return folder


def dfd(root: Path, fakes: Iterable[str], compression: str = "c23") -> Path:
    """Fakes by name (`01_02__scene__ABCDEFGH`), with the original of each."""
    for name in fakes:
        target, scene = name.split("_")[0], name.split("__")[1]
        touch(
            root,
            f"original_sequences/actors/{compression}/videos/{target}__{scene}.mp4",
            f"manipulated_sequences/DeepFakeDetection/{compression}/videos/{name}.mp4",
        )
    return root


def dfdc(root: Path, parts: dict[str, dict[str, str | None]]) -> Path:
    """{part: {file: its original, or None for an original}}; names that begin with `gone` are listed only."""
    for part, rows in parts.items():
        (root / part).mkdir(parents=True, exist_ok=True)
        listed = {}
        for file, original in rows.items():
            listed[file] = (
                {"label": "REAL", "split": "train"}
                if original is None
                else {
                    "label": "FAKE",
                    "split": "train",
                    "original": original,
                }
            )
            if not file.startswith("gone"):
                touch(root / part, file)
        (root / part / "metadata.json").write_text(json.dumps(listed))
    return root
