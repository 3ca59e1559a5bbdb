"""What a layout is, what it finds, and the few helpers that layouts share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Optional

from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from unet_industrial.setting import setting

SPLITS = ("train", "val", "test")
SPLIT_POLICIES = ("official", "strict")


class DatasetError(Exception):
    """A data set cannot be read at all; the message says what was expected where."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to look at a data set."""

    compressions: tuple[str, ...] = setting((), "Only these compressions: c0, c23, c40, raw.", shown="all")
    methods: tuple[str, ...] = setting((), "Only these manipulations.", shown="all")
    split_policy: str = setting(
        "official",
        "official: the data set's own split, where it has one; strict: minus all that shares a person, a source or a "
        "YouTube clip with a more held-out part.",
        choices=SPLIT_POLICIES,
    )
    split_dir: str = setting(
        "", "Folder with train.json, val.json, test.json in FaceForensics++'s form.", shown="look in the data set"
    )
    shares: tuple[float, float, float] = setting(
        (0.72, 0.14, 0.14),  # FaceForensics++'s own
        "Of train, val, test where the data set has no split.",
    )
    data_name: str = setting(
        "", "The data set's name in the names of clips and people, where its list has none.", shown="pairs, pictures"
    )


@dataclasses.dataclass(frozen=True)
class FakeClip:
    """A manipulated clip. `identities` are the people and sources in it: target and source."""

    name: str
    path: str
    method: str
    compression: str
    identities: frozenset[str]
    official_mask: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class ClipGroup:
    """An original and its manipulated copies at one compression.

    Attributes:
        name: unique, of the original: `dataset/part/compression/video`.
        original: path; None where it is missing, so that no mask can be made.
        split: "train", "val", "test"; empty until `assign_splits`.
        identity: name of the connected component it belongs to; set by `assign_splits`.
        still: the one clip is a grey picture, taken whole and as it is, not a video with faces to be found; the mask of
            a fake is the picture named in `official_mask`.
    """

    name: str
    dataset: str
    method: str
    compression: str
    original: Optional[str]
    fakes: tuple[FakeClip, ...]
    identities: frozenset[str]
    split: str = ""
    identity: str = ""
    still: bool = False

    @property
    def pictures(self) -> bool:
        """Whether the original is a photograph, or a face cut out of one, and no video; its fakes must be too."""
        return not self.still and self.original is not None and is_picture(self.original)

    @property
    def all_identities(self) -> frozenset[str]:
        return self.identities.union(*(fake.identities for fake in self.fakes))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A clip that is known but not used, and why; `label` is 1 for a manipulated one."""

    name: str
    path: str
    method: str
    compression: str
    state: str
    reason: str
    label: int = 1


@dataclasses.dataclass
class Inventory:
    """Everything found. Problems are rows of the report; notes are sentences for the reader of the audit."""

    dataset: str
    groups: list[ClipGroup] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def clips(self) -> int:
        """Clips of the groups: originals that are there, and fakes."""
        return sum((group.original is not None) + len(group.fakes) for group in self.groups)


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on the disk. Each has one, in a module of this folder; `registry` lists them.

    Attributes:
        name: as `--dataset` takes it.
        title, expects: what people call it, and by which files and folders it is known; for the message that says what
            could have been given.
        find: (root, options) → every clip, splits as the data set itself has them. Raises DatasetError.
        recognises: whether a path has this layout. None: never guessed, always to be named.
        is_file: the root is a file of its own, not a folder.
    """

    name: str
    title: str
    expects: str
    find: Callable[[str, Options], Inventory]
    recognises: Optional[Callable[[str], bool]]
    is_file: bool = False


def is_picture(path: str) -> bool:
    """Whether a file's name is that of a picture."""
    return path.lower().endswith(PICTURE_SUFFIXES)


def video_files(folder: str) -> list[str]:
    """Paths of the video files directly in a folder, sorted; empty where there is none."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith("._")]
    return [os.path.join(folder, name) for name in videos]


def list_videos(folder: str, found: Optional[Inventory] = None) -> dict[str, str]:
    """{stem: path} of the video files directly in a folder, sorted; empty where there is none. Of files that differ in
    their suffix only the first is taken, and the others are noted in `found`."""
    videos: dict[str, str] = {}
    for path in video_files(folder):
        taken = videos.setdefault(os.path.splitext(os.path.basename(path))[0], path)
        if taken != path and found is not None:
            found.notes.append(f"{path}: left out, as {os.path.basename(taken)} beside it has the same name")
    return videos


def subfolders(folder: str) -> list[str]:
    """Names of the folders in a folder, sorted; empty where it does not exist."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def missing_original(fake: FakeClip, original: str) -> Problem:
    """The row for a fake without its original; `original` is empty where nothing names it."""
    what = f"its original {original} is not there" if original else "the list names no original of it"
    return Problem(
        fake.name,
        fake.path,
        fake.method,
        fake.compression,
        "original_missing",
        f"{what}, so no mask can be made",
    )


def missing(name: str, path: str, method: str, compression: str, label: int, by: str) -> Problem:
    """The row for a clip that a list names and that is not there.

    Args:
        by: the list's file name.
    """
    return Problem(name, path, method, compression, "missing", f"{by} names it, but it is not there", label)


def group_fakes(
    groups: dict[str, ClipGroup], fakes: list[tuple[str, FakeClip]], found: Inventory, expected: dict[str, str]
) -> None:
    """Hand each fake to the group of its original, or report it; then put the groups into the inventory.

    Args:
        groups: by a key of the layout's choice.
        fakes: (key of the original's group, fake).
        expected: where the original of a key should have been, for the report; the key itself where it is not named.
    """
    by_key: dict[str, list[FakeClip]] = {}
    for key, fake in fakes:
        if key in groups:
            by_key.setdefault(key, []).append(fake)
        else:
            found.problems.append(missing_original(fake, expected.get(key, key)))
    for key in sorted(groups):
        members = tuple(sorted(by_key.get(key, ()), key=lambda fake: fake.name))
        found.groups.append(dataclasses.replace(groups[key], fakes=members))
