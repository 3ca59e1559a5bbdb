"""Celeb-DF v1 and v2 (Li et al., CVPR 2020).

`Celeb-real/idX_NNNN.mp4`, `Celeb-synthesis/idX_idY_NNNN.mp4` (original `idX_NNNN`, face of person Y),
`YouTube-real/NNNNN.mp4`, and `List_of_testing_videos.txt` with lines `1 path` for REAL and `0 path` for fake.
There is no split of the rest, and nearly all people of the test list appear outside it as well:
--split_policy=strict makes one by person.
"""

from __future__ import annotations

import os
import re

from mask_generation.datasets.base import (
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
    list_videos,
)

METHOD = "Celeb-synthesis"
_REAL = re.compile(r"(id\d+)_(\d+)")
_FAKE = re.compile(r"(id\d+)_(id\d+)_(\d+)")
_TEST_LIST = "List_of_testing_videos.txt"


def recognises(root: str) -> bool:
    return os.path.isdir(os.path.join(root, "Celeb-real")) or os.path.isdir(os.path.join(root, METHOD))


def find(root: str, options: Options) -> Inventory:
    """With the official split, a group is tested if its original or any of its fakes is on the test list, and only
    the listed fakes of it are used; with "strict", people are shared out and the list is not looked at."""
    found = Inventory("celebdf")
    listed = read_test_list(os.path.join(root, _TEST_LIST), found) if options.split_policy == "official" else set()
    groups: dict[str, ClipGroup] = {}
    for folder in ("Celeb-real", "YouTube-real"):
        for clip, path in list_videos(os.path.join(root, folder)).items():
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
    wanted = not options.methods or METHOD in options.methods
    for name, path in list_videos(os.path.join(root, METHOD)).items() if wanted else ():
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


def read_test_list(path: str, found: Inventory) -> set[str]:
    """{"Celeb-real/id0_0001", …} of the official list; empty, with a note, where there is none.

    Raises:
        DatasetError: a line is not "0|1 path".
    """
    try:
        with open(path, encoding="utf-8") as stream:
            lines = [line.split() for line in stream if line.strip()]
    except FileNotFoundError:
        found.notes.append(f"no {_TEST_LIST}: clips are shared out by identity instead")
        return set()
    for number, words in enumerate(lines, 1):
        if len(words) != 2 or words[0] not in ("0", "1"):
            raise DatasetError(f"{path}, line {number}: expected `1 Celeb-real/…` or `0 Celeb-synthesis/…`")
    return {os.path.splitext(words[1])[0].replace("\\", "/") for words in lines}


LAYOUT = Layout("celebdf", "Celeb-DF", "Celeb-real/, Celeb-synthesis/", find, recognises)
