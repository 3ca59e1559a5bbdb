"""Celeb-DF v1 and v2 (Li et al., CVPR 2020).

`Celeb-real/idX_NNNN.mp4`, `Celeb-synthesis/idX_idY_NNNN.mp4` (original `idX_NNNN`, face of person Y),
`YouTube-real/NNNNN.mp4`, and `List_of_testing_videos.txt` with lines `1 path` for REAL and `0 path` for fake; of a path
the last two parts count. There is no split of the rest, and nearly all people of the test list appear outside it as
well: --split_policy=strict makes one by person.
"""

from __future__ import annotations

import os
import re
from typing import Optional

from mask_generation.datasets import lists
from mask_generation.datasets.base import (
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
    list_videos,
    missing,
)
from mask_generation.datasets.names import find as find_file
from mask_generation.datasets.names import fold, last

METHOD = "Celeb-synthesis"
REALS = ("Celeb-real", "YouTube-real")
_REAL = re.compile(r"(id\d+)_(\d+)")
_FAKE = re.compile(r"(id\d+)_(id\d+)_(\d+)")
_TEST_LIST = "List_of_testing_videos.txt"


def recognises(root: str) -> bool:
    return any(_folder(root, name) is not None for name in ("Celeb-real", METHOD))


def _folder(root: str, name: str) -> Optional[str]:
    """Where the videos of `Celeb-real` … lie; some put them one deeper, into `videos`."""
    folder = find_file(root, name)
    if folder is None or not os.path.isdir(folder):
        return None
    return find_file(folder, "videos") or folder


def _videos(root: str, name: str, found: Inventory) -> dict[str, str]:
    folder = _folder(root, name)
    return {} if folder is None else list_videos(folder, found)


def find(root: str, options: Options) -> Inventory:
    """With the official split, a group is tested if its original or any of its fakes is on the test list, and only
    the listed fakes of it are used; with "strict", people are shared out and the list only tells what is missing.

    Raises:
        DatasetError: the list is of another form, or names nothing that is there.
    """
    found = Inventory("celebdf")
    wanted = not options.methods or METHOD in options.methods
    videos = {name: _videos(root, name, found) for name in (*REALS, *((METHOD,) if wanted else ()))}
    tested = read_test_list(root, videos, wanted, found)
    here = any(clip in videos.get(folder, ()) for folder, clip in tested)
    if tested and not here and wanted and options.split_policy == "official":
        raise DatasetError(
            f"{os.path.join(root, _TEST_LIST)}: none of its {len(tested)} videos is here, the first would be "
            f"{'/'.join(next(iter(tested)))}.mp4; without the list, or with --split_policy=strict, clips are shared "
            "out by identity"
        )
    listed = {f"{folder}/{clip}" for folder, clip in tested} if options.split_policy == "official" else set()
    for folder, clip in tested:
        if clip not in videos[folder]:
            path = os.path.join(_folder(root, folder) or os.path.join(root, folder), f"{clip}.mp4")
            name = f"celebdf/{folder}/native/{clip}"
            found.problems.append(missing(name, path, folder, "native", int(folder == METHOD), _TEST_LIST))
    groups: dict[str, ClipGroup] = {}
    for folder in REALS:
        for clip, path in videos[folder].items():
            match = _REAL.fullmatch(clip)
            who = match[1] if match and folder == "Celeb-real" else f"{folder}/{clip}"
            groups[clip if folder == "Celeb-real" else f"{folder}/{clip}"] = ClipGroup(
                name=f"celebdf/{folder}/native/{clip}",
                dataset="celebdf",
                method=folder,
                compression="native",
                original=path,
                fakes=(),
                identities=frozenset((f"celebdf:{who}",)),
                split="test" if f"{folder}/{clip}" in listed else "",
            )
    fakes = []
    expected: dict[str, str] = {}
    for name, path in videos.get(METHOD, {}).items():
        match = _FAKE.fullmatch(name)
        if match is None:
            found.notes.append(f"{path}: not named idX_idY_NNNN, left out")
            continue
        target, source, number = match.groups()
        key = f"{target}_{number}"
        expected[key] = os.path.join(root, "Celeb-real", f"{key}.mp4")
        fakes.append(
            (
                key,
                FakeClip(
                    name=f"celebdf/{METHOD}/native/{name}",
                    path=path,
                    method=METHOD,
                    compression="native",
                    identities=frozenset((f"celebdf:{target}", f"celebdf:{source}")),
                ),
            )
        )
    _add(groups, fakes, found, expected, listed)
    return found


def _add(
    groups: dict[str, ClipGroup],
    fakes: list[tuple[str, FakeClip]],
    found: Inventory,
    expected: dict[str, str],
    listed: set[str],
) -> None:
    """Tested fakes form groups of their own, so that one original serves both sides only if the list has it so."""
    tested = [(key, fake) for key, fake in fakes if f"{METHOD}/{fake.name.rsplit('/', 1)[-1]}" in listed]
    names = {fake.name for _, fake in tested}
    others = [(key, fake) for key, fake in fakes if fake.name not in names]
    test_groups = {}
    for key, _ in tested:
        if key in groups and groups[key].split != "test":
            original = groups[key]
            test_groups[key] = ClipGroup(
                name=f"{original.name}#test",
                dataset=original.dataset,
                method=original.method,
                compression=original.compression,
                original=original.original,
                fakes=(),
                identities=original.identities,
                split="test",
            )
    group_fakes(
        {**groups, **{f"{key}#test": group for key, group in test_groups.items()}},
        [*others, *((f"{key}#test" if key in test_groups else key, fake) for key, fake in tested)],
        found,
        expected,
    )


def read_test_list(
    root: str, videos: dict[str, dict[str, str]], fakes: bool, found: Inventory
) -> dict[tuple[str, str], None]:
    """(`Celeb-real`, `id0_0001`), … of the official list, in its order, spelled as on the disk if it is there; empty,
    with a note, without a list.

    Args:
        videos: {folder: {stem: path}} of what is there.
        fakes: whether those are asked for; else they are left out.
    Raises:
        DatasetError: a line is not "0|1 path".
    """
    path = find_file(root, _TEST_LIST)
    if path is None:
        found.notes.append(f"no {_TEST_LIST}: clips are shared out by identity instead")
        return {}
    folders = {fold(name): name for name in (*REALS, METHOD)}
    on_disk = {name: {fold(stem): stem for stem in stems} for name, stems in videos.items()}
    tested: dict[tuple[str, str], None] = {}
    contrary = 0
    for number, line in enumerate(lists.read_text(path).splitlines(), 1):
        words = line.split(None, 1)
        if not words:
            continue
        parts = fold(words[1]).split("/") if len(words) == 2 else []
        if words[0] not in ("0", "1") or len(parts) < 2 or parts[-2] not in folders:
            raise DatasetError(
                f"{path}, line {number}: expected `1 Celeb-real/…`, `1 YouTube-real/…` or `0 {METHOD}/…`, not {line!r}"
            )
        folder, clip = folders[parts[-2]], last(words[1])
        contrary += (words[0] == "1") != (folder in REALS)
        if folder in videos or fakes:
            tested[folder, on_disk.get(folder, {}).get(clip, clip)] = None
    if contrary:
        found.notes.append(
            f"{path}: {contrary} lines say the opposite of the folder they name; 1 means real. Folders are believed"
        )
    return tested


LAYOUT = Layout("celebdf", "Celeb-DF", "Celeb-real/, Celeb-synthesis/", find, recognises)
