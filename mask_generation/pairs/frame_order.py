"""Which frame of its original each frame of a fake is, when the two are not equally long: by pictures, lengths, times.

Equal lengths mean equal indices. A shorter fake may have ended early (FaceSwap of FaceForensics++ stops where the
source does) or have lost frames throughout (DeepFakeDetection), and pictures tell which, as long as something moves.
Where little does, the distance of whole pictures says nothing, so hypotheses are weighed frame by frame against each
other: a shift that is real shows in every part of the clip. What even that cannot tell is said, not guessed in silence.
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
LENGTH_TOLERANCE = 2  # frames by which encoders differ; more asks for evidence of where they are missing
SURE = 4.0  # standard errors by which one order must fit better than another, over the parts of a clip
LEAST_GAIN = 0.02  # and by how many grey levels, on average
AS_GOOD = 1.05  # an order without freedom is believed if its distance is that of the best path but for this
_MOST_GAIN = 0.5  # grey levels that one frame may count for
_PARTS = 16  # of a clip, whose gains are taken for independent
_OVERSAMPLED = 4  # thumbnails are averaged from pictures this many times as large, since 8 bits are coarse
_SMOOTHED = 5  # frames over which distances are averaged where little moves
_BY_TIME = "paired by time, which the pictures confirm"
_SAME_LENGTH = 0.01  # share by which the durations of clips of equal length may differ


class AlignmentError(Exception):
    """The pair does not fit together; the message says how."""


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Frames of a fake in the original.

    Attributes:
        original_of: (N,) index of the original's frame for each frame of the fake; -1 where there is none.
        kind: `same_index`, `dropped_frames`, `same_time`.
        distance: mean grey difference of the aligned thumbnails, a check on the whole.
        note: what a reader should know of it: that lengths differ, and by which evidence frames are paired.
    """

    original_of: np.ndarray
    kind: str
    distance: float
    note: str = ""

    def fake_of(self) -> dict[int, int]:
        """{original's index: fake's index}; of several the first."""
        return {int(o): f for f, o in reversed(list(enumerate(self.original_of))) if o >= 0}


def signature(grey: np.ndarray, centre_hw: Optional[tuple[int, int]] = None, fine: bool = False) -> np.ndarray:
    """(H,W) uint8 → `SIGNATURE_HW` uint8 thumbnail, of the central `centre_hw` pixels where the frame is larger.

    Args:
        fine: float32 instead, with fractions of a grey level.
    """
    height, width = grey.shape
    h, w = centre_hw or (height, width)
    top, left = max(height - h, 0) // 2, max(width - w, 0) // 2
    part = grey[top : top + h, left : left + w]
    rows, columns = SIGNATURE_HW
    if not fine:
        return cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    large = cv2.resize(part, (columns * _OVERSAMPLED, rows * _OVERSAMPLED), interpolation=cv2.INTER_AREA)
    return large.reshape(rows, _OVERSAMPLED, columns, _OVERSAMPLED).mean((1, 3), dtype=np.float32)


def align_frames(
    original: np.ndarray,
    fake: np.ndarray,
    original_s: Optional[np.ndarray] = None,
    fake_s: Optional[np.ndarray] = None,
) -> Timeline:
    """Match a fake's frames to its original's, in order.

    Same index unless another order is clearly closer: one that skips frames of the original, found by dynamic
    programming over strictly increasing indices, or the one by time, where the two clips last equally long.

    Args:
        original: (N,h,w) signatures of all frames; fake: (M,h,w).
        original_s, fake_s: (N,), (M,) when each frame is shown, in seconds; None where that is not known.
    Raises:
        AlignmentError: no frames, or the clips do not show the same.
    """
    n, m = len(original), len(fake)
    if not n or not m:
        raise AlignmentError("no frames to align")
    flat_o = original.reshape(n, -1).astype(np.float32)
    flat_f = fake.reshape(m, -1).astype(np.float32)
    same = _timeline("same_index", np.where(np.arange(m) < n, np.arange(m), -1), flat_o, flat_f)
    best = same
    if same.distance >= WORTH_LEVEL and m < n:
        path = _timeline("dropped_frames", _monotone_path(flat_o, flat_f), flat_o, flat_f)
        if path.distance < CLEAR_GAIN * same.distance:
            note = f"{n - m} of its original's {n} frames are not in it; which, the pictures show"
            best = dataclasses.replace(path, note=note)
            timed = by_time(n, m, original_s, fake_s)
            if timed is not None and np.abs(flat_f - flat_o[timed]).mean() <= AS_GOOD * path.distance:
                note = f"{n - m} frames shorter than its original's {n}, yet as long in time: {_BY_TIME}"
                best = _timeline("same_time", timed, flat_o, flat_f, note)
    if best is same and abs(n - m) > LENGTH_TOLERANCE:
        best = _weigh(same, by_time(n, m, original_s, fake_s), flat_o, flat_f)
    if best.distance > MAX_DISTANCE:
        raise AlignmentError(
            f"does not show what its original shows (mean difference {best.distance:.0f} grey levels at thumbnail size)"
        )
    return best


def by_time(n: int, m: int, original_s: Optional[np.ndarray], fake_s: Optional[np.ndarray]) -> Optional[np.ndarray]:
    """(M,) the original's frame at the moment of each frame of the fake; None where times are not known, where the
    clips do not last equally long, or where it is the same index."""
    if original_s is None or fake_s is None or min(n, m) < 2 or len(original_s) != n or len(fake_s) != m:
        return None
    ends = [float(times[-1] + (times[-1] - times[0]) / (len(times) - 1)) for times in (original_s, fake_s)]
    if abs(ends[0] - ends[1]) > max(_SAME_LENGTH * ends[0], 1.5 * ends[0] / n):
        return None
    middles = (original_s[1:] + original_s[:-1]) / 2
    order = np.asarray(np.searchsorted(middles, fake_s))
    return order if np.abs(order - np.arange(m)).max() > 1 else None


def _timeline(kind: str, order: np.ndarray, flat_o: np.ndarray, flat_f: np.ndarray, note: str = "") -> Timeline:
    used = order >= 0
    return Timeline(order, kind, float(np.abs(flat_f[used] - flat_o[order[used]]).mean()), note)


def _weigh(same: Timeline, timed: Optional[np.ndarray], flat_o: np.ndarray, flat_f: np.ndarray) -> Timeline:
    """The order that fits better than the same index in all parts of the clip; else what the lengths say."""
    n, m = len(flat_o), len(flat_f)
    longer = f"{abs(n - m)} frames {'shorter' if m < n else 'longer'} than its original's {n}"
    if timed is not None:
        sure = _advantage(same.original_of, timed, flat_o, flat_f)
        if sure >= SURE:
            note = f"{longer}, yet as long in time: {_BY_TIME}"
            return _timeline("same_time", timed, flat_o, flat_f, note)
        if sure > -SURE:
            note = f"{longer}, yet as long in time: paired by time, as too little moves for the pictures to tell"
            return _timeline("same_time", timed, flat_o, flat_f, note)
    if m > n:
        return dataclasses.replace(same, note=f"{longer}; what comes after the original's end is not used")
    spread = np.round(np.arange(m) * ((n - 1) / max(m - 1, 1))).astype(int)
    if max(_path_advantage(flat_o, flat_f), _advantage(same.original_of, spread, flat_o, flat_f)) >= SURE:
        path = _monotone_path(flat_o, flat_f, smoothed=_SMOOTHED)
        note = f"{n - m} of its original's {n} frames are not in it; which, the pictures show, though little moves"
        return _timeline("dropped_frames", path, flat_o, flat_f, note)
    if _advantage(spread, same.original_of, flat_o, flat_f) >= SURE:
        return dataclasses.replace(same, note=f"{longer}: it ends before its original, the pictures show")
    note = (
        f"{longer}, and too little moves to tell whether it ends early or lost frames on the way: taken for the same "
        "index, so that masks may be of other moments"
    )
    return dataclasses.replace(same, note=note)


def _advantage(order: np.ndarray, other: np.ndarray, flat_o: np.ndarray, flat_f: np.ndarray) -> float:
    """By how many standard errors `other` fits better than `order`, where they differ; 0 if that is too little."""
    where = np.flatnonzero((order != other) & (order >= 0) & (other >= 0))
    gains = np.abs(flat_f[where] - flat_o[order[where]]).mean(1) - np.abs(flat_f[where] - flat_o[other[where]]).mean(1)
    return _standard_errors(gains)


def _standard_errors(gains: np.ndarray) -> float:
    if len(gains) < _PARTS:
        return 0.0
    bounded = np.clip(gains, -_MOST_GAIN, _MOST_GAIN)  # else a single cut in the clip would be all its variance
    parts = np.array([part.mean() for part in np.array_split(bounded, _PARTS)])
    mean = float(parts.mean())
    if abs(mean) < LEAST_GAIN:
        return 0.0
    return mean / max(float(parts.std(ddof=1)) / _PARTS**0.5, 1e-6)


def _path_advantage(flat_o: np.ndarray, flat_f: np.ndarray) -> float:
    """As `_advantage`, of the best path over the same index. A path found by one half of the cells is judged by the
    other, since by its own it would fit better whatever the truth."""
    rows, columns = SIGNATURE_HW
    chequers = (np.add.outer(np.arange(rows), np.arange(columns)) % 2 == 0).ravel()
    if flat_o.shape[1] != len(chequers):
        chequers = np.arange(flat_o.shape[1]) % 2 == 0
    m, gains = len(flat_f), np.zeros(len(flat_f), np.float32)
    for cells in (chequers, ~chequers):
        path = _monotone_path(flat_o[:, cells], flat_f[:, cells], smoothed=_SMOOTHED)
        a, b, fake = flat_o[:m, ~cells], flat_o[path][:, ~cells], flat_f[:, ~cells]
        gains += (np.abs(fake - a).mean(1) - np.abs(fake - b).mean(1)) / 2
    return _standard_errors(gains)


def _monotone_path(original: np.ndarray, fake: np.ndarray, max_band: int = 600, smoothed: int = 1) -> np.ndarray:
    """(M,) strictly increasing indices into `original` (N,D) with the least summed distance to `fake` (M,D), M < N.

    Frame i lies in i … i + N - M, since each frame skipped moves it on by one; the band is capped for long clips.

    Args:
        smoothed: frames over which distances are averaged first, at the same number of skipped ones; a skip must then
            be worth its noise too.
    """
    n, m = len(original), len(fake)
    band = min(n - m + 1, max_band)
    distances = np.full((m, band), 1e6, np.float32)
    for i in range(m):
        window = original[i : i + band]
        distances[i, : len(window)] = np.abs(window - fake[i]).mean(1)
    penalty = 0.0
    if smoothed > 1:
        distances = cv2.blur(distances, (1, smoothed), borderType=cv2.BORDER_REPLICATE)
        steps = np.diff(distances[:, 0], 2)
        penalty = 1.5 * float(np.median(np.abs(steps))) if len(steps) else 0.0
    cost = np.zeros(band, np.float32)
    choice = np.empty((m, band), np.int32)
    for i in range(m):
        # State d = index - i: the next frame keeps d or raises it, so the best predecessor is a running minimum.
        lowest = np.minimum.accumulate(cost)
        is_new = cost <= lowest
        choice[i] = np.maximum.accumulate(np.where(is_new, np.arange(band), 0))
        if penalty:
            stays = cost <= lowest + penalty
            choice[i] = np.where(stays, np.arange(band), choice[i])
            lowest = np.where(stays, cost, lowest + penalty)
        cost = lowest + distances[i]
    path = np.empty(m, np.int64)
    d = int(np.argmin(cost))
    for i in range(m - 1, -1, -1):
        path[i] = i + d
        d = int(choice[i, d])
    return path
