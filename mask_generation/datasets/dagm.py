"""DAGM2007, the surfaces with defects on which the original UNet Industrial was trained (Wieler & Hahn 2007).

`Class<N>/{Train,Test}/*.PNG`, 512x512 grey, and for defective images `Label/<stem>_label.PNG` beside them, an ellipse
around the defect. A still is taken as a clip of one frame: a clean one is an original without copies, a defective one
a manipulated copy without an original, whose mask is the label. Train becomes the split `train`, Test `test`.
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
    Problem,
    subfolders,
)

NAME = "dagm"
_CLASS = re.compile(r"Class(\d+)", re.IGNORECASE)
_BELOW = ("", "raw_images/private", "raw_images/public", "raw_images", "private", "public")
_SPLIT_OF = {"Train": "train", "Test": "test"}
# Defective images of the classes 1 … 10 in the whole (private) data set; NVIDIA's preprocessing insists on them.
DEFECTIVE = {
    "Train": (79, 66, 66, 82, 70, 83, 150, 150, 150, 150),
    "Test": (71, 84, 84, 68, 80, 67, 150, 150, 150, 150),
}


def recognises(root: str) -> bool:
    return bool(_classes(root))


def _classes(root: str) -> dict[str, str]:
    """{`Class1`: folder}, in order of their numbers; the root may be one class itself."""
    here = os.path.basename(os.path.abspath(root))
    if _CLASS.fullmatch(here) and any(os.path.isdir(os.path.join(root, part)) for part in _SPLIT_OF):
        return {here: root}
    for below in _BELOW:
        folder = os.path.join(root, below)
        names = [
            name
            for name in subfolders(folder)
            if _CLASS.fullmatch(name) and any(os.path.isdir(os.path.join(folder, name, part)) for part in _SPLIT_OF)
        ]
        if names:
            return {name: os.path.join(folder, name) for name in sorted(names, key=_number)}
    return {}


def _number(name: str) -> int:
    return int(_CLASS.fullmatch(name)[1])  # type: ignore[index]


def find(root: str, options: Options) -> Inventory:
    """All images; `options.methods` chooses classes by name.

    Raises:
        DatasetError: there is no class folder, or none of those asked for.
    """
    found = Inventory(NAME)
    classes = _classes(root)
    if not classes:
        raise DatasetError(f"{root}: no Class1/Train, Class1/Test … as in DAGM2007")
    chosen = {name: folder for name, folder in classes.items() if not options.methods or name in options.methods}
    if not chosen:
        raise DatasetError(f"{root}: none of {', '.join(options.methods)}; there are {', '.join(classes)}")
    for name, folder in chosen.items():
        for part, split in _SPLIT_OF.items():
            if os.path.isdir(os.path.join(folder, part)):
                _find_part(found, name, os.path.join(folder, part), part, split)
            else:
                found.notes.append(f"{os.path.join(folder, part)}: missing")
    return found


def _find_part(found: Inventory, name: str, folder: str, part: str, split: str) -> None:
    images, labels = _pngs(folder), _pngs(os.path.join(folder, "Label"))
    defective = 0
    for stem, path in images.items():
        full = f"{NAME}/{name}/native/{part}/{stem}"
        who = frozenset((f"{NAME}:{name}/{part}/{stem}",))
        label = labels.pop(f"{stem}_label", None)
        fakes = (FakeClip(full, path, name, "native", who, label),) if label else ()
        defective += bool(label)
        original = None if label else path
        found.groups.append(ClipGroup(full, NAME, name, "native", original, fakes, who, split, still=True))
    for stem, path in labels.items():
        reason = f"a label without its image in {folder}"
        found.problems.append(Problem(f"{NAME}/{name}/native/{part}/{stem}", path, name, "native", "missing", reason))
    known = DEFECTIVE[part][_number(name) - 1] if _number(name) <= 10 else defective
    if defective != known:
        found.notes.append(f"{name}/{part}: {defective} of {len(images)} images have a label, {known} in the whole set")


def _pngs(folder: str) -> dict[str, str]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in names
        if name.lower().endswith(".png") and not name.startswith("._")
    }


LAYOUT = Layout(NAME, "DAGM2007", "Class1/Train/", find, recognises)
