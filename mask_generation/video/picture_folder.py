"""A folder of numbered pictures → frames, as older copies of data sets have their mask videos."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator

import cv2
import numpy as np

from mask_generation.video.types import UNREADABLE, DecodeStats, Frame, VideoError
from mask_generation.video.writer import PICTURE_SUFFIXES

_NUMBER = re.compile(r"(\d+)$")


class PictureFolder:
    """The frames of a folder; used as `VideoReader` is.

    A picture's number is its frame: `0012.png` is frame 12, whatever is missing before it. Numbers from 1 on without a
    gap are those of FFmpeg, which counts from 1, so that 1 is frame 0; names without a number go by their order.

    Raises:
        VideoError: there is no picture.
    """

    def __init__(self, path: str) -> None:
        self.path, self.stats = path, DecodeStats()
        try:
            names = sorted(name for name in os.listdir(path) if name.lower().endswith(PICTURE_SUFFIXES))
        except OSError as error:
            raise VideoError(path, UNREADABLE, error.strerror or "cannot be read") from error
        names = [name for name in names if not name.startswith("._")]
        if not names:
            raise VideoError(path, UNREADABLE, "a folder without pictures")
        self._by_index = dict(sorted(zip(_indices(names), names)))

    def frames(self, indices: Collection[int]) -> Iterator[Frame]:
        """Those frames in order, as far as they are there and can be read; times are not known, hence 0."""
        wanted = frozenset(indices)
        for index, name in self._by_index.items():
            picture = _read(os.path.join(self.path, name)) if index in wanted else None
            self.stats.failed += index in wanted and picture is None
            if picture is not None:
                self.stats.decoded += 1
                yield Frame(index, 0.0, picture)

    def __enter__(self) -> PictureFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def _indices(names: list[str]) -> list[int]:
    matches = [_NUMBER.search(os.path.splitext(name)[0]) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) < len(names) or len(set(numbers)) < len(numbers):
        return list(range(len(names)))
    counted_from_one = sorted(numbers) == list(range(1, len(numbers) + 1))
    return [number - 1 for number in numbers] if counted_from_one else numbers


def _read(path: str) -> np.ndarray | None:
    """(H,W,3) uint8 RGB; None where it cannot be read."""
    try:
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
