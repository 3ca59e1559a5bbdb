"""FaceForensics++ (Roessler et al., ICCV 2019): five manipulations of 1000 YouTube clips, at three compressions.

`original_sequences/youtube/<c>/videos/TTT.mp4`, `manipulated_sequences/<method>/<c>/videos/TTT_SSS.mp4` (target TTT
with the face or expression of source SSS; its original is TTT), masks in
`manipulated_sequences/<method>/masks/videos/`.
"""

from __future__ import annotations

import json
import os
import re

from mask_generation.datasets.base import (
    SPLITS,
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Options,
    group_fakes,
    list_videos,
    subfolders,
)

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_FAKE = re.compile(r"(\d{3})_(\d{3})")
_SPLIT_FOLDERS = ("", "splits", os.path.join("dataset", "splits"))

# Clips cut from one YouTube video that the official split puts on two sides: counted from the data set's
# conversion_dict.json, which names the YouTube video of each of the 1000 clips.
SAME_YOUTUBE_VIDEO = (
    ("605", "606"),
    ("639", "640"),
    ("755", "756"),
    ("837", "838"),
    ("875", "876"),
    ("954", "955"),
    ("982", "983"),
)
_TWIN = {member: f"youtube:{pair[0]}" for pair in SAME_YOUTUBE_VIDEO for member in pair}


def recognises(root: str) -> bool:
    return bool(subfolders(os.path.join(root, "original_sequences", "youtube"))) or any(
        os.path.isdir(os.path.join(root, "manipulated_sequences", method)) for method in METHODS
    )


def identities(clip: str) -> frozenset[str]:
    """Whom a clip id stands for: the id itself, and the YouTube video where another clip comes from the same."""
    return frozenset(("ffpp:" + clip, *((f"ffpp:{_TWIN[clip]}",) if clip in _TWIN else ())))


def find(root: str, options: Options) -> Inventory:
    """All clips of the five methods. Splits are the official ones where their JSON files are found."""
    found = Inventory("faceforensics")
    split_of = read_splits(root, options, found)
    groups: dict[str, ClipGroup] = {}
    expected: dict[str, str] = {}
    originals = os.path.join(root, "original_sequences", "youtube")
    for compression in subfolders(originals):
        if options.compressions and compression not in options.compressions:
            continue
        for clip, path in list_videos(os.path.join(originals, compression, "videos")).items():
            groups[f"{compression}/{clip}"] = ClipGroup(
                name=f"faceforensics/youtube/{compression}/{clip}",
                dataset="faceforensics",
                method="youtube",
                compression=compression,
                original=path,
                fakes=(),
                identities=identities(clip),
                split=split_of.get(clip, ""),
            )
    fakes = []
    for method in METHODS:
        if options.methods and method not in options.methods:
            continue
        folder = os.path.join(root, "manipulated_sequences", method)
        masks = list_videos(os.path.join(folder, "masks", "videos"))
        for compression in subfolders(folder):
            if compression == "masks" or (options.compressions and compression not in options.compressions):
                continue
            for name, path in list_videos(os.path.join(folder, compression, "videos")).items():
                match = _FAKE.fullmatch(name)
                if match is None:
                    found.notes.append(f"{path}: not named TARGET_SOURCE, left out")
                    continue
                target, source = match.groups()
                key = f"{compression}/{target}"
                expected[key] = os.path.join(originals, compression, "videos", f"{target}.mp4")
                fakes.append(
                    (
                        key,
                        FakeClip(
                            name=f"faceforensics/{method}/{compression}/{name}",
                            path=path,
                            method=method,
                            compression=compression,
                            identities=identities(target) | identities(source),
                            official_mask=masks.get(name),
                        ),
                    )
                )
    group_fakes(groups, fakes, found, expected)
    return found


def read_splits(root: str, options: Options, found: Inventory) -> dict[str, str]:
    """{clip id: split} of the official JSON files; empty, with a note, where there are none.

    Raises:
        DatasetError: `options.split_dir` lacks a file, or a file is no list of pairs.
    """
    folders = [options.split_dir] if options.split_dir else [os.path.join(root, part) for part in _SPLIT_FOLDERS]
    folder = next((f for f in folders if all(os.path.isfile(os.path.join(f, f"{s}.json")) for s in SPLITS)), None)
    if folder is None:
        if options.split_dir:
            raise DatasetError(f"{options.split_dir}: expected train.json, val.json and test.json")
        found.notes.append(
            "no train.json, val.json, test.json (the official split): clips are shared out by identity instead; "
            "pass --split_dir to use them"
        )
        return {}
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = os.path.join(folder, f"{split}.json")
        try:
            with open(path, encoding="utf-8") as stream:
                pairs = json.load(stream)
            split_of.update({str(clip): split for pair in pairs for clip in pair})
        except (ValueError, TypeError) as error:
            raise DatasetError(f'{path}: expected a JSON list of pairs such as ["000", "003"] ({error})') from error
    return split_of
