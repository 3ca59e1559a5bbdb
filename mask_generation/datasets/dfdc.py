"""DFDC (Dolhansky et al. 2020) and its preview.

DFDC: folders `dfdc_train_part_N` with `metadata.json`, `{file: {label: REAL|FAKE, split, original: file}}`. People come
back within a part, so where there are several parts the part is the identity. Preview: `dataset.json`,
`{path: {label, set, target_id, swapped_id}}` with folders `original_videos`, `method_A`, `method_B`.
"""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from mask_generation.datasets.base import (
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    Problem,
    group_fakes,
    subfolders,
)


def recognises(root: str) -> bool:
    return bool(_parts(root)) or os.path.isfile(os.path.join(root, "dataset.json"))


def _parts(root: str) -> list[str]:
    """Folders with a `metadata.json`: the root itself or those in it; "" stands for the root."""
    return [name for name in ("", *subfolders(root)) if os.path.isfile(os.path.join(root, name, "metadata.json"))]


def _read(path: str) -> dict[str, dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as stream:
            rows = json.load(stream)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise DatasetError(f'{path}: expected {{"file.mp4": {{"label": "FAKE", "original": "other.mp4"}}, …}}')
    return rows


def find(root: str, options: Options) -> Inventory:
    """All parts; clips that a list names and that are not on disk are reported."""
    found = Inventory("dfdc")
    if os.path.isfile(os.path.join(root, "dataset.json")):
        _find_preview(root, options, found)
    parts = _parts(root)
    if len(parts) == 1:
        found.notes.append(
            "a single part: people may come back in several originals, and nothing in it says who is who"
        )
    for part in parts:
        _find_part(root, part, len(parts) > 1, found)
    return found


def _find_part(root: str, part: str, by_part: bool, found: Inventory) -> None:
    rows = _read(os.path.join(root, part, "metadata.json"))
    label = part or "dfdc"

    def who(original: str) -> frozenset[str]:
        return frozenset((f"dfdc:{label}" if by_part else f"dfdc:{original}",))

    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    for file, row in sorted(rows.items()):
        path = os.path.join(root, part, file)
        stem = f"{label}/{os.path.splitext(file)[0]}"
        fake = str(row.get("label", "")).upper() == "FAKE"
        if not os.path.lexists(path):
            _missing(found, f"dfdc/{'dfdc' if fake else 'real'}/native/{stem}", path, fake)
        elif fake:
            original = str(row.get("original") or "")
            clip = FakeClip(f"dfdc/dfdc/native/{stem}", path, "dfdc", "native", who(original))
            fakes.append((original, clip))
        else:
            groups[file] = ClipGroup(f"dfdc/real/native/{stem}", "dfdc", "real", "native", path, (), who(file))
    group_fakes(groups, fakes, found, {key: os.path.join(root, part, key) for key, _ in fakes})


def _missing(found: Inventory, name: str, path: str, fake: bool) -> None:
    method = "dfdc" if fake else "real"
    reason = "the list names it, but it is not there"
    found.problems.append(Problem(name, path, method, "native", "missing", reason, label=int(fake)))


def _find_preview(root: str, options: Options, found: Inventory) -> None:
    rows = _read(os.path.join(root, "dataset.json"))
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    for file, row in sorted(rows.items()):
        path, stem = os.path.join(root, file), os.path.splitext(file)[0]
        fake = str(row.get("label", "")).lower() == "fake"
        method = file.split("/")[0] if fake else "original_videos"
        if not os.path.lexists(path):
            _missing(found, f"dfdcp/{method}/native/{stem}", path, fake)
            continue
        people = frozenset(f"dfdcp:{row[key]}" for key in ("target_id", "swapped_id") if row.get(key) is not None)
        people = people or frozenset((f"dfdcp:{file}",))
        split = {"train": "train", "test": "test"}.get(str(row.get("set", "")), "")
        if fake:
            if not options.methods or method in options.methods:
                clip = FakeClip(f"dfdcp/{method}/native/{stem}", path, method, "native", people)
                fakes.append((_preview_original(stem, row, rows) or f"the original of {file}", clip))
        else:
            groups[file] = ClipGroup(
                f"dfdcp/{method}/native/{stem}", "dfdcp", method, "native", path, (), people, split
            )
    group_fakes(groups, fakes, found, {})


def _preview_original(stem: str, row: dict[str, Any], rows: dict[str, dict[str, Any]]) -> Optional[str]:
    """The original a fake names, or the one whose name its own begins with (`<target>_<scene>…`)."""
    if row.get("original"):
        return str(row["original"])
    name = stem.rsplit("/", 1)[-1]
    reals = [file for file, other in rows.items() if str(other.get("label", "")).lower() == "real"]
    fits = [file for file in reals if name.startswith(os.path.splitext(file)[0].rsplit("/", 1)[-1] + "_")]
    return max(fits, key=len) if fits else None


LAYOUT = Layout("dfdc", "DFDC", "metadata.json or dataset.json", find, recognises)
