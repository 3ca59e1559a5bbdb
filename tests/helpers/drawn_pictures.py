"""Drawn face crops on disk, originals and manipulated copies, and a list of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mask_generation.pairs.outcome import GroupConfig
from tests.helpers.drawn_pairs import draw_face

SIZE = 112
CENTRE = (56, 56)
CONFIG = GroupConfig(
    crop_size=SIZE, crop_margin=1.33, recipe="article", faces="given", given_margin=1.33, given_offset=(0, 0)
)


def crop(seed: int = 0, fake: bool = False, light: float = 1.0, shift: int = 0) -> np.ndarray:
    """A (SIZE,SIZE,3) uint8 face before a textured wall; a fake's mouth is green.

    Args:
        light: factor of brightness. shift: pixels by which the square was cut further right.
    """
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(50, 130, (16, 24, 3)).astype(np.float32), (SIZE + 56, SIZE))
    draw_face(wall, CENTRE, fake)
    return (wall[:, shift : shift + SIZE] * light).clip(0, 255).astype(np.uint8)


def write(path: Path, rgb: np.ndarray) -> Path:
    """Write a picture in the format of its suffix; JPEG at quality 90."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def pairs_csv(folder: Path, people: int, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """`people` originals with two fakes each in folders `faces/NN`, listed by names without suffix."""
    rows = ["fake,original,person,split,source_px"]
    for person in range(people):
        place = folder / "faces" / f"{person:02d}"
        write(place / f"real{person:02d}.jpg", crop(person))
        for number in range(2):
            write(place / f"fake{person:02d}_{number}.jpg", crop(person, fake=True, light=1 - 0.01 * number))
            rows.append(f"fake{person:02d}_{number},real{person:02d},p{person:02d},{splits[person % len(splits)]},100")
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", "utf-8")
    return table
