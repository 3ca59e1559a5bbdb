"""FaceForensics++ and DeepFakeDetection, which lie in folders of one form and often in one folder.

FaceForensics++ (Roessler et al., ICCV 2019): five manipulations of 1000 YouTube clips, at three compressions.
`original_sequences/youtube/<c>/videos/TTT.mp4`, `manipulated_sequences/<method>/<c>/videos/TTT_SSS.mp4` (target TTT
with the face or expression of source SSS; its original is TTT), masks in
`manipulated_sequences/<method>/masks/videos/`.

DeepFakeDetection (Google and JigSaw): originals `original_sequences/actors/<c>/videos/<actor>__<scene>.mp4`, fakes
`manipulated_sequences/DeepFakeDetection/<c>/videos/<target>_<source>__<scene>__<8 characters>.mp4`; the original of a
fake is `<target>__<scene>`. 28 actors swap faces with each other, so they form one component: splits are by actor, and
fakes across splits are dropped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Iterator

from mask_generation.datasets.base import (
    SPLITS,
    ClipGroup,
    DatasetError,
    FakeClip,
    Inventory,
    Layout,
    Options,
    group_fakes,
    list_videos,
    subfolders,
)

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


def identities(clip: str) -> frozenset[str]:
    """Whom a clip id of FaceForensics++ stands for: itself, and the YouTube video where another clip comes from it."""
    return frozenset(("ffpp:" + clip, *((f"ffpp:{_TWIN[clip]}",) if clip in _TWIN else ())))


@dataclasses.dataclass(frozen=True)
class _Naming:
    """How one of the two names its folders and files.

    Attributes:
        originals: folder below `original_sequences`. methods: folders below `manipulated_sequences`.
        real, fake: patterns of file names, with the groups `target` and `source`, and `real_form`, `fake_form` the same
            for people.
        original_of: the original's name, made of the groups of a fake's.
        people: target or source → identities.
    """

    dataset: str
    originals: str
    methods: tuple[str, ...]
    real: re.Pattern[str]
    real_form: str
    fake: re.Pattern[str]
    fake_form: str
    original_of: str
    people: Callable[[str], frozenset[str]]


_FFPP = _Naming(
    dataset="faceforensics",
    originals="youtube",
    methods=("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"),
    real=re.compile(r"(?P<target>.+)"),
    real_form="TARGET",
    fake=re.compile(r"(?P<target>\d{3})_(?P<source>\d{3})"),
    fake_form="TARGET_SOURCE",
    original_of=r"\g<target>",
    people=identities,
)
_DFD = _Naming(
    dataset="dfd",
    originals="actors",
    methods=("DeepFakeDetection",),
    real=re.compile(r"(?P<target>\d+)__(.+)"),
    real_form="ACTOR__SCENE",
    fake=re.compile(r"(?P<target>\d+)_(?P<source>\d+)__(?P<scene>.+)__(\w{8})"),
    fake_form="TARGET_SOURCE__SCENE__ID",
    original_of=r"\g<target>__\g<scene>",
    people=lambda actor: frozenset((f"dfd:{actor}",)),
)


def _recognises(naming: _Naming, root: str) -> bool:
    return bool(subfolders(os.path.join(root, "original_sequences", naming.originals))) or any(
        os.path.isdir(os.path.join(root, "manipulated_sequences", method)) for method in naming.methods
    )


def _find(naming: _Naming, root: str, options: Options) -> Inventory:
    """All clips. Splits of FaceForensics++ are the official ones where their JSON files are found."""
    found = Inventory(naming.dataset)
    split_of = read_splits(root, options, found) if naming is _FFPP else {}
    originals = os.path.join(root, "original_sequences", naming.originals)
    groups: dict[str, ClipGroup] = {}
    for compression, clip, path in _videos(originals, options):
        match = naming.real.fullmatch(clip)
        if match is None:
            found.notes.append(f"{path}: not named {naming.real_form}, left out")
            continue
        groups[f"{compression}/{clip}"] = ClipGroup(
            name=f"{naming.dataset}/{naming.originals}/{compression}/{clip}",
            dataset=naming.dataset,
            method=naming.originals,
            compression=compression,
            original=path,
            fakes=(),
            identities=naming.people(match["target"]),
            split=split_of.get(clip, ""),
        )
    fakes = []
    expected: dict[str, str] = {}
    for method in naming.methods:
        if options.methods and method not in options.methods:
            continue
        folder = os.path.join(root, "manipulated_sequences", method)
        masks = list_videos(os.path.join(folder, "masks", "videos"))
        for compression, name, path in _videos(folder, options):
            match = naming.fake.fullmatch(name)
            if match is None:
                found.notes.append(f"{path}: not named {naming.fake_form}, left out")
                continue
            original = match.expand(naming.original_of)
            key = f"{compression}/{original}"
            expected[key] = os.path.join(originals, compression, "videos", f"{original}.mp4")
            fake = FakeClip(
                name=f"{naming.dataset}/{method}/{compression}/{name}",
                path=path,
                method=method,
                compression=compression,
                identities=naming.people(match["target"]) | naming.people(match["source"]),
                official_mask=masks.get(name),
            )
            fakes.append((key, fake))
    group_fakes(groups, fakes, found, expected)
    return found


def _videos(folder: str, options: Options) -> Iterator[tuple[str, str, str]]:
    """(compression, stem, path) of the videos below a folder of compressions."""
    for compression in subfolders(folder):
        if compression == "masks" or (options.compressions and compression not in options.compressions):
            continue
        for name, path in list_videos(os.path.join(folder, compression, "videos")).items():
            yield compression, name, path


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


def _layout(naming: _Naming, title: str) -> Layout:
    expects = f"original_sequences/{naming.originals}/, manipulated_sequences/{naming.methods[0]}/"
    find, recognises = functools.partial(_find, naming), functools.partial(_recognises, naming)
    return Layout(naming.dataset, title, expects, find, recognises)


LAYOUT = _layout(_FFPP, "FaceForensics++")
DFD = _layout(_DFD, "DeepFakeDetection")
