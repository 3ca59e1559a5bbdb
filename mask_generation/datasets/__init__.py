"""Data sets on disk → clip groups: an original, its manipulated copies, whose faces they show, and the split.

One adapter a layout, each a function `find(root, options) -> Inventory`. `ADAPTERS` names them; `detect` tells the
layout of a folder.
"""

from __future__ import annotations

import os
from typing import Callable

from mask_generation.datasets import celebdf, dagm, dfd, dfdc, faceforensics, pairs_csv, real_folder
from mask_generation.datasets.base import SPLITS, ClipGroup, DatasetError, FakeClip, Inventory, Options, Problem
from mask_generation.datasets.splits import assign_splits, components, leaks

__all__ = [
    "ADAPTERS",
    "SPLITS",
    "ClipGroup",
    "DatasetError",
    "FakeClip",
    "Inventory",
    "Options",
    "Problem",
    "assign_splits",
    "components",
    "detect",
    "find",
    "leaks",
]

ADAPTERS: dict[str, Callable[[str, Options], Inventory]] = {
    "faceforensics": faceforensics.find,
    "dfd": dfd.find,
    "dfdc": dfdc.find,
    "celebdf": celebdf.find,
    "dagm": dagm.find,
    "pairs_csv": pairs_csv.find,
    "real_folder": real_folder.find,
}


def detect(root: str) -> list[str]:
    """Names of the adapters whose layout the path has, most specific first; `real_folder` is never guessed."""
    if os.path.isfile(root):
        return ["pairs_csv"] if root.lower().endswith(".csv") else []
    checks = {
        "faceforensics": faceforensics.recognises,
        "dfd": dfd.recognises,
        "celebdf": celebdf.recognises,
        "dfdc": dfdc.recognises,
        "dagm": dagm.recognises,
    }
    return [name for name, recognises in checks.items() if recognises(root)]


def find(root: str, dataset: str, options: Options) -> Inventory:
    """Every clip of a data set, with splits assigned.

    Args:
        dataset: a name of `ADAPTERS`, or "auto".
    Raises:
        DatasetError: the folder is missing or has another layout; the message says which files were expected.
    """
    if not os.path.exists(root):
        raise DatasetError(f"{root}: no such file or folder")
    names = detect(root) if dataset == "auto" else [dataset]
    if not names:
        raise DatasetError(
            f"{root}: no known layout. Expected one of: FaceForensics++ (original_sequences/, manipulated_sequences/), "
            "DFDC (metadata.json or dataset.json), Celeb-DF (Celeb-real/, Celeb-synthesis/), DAGM2007 (Class1/Train/), "
            "or a CSV file with columns fake,original,method,split. For a folder of untouched videos pass "
            "--dataset=real_folder."
        )
    found = Inventory(dataset="+".join(names))
    for name in names:
        part = ADAPTERS[name](root, options)
        found.groups.extend(part.groups)
        found.problems.extend(part.problems)
        found.notes.extend(part.notes)
    return assign_splits(found, options)
