"""What is collected while the frames of one video go by: faces, crops, masks, scores, pictures; numbers but for a few.

Crops wait until a batch is full; then the network sees them all at once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from mask_generation.faces import CropGeometry, crop_geometry
from mask_generation.tracks import FaceTracker, TrackedFace
from mask_generation.video import Frame, VideoInfo
from runtime import characterise, overlay, quality
from runtime.models import LoadedModel
from runtime.score_frames import LearnedScorer, features, frame_scores
from runtime.score_result import FaceRow, ScoreConfig


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class ScoringParts(Protocol):
    """What a pass needs of a `Scorer`."""

    model: LoadedModel
    config: ScoreConfig
    learned: LearnedScorer | None


class _Waiting(NamedTuple):
    """A face that waits for the batch to be full: `small` is its frame, reduced by `factor`."""

    frame_index: int
    time_s: float
    face: TrackedFace
    square: CropGeometry
    crop: np.ndarray
    small: np.ndarray
    factor: float


class Pass:
    """What is collected while the frames of one video go by."""

    def __init__(self, scorer: ScoringParts, info: VideoInfo, tracker: FaceTracker, watch: Stopwatch) -> None:
        self._scorer, self.info, self._tracker, self._watch = scorer, info, tracker, watch
        self.indices: list[int] = []
        self.times: list[float] = []
        self.rows: list[FaceRow] = []
        self.regions: list[characterise.FrameRegions] = []
        self.dropped = 0
        self.decode: dict[str, Any] = {}
        self._waiting: list[_Waiting] = []
        self._best: list[tuple[float, int, overlay.Evidence]] = []  # a heap of the highest scores

    def add(self, frame: Frame) -> None:
        self.indices.append(frame.index)
        self.times.append(frame.time_s)
        with self._watch.stage("detect"):
            faces = self._tracker.update(frame)
        limit = self._scorer.config.max_faces
        self.dropped += max(0, len(faces) - limit)
        with self._watch.stage("crop"):
            # Faces wait with their frames reduced: a batch of 4K frames would be half a gigabyte.
            small, factor = overlay.reduce_frame(frame.rgb)
            for face in faces[:limit]:
                square = crop_geometry(face.box, self._scorer.model.face_margin)
                crop = square.crop(frame.rgb, self._scorer.model.input_size)
                self._waiting.append(_Waiting(frame.index, frame.time_s, face, square, crop, small, factor))
        if len(self._waiting) >= self._scorer.config.batch_size:
            self.flush()

    def flush(self) -> None:
        """Predict on the crops that wait, score them, and keep the most suspicious as pictures."""
        if not self._waiting:
            return
        scorer, config = self._scorer, self._scorer.config
        with self._watch.stage("network"):
            crops = np.stack([waiting.crop for waiting in self._waiting])
            masks, own = scorer.model.predict(crops, config.batch_size)
        with self._watch.stage("measure"):
            scores = frame_scores(masks, own, config.scorer, scorer.learned)
            for waiting, mask, score, row in zip(self._waiting, masks, scores, features(masks)):
                self._keep(waiting, mask, float(score), row)
        self._waiting.clear()

    def _keep(self, waiting: _Waiting, mask: np.ndarray, score: float, row: np.ndarray) -> None:
        face, square, crop = waiting.face, waiting.square, waiting.crop
        box, scale = face.box, crop.shape[0] / square.side
        x0, y0, x1, y1 = (round(float(v), 1) for v in box)
        self.rows.append(
            FaceRow(
                frame_index=waiting.frame_index,
                time_s=round(waiting.time_s, 4),
                track=face.track,
                score=round(score, 6),
                x0=x0,
                y0=y0,
                x1=x1,
                y1=y1,
                detection=round(float(face.detection.score), 4),
                face_px=round(max(box.width, box.height), 1),
                sharpness=round(quality.sharpness(crop), 2),
                brightness=round(quality.brightness(crop), 1),
                features=tuple(round(float(v), 5) for v in row),
            )
        )
        points = (np.asarray(face.detection.landmarks) - (square.x0, square.y0)) * scale
        self.regions.append(characterise.measure(mask, points))
        keep = 3 * self._scorer.config.evidence  # more than are shown, so that they can be chosen apart in time
        rank = len(self.rows)
        if len(self._best) < keep or score > self._best[0][0]:
            x0, y0, side = (waiting.factor * v for v in (square.x0, square.y0, square.side))
            item = overlay.Evidence(
                index=waiting.frame_index,
                time_s=waiting.time_s,
                track=face.track,
                score=score,
                frame=waiting.small,
                square_xyxy=(x0, y0, x0 + side, y0 + side),
                crop=crop,
                mask=mask.astype(np.float16),
            )
            (heapq.heappush if len(self._best) < keep else heapq.heapreplace)(self._best, (score, -rank, item))

    def evidence(self) -> tuple[overlay.Evidence, ...]:
        """The most suspicious faces, in order of time: apart in time where several are about as suspicious."""
        wanted = self._scorer.config.evidence
        ranked = [item for _, _, item in sorted(self._best, key=lambda entry: entry[:2], reverse=True)]
        spread = (self.times[-1] - self.times[0]) / (2 * wanted) if self.times else 0.0
        chosen: list[overlay.Evidence] = []
        for item in ranked:
            near = any(item.track == other.track and abs(item.time_s - other.time_s) < spread for other in chosen)
            if not near and item.score >= ranked[0].score / 2:
                chosen.append(item)
        chosen += [item for item in ranked if item not in chosen]
        return tuple(sorted(chosen[:wanted], key=lambda item: (item.time_s, item.track)))
