"""What a head looks like, as a histogram of its colours: tells the people of one video apart, where nothing knows them.

Skin, hair and collar under the light of one video differ between its people far more than one person's do over time.
It is no face recognition, and says nothing across videos.
"""

from __future__ import annotations

from typing import Optional

import cv2
import numpy as np

from mask_generation.faces.detector import Box, crop_geometry

MARGIN = 1.6  # of the face: with hair, ears and collar
SIDE_PX = 48
BINS = (6, 8, 8)  # lightness, and two of colour
RANGES = (0, 256, 90, 170, 90, 170)  # of OpenCV's 8-bit Lab; skin, hair and clothes lie within
LENGTH = int(np.prod(BINS))


def colours(rgb: np.ndarray, box: Box) -> Optional[np.ndarray]:
    """(LENGTH,) float32: square roots of the shares of a head's pixels in each bin of Lab; None where the box lies
    outside the (H,W,3) frame."""
    try:
        head = crop_geometry(box, MARGIN).crop(rgb, SIDE_PX)
    except ValueError:
        return None
    lab = cv2.cvtColor(head, cv2.COLOR_RGB2LAB)
    lab[..., 1:] = np.clip(lab[..., 1:], RANGES[2], RANGES[3] - 1)  # stronger colours count as the last bin
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(BINS), list(RANGES))
    return np.sqrt(counts.ravel() / counts.sum()).astype(np.float32)


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hellinger distance of (..., LENGTH) to (N, LENGTH) colours, (..., N) in [0, 1]: 0 the same, 1 no colour shared."""
    return np.sqrt(np.clip(1 - first @ np.swapaxes(second, -1, -2), 0, 1))
