"""DeepFakeDetection (Google/JigSaw), in FaceForensics++'s folders.

Originals `original_sequences/actors/<c>/videos/<actor>__<scene>.mp4`, fakes
`manipulated_sequences/DeepFakeDetection/<c>/videos/<target>_<source>__<scene>__<8 characters>.mp4`; the original of a
fake is `<target>__<scene>`. 28 actors swap faces with each other, so they form one component: splits are by actor, and
fakes across splits are dropped.
"""

from __future__ import annotations

import os
import re

from mask_generation.datasets.base import ClipGroup, FakeClip, Inventory, Options, group_fakes, list_videos, subfolders

METHOD = "DeepFakeDetection"
_REAL = re.compile(r"(\d+)__(.+)")
_FAKE = re.compile(r"(\d+)_(\d+)__(.+)__(\w{8})")


def recognises(root: str) -> bool:
    return bool(subfolders(os.path.join(root, "original_sequences", "actors"))) or os.path.isdir(
        os.path.join(root, "manipulated_sequences", METHOD)
    )


def find(root: str, options: Options) -> Inventory:
    found = Inventory("dfd")
    groups: dict[str, ClipGroup] = {}
    expected: dict[str, str] = {}
    originals = os.path.join(root, "original_sequences", "actors")
    for compression in subfolders(originals):
        if options.compressions and compression not in options.compressions:
            continue
        for clip, path in list_videos(os.path.join(originals, compression, "videos")).items():
            match = _REAL.fullmatch(clip)
            if match is None:
                found.notes.append(f"{path}: not named ACTOR__SCENE, left out")
                continue
            groups[f"{compression}/{clip}"] = ClipGroup(
                name=f"dfd/actors/{compression}/{clip}",
                dataset="dfd",
                method="actors",
                compression=compression,
                original=path,
                fakes=(),
                identities=frozenset((f"dfd:{match[1]}",)),
            )
    fakes = []
    folder = os.path.join(root, "manipulated_sequences", METHOD)
    wanted = not options.methods or METHOD in options.methods
    masks = list_videos(os.path.join(folder, "masks", "videos"))
    for compression in subfolders(folder) if wanted else []:
        if compression == "masks" or (options.compressions and compression not in options.compressions):
            continue
        for name, path in list_videos(os.path.join(folder, compression, "videos")).items():
            match = _FAKE.fullmatch(name)
            if match is None:
                found.notes.append(f"{path}: not named TARGET_SOURCE__SCENE__ID, left out")
                continue
            target, source, scene, _ = match.groups()
            key = f"{compression}/{target}__{scene}"
            expected[key] = os.path.join(originals, compression, "videos", f"{target}__{scene}.mp4")
            fakes.append(
                (
                    key,
                    FakeClip(
                        name=f"dfd/{METHOD}/{compression}/{name}",
                        path=path,
                        method=METHOD,
                        compression=compression,
                        identities=frozenset((f"dfd:{target}", f"dfd:{source}")),
                        official_mask=masks.get(name),
                    ),
                )
            )
    group_fakes(groups, fakes, found, expected)
    return found
