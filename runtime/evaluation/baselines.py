"""Detectors without training that every table shows: blur, a painted face, chance. NumPy and OpenCV only.

Blur is the bar: fakes are softer than their originals, and one line measures it. Who does not beat it has learned
nothing; who only relearns it calls every soft real video fake.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

CROP_PX = 256  # side the blur is measured at: variance of the Laplacian is not invariant to size
CENTRE_SHARE = 0.5  # side of the centre square over the crop's side: the face without hair and background
# Keeps the logarithm finite on a flat crop; far below the variance of one grey level of noise (about 20).
FLAT_VARIANCE = 1e-6

# Outline of a frontal face from eyebrows to chin in a square crop of 1.3 × the detector's box, x and y in [0, 1]: mean
# of 40 faces of the Face Research Lab London Set (DeBruine & Jones 2017, CC BY 4.0, doi 10.6084/m9.figshare.5047666.v5)
# placed by MTCNN's boxes, made symmetric.
FACE_OUTLINE = (
    (0.780, 0.620),
    (0.759, 0.714),
    (0.711, 0.797),
    (0.638, 0.858),
    (0.548, 0.892),
    (0.452, 0.892),
    (0.362, 0.858),
    (0.289, 0.797),
    (0.241, 0.714),
    (0.220, 0.620),
    (0.207, 0.513),
    (0.237, 0.399),
    (0.325, 0.318),
    (0.447, 0.318),
    (0.553, 0.318),
    (0.675, 0.318),
    (0.763, 0.399),
    (0.793, 0.513),
)


def blur_score(crop: np.ndarray) -> float:
    """Minus the natural logarithm of the Laplacian's variance in the crop's centre: higher is softer, hence more fake.

    Args:
        crop: (S, S, 3) uint8 RGB face crop, or (S, S, 1); resized to CROP_PX (area when it shrinks).
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.shape[2] == 3 else crop[..., 0]
    if grey.shape != (CROP_PX, CROP_PX):
        how = cv2.INTER_AREA if grey.shape[0] > CROP_PX else cv2.INTER_LINEAR
        grey = cv2.resize(grey, (CROP_PX, CROP_PX), interpolation=how)
    margin = round(CROP_PX * (1 - CENTRE_SHARE) / 2)
    centre = grey[margin : CROP_PX - margin, margin : CROP_PX - margin]
    return float(-np.log(max(cv2.Laplacian(centre, cv2.CV_64F).var(), FLAT_VARIANCE)))


@lru_cache(maxsize=8)
def face_hull(side: int) -> np.ndarray:
    """(side, side) float32, 1 inside a face's usual outline in a crop: the mask of a detector that marks every face."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint(np.asarray(FACE_OUTLINE) * side).astype(np.int32)], 1)
    hull = mask.astype(np.float32)
    hull.setflags(write=False)
    return hull


def to_uint8(images: np.ndarray) -> np.ndarray:
    """(B, S, S, C) float32 in [-1, 1] → uint8, as the records stored them."""
    return np.rint(np.clip((images + 1) * 127.5, 0, 255)).astype(np.uint8)
