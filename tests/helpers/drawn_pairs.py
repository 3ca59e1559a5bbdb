"""Drawn originals and their manipulated copies on disk, and a run of `generate` over them that can be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from mask_generation.datasets.base import ClipGroup, FakeClip, Options
from mask_generation.datasets.registry import find
from mask_generation.pairs.outcome import GroupConfig
from tests.helpers import drawn_videos
from tests.helpers.drawn_videos import OvalDetector

SIZE_HW = (160, 224)
FACE = (112, 80)  # centre, x and y
MOUTH = (112, 104)
CONFIG = GroupConfig(frames=4, crop_size=64, recipe="article")  # the plainest recipe: masks are for other tests


def pictures(frames: int, fake: bool = False, faces: int = 1, seed: int = 0) -> list[np.ndarray]:
    """A face before a background that brightens and darkens, so that every frame can be distinguished from the others.

    A fake's mouth is green; everything else is the original's. `seed` draws another scene.
    """
    rng = np.random.default_rng(seed)
    speckle = rng.integers(-10, 11, SIZE_HW)[..., None]
    tint = rng.integers(-12, 13, 3)
    result = []
    for index in range(frames):
        level = 85 + 15 * np.sin(0.9 * index + seed) + 0.3 * index  # further, and it would look like a cut
        picture = np.zeros((*SIZE_HW, 3), np.float32) + level + tint
        picture[:, : SIZE_HW[1] // 2] -= 20 * np.cos(0.7 * index)
        picture = picture.clip(30, 140)
        if faces:
            draw_face(picture, FACE, fake)
        result.append(np.clip(picture + speckle, 0, 255).astype(np.uint8))
    return result


def draw_face(picture: np.ndarray, centre: tuple[int, int], fake: bool) -> None:
    x, y = centre
    cv2.ellipse(picture, centre, (30, 42), 0, 0, 360, drawn_videos.SKIN, -1)
    for side in (-1, 1):
        cv2.circle(picture, (x + 12 * side, y - 10), 4, (20, 20, 20), -1)
    if fake:
        cv2.ellipse(picture, (x, y + 24), (16, 9), 0, 0, 360, drawn_videos.GREEN, -1)


def clip(path: Path, frames: int = 12, **options: object) -> Path:
    """Write one clip of `pictures`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return drawn_videos.write(path, pictures(frames, **options))


def group(folder: Path, original: Path, fakes: dict[str, Path], masks: dict[str, Path] | None = None) -> ClipGroup:
    """A group of clips on disk; `fakes` by method."""
    members = tuple(
        FakeClip(
            f"drawn/{method}/native/{path.stem}",
            str(path),
            method,
            "native",
            frozenset(("drawn:a",)),
            str(masks[method]) if masks and method in masks else None,
        )
        for method, path in fakes.items()
    )
    name = f"drawn/real/native/{original.stem}"
    who = frozenset(("drawn:a",))
    return ClipGroup(name, "drawn", "real", "native", str(original), members, who, "train", "drawn:a")


def pairs_csv(folder: Path, people: int, frames: int = 6, splits: tuple[str, ...] = ("train",)) -> Path:
    """`people` originals with a fake each, and the table of them."""
    rows = ["fake,original,method,split"]
    for person in range(people):
        clip(folder / f"{person:02d}.mp4", frames, seed=person)
        clip(folder / f"{person:02d}_fake.mp4", frames, fake=True, seed=person)
        rows.append(f"{person:02d}_fake.mp4,{person:02d}.mp4,mouth,{splits[person % len(splits)]}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", "utf-8")
    return table


class SlowOvalDetector(OvalDetector):
    """Takes its time, so that a kill finds a run at work."""

    def detect(self, rgb: np.ndarray) -> list:
        time.sleep(0.05)
        return super().detect(rgb)


def build_slow() -> SlowOvalDetector:
    return SlowOvalDetector()


def build_quick() -> OvalDetector:
    return OvalDetector()


def main(pairs: str, output: str, processes: str) -> None:
    """The body of `generate` with drawn faces, in a process of its own."""
    from mask_generation.pipeline import GenerateConfig, generate

    config = GenerateConfig(CONFIG, Path(output), processes=int(processes), shard_groups=3)
    inventory = find(pairs, "pairs_csv", Options())
    generate(inventory, config, lambda clips, states, resumed: None, build_slow)


if __name__ == "__main__":
    main(*sys.argv[1:])
