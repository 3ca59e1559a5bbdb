"""Pictures that are a face already: where in them the face is, measured on some or stated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from mask_generation.faces.detector import Box, CropGeometry, FaceDetector
from mask_generation.video.photo import read_picture
from mask_generation.video.types import Limits, VideoError

ASPECT = 0.75  # width over height of MTCNN's boxes, their median on 64 tight crops of as many people
SURROUND = 0.3  # of the picture's side, laid around it on each side before the detector looks: faces fill such pictures


@dataclasses.dataclass(frozen=True)
class GivenFace:
    """Where the face is in pictures that were all cut in one way.

    Attributes:
        margin: longer side of the picture over that of the face's box, as `crop_margin` elsewhere; below 1 the face
            reaches beyond the picture.
        offset: from the picture's centre to the box's, right and down, as shares of the picture's longer side.
        aspect: width of the box over its height.
    """

    margin: float
    offset: tuple[float, float] = (0.0, 0.0)
    aspect: float = ASPECT

    def box(self, height: int, width: int) -> Box:
        """The face's box in a picture of that size, px."""
        side = max(height, width)
        long = side / self.margin
        half_w, half_h = long / 2 * min(self.aspect, 1.0), long / 2 / max(self.aspect, 1.0)
        x, y = width / 2 + self.offset[0] * side, height / 2 + self.offset[1] * side
        return Box(x - half_w, y - half_h, x + half_w, y + half_h)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the detector found in a sample of pictures: medians, and quartiles of the margin.

    Attributes:
        looked_at, found: pictures, and those in which there was a face.
    """

    looked_at: int
    found: int
    margin: float = 0.0
    quartiles: tuple[float, float] = (0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)
    aspect: float = ASPECT


def whole_picture(height: int, width: int) -> CropGeometry:
    """The square that holds all of a picture, about its centre."""
    side = max(height, width)
    return CropGeometry((width - side) // 2, (height - side) // 2, side)


def measure(paths: Sequence[str], detector: FaceDetector, limits: Limits) -> Measured:
    """Look for the face in pictures cut closely around one; files that cannot be read count as looked at."""
    rows = []
    for path in paths:
        try:
            rgb = read_picture(path, limits)
        except VideoError:
            continue
        height, width = rgb.shape[:2]
        side = max(height, width)
        pad = round(SURROUND * side)
        wide = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REFLECT)
        boxes = [face.box.shifted(-pad, -pad) for face in detector.detect(wide)]
        inside = [box for box in boxes if 0 < box.centre[0] < width and 0 < box.centre[1] < height]
        if inside:
            box = max(inside, key=lambda each: each.area)
            x, y = box.centre
            offset = ((x - width / 2) / side, (y - height / 2) / side)
            rows.append((side / max(box.width, box.height), *offset, box.width / box.height))
    if not rows:
        return Measured(len(paths), 0)
    low, margin, high = (round(float(np.quantile([row[0] for row in rows], q)), 3) for q in (0.25, 0.5, 0.75))
    right, down, aspect = (round(float(np.median(values)), 3) for values in list(zip(*rows))[1:])
    return Measured(len(paths), len(rows), margin, (low, high), (right, down), aspect)
