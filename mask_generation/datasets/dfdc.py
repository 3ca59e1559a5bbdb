"""DFDC (Dolhansky et al. 2020) and its preview.

DFDC: folders `dfdc_train_part_N`, which unpacking may have put into folders of their own, with `metadata.json`,
`{file: {label: REAL|FAKE, split, original: file}}`; its test set has `is_fake` there, or `labels.csv` with the columns
`filename,label`. People come back within a part, so where there are several parts the part is the identity. Preview:
`dataset.json`, `{path: {label, set, target_id, swapped_id}}` with folders `original_videos`, `method_A`, `method_B`.
"""

from __future__ import annotations

import os
import re
from typing import Any, Optional

from mask_generation.datasets import lists
from mask_generation.datasets.base import (
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
    missing,
    subfolders,
)
from mask_generation.datasets.names import Folder, fold, last
from mask_generation.datasets.names import find as find_file
from mask_generation.video.writer import VIDEO_SUFFIXES

METADATA, LABELS, PREVIEW = "metadata.json", "labels.csv", "dataset.json"
_COLUMNS = ("filename", "label")
_NUMBERED = re.compile(r"(?:.*[\W_])?part_?0*(\d+)", re.IGNORECASE)
_SUFFIX = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
_LIST_BEGINS = re.compile(rf'\s*\{{\s*"[^"]+(?:{_SUFFIX})"\s*:\s*\{{', re.IGNORECASE)

_DEEPEST = 3  # folders below the root

Rows = dict[str, dict[str, Any]]


def recognises(root: str) -> bool:
    return bool(_parts(root)) or find_file(root, PREVIEW) is not None


def _parts(root: str) -> list[str]:
    """Folders with a list of DFDC's, as paths from the root; "" stands for the root.

    A part's archive that holds a folder puts it one deeper than its neighbours, and an archive of
    all one deeper again. A `metadata.json` there is known by how it begins.
    """
    found, level = [], [""]
    for depth in range(_DEEPEST + 1):
        if depth:
            level = [os.path.join(name, inner) for name in level for inner in subfolders(os.path.join(root, name))]
        for name in level:
            folder = Folder(os.path.join(root, name))
            metadata = folder.find(METADATA)
            if (metadata is not None and (depth < 2 or _begins_as_list(metadata))) or _labels_csv(folder) is not None:
                found.append(name)
    return sorted(found)


def _begins_as_list(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return _LIST_BEGINS.match(stream.read(4096).decode("utf-8-sig", "replace")) is not None
    except OSError:
        return False


def _labels_csv(folder: Folder) -> Optional[str]:
    """The folder's `labels.csv`, if its columns are those of DFDC's test set."""
    path = folder.find(LABELS)
    if path is None:
        return None
    try:
        lists.read_table(path, _COLUMNS, "filename,label")
    except DatasetError:
        return None
    return path


def _read(path: str) -> Rows:
    """The rows of a JSON list, with a known label each, as `is_fake`.

    Raises:
        DatasetError: it is another kind of file, or the label of a row is not known; the message names the rows.
    """
    expected = '{"file.mp4": {"label": "FAKE", "original": "other.mp4"}, …}'
    rows = lists.read_json(path, expected)
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise DatasetError(f"{path}: expected {expected}")
    return _labelled(path, rows)


def _labelled(path: str, rows: Rows) -> Rows:
    labels = {file: lists.label_of(row) for file, row in rows.items()}
    what = "a row needs a label of REAL or FAKE (or 0, 1), or is_fake of 0 or 1, and these have none that is known"
    lists.refuse_rows(path, what, [f"{file} {_shown(rows[file])}" for file, label in labels.items() if label is None])
    return {file: {**row, "is_fake": labels[file]} for file, row in rows.items()}


def _shown(row: dict[str, Any]) -> str:
    text = ", ".join(f"{key}: {value!r}" for key, value in row.items())
    return f"({text[:80]})"


def _rows_of(folder: Folder) -> tuple[str, Rows]:
    """(path of the list, its rows) of a part; where it has both lists, of both.

    Raises:
        DatasetError: as `_read`, or the two give a clip different labels.
    """
    listed, table = folder.find(METADATA), _labels_csv(folder)
    rows = _read(listed) if listed is not None else {}
    if table is None:
        assert listed is not None
        return listed, rows
    cells: Rows = {}
    for line, row in lists.read_table(table, _COLUMNS, "filename,label"):
        if cells.setdefault(row["filename"], row)["label"] != row["label"]:
            raise DatasetError(f"{table}, line {line}: {row['filename']} has another label before")
    more = _labelled(table, cells)
    differ = [file for file, row in more.items() if file in rows and rows[file]["is_fake"] != row["is_fake"]]
    lists.refuse_rows(table, f"gives other labels than {METADATA} beside it", differ)
    return listed or table, {**more, **rows}


def find(root: str, options: Options) -> Inventory:
    """All parts; clips that a list names and that are not on disk are reported.

    Raises:
        DatasetError: a list cannot be read, has a label that is not known, or nothing that the lists name is there.
    """
    found = Inventory("dfdc")
    if find_file(root, PREVIEW) is not None:
        _find_preview(root, options, found)
    parts = {part: _rows_of(Folder(os.path.join(root, part))) for part in _parts(root)}
    parts = _without_copies(parts, found)
    if len(parts) == 1:
        found.notes.append(
            "a single part: people may come back in several originals, and nothing in it says who is who"
        )
    # The 50 parts all say "train", which is no split; a list that names several is.
    told = {lists.split_of(row.get("split")) for _, rows in parts.values() for row in rows.values()} - {""}
    for part, (path, rows) in parts.items():
        _find_part(root, part, path, rows, len(parts) > 1, len(told) > 1, found)
    _refuse_all_missing(found)
    return found


def _refuse_all_missing(found: Inventory) -> None:
    gone = [problem for problem in found.problems if problem.state == "missing"]
    if gone and not found.groups and len(gone) == len(found.problems):
        raise DatasetError(
            f"not one of the {len(gone)} files that the list names is there; the first should be {gone[0].path}: "
            "the list goes beside its videos"
        )


def _without_copies(parts: dict[str, tuple[str, Rows]], found: Inventory) -> dict[str, tuple[str, Rows]]:
    """A part that lies there twice, unpacked in two ways, is used once."""
    kept: dict[str, tuple[str, Rows]] = {}
    seen: dict[tuple[str, frozenset[str]], str] = {}
    for part, (path, rows) in parts.items():
        key = (_part_name(part), frozenset(rows))
        if key in seen and rows:
            found.notes.append(f"{path}: left out, lists the same clips as {seen[key]}")
        else:
            seen[key] = path
            kept[part] = (path, rows)
    return kept


def _part_name(part: str) -> str:
    """What people of a part share: its number, wherever the part lies; else its place."""
    match = _NUMBERED.fullmatch(os.path.basename(part))
    return f"dfdc_train_part_{match[1]}" if match else (part.replace(os.sep, "/") or "dfdc")


def _find_part(
    root: str, part: str, list_path: str, rows: Rows, by_part: bool, by_list: bool, found: Inventory
) -> None:
    folder, label = Folder(os.path.join(root, part)), part.replace(os.sep, "/") or "dfdc"
    person = _part_name(part)

    def who(original: str) -> frozenset[str]:
        return frozenset((f"dfdc:{person if by_part else original}",))

    real_of = {last(file): file for file, row in rows.items() if row["is_fake"] == lists.REAL}
    named = {*rows, *(str(row.get("original") or "").strip() for row in rows.values())}
    outside = sorted(repr(name) for name in named if not _stays_inside(root, part, name))
    lists.refuse_rows(list_path, "a name must lead to a file inside the data set", outside)
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    expected: dict[str, str] = {}
    set_of: dict[str, str] = {}
    splits = {file: lists.split_of(row.get("split")) if by_list else "" for file, row in rows.items()}
    odd = [f"{file} ({rows[file]['split']!r})" for file, split in splits.items() if split is None]
    lists.refuse_rows(list_path, "a split is train, val or test", odd)
    for file, row in sorted(rows.items()):
        path = folder.find(file)
        stem = f"{label}/{os.path.splitext(file)[0]}"
        fake = row["is_fake"] == lists.FAKE
        method = "dfdc" if fake else "real"
        name = f"dfdc/{method}/native/{stem}"
        if path is None:
            by = os.path.basename(list_path)
            found.problems.append(missing(name, os.path.join(folder.root, file), method, "native", int(fake), by))
        elif fake:
            original = str(row.get("original") or "").strip()
            key = real_of.get(last(original), original)
            expected[key] = folder.path(original) if original else ""
            fakes.append((key, FakeClip(name, path, "dfdc", "native", who(key or file))))
            set_of[name] = splits[file] or ""
        else:
            groups[file] = ClipGroup(name, "dfdc", "real", "native", path, (), who(file), splits[file] or "")
    _note_moved(fakes, groups, set_of, found)
    group_fakes(groups, fakes, found, expected)


def _stays_inside(root: str, part: str, name: str) -> bool:
    """Whether a name in a part's list cannot lead out of the data set: lists come from strangers."""
    path = name.strip().replace("\\", "/")
    inner = os.path.normpath(os.path.join(part or ".", path))
    return not os.path.isabs(path) and not re.match("[A-Za-z]:", path) and inner.split(os.sep)[0] != ".."


def _note_moved(
    fakes: list[tuple[str, FakeClip]], groups: dict[str, ClipGroup], split_of: dict[str, str], found: Inventory
) -> None:
    """Say which fakes the list has in another split than their original, with whom they go."""
    moved = [fake.name for key, fake in fakes if key in groups and split_of[fake.name] not in ("", groups[key].split)]
    if moved:
        found.notes.append(
            f"{len(moved)} fakes are listed in another split than their original, and go with it: {moved[0]} …"
        )


def _find_preview(root: str, options: Options, found: Inventory) -> None:
    list_path = find_file(root, PREVIEW)
    assert list_path is not None
    rows, folder = _read(list_path), Folder(root)
    reals = {fold(file): file for file, row in rows.items() if row["is_fake"] == lists.REAL}
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    set_of: dict[str, str] = {}
    odd_sets = []
    for file, row in sorted(rows.items()):
        path, stem = folder.find(file), os.path.splitext(file)[0]
        fake = row["is_fake"] == lists.FAKE
        method = file.replace("\\", "/").split("/")[0] if fake else "original_videos"
        name = f"dfdcp/{method}/native/{stem}"
        if path is None:
            found.problems.append(missing(name, os.path.join(root, file), method, "native", int(fake), PREVIEW))
            continue
        people = frozenset(f"dfdcp:{row[key]}" for key in ("target_id", "swapped_id") if row.get(key) is not None)
        people = people or frozenset((f"dfdcp:{file}",))
        split = lists.split_of(row.get("set"))
        if split is None:
            odd_sets.append(f"{file} (set: {row['set']!r})")
            continue
        if fake:
            if not options.methods or method in options.methods:
                set_of[name] = split
                key = _preview_original(stem, row, reals) or f"the original of {file}"
                fakes.append((key, FakeClip(name, path, method, "native", people)))
        else:
            groups[file] = ClipGroup(name, "dfdcp", method, "native", path, (), people, split)
    lists.refuse_rows(list_path, "a set is train, val or test", odd_sets)
    _note_moved(fakes, groups, set_of, found)
    group_fakes(groups, fakes, found, {})


def _preview_original(stem: str, row: dict[str, Any], reals: dict[str, str]) -> Optional[str]:
    """The original a fake names, or the one whose name its own begins with (`<target>_<scene>…`)."""
    if row.get("original"):
        return reals.get(fold(str(row["original"])), str(row["original"]))
    name = last(stem + ".")
    fits = [file for file in reals.values() if name.startswith(last(file) + "_")]
    return max(fits, key=len) if fits else None


LAYOUT = Layout("dfdc", "DFDC", "metadata.json, labels.csv or dataset.json", find, recognises)
