"""A CSV file that lists what belongs together: `fake,original,method,split`, paths relative to the file.

`fake` may be empty (an original to be used as it is); `method`, `split`, `compression`, `dataset` and `identity` may
be missing. `identity` (or `person`) names people or sources, several separated by `;`. Without it the file names stand
for them: an original for itself, a fake `A_B` for originals `A` and `B`, as in FaceForensics++. A pair is two videos or
two pictures. A name without a suffix, as lists of crops have them, is looked for in the folders below the file. Any
dialect of CSV is read (`lists`), and names as written on another system (`names`); what is not there is `missing`.
"""

from __future__ import annotations

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
    missing,
)
from mask_generation.datasets.lists import read_table, split_of
from mask_generation.datasets.names import AmbiguousName, Folder
from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_NEEDED, _COLUMNS = ("fake", "original"), "fake,original,method,split"


def recognises(root: str) -> bool:
    return os.path.isfile(root) and root.lower().endswith(".csv")


def find(root: str, options: Options) -> Inventory:
    """
    Raises:
        DatasetError: columns are missing, a split has another name than train, val or test, or one original is put into
            two splits, or not one file is there.
    """
    found = Inventory("pairs_csv")
    base = os.path.dirname(os.path.abspath(root))
    groups: dict[str, ClipGroup] = {}
    fakes: list[tuple[str, FakeClip]] = []
    used: set[str] = set()
    folder = Folder(base)
    rows = read_table(root, _NEEDED, _COLUMNS)
    listed = os.path.basename(root)
    gone: set[str] = set()
    stems = {_last(row["original"]) for _, row in rows}
    for number, row in rows:
        compression, method = row.get("compression") or "native", row.get("method") or "fake"
        dataset = row.get("dataset") or options.data_name or "pairs"
        if options.compressions and compression not in options.compressions:
            continue
        original, split = row["original"], split_of(row.get("split"))
        where = f"{root}, line {number}"
        if split is None:
            raise DatasetError(f"{where}: split {row['split']!r}; allowed are {', '.join(SPLITS)}")
        given = [who.strip() for who in (row.get("identity") or row.get("person") or "").split(";") if who.strip()]
        people = frozenset(f"{dataset}:{who}" for who in given or [_last(original)])
        real = _path(folder, original, where) if original else ""
        own = f"{dataset}/original/{compression}/{_stem(original)}"
        if original and not os.path.lexists(real):
            if real not in gone:
                found.problems.append(missing(own, real, "original", compression, 0, listed))
            gone.add(real)
        elif original:
            group = ClipGroup(own, dataset, "original", compression, real, (), people, split)
            before = groups.setdefault(real, group)
            if before.split != split:
                raise DatasetError(f"{where}: {original} is in {before.split or 'no split'!r} before")
        if not row["fake"] or (options.methods and method not in options.methods):
            continue
        name = f"{dataset}/{method}/{compression}/{_stem(row['fake'])}"
        if name in used:
            raise DatasetError(f"{where}: a second clip of the name {name}")
        used.add(name)
        if not given:
            people |= {f"{dataset}:{part}" for part in _last(row["fake"]).split("_") if part in stems}
        mask = _path(folder, row["mask"], where) if row.get("mask") else None
        path = _path(folder, row["fake"], where)
        if os.path.lexists(path):
            fakes.append((real, FakeClip(name, path, method, compression, people, mask)))
        else:
            found.problems.append(missing(name, path, method, compression, 1, listed))
    if found.problems and not groups and not fakes:
        raise DatasetError(
            f"{root}: not one of the {len(found.problems)} files that it names is there; the first should be "
            f"{found.problems[0].path}: paths are relative to the file"
        )
    group_fakes(groups, fakes, found, {})
    return found


def _path(folder: Folder, name: str, where: str) -> str:
    """The file of a name, or where it should be; a name without a suffix may mean a file anywhere below the folder.

    Raises:
        DatasetError: it fits several files.
    """
    path = folder.find(name)
    if path is None and not name.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)):
        try:
            path = folder.find_below(name)
        except AmbiguousName as error:
            raise DatasetError(f"{where}: {error}; write the path and the suffix") from error
    return path or folder.path(name)


def _stem(path: str) -> str:
    return os.path.splitext(path.replace("\\", "/"))[0]


def _last(path: str) -> str:
    return _stem(path).rsplit("/", 1)[-1]


LAYOUT = Layout("pairs_csv", "pairs", f"a .csv file with columns {_COLUMNS}", find, recognises, is_file=True)
