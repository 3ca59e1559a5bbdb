"""Which way up the faces of a video are, where its header does not say: phones, screens and editors lose it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mask_generation.faces.detector import FaceDetector
from mask_generation.video.types import Frame

# What MTCNN gives faces that stand upright (medians of six clips: .996 to 1); on their side or head it finds some, too,
# with .93 to .97 (four clips), and crops and masks of those are worth nothing.
SURE_SCORE = 0.98
FEW_SHARE = 0.5  # of the frames with a sure face, below which other turns are tried
TRIED_FRAMES = 5
SIDE_PX = 640  # long side to which frames are shrunk for it, which makes a detection quick
WORDS = {1: "turned by 90° to the left", 2: "turned upside down", 3: "turned by 90° to the right"}


def is_few(best_scores: Sequence[float]) -> bool:
    """Whether an upright search found so little that other turns are worth a try.

    Args:
        best_scores: of each frame looked at the score of its best face, 0 where there is none; at least one frame.
    """
    return float(np.mean(np.asarray(best_scores) >= SURE_SCORE)) < FEW_SHARE


def tried(indices: Sequence[int]) -> list[int]:
    """The few of the frames looked at on which turns are tried, spread over them."""
    places = np.linspace(0, len(indices) - 1, min(TRIED_FRAMES, len(indices))).round().astype(int)
    return [indices[place] for place in np.unique(places)]


def find_turn(frames: Iterable[np.ndarray], detector: FaceDetector, side_px: int = SIDE_PX) -> int:
    """Quarter turns to the left that bring the faces of a video upright.

    Args:
        frames: (H,W,3) uint8, some of the video's, at least one.
        side_px: long side to which they are shrunk.
    Returns:
        1, 2 or 3 where more than half of the frames show a sure face that way and at least two more than upright
        (one more, where there are fewer than four frames); else 0.
    """
    small = [_shrunk(rgb, side_px) for rgb in frames]
    scores = [[_best(detector, turned_pixels(rgb, turns)) for rgb in small] for turns in range(4)]
    sure = [sum(score >= SURE_SCORE for score in row) for row in scores]
    best = max((1, 2, 3), key=lambda turns: (sure[turns], sum(scores[turns])))
    margin = 2 if len(small) >= 4 else 1
    return best if sure[best] > len(small) / 2 and sure[best] >= sure[0] + margin else 0


def turned(frame: Frame, turns: int) -> Frame:
    """A frame turned by quarters to the left."""
    return dataclasses.replace(frame, rgb=turned_pixels(frame.rgb, turns)) if turns % 4 else frame


def turned_pixels(rgb: np.ndarray, turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(rgb, turns))


def _best(detector: FaceDetector, rgb: np.ndarray) -> float:
    return max((face.score for face in detector.detect(rgb)), default=0.0)


def _shrunk(rgb: np.ndarray, side_px: int) -> np.ndarray:
    scale = side_px / max(rgb.shape[:2])
    return rgb if scale >= 1 else cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
