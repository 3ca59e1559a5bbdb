"""FaceForensics++ and DeepFakeDetection, which lie in folders of one form and often in one folder.

Two forms are read: that of the official download, below, and the flat one of Kaggle's copies, `original/TTT.mp4` beside
`Deepfakes/TTT_SSS.mp4` …, whose compression is read off a folder's name (`FaceForensics++_C23`).

FaceForensics++ (Roessler et al., ICCV 2019): five manipulations of 1000 YouTube clips, at three compressions.
`original_sequences/youtube/<c>/videos/TTT.mp4`, `manipulated_sequences/<method>/<c>/videos/TTT_SSS.mp4` (target TTT
with the face or expression of source SSS; its original is TTT), masks in
`manipulated_sequences/<method>/masks/videos/`, as videos or, in older copies, as folders of pictures.

DeepFakeDetection (Google and JigSaw): originals `original_sequences/actors/<c>/videos/<actor>__<scene>.mp4`, fakes
`manipulated_sequences/DeepFakeDetection/<c>/videos/<target>_<source>__<scene>__<8 characters>.mp4`; the original of a
fake is `<target>__<scene>`. 28 actors swap faces with each other, so they form one component: splits are by actor, and
fakes across splits are dropped.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Optional

from mask_generation.datasets import lists
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
    missing,
    subfolders,
)
from mask_generation.datasets.names import Folder, last

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
        originals: folder below `original_sequences`. flat: of Kaggle's copies. methods: folders below
            `manipulated_sequences`.
        real, fake: patterns of file names, with the groups `target` and `source`, and `real_form`, `fake_form` the same
            for people.
        original_of: the original's name, made of the groups of a fake's.
        people: target or source → identities.
    """

    dataset: str
    originals: str
    flat: tuple[str, ...]
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
    flat=("original", "originals", "real", "youtube"),
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
    flat=("actors",),
    methods=("DeepFakeDetection",),
    real=re.compile(r"(?P<target>\d+)__(.+)"),
    real_form="ACTOR__SCENE",
    fake=re.compile(r"(?P<target>\d+)_(?P<source>\d+)__(?P<scene>.+)__(\w{8})"),
    fake_form="TARGET_SOURCE__SCENE__ID",
    original_of=r"\g<target>__\g<scene>",
    people=lambda actor: frozenset((f"dfd:{actor}",)),
)


@dataclasses.dataclass
class _Official:
    """The split files: clip id → split, the pairs of ids, and their folder; all empty where there are none."""

    split_of: dict[str, str]
    pairs: list[tuple[str, str]]
    folder: str = ""


def _recognises(naming: _Naming, root: str) -> bool:
    if subfolders(os.path.join(root, "original_sequences", naming.originals)):
        return True
    if any(os.path.isdir(os.path.join(root, "manipulated_sequences", method)) for method in naming.methods):
        return True
    tree = Folder(root)
    flat = (path for method in naming.methods for path in _flat_folders(tree, (method,)))
    return any(naming.fake.fullmatch(name) for folder in flat for name in list_videos(_inner(folder)))


def _find(naming: _Naming, root: str, options: Options) -> Inventory:
    """All clips. Splits of FaceForensics++ are the official ones where their JSON files are found.

    Raises:
        DatasetError: the split files are of another form, or name nothing that is there.
    """
    found, tree = Inventory(naming.dataset), Folder(root)
    official = read_splits(root, options, found) if naming is _FFPP else _Official({}, [])
    groups: dict[str, ClipGroup] = {}
    folder_of: dict[tuple[str, str], str] = {}  # (method or originals, compression) → where its videos lie
    for compression, clip, path in _videos(tree, "original_sequences", naming.originals, naming.flat, options, found):
        match = naming.real.fullmatch(clip)
        if match is None:
            found.notes.append(f"{path}: not named {naming.real_form}, left out")
            continue
        folder_of[naming.originals, compression] = os.path.dirname(path)
        groups[f"{compression}/{clip}"] = ClipGroup(
            name=f"{naming.dataset}/{naming.originals}/{compression}/{clip}",
            dataset=naming.dataset,
            method=naming.originals,
            compression=compression,
            original=path,
            fakes=(),
            identities=naming.people(match["target"]),
            split=official.split_of.get(clip, ""),
        )
    fakes = []
    expected: dict[str, str] = {}
    masks: dict[tuple[str, str], dict[str, str]] = {}
    for method in naming.methods:
        if options.methods and method not in options.methods:
            continue
        for compression, name, path in _videos(tree, "manipulated_sequences", method, (method,), options, found):
            match = naming.fake.fullmatch(name)
            if match is None:
                found.notes.append(f"{path}: not named {naming.fake_form}, left out")
                continue
            folder_of[method, compression] = os.path.dirname(path)
            original = match.expand(naming.original_of)
            key = f"{compression}/{original}"
            if (naming.originals, compression) not in folder_of:
                tree_form = (root, "original_sequences", naming.originals, compression, "videos")
                folder_of[naming.originals, compression] = os.path.join(*tree_form)
            expected[key] = os.path.join(folder_of[naming.originals, compression], f"{original}.mp4")
            if (method, compression) not in masks:
                masks[method, compression] = _masks(root, method, compression)
            fake = FakeClip(
                name=f"{naming.dataset}/{method}/{compression}/{name}",
                path=path,
                method=method,
                compression=compression,
                identities=naming.people(match["target"]) | naming.people(match["source"]),
                official_mask=masks[method, compression].get(name),
            )
            fakes.append((key, fake))
    if official.split_of:
        _compare(naming, official, groups, {fake.name for _, fake in fakes}, folder_of, found)
    group_fakes(groups, fakes, found, expected)
    return found


def _compare(
    naming: _Naming,
    official: _Official,
    groups: dict[str, ClipGroup],
    fakes: set[str],
    folder_of: dict[tuple[str, str], str],
    found: Inventory,
) -> None:
    """Hold what is there against the official split: a row for each clip that it names and that is not there, in every
    method and compression of which something is; a note on clips that it does not name.

    Raises:
        DatasetError: not one original is named.
    """
    files = ", ".join(f"{split}.json" for split in SPLITS)
    unnamed = sorted({group.name.rsplit("/", 1)[-1] for group in groups.values() if not group.split})
    if groups and all(not group.split for group in groups.values()):
        named = ", ".join(list(official.split_of)[:3])
        raise DatasetError(
            f"{official.folder}: {files} name none of the {len(unnamed)} originals here ({', '.join(unnamed[:3])} …, "
            f"they name {named} …); take them away to have clips shared out by identity"
        )
    if unnamed:
        found.notes.append(
            f"{len(unnamed)} originals are in none of {files} and are shared out by identity: "
            f"{', '.join(unnamed[:5])}{' …' if len(unnamed) > 5 else ''}"
        )
    by = "the official split"
    for compression in sorted({compression for _, compression in folder_of}):
        folder = folder_of[naming.originals, compression]
        for clip in official.split_of:
            if f"{compression}/{clip}" not in groups:
                name = f"{naming.dataset}/{naming.originals}/{compression}/{clip}"
                path = os.path.join(folder, f"{clip}.mp4")
                found.problems.append(missing(name, path, naming.originals, compression, 0, by))
    for method, compression in sorted(folder_of):
        for target, source in official.pairs if method != naming.originals else ():
            for pair in (f"{target}_{source}", f"{source}_{target}"):
                name = f"{naming.dataset}/{method}/{compression}/{pair}"
                if name not in fakes:
                    path = os.path.join(folder_of[method, compression], f"{pair}.mp4")
                    found.problems.append(missing(name, path, method, compression, 1, by))


def _flat_folders(tree: Folder, names: tuple[str, ...]) -> list[str]:
    """The folders of these names directly in the root; two names may mean one."""
    folders = (tree.find(name) for name in names)
    return list(dict.fromkeys(folder for folder in folders if folder is not None and os.path.isdir(folder)))


def _videos(
    tree: Folder, parent: str, name: str, flat: tuple[str, ...], options: Options, found: Inventory
) -> Iterator[tuple[str, str, str]]:
    """(compression, stem, path) of the videos of the originals, or of one method, in either form."""
    places = list(_compressions(os.path.join(tree.root, parent, name)))
    places += [(_named_compression(folder), _inner(folder)) for folder in _flat_folders(tree, flat)]
    for compression, folder in places:
        if options.compressions and compression not in options.compressions:
            continue
        for clip, path in list_videos(folder, found).items():
            yield compression, clip, path


def _compressions(folder: str) -> Iterator[tuple[str, str]]:
    """(compression, folder with its videos) below the folder of the originals or of a method; `videos` may be left out,
    and so may the compression."""
    for name in subfolders(folder):
        if name == "videos":
            yield _named_compression(folder), os.path.join(folder, name)
        elif name != "masks":
            yield name, _inner(os.path.join(folder, name))
    yield _named_compression(folder), folder


def _inner(folder: str) -> str:
    inner = os.path.join(folder, "videos")
    return inner if os.path.isdir(inner) else folder


def _named_compression(folder: str) -> str:
    """The compression that the folder, or the nearest above it, has in its name; `native` if none has."""
    for part in reversed(os.path.abspath(folder).split(os.sep)):
        words = [word for word in re.split(r"[^0-9a-z]+", part.lower()) if word in ("c0", "c23", "c40")]
        if words:
            return words[-1]
    return "native"


def _masks(root: str, method: str, compression: str) -> dict[str, str]:
    """{name of the fake: its mask video, or its folder of mask pictures}."""
    folder = os.path.join(root, "manipulated_sequences", method)
    found: dict[str, str] = {}
    for place in (
        os.path.join(folder, "masks", "videos"),
        os.path.join(folder, "masks", "images"),
        os.path.join(folder, "masks"),
        os.path.join(folder, compression, "masks"),
        os.path.join(root, "masks", method),
    ):
        pictures = {name: os.path.join(place, name) for name in subfolders(place)}
        found = {**pictures, **list_videos(place), **found}
    return found


def read_splits(root: str, options: Options, found: Inventory) -> _Official:
    """The official JSON files; empty, with a note, where there are none.

    Raises:
        DatasetError: `options.split_dir` or the data set lacks a file of the three, one of them is no list of pairs, or
            they have a clip on two sides.
    """
    folders = [options.split_dir] if options.split_dir else [os.path.join(root, part) for part in _SPLIT_FOLDERS]
    for folder in folders:
        paths = {split: Folder(folder).find(f"{split}.json") for split in SPLITS}
        absent = [f"{split}.json" for split, path in paths.items() if path is None]
        if not absent:
            break
        if options.split_dir or len(absent) < len(SPLITS):
            raise DatasetError(f"{folder}: expected train.json, val.json and test.json; no {', '.join(absent)}")
    else:
        found.notes.append(
            "no train.json, val.json, test.json (the official split): clips are shared out by identity instead; "
            "pass --split_dir to use them"
        )
        return _Official({}, [])
    official = _Official({}, [], folder)
    for split in SPLITS:
        path = str(paths[split])
        expected = 'a list of pairs such as [["000", "003"], …]'
        content = lists.read_json(path, expected)
        if not isinstance(content, list):
            raise DatasetError(f"{path}: expected {expected}")
        for number, entry in enumerate(content, 1):
            pair = _ids(entry)
            if pair is None:
                raise DatasetError(f"{path}: expected {expected}, entry {number} is {str(entry)[:60]}")
            for clip in pair:
                before = official.split_of.setdefault(clip, split)
                if before != split:
                    raise DatasetError(f"{path}: {clip} is in {before}.json too")
            if len(pair) == 2:
                official.pairs.append((pair[0], pair[1]))
    return official


def _ids(entry: object) -> Optional[list[str]]:
    """Ids of an entry of a split file: a pair, as a list or as the name of a fake, or a single clip. Numbers are ids
    without their zeros; folders and suffixes are taken off."""
    if isinstance(entry, list):
        parts = [_ids(part) for part in entry]
        return [part[0] for part in parts if part] if all(part and len(part) == 1 for part in parts) else None
    if isinstance(entry, int) and not isinstance(entry, bool):
        return [f"{entry:03d}"]
    if not isinstance(entry, str) or not entry.strip():
        return None
    name = last(entry)
    match = _FFPP.fake.fullmatch(name)
    return [match["target"], match["source"]] if match else [name]


def _layout(naming: _Naming, title: str) -> Layout:
    expects = f"original_sequences/{naming.originals}/, manipulated_sequences/{naming.methods[0]}/"
    find, recognises = functools.partial(_find, naming), functools.partial(_recognises, naming)
    return Layout(naming.dataset, title, expects, find, recognises)


LAYOUT = _layout(_FFPP, "FaceForensics++")
DFD = _layout(_DFD, "DeepFakeDetection")
