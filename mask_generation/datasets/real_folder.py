"""A folder of untouched videos, at any depth: negatives, and raw material for synthesis. Each clip is its own identity,
unless people are known: pass a pairs CSV with an `identity` column then."""

from __future__ import annotations

import os

from mask_generation.datasets.base import ClipGroup, DatasetError, Inventory, Layout, Options, video_files


def find(root: str, options: Options) -> Inventory:
    """Raises DatasetError where there is no video at all."""
    name = os.path.basename(os.path.abspath(root))
    found = Inventory("real_folder")
    for folder, _, _ in sorted(os.walk(root)):
        for path in video_files(folder):
            relative = os.path.relpath(path, root)
            found.groups.append(
                ClipGroup(
                    name=f"{name}/real/native/{relative}",
                    dataset=name,
                    method="real",
                    compression="native",
                    original=path,
                    fakes=(),
                    identities=frozenset((f"{name}:{relative}",)),
                )
            )
    if not found.groups:
        raise DatasetError(f"{root}: no video files in it")
    return found


LAYOUT = Layout("real_folder", "untouched videos", "a folder of them, and --dataset=real_folder", find, recognises=None)
