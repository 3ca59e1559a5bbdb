"""Names of files in lists → the files on the disk.

The rule: the name as it is, if a file has it; else without regard to upper and lower case, to the direction of slashes
and to how accents are composed (lists are often written on another system than the one they are read on); a name that
fits several files then fits none.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Optional


def fold(name: str) -> str:
    """A name such that two of them are equal if they mean the same file by the rule above."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).casefold()


def last(name: str) -> str:
    """The last part of a path, folded, without suffix: what names a clip in lists that put other folders in front."""
    return os.path.splitext(fold(name).rstrip("/").rsplit("/", 1)[-1])[0]


class Folder:
    """A folder whose files are looked for by the names of a list; each folder below is listed once at most."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> Optional[str]:
        """Path of the file or folder that a name means; None where there is none, or several fit."""
        if not name.strip():
            return None
        path = os.path.join(self.root, name)
        if os.path.lexists(path):
            return path
        here = "/" if name.strip().startswith("/") else self.root
        for part in fold(name).split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                here = os.path.join(here, part)
                continue
            fitting = self._entries(here).get(part, [])
            if len(fitting) != 1:
                return None
            here = os.path.join(here, fitting[0])
        return here

    def path(self, name: str) -> str:
        """As `find`; where there is none, where the file should have been."""
        return self.find(name) or os.path.join(self.root, name.replace("\\", "/"))

    def _entries(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._listed:
            entries: dict[str, list[str]] = {}
            try:
                for entry in sorted(os.listdir(folder)):
                    entries.setdefault(fold(entry), []).append(entry)
            except OSError:
                pass
            self._listed[folder] = entries
        return self._listed[folder]


def find(root: str, name: str) -> Optional[str]:
    """As `Folder.find`, for a single name."""
    return Folder(root).find(name)
