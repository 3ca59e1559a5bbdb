"""Names of files in lists → the files on the disk.

The rule: the name as it is, if a file has it; else without regard to upper and lower case, to the direction of slashes
and to how accents are composed (lists are often written on another system than the one they are read on); a name that
fits several files then fits none.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Optional

from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES


def fold(name: str) -> str:
    """A name such that two of them are equal if they mean the same file by the rule above."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).casefold()


def _bare(path: str) -> str:
    """A path folded, without the suffix of a video or picture."""
    bare, suffix = os.path.splitext(fold(path))
    return bare if suffix in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES) else bare + suffix


def last(name: str) -> str:
    """The last part of a path, folded, without suffix: what names a clip in lists that put other folders in front."""
    return os.path.splitext(fold(name).rstrip("/").rsplit("/", 1)[-1])[0]


class AmbiguousName(Exception):
    """A name fits several files; the message says which."""


class Folder:
    """A folder whose files are looked for by the names of a list; each folder below is listed once at most."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._listed: dict[str, dict[str, list[str]]] = {}
        self._below: Optional[dict[str, list[str]]] = None

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

    def find_below(self, name: str) -> Optional[str]:
        """Path of the video or picture, in whatever folder below this one, whose path ends with the name; its suffix is
        not compared. None where there is none.

        Raises:
            AmbiguousName: there are several.
        """
        if self._below is None:
            self._below = self._list_below()
        wanted = "/" + _bare(name)
        fit = [path for path in self._below.get(last(name), ()) if ("/" + _bare(path)).endswith(wanted)]
        if len(fit) > 1:
            raise AmbiguousName(f"{name} may be {fit[0]} or {fit[1]}")
        return os.path.join(self.root, fit[0]) if fit else None

    def _list_below(self) -> dict[str, list[str]]:
        """{last part of the name, as `last` has it: paths from the root}."""
        below: dict[str, list[str]] = {}
        seen: set[str] = set()  # folders, as links may lead in a circle
        for folder, inner, files in os.walk(self.root, followlinks=True):
            inner.sort()
            if os.path.realpath(folder) in seen:
                inner.clear()
                continue
            seen.add(os.path.realpath(folder))
            for file in sorted(files):
                if file.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)) and not file.startswith("._"):
                    below.setdefault(last(file), []).append(os.path.relpath(os.path.join(folder, file), self.root))
        return below

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
