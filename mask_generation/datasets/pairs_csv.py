"""A CSV file that lists what belongs together: `fake,original,method,split`, paths relative to the file.

`fake` may be empty (an original to be used as it is); `method`, `split`, `compression`, `dataset` and `identity` may
be missing. `identity` names people or sources, several separated by `;`. Without it the file names stand for them: an
original for itself, a fake `A_B` for originals `A` and `B`, as in FaceForensics++.
"""

from __future__ import annotations

import csv
import os

from mask_generation.datasets.base import (
    SPLITS,
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
)

_NEEDED, _COLUMNS = ("fake", "original"), "fake,original,method,split"


def recognises(root: str) -> bool:
    return os.path.isfile(root) and root.lower().endswith(".csv")


def find(root: str, options: Options) -> Inventory:
    """
    Raises:
        DatasetError: columns are missing, a split has another name than train, val or test, or one original is put into
            two splits.
    """
    found = Inventory("pairs_csv")
    base = os.path.dirname(os.path.abspath(root))
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    used: set[str] = set()
    rows = _rows(root)
    stems = {_last(row["original"]) for _, row in rows}
    for number, row in rows:
        compression, method = row.get("compression") or "native", row.get("method") or "fake"
        dataset = row.get("dataset") or "pairs"
        if options.compressions and compression not in options.compressions:
            continue
        original, split = row["original"], row.get("split") or ""
        if split and split not in SPLITS:
            raise DatasetError(f"{root}, line {number}: split {split!r}; allowed are {', '.join(SPLITS)}")
        given = [who.strip() for who in (row.get("identity") or "").split(";") if who.strip()]
        people = frozenset(f"{dataset}:{who}" for who in given or [_last(original)])
        path = os.path.join(base, original)
        if original and os.path.lexists(path):
            own = f"{dataset}/original/{compression}/{_stem(original)}"
            group = ClipGroup(own, dataset, "original", compression, path, (), people, split)
            before = groups.setdefault(original, group)
            if before.split != split:
                raise DatasetError(f"{root}, line {number}: {original} is in {before.split or 'no split'!r} before")
        if not row["fake"] or (options.methods and method not in options.methods):
            continue
        name = f"{dataset}/{method}/{compression}/{_stem(row['fake'])}"
        if name in used:
            raise DatasetError(f"{root}, line {number}: a second clip of the name {name}")
        used.add(name)
        if not given:
            people |= {f"{dataset}:{part}" for part in _last(row["fake"]).split("_") if part in stems}
        mask = os.path.join(base, row["mask"]) if row.get("mask") else None
        fakes.append((original, FakeClip(name, os.path.join(base, row["fake"]), method, compression, people, mask)))
    group_fakes(groups, fakes, found, {key: os.path.join(base, key) for key, _ in fakes})
    return found


def _stem(path: str) -> str:
    return os.path.splitext(path.replace(os.sep, "/"))[0]


def _last(path: str) -> str:
    return _stem(path).rsplit("/", 1)[-1]


def _rows(path: str) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path}: no column {', '.join(missing)}; expected {_COLUMNS}")
            return [(reader.line_num, {k: (v or "").strip() for k, v in row.items() if k}) for row in reader]
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as CSV ({error})") from error


LAYOUT = Layout("pairs_csv", "pairs", f"a .csv file with columns {_COLUMNS}", find, recognises, is_file=True)
