"""A folder of face crops or photographs with a list: which are fake, and of which original.

The list lies in the folder itself: a CSV with a column for the file (`FILE_COLUMNS`), one for the label (`label` or
`is_fake`) and `original`, or JSON in DFDC's form, `{file: {label, original}}`. `split`, `method`, `dataset` and
`identity` (or `person`) may stand in it too. Names are those of the pictures, at any depth, or of the videos that they
were cut out of: where there is no such video, the picture of the same name is meant. A list of pairs, `fake,original`,
is read as `pairs_csv` does.
"""

from __future__ import annotations

import os
from typing import Any, Optional

from mask_generation.datasets import dfdc, lists, pairs_csv
from mask_generation.datasets.base import (
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
    missing,
)
from mask_generation.datasets.names import AmbiguousName, Folder, fold, last

NAME = "pictures"
FILE_COLUMNS = ("file", "filename", "file_name", "name", "path", "image", "picture", "video", "videoname")
_EXPECTED = "file,label,original, or fake,original"
Rows = dict[str, dict[str, Any]]


def recognises(root: str) -> bool:
    """Whether a CSV in the folder has a file, a label and an original in each row, unless it is DFDC's own list."""
    return bool(_tables(root)) and not dfdc.recognises(root)


def _tables(root: str) -> list[str]:
    """CSV files of the folder with the columns of a list of pictures."""
    found = []
    for path in _files(root, ".csv"):
        try:
            (_, first), *_ = lists.read_table(path, ("original",), _EXPECTED) or [(0, {})]
        except DatasetError:
            continue
        if _file_column(first) and {"label", "is_fake"} & set(first):
            found.append(path)
    return found


def _files(root: str, suffix: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [os.path.join(root, name) for name in names if name.lower().endswith(suffix) and not name.startswith(".")]


def _file_column(row: dict[str, str]) -> Optional[str]:
    return next((name for name in FILE_COLUMNS if name in row), None)


def find(root: str, options: Options) -> Inventory:
    """
    Raises:
        DatasetError: there is no list or there are several, a label or split is not known, a name fits several files,
            or nothing that the list names is there.
    """
    tables = _tables(root) or [path for path in _files(root, ".csv") if _is_pairs(path)] or _files(root, ".json")
    if not tables:
        raise DatasetError(f"{root}: no list beside the pictures; expected a CSV with {_EXPECTED}")
    if len(tables) > 1:
        shown = ", ".join(os.path.basename(path) for path in tables)
        raise DatasetError(
            f"{root}: {shown} may all be the list; leave one there, or pass a list of pairs as --pairs_csv"
        )
    if not _tables(root) and _is_pairs(tables[0]):
        return pairs_csv.find(tables[0], options)
    found = Inventory(NAME)
    _find(tables[0], _rows(tables[0]), Folder(root), options, found)
    gone = [problem for problem in found.problems if problem.state == "missing"]
    if gone and not found.groups and len(gone) == len(found.problems):
        raise DatasetError(f"{tables[0]}: not one of the {len(gone)} files that it names is in its folder or below")
    return found


def _is_pairs(path: str) -> bool:
    try:
        return bool(lists.read_table(path, ("fake", "original"), _EXPECTED))
    except DatasetError:
        return False


def _rows(path: str) -> Rows:
    """{file: row}, with a known label each, as `is_fake`, and a known split."""
    rows: Rows = {}
    if path.lower().endswith(".json"):
        rows = lists.read_json(path, expected := '{"file.jpg": {"label": "FAKE", "original": "other.jpg"}, …}')
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise DatasetError(f"{path}: expected {expected}")
    else:
        for line, cells in lists.read_table(path, ("original",), _EXPECTED):
            name = cells[_file_column(cells) or ""]
            if rows.setdefault(name, cells) != cells:
                raise DatasetError(f"{path}, line {line}: {name} has another row before")
    labels = {name: lists.label_of(row) for name, row in rows.items()}
    splits = {name: lists.split_of(row.get("split")) for name, row in rows.items()}
    what = "a row needs a label of REAL or FAKE (or 0, 1), and these have none that is known"
    lists.refuse_rows(path, what, [name for name, label in labels.items() if label is None])
    odd = [f"{name} ({rows[name]['split']!r})" for name, split in splits.items() if split is None]
    lists.refuse_rows(path, "a split is train, val or test", odd)
    return {name: {**row, "is_fake": labels[name], "split": splits[name]} for name, row in rows.items()}


def _find(path: str, rows: Rows, folder: Folder, options: Options, found: Inventory) -> None:
    originals = _by_name([name for name, row in rows.items() if not row["is_fake"]])
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    for name, row in sorted(rows.items()):
        fake = bool(row["is_fake"])
        method = str(row.get("method") or "fake") if fake else "original"
        if fake and options.methods and method not in options.methods:
            continue
        dataset = str(row.get("dataset") or options.data_name or NAME)
        key = str(row.get("original") or "").strip() if fake else name
        key = originals.get(_bare(key)) or originals.get(last(key)) or key
        clip = f"{dataset}/{method}/native/{os.path.splitext(name)[0]}"
        place = _place(folder, name, path)
        if place is None:
            there = os.path.join(folder.root, name)
            found.problems.append(missing(clip, there, method, "native", int(fake), os.path.basename(path)))
        elif fake:
            fakes.append((key, FakeClip(clip, place, method, "native", _people(dataset, row, last(key or name)))))
        else:
            who = _people(dataset, row, last(name))
            groups[name] = ClipGroup(clip, dataset, method, "native", place, (), who, row["split"])
    group_fakes(groups, fakes, found, {key: os.path.join(folder.root, key) for key, _ in fakes})


def _people(dataset: str, row: dict[str, Any], otherwise: str) -> frozenset[str]:
    given = str(row.get("identity") or row.get("person") or "").split(";")
    return frozenset(f"{dataset}:{who.strip()}" for who in given if who.strip()) or frozenset(
        (f"{dataset}:{otherwise}",)
    )


def _bare(name: str) -> str:
    return os.path.splitext(fold(name))[0]


def _by_name(names: list[str]) -> dict[str, str]:
    """{name without suffix, and its last part where no other has the same: name}."""
    found = {_bare(name): name for name in names}
    ends: dict[str, list[str]] = {}
    for name in names:
        ends.setdefault(last(name), []).append(name)
    return {**{end: fit[0] for end, fit in ends.items() if len(fit) == 1}, **found}


def _place(folder: Folder, name: str, where: str) -> Optional[str]:
    path = folder.find(name)
    if path is not None:
        return path
    try:
        return folder.find_below(name)
    except AmbiguousName as error:
        raise DatasetError(f"{where}: {error}; write the path and the suffix") from error


LAYOUT = Layout(NAME, "pictures", f"a folder of pictures and a .csv in it with {_EXPECTED}", find, recognises)
