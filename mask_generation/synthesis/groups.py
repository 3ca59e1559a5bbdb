"""Synthesised pairs as face groups: the form in which records, training and evaluation take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

import numpy as np

from mask_generation.synthesis.pool import Pool
from mask_generation.synthesis.stream import Mix, make_pair

if TYPE_CHECKING:  # it loads TensorFlow
    from unet_industrial.records import FaceGroup

DATASET = "synthesis"


def face_groups(
    pool: Pool, split: str, seed: int, pairs: range, size: int, difficulty: float = 1.0, mix: Optional[Mix] = None
) -> Iterator[FaceGroup]:
    """Pairs of the stream with that seed, a group each: the real picture, then its fake.

    A group's identity is the person in the picture. The other face of a swap is not counted as a second one: nearly
    everybody would be connected with everybody, and no interval by identity could be given.
    """
    from unet_industrial.records import FaceGroup, FaceImage

    for index in pairs:
        pair = make_pair(pool, seed, index, size, difficulty, mix)
        clip = f"{DATASET}/{{}}/-/{index}"
        real = FaceImage(pair.real, np.zeros_like(pair.mask), 0, clip.format("real"), "real", 0)
        fake = FaceImage(pair.fake, pair.mask, 1, clip.format(pair.kind), pair.kind, 0, "exact")
        box = (0.0, 0.0, float(size), float(size))
        key = f"{DATASET}/{seed}/{index}"
        yield FaceGroup(key, DATASET, split, pair.identity, 0, 0.0, 0, box, (real, fake))
