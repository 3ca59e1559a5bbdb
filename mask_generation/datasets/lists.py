"""Lists that come with data sets, as people really have them → rows, labels, splits.

Editors and spreadsheets put a byte order mark in front, write UTF-16, Windows ends of lines, `;` or tabs between cells
and spaces around words: all of that is read. What a row means is never guessed: a label or a split that is not known is
refused with the row that has it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from mask_generation.datasets.base import DatasetError

REAL, FAKE = 0, 1
_LABELS = {"real": REAL, "fake": FAKE, "0": REAL, "1": FAKE, "0.0": REAL, "1.0": FAKE}
_TRUTHS = {**_LABELS, "false": REAL, "true": FAKE}
_SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
_DELIMITERS = ",;\t|"
_MOST_NAMED = 5  # rows named in a message


def read_text(path: str) -> str:
    """A text file in UTF-8 or UTF-16, with or without a byte order mark; undecodable bytes as in file names.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        if data[1:2] == b"\0":  # "[", "{" or a letter first, in 16 bits
            return data.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: looks like UTF-16 and is not ({error.reason}); save it as UTF-8") from error
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def read_json(path: str, expected: str) -> Any:
    """
    Args:
        expected: what the file should hold, for messages.
    Raises:
        DatasetError: it cannot be read, is no JSON, or has a name twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found and found[name] != value:
                raise DatasetError(f"{path}: has {name!r} twice, with different content")
            found[name] = value
        return found

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error}); expected {expected}") from error


def read_table(path: str, needed: Iterable[str], expected: str) -> list[tuple[int, dict[str, str]]]:
    """(line number, {column: cell}) of a CSV file; names of columns in lower case, cells without spaces around them.

    The delimiter is the one by which the first line has the columns that are needed.

    Raises:
        DatasetError: a column is missing, a row has more cells than there are columns, or it is no text.
    """
    text = read_text(path)
    first = text.lstrip().split("\n", 1)[0].strip()
    told = first[4:5] if first.lower().startswith("sep=") else ""  # Excel's own way to say it
    header = text.lstrip().split("\n", 2)[1] if told and "\n" in text.lstrip() else first
    for delimiter in told or _DELIMITERS:
        columns = [name.strip().strip('"').strip().lower() for name in header.split(delimiter)]
        if set(needed) <= set(columns):
            break
    else:
        raise DatasetError(f"{path}: no column {_absent(needed, header)}; expected {expected}")
    rows = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (told and reader.line_num == 1) or [cell.lower() for cell in cells] == columns:
                continue
            if any(cells[len(columns) :]):
                raise DatasetError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(columns)} columns; "
                    f"put a name with {delimiter!r} in it between quotes"
                )
            rows.append((reader.line_num, {**dict.fromkeys(columns, ""), **dict(zip(columns, cells))}))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: cannot be read as CSV ({error})") from error
    return rows


def _absent(needed: Iterable[str], header: str) -> str:
    here = {name.strip().strip('"').strip().lower() for name in re.split(f"[{re.escape(_DELIMITERS)}]", header)}
    return ", ".join(name for name in needed if name not in here) or ", ".join(needed)


def label_of(row: Mapping[str, Any]) -> Optional[int]:
    """REAL or FAKE as a row of DFDC's lists has it: `label` REAL, FAKE, 0 (real) or 1, or `is_fake` 0, 1, true, false,
    in any case and with spaces around. None where it has neither, another word, or two that disagree."""
    found = set()
    for key, value in row.items():
        name = key.strip().lower()
        if name == "label":
            found.add(None if isinstance(value, bool) else _LABELS.get(str(value).strip().lower()))
        elif name == "is_fake":
            found.add(_TRUTHS.get(str(value).strip().lower()))
    return found.pop() if len(found) == 1 else None


def split_of(word: Any) -> Optional[str]:
    """train, val or test as lists spell them; empty where nothing is said, None for another word."""
    name = str(word if word is not None else "").strip().lower()
    return _SPLITS.get(name) if name else ""


def refuse_rows(path: str, what: str, rows: list[str]) -> None:
    """
    Raises:
        DatasetError: there are such rows; the message names the first of them.
    """
    if rows:
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        raise DatasetError(f"{path}: {what}: {'; '.join(rows[:_MOST_NAMED])}{more}")
