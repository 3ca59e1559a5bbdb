"""Real and fake out of records, framed, lit and compressed as the synthesis does it: pair i depends on seed and i.

The difference between the two is the manipulation and nothing else: what is drawn of place, colour and light is drawn
once for both, and they go through the same kind of compression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import numpy as np

from mask_generation.pipeline import crop_margin
from mask_generation.synthesis import jitter
from mask_generation.synthesis.pairs import LabelledPair, Mix, degrade_pair, draw_window, to_size
from unet_industrial.config import FACE_MARGIN
from unet_industrial.dataset import RecordSource

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class RecordPairs:
    """The pairs of some record files.

    Args:
        source: of the files; its draws decide who comes when.
        seed: of everything else.
    """

    def __init__(self, source: RecordSource, seed: int) -> None:
        self._source, self._seed = source, seed
        self._margin = crop_margin(source.files) or FACE_MARGIN

    def make(self, index: int, size: int, difficulty: float, mix: Mix) -> LabelledPair:
        """Pair number `index`, each picture `size` pixels wide.

        Raises:
            RecordFileError: a record is damaged or cannot be read.
        """
        real, fake = self._source.members([2 * index, 2 * index + 1])
        side = real["image"].shape[0]
        pictures = [real["image"], to_size(fake["image"], side)]  # of another group, where one has no partner
        rng = np.random.default_rng([self._seed, index])
        window = draw_window(side, self._margin, rng, mix.least_margin)
        mask = window.cut(to_size(fake["mask"][..., 0], side))
        pictures = [window.cut(picture) for picture in pictures]
        if rng.random() < 0.5:
            pictures = _alike(pictures, lambda picture, own: jitter.colour(picture, own, 0.8), rng)
        if rng.random() < mix.relight:
            pictures = _alike(pictures, jitter.relight, rng)
        made = degrade_pair(pictures[0], pictures[1], rng, difficulty, mix)
        return LabelledPair(
            to_size(made[0], size),
            to_size(made[1], size),
            to_size(mask, size),
            (real["clip"], fake["clip"]),
            (real["key"], fake["key"]),
            (int(real["frame_index"]), int(fake["frame_index"])),
        )


def _alike(pictures: Sequence[np.ndarray], change: Change, rng: np.random.Generator) -> list[np.ndarray]:
    """Pictures of one size after the same random change."""
    seed = int(rng.integers(2**31))
    return [jitter.to_uint8(change(picture.astype(np.float32), np.random.default_rng(seed))) for picture in pictures]
