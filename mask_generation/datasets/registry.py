"""Layouts by name. A new layout is a module of this folder with one `Layout` in it, and one entry here."""

from __future__ import annotations

import os

from mask_generation.datasets import celebdf, dagm, dfdc, faceforensics, pairs_csv, pictures, real_folder
from mask_generation.datasets.base import DatasetError, Inventory, Layout, Options, subfolders
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
        pictures.LAYOUT,
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
    root, names = _look_deeper(root) if dataset == "auto" else (root, [dataset])
    found = Inventory(dataset="+".join(names))
    for name in names:
        part = LAYOUTS[name].find(root, options)
        found.groups.extend(part.groups)
        found.problems.extend(part.problems)
        found.notes.extend(part.notes)
    return assign_splits(found, options)


def _look_deeper(root: str) -> tuple[str, list[str]]:
    """(folder, names of its layouts): the root's, or of the one folder in it that has a layout, as unpacking an archive
    leaves it.

    Raises:
        DatasetError: there is no layout, or there are several such folders.
    """
    names = detect(root)
    if names:
        return root, names
    inside = {os.path.join(root, name): detect(os.path.join(root, name)) for name in subfolders(root)}
    inside = {folder: names for folder, names in inside.items() if names}
    if len(inside) == 1:
        return next(iter(inside.items()))
    if inside:
        listed = ", ".join(f"{folder} ({LAYOUTS[names[0]].title})" for folder, names in inside.items())
        raise DatasetError(f"{root}: no data set itself, but several folders in it are; pass one of them: {listed}")
    known = "; ".join(f"{layout.title} ({layout.expects})" for layout in LAYOUTS.values())
    raise DatasetError(f"{root}: no known layout. Expected one of: {known}")
