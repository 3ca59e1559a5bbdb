"""A CSV file that lists what belongs together: `fake,original,method,split`, paths relative to the file.

`fake` may be empty (an original to be used as it is); `method`, `split`, `compression`, `dataset` and `identity` may
be missing. `identity` (or `person`) names people or sources, several separated by `;`. Without it the file names stand
for them: an original for itself, a fake `A_B` for originals `A` and `B`, as in FaceForensics++. A pair is two videos or
two pictures. A name without a suffix, as lists of crops have them, is looked for in the folders below the file.
"""

from __future__ import annotations

import csv
import os
from typing import Optional

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
from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES

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
    names = Names(base)
    rows = _rows(root)
    stems = {_last(row["original"]) for _, row in rows}
    for number, row in rows:
        compression, method = row.get("compression") or "native", row.get("method") or "fake"
        dataset = row.get("dataset") or options.data_name or "pairs"
        if options.compressions and compression not in options.compressions:
            continue
        original, split = row["original"], row.get("split") or ""
        where = f"{root}, line {number}"
        if split and split not in SPLITS:
            raise DatasetError(f"{where}: split {split!r}; allowed are {', '.join(SPLITS)}")
        given = [who.strip() for who in (row.get("identity") or row.get("person") or "").split(";") if who.strip()]
        people = frozenset(f"{dataset}:{who}" for who in given or [_last(original)])
        path = names.path(original, where)
        if original and os.path.lexists(path):
            own = f"{dataset}/original/{compression}/{_stem(original)}"
            group = ClipGroup(own, dataset, "original", compression, path, (), people, split)
            before = groups.setdefault(original, group)
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
        mask = names.path(row["mask"], where) if row.get("mask") else None
        path = names.path(row["fake"], where)
        fakes.append((original, FakeClip(name, path, method, compression, people, mask)))
    group_fakes(groups, fakes, found, {key: os.path.join(base, key) for key, _ in fakes})
    return found


class Names:
    """Names of files in a list → paths.

    Args:
        base: the folder that they are relative to.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._below: Optional[dict[str, list[str]]] = None  # {last part of the name, without suffix: relative paths}

    def path(self, name: str, where: str) -> str:
        """The file of that name; where it has no suffix, the one video or picture below the folder that it fits.

        Args:
            where: the place in the list, for the message.
        Raises:
            DatasetError: a name without a suffix fits several files.
        """
        path = os.path.join(self._base, name)
        if not name or name.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)) or os.path.lexists(path):
            return path
        if self._below is None:
            self._below = self._list()
        wanted = "/" + name.replace(os.sep, "/")
        fit = [each for each in self._below.get(wanted.rsplit("/", 1)[-1], ()) if f"/{_stem(each)}".endswith(wanted)]
        if len(fit) > 1:
            raise DatasetError(f"{where}: {name} may be {fit[0]} or {fit[1]}; write the path and the suffix")
        return os.path.join(self._base, fit[0]) if fit else path

    def _list(self) -> dict[str, list[str]]:
        below: dict[str, list[str]] = {}
        seen: set[str] = set()  # folders, as links may lead in a circle
        for folder, inner, files in os.walk(self._base, followlinks=True):
            inner.sort()
            if os.path.realpath(folder) in seen:
                inner.clear()
                continue
            seen.add(os.path.realpath(folder))
            for file in sorted(files):
                if file.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)) and not file.startswith("._"):
                    relative = os.path.relpath(os.path.join(folder, file), self._base)
                    below.setdefault(_last(relative), []).append(relative)
        return below


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
