"""Which frame of the original a frame of the fake belongs to, and where in it.

Fakes are not simply their original with other pixels: FaceForensics++ holds centre crops (Face2Face and NeuralTextures
of clips whose width is no multiple of the network's stride), fakes shorter or longer than their original, and copies
at another frame rate; DeepFakeDetection loses frames throughout. Pairs go by frame index, never by time; what cannot be
aligned is reported, not guessed.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import cv2
import numpy as np

SIGNATURE_HW = (18, 32)  # a frame as a grey thumbnail, for comparing whole clips
MAX_DISTANCE = 24.0  # mean grey difference of thumbnails above which two clips do not show the same
CLEAR_GAIN = 0.75  # another frame order must lower the distance to this share before it is believed
WORTH_LEVEL = 1.0  # and the distance at equal indices must be at least this many grey levels
IDENTICAL_LEVEL = 0.05  # mean difference in grey levels below which two frames count as the same


class AlignmentError(Exception):
    """The pair does not fit together; the message says how."""


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Frames of a fake in the original.

    Attributes:
        original_of: (N,) index of the original's frame for each frame of the fake; -1 where there is none.
        kind: `same_index`, `dropped_frames`.
        distance: mean grey difference of the aligned thumbnails, a check on the whole.
    """

    original_of: np.ndarray
    kind: str
    distance: float

    def fake_of(self) -> dict[int, int]:
        """{original's index: fake's index}."""
        return {int(o): f for f, o in enumerate(self.original_of) if o >= 0}


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of the original's picture that the fake shows: columns x0 … x0+width, rows y0 … y0+height."""

    x0: int
    y0: int
    width: int
    height: int

    def cut(self, frame: np.ndarray) -> np.ndarray:
        return frame[self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]


def signature(grey: np.ndarray, centre_hw: Optional[tuple[int, int]] = None) -> np.ndarray:
    """(H,W) uint8 → `SIGNATURE_HW` uint8 thumbnail, of the central `centre_hw` pixels where the frame is larger."""
    height, width = grey.shape
    h, w = centre_hw or (height, width)
    top, left = max(height - h, 0) // 2, max(width - w, 0) // 2
    return cv2.resize(grey[top : top + h, left : left + w], SIGNATURE_HW[::-1], interpolation=cv2.INTER_AREA)


def align_frames(original: np.ndarray, fake: np.ndarray) -> Timeline:
    """Match a fake's frames to its original's, in order.

    Same index unless an assignment that skips frames of the original is clearly closer; then that one, found by
    dynamic programming over strictly increasing indices.

    Args:
        original: (N,h,w) uint8 signatures of all frames; fake: (M,h,w).
    Raises:
        AlignmentError: no frames, or the clips do not show the same.
    """
    n, m = len(original), len(fake)
    if not n or not m:
        raise AlignmentError("no frames to align")
    flat_o = original.reshape(n, -1).astype(np.float32)
    flat_f = fake.reshape(m, -1).astype(np.float32)
    common = min(n, m)
    direct = np.abs(flat_f[:common] - flat_o[:common]).mean(1)
    same = Timeline(np.where(np.arange(m) < n, np.arange(m), -1), "same_index", float(direct.mean()))
    best = same
    if same.distance >= WORTH_LEVEL and m < n:
        path = _monotone_path(flat_o, flat_f)
        distance = float(np.abs(flat_f - flat_o[path]).mean())
        if distance < CLEAR_GAIN * same.distance:
            best = Timeline(path, "dropped_frames", distance)
    if best.distance > MAX_DISTANCE:
        raise AlignmentError(
            f"does not show what its original shows (mean difference {best.distance:.0f} grey levels at thumbnail size)"
        )
    return best


def _monotone_path(original: np.ndarray, fake: np.ndarray, max_band: int = 600) -> np.ndarray:
    """(M,) strictly increasing indices into `original` (N,D) with the least summed distance to `fake` (M,D), M < N.

    Frame i lies in i … i + N - M, since each frame skipped moves it on by one; the band is capped for long clips.
    """
    n, m = len(original), len(fake)
    band = min(n - m + 1, max_band)
    cost = np.full(band, 0.0, np.float32)
    choice = np.empty((m, band), np.int32)
    for i in range(m):
        # State d = index - i: the next frame keeps d or raises it, so the best predecessor is a running minimum.
        lowest = np.minimum.accumulate(cost)
        is_new = cost <= lowest
        choice[i] = np.maximum.accumulate(np.where(is_new, np.arange(band), 0))
        window = original[i : i + band]
        distance = np.abs(window - fake[i]).mean(1)
        cost = lowest + np.pad(distance, (0, band - len(distance)), constant_values=1e6)
    path = np.empty(m, np.int64)
    d = int(np.argmin(cost))
    for i in range(m - 1, -1, -1):
        path[i] = i + d
        d = int(choice[i, d])
    return path


def align_picture(originals: list[np.ndarray], fakes: list[np.ndarray]) -> Window:
    """Where in the original's picture the fake's lies, from a few aligned frames.

    A smaller fake is looked for as a crop, by least difference over all offsets, and compared with the original
    scaled to its size.

    Args:
        originals: (H,W,3) uint8 frames; fakes: (h,w,3), the same moments.
    Raises:
        AlignmentError: the fake is larger, a scaled copy, or at offsets that differ between frames.
    """
    height, width = originals[0].shape[:2]
    h, w = fakes[0].shape[:2]
    if (h, w) == (height, width):
        return Window(0, 0, width, height)
    if h > height or w > width:
        raise AlignmentError(f"{w}x{h} pixels, but its original has {width}x{height}; larger fakes cannot be aligned")
    found = [_offset(a, b) for a, b in zip(originals, fakes)]
    offset = found[len(found) // 2][0]
    if any(max(abs(x - offset[0]), abs(y - offset[1])) > 1 for (x, y), _ in found):
        raise AlignmentError(f"{w}x{h} pixels in {width}x{height}, at offsets that change: {[o for o, _ in found]}")
    window = Window(*offset, w, h)
    cropped = float(np.mean([_difference(window.cut(a), b) for a, b in zip(originals, fakes)]))
    scaled = float(
        np.mean([_difference(cv2.resize(a, (w, h), interpolation=cv2.INTER_AREA), b) for a, b in zip(originals, fakes)])
    )
    if scaled < cropped:
        raise AlignmentError(f"a scaled copy ({w}x{h} of {width}x{height}); its pixels are not the original's")
    return window


def _offset(original: np.ndarray, fake: np.ndarray) -> tuple[tuple[int, int], float]:
    result = cv2.matchTemplate(
        cv2.cvtColor(original, cv2.COLOR_RGB2GRAY), cv2.cvtColor(fake, cv2.COLOR_RGB2GRAY), cv2.TM_SQDIFF
    )
    value, _, (x, y), _ = cv2.minMaxLoc(result)
    return (int(x), int(y)), float(value)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).mean())


def identical(original: np.ndarray, fake: np.ndarray, window: Optional[Window] = None) -> bool:
    """Whether two frames are the same but for rounding: DFDC calls clips fake whose sound alone is."""
    part = window.cut(original) if window is not None else original
    return part.shape == fake.shape and _difference(part, fake) < IDENTICAL_LEVEL
