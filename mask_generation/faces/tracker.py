"""Faces of single frames → people over time: boxes linked, people kept apart, boxes smoothed.

Detecting on every frame is slow. A tracker detects now and then, and in between asks the detector only to `refine` the
boxes it expects, which costs a hundredth; where that fails, it detects again at once.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Optional

import cv2
import numpy as np

from mask_generation.faces import appearance
from mask_generation.faces.detector import Box, Detection, FaceDetector
from mask_generation.video.types import Frame

PATIENCE_S = 0.1  # after a detection without an expected face, before the next one
MIN_IOU = 0.25  # less overlap and it is another face, unless it is close and of the same size
SAME_FACE_IOU = 0.5  # two tracks that overlap more have run into one face
OTHER_LOOKS = 0.6  # distance of appearance above which a face after a longer gap is another person's
OTHER_AFTER_S = 0.3  # what counts as a longer gap: light does not change so fast
MOST_LOOKS = 32  # appearances kept of a track
CUT_LEVEL = 40.0  # mean grey difference of two thumbnails that distinguishes a cut from a movement


@dataclasses.dataclass(frozen=True)
class TrackedFace:
    """A face in the frame just read, as detected (not smoothed)."""

    track: int
    detection: Detection

    @property
    def box(self) -> Box:
        return self.detection.box


class _Sighting(NamedTuple):
    """A face of the frame just read, the track it continues, and what its head looks like where that was measured."""

    track: Track
    face: Detection
    look: Optional[np.ndarray] = None


@dataclasses.dataclass
class Track:
    """One person over time: parallel lists, one entry for each frame in which the face was seen.

    Beside them, of full detections only: `looks`, at most MOST_LOOKS appearances of the head spread over the track, and
    `certainties` (see `Detection.certainty`).
    """

    id: int
    indices: list[int] = dataclasses.field(default_factory=list)
    times_s: list[float] = dataclasses.field(default_factory=list)
    boxes: list[Box] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    landmarks: list[np.ndarray] = dataclasses.field(default_factory=list)
    detected: int = 0  # how often a full detection, not only a refinement, saw it
    looks: list[np.ndarray] = dataclasses.field(default_factory=list, repr=False)
    certainties: list[float] = dataclasses.field(default_factory=list, repr=False)
    _look_every: int = dataclasses.field(default=1, repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def mean_area(self) -> float:
        """Mean area of the boxes, in square pixels."""
        return float(np.mean([box.area for box in self.boxes]))

    @property
    def certainty(self) -> float:
        """How sure the detector was of a face, in [0, 1]: the median over the track of its certainty where it states
        one, else of its scores."""
        return float(np.median(self.certainties or self.scores))

    def append(self, frame: Frame, face: Detection, detected: bool, look: Optional[np.ndarray] = None) -> None:
        self.indices.append(frame.index)
        self.times_s.append(frame.time_s)
        self.boxes.append(face.box)
        self.scores.append(face.score)
        self.landmarks.append(face.landmarks)
        if look is not None and self.detected % self._look_every == 0:
            self.looks.append(look)
            if len(self.looks) > MOST_LOOKS:
                self.looks, self._look_every = self.looks[::2], 2 * self._look_every
        if face.certainty is not None:
            self.certainties.append(face.certainty)
        self.detected += detected

    def expected(self, time_s: float, frame_size: tuple[int, int]) -> Box:
        """Where the face should be at a time after the last sighting, moving on as it last did."""
        box = self.boxes[-1]
        if len(self) < 2 or self.times_s[-1] <= self.times_s[-2]:
            return box
        step = (time_s - self.times_s[-1]) / (self.times_s[-1] - self.times_s[-2])
        (x, y), (x_before, y_before) = box.centre, self.boxes[-2].centre
        reach = 0.5 * max(box.width, box.height)  # a guess may not leave the face it comes from
        dx, dy = (float(np.clip(move * step, -reach, reach)) for move in (x - x_before, y - y_before))
        moved = box.shifted(dx, dy)
        height, width = frame_size
        inside = 0 < moved.centre[0] < width and 0 < moved.centre[1] < height
        return moved if inside else box

    def smoothed(self, sigma_s: float = 0.12) -> list[Box]:
        """The boxes averaged over time with Gaussian weights; jitter goes, movements slower than `sigma_s` stay."""
        if len(self) < 2 or sigma_s <= 0:
            return list(self.boxes)
        times, boxes = np.asarray(self.times_s), np.asarray(self.boxes, np.float64)
        weights = np.exp(-0.5 * ((times[:, None] - times[None]) / sigma_s) ** 2)
        return [Box(*row) for row in (weights @ boxes / weights.sum(1, keepdims=True)).tolist()]

    def box_at(self, index: int, max_gap: Optional[int] = None) -> Optional[Box]:
        """The box at a frame: seen, or interpolated between two sightings at most `max_gap` frames apart.

        Returns:
            None before the first sighting, after the last, and inside longer gaps.
        """
        after = int(np.searchsorted(self.indices, index))
        if after < len(self) and self.indices[after] == index:
            return self.boxes[after]
        if after in (0, len(self)):
            return None
        first, second = self.indices[after - 1], self.indices[after]
        if max_gap is not None and second - first > max_gap:
            return None
        share = (index - first) / (second - first)
        a, b = np.asarray(self.boxes[after - 1]), np.asarray(self.boxes[after])
        return Box(*(a + share * (b - a)).tolist())


class FaceTracker:
    """Feed frames in order; each call returns who is where. Keeps boxes, not frames.

    Args:
        detect_every_s: time between two full detections; frames further apart than that are all detected in full.
        max_gap_s: a person unseen for longer gets a new number when seen again.
    """

    def __init__(self, detector: FaceDetector, detect_every_s: float = 0.4, max_gap_s: float = 1.5) -> None:
        self._detector, self._detect_every_s, self._max_gap_s = detector, detect_every_s, max_gap_s
        self._tracks: list[Track] = []
        self._live: list[Track] = []
        self._last_detection_s: Optional[float] = None
        self._thumbnail: Optional[np.ndarray] = None
        self._size_hw: Optional[tuple[int, int]] = None
        self.detections = self.refinements = 0  # frames of each kind, for reports

    def update(self, frame: Frame) -> list[TrackedFace]:
        """Faces of the next frame, larger ones first."""
        self._follow_size(frame.rgb)
        if self._is_cut(frame.rgb):
            self._live, self._last_detection_s = [], None
        self._live = [track for track in self._live if frame.time_s - track.times_s[-1] <= self._max_gap_s]
        due = self._last_detection_s is None or frame.time_s - self._last_detection_s >= self._detect_every_s
        pairs, certain = ([], False) if due else self._refine(frame)
        waited = self._last_detection_s is None or frame.time_s - self._last_detection_s >= PATIENCE_S
        full = due or (not certain and waited)
        if full:
            pairs = self._detect(frame)
        for track, face, look in pairs:
            track.append(frame, face, full, look)
        faces = [TrackedFace(track.id, face) for track, face, _ in pairs]
        return sorted(faces, key=lambda face: -face.box.area)

    def tracks(self, min_detections: int = 1) -> list[Track]:
        """All people so far, the most often seen first; those seen by fewer full detections are left out."""
        kept = [track for track in self._tracks if track.detected >= min_detections]
        return sorted(kept, key=lambda track: (-len(track), -track.mean_area, track.id))

    def _follow_size(self, rgb: np.ndarray) -> None:
        """Where the picture changes size, what is known of faces is brought to the new one."""
        before, self._size_hw = self._size_hw, (rgb.shape[0], rgb.shape[1])
        if before is None or before == self._size_hw:
            return
        down, across = (new / old for new, old in zip(self._size_hw, before))
        for track in self._live:
            track.boxes = [Box(*np.multiply(box, (across, down, across, down)).tolist()) for box in track.boxes]

    def _is_cut(self, rgb: np.ndarray) -> bool:
        grey = cv2.cvtColor(cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        before, self._thumbnail = self._thumbnail, grey.astype(np.float32)
        return before is not None and float(np.abs(self._thumbnail - before).mean()) > CUT_LEVEL

    def _detect(self, frame: Frame) -> list[_Sighting]:
        self.detections += 1
        self._last_detection_s = frame.time_s
        faces = self._detector.detect(frame.rgb)
        pairs: list[_Sighting] = []
        free = list(range(len(faces)))
        looks = [appearance.colours(frame.rgb, face.box) for face in faces]
        candidates = (
            (_closeness(track, frame, face.box), _unlike(track, frame, look), t, f)
            for t, track in enumerate(self._live)
            for f, (face, look) in enumerate(zip(faces, looks))
        )
        likely = [
            (closeness - unlike, t, f)
            for closeness, unlike, t, f in candidates
            if closeness > 0 and unlike < OTHER_LOOKS
        ]
        taken: set[int] = set()
        for _, t, f in sorted(likely, reverse=True):
            if t not in taken and f in free:
                taken.add(t)
                free.remove(f)
                pairs.append(_Sighting(self._live[t], faces[f], looks[f]))
        for f in free:
            track = Track(id=len(self._tracks))
            self._tracks.append(track)
            self._live.append(track)
            pairs.append(_Sighting(track, faces[f], looks[f]))
        return pairs

    def _refine(self, frame: Frame) -> tuple[list[_Sighting], bool]:
        """Faces near where they are expected, and whether that is all: none lost, no two run into one."""
        self.refinements += 1
        expected = [track.expected(frame.time_s, frame.rgb.shape[:2]) for track in self._live]
        found = self._detector.refine(frame.rgb, expected)
        pairs: list[_Sighting] = []
        for track, box, face in zip(self._live, expected, found):
            if face is None or face.box.iou(box) < MIN_IOU:
                continue
            if all(face.box.iou(other.face.box) <= SAME_FACE_IOU for other in pairs):
                pairs.append(_Sighting(track, face))
        return pairs, len(pairs) == len(self._live)


def _closeness(track: Track, frame: Frame, box: Box) -> float:
    """How well a box continues a track: 1 + overlap, or less than 1 for a near miss; 0: not at all."""
    expected = track.expected(frame.time_s, frame.rgb.shape[:2])
    overlap = max(expected.iou(box), track.boxes[-1].iou(box))
    if overlap >= MIN_IOU:
        return 1 + overlap
    side = max(expected.width, expected.height, 1.0)
    ratio = max(box.width, box.height) / side
    distance = float(np.hypot(*np.subtract(box.centre, expected.centre))) / side
    allowed = min(0.5 + (frame.time_s - track.times_s[-1]), 1.5)  # face widths; people walk, cameras pan
    return 1 - distance / allowed if 0.6 < ratio < 1.7 and distance < allowed else 0.0


def _unlike(track: Track, frame: Frame, look: Optional[np.ndarray]) -> float:
    """Distance of appearance to a track that was last seen longer ago, in [0, 1]; 0 where nothing can be said."""
    if look is None or not track.looks or frame.time_s - track.times_s[-1] <= OTHER_AFTER_S:
        return 0.0
    return float(appearance.distance(look, np.stack(track.looks[-3:])).min())
