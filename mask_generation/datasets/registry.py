"""Layouts by name. A new layout is a module of this folder with one `Layout` in it, and one entry here."""

from __future__ import annotations

import os

from mask_generation.datasets import celebdf, dagm, dfdc, faceforensics, pairs_csv, real_folder
from mask_generation.datasets.base import DatasetError, Inventory, Layout, Options
from mask_generation.datasets.splits import assign_splits

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        faceforensics.LAYOUT,
        faceforensics.DFD,
        celebdf.LAYOUT,
        dfdc.LAYOUT,
        dagm.LAYOUT,
        pairs_csv.LAYOUT,
        real_folder.LAYOUT,
    )
}


def detect(root: str) -> list[str]:
    """Names of the layouts that a path has; several data sets may share a folder."""
    return [layout.name for layout in LAYOUTS.values() if layout.recognises is not None and layout.recognises(root)]


def find(root: str, dataset: str, options: Options) -> Inventory:
    """Every clip of a data set, with splits assigned.

    Args:
        dataset: a name of `LAYOUTS`, or "auto".
    Raises:
        DatasetError: the folder is missing or has another layout; the message says which files were expected.
    """
    if not os.path.exists(root):
        raise DatasetError(f"{root}: no such file or folder")
    names = detect(root) if dataset == "auto" else [dataset]
    if not names:
        known = "; ".join(f"{layout.title} ({layout.expects})" for layout in LAYOUTS.values())
        raise DatasetError(f"{root}: no known layout. Expected one of: {known}")
    found = Inventory(dataset="+".join(names))
    for name in names:
        part = LAYOUTS[name].find(root, options)
        found.groups.extend(part.groups)
        found.problems.extend(part.problems)
        found.notes.extend(part.notes)
    return assign_splits(found, options)
