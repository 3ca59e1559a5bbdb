"""One video → its result: decode, find and follow faces, crop, predict, score, and say so when there is no answer.

Frames are read one at a time and only numbers and a few small pictures are kept, so memory does not grow with length.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from typing import Any, Optional, Union

import numpy as np

from mask_generation.faces import FaceDetector, MtcnnDetector
from mask_generation.tracks import FaceTracker
from mask_generation.video import (
    TOO_SHORT,
    VideoError,
    VideoInfo,
    VideoReader,
    count_frames,
    indices_at_rate,
    printable,
    sample_indices,
)
from runtime import calibration, characterise, quality
from runtime.aggregate import VideoScore, video_score
from runtime.models import LoadedModel, default_model, identity, load_model
from runtime.score_frames import LearnedScorer
from runtime.score_pass import Pass, Stopwatch
from runtime.score_result import INCONCLUSIVE, NO_FACE, OK, PARTIAL, ScoreConfig, VideoResult

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
TRACK_GAP_S = 1.5  # a face unseen for longer is a new one; more where frames are further apart
LEARNED_KEY = "learned_scorer"  # in model.json
_CHUNK = 1 << 20


class Scorer:
    """A model and a face detector, ready for one video after another.

    Args:
        detector: None: MTCNN with the configuration's sizes.
    Raises:
        ValueError: the configuration asks for a learned scorer that the model lacks.
        CalibrationError: the model's calibration is damaged.
    """

    def __init__(
        self, model: LoadedModel, config: Optional[ScoreConfig] = None, detector: Optional[FaceDetector] = None
    ) -> None:
        self.model, self.config = model, (config or ScoreConfig()).for_model(model.sha256, model.metadata)
        self.detector = detector or MtcnnDetector(self.config.detect_size, self.config.detect_retry_size)
        scoring = self.config.scoring(identity(model.sha256, model.metadata))
        self.calibration, self.calibration_note = calibration.of_model(model.metadata, scoring)
        self.domain = quality.domain_of(model.metadata)
        self.learned: Optional[LearnedScorer] = None
        if self.config.scorer.name == "learned":
            if LEARNED_KEY not in model.metadata:
                raise ValueError("scorer=learned: this model has no learned scorer; choose another --scorer")
            self.learned = LearnedScorer.from_dict(model.metadata[LEARNED_KEY])

    def warm_up(self) -> None:
        """Build what is built on first use, so that the first video's timings are like the others'."""
        side = self.model.input_size
        self.model.predict(np.zeros((1, side, side, 3), np.uint8))
        self.detector.detect(np.zeros((64, 64, 3), np.uint8))

    def score(self, path: PathLike) -> VideoResult:
        """Score one file. Nothing that is wrong with the file raises: it becomes a state with a reason."""
        watch = Stopwatch()
        shown, sha256 = printable(path), None
        start = time.perf_counter()
        try:
            with watch.stage("hash"):
                sha256 = file_sha256(path)
            run = self._look(path, watch)
            result = self._judge(run, watch)
        except VideoError as error:
            result = VideoResult(shown, error.state, error.reason)
        watch.seconds["total"] = time.perf_counter() - start
        timings = {name: round(seconds, 4) for name, seconds in watch.seconds.items()}
        return dataclasses.replace(result, path=shown, sha256=sha256, timings_s=timings)

    def _look(self, path: PathLike, watch: Stopwatch) -> Pass:
        """Decode the sampled frames and predict on every face in them."""
        with VideoReader(path, self.config.limits) as reader:
            info = reader.info
            count = info.frames
        if count is None and self.config.frames and self.config.fps is None:
            with watch.stage("decode"):
                count = count_frames(path, self.config.limits)
        run = self._pass_over(path, info, self._indices(info, count), watch)
        readable = run.decode["decoded"] + run.decode["corrupt"]
        if run.decode["problem"] and count and readable < count / 2 and self.config.frames and not self.config.fps:
            # Cut short: most samples fell into the part that is not there. Spread them over what is.
            run = self._pass_over(path, info, sample_indices(readable, self.config.frames), watch)
            run.decode["problem"] = run.decode["problem"] or f"{readable} of {count} declared frames are there"
        return run

    def _indices(self, info: VideoInfo, count: Optional[int]) -> Optional[list[int]]:
        if self.config.fps is not None:
            known = count or int((info.duration_s or 0) * (info.fps or 0))
            return indices_at_rate(known, info.fps, self.config.fps) if known else None
        return sample_indices(count, self.config.frames) if self.config.frames and count else None

    def _pass_over(self, path: PathLike, info: VideoInfo, indices: Optional[list[int]], watch: Stopwatch) -> Pass:
        spacing = 0.0
        if indices and len(indices) > 1 and info.fps:
            spacing = (indices[-1] - indices[0]) / (len(indices) - 1) / info.fps
        gap = max(TRACK_GAP_S, 3 * spacing)
        run = Pass(self, info, FaceTracker(self.detector, self.config.detect_every_s, gap), watch)
        with VideoReader(path, self.config.limits) as reader:
            for frame in reader.frames(indices):
                run.add(frame)
            run.flush()
            stats = reader.stats
        watch.seconds["decode"] = watch.seconds.get("decode", 0.0) + stats.seconds
        run.decode = {**dataclasses.asdict(stats), "seconds": round(stats.seconds, 4)}
        return run

    def _judge(self, run: Pass, watch: Stopwatch) -> VideoResult:
        """From frame scores to an answer, or to the reason why there is none."""
        thresholds = self.config.thresholds
        base: dict[str, Any] = {
            "path": "",
            "video": dataclasses.asdict(run.info),
            "decode": run.decode,
            "frames_sampled": len(run.times),
            "frames_with_face": len({row.frame_index for row in run.rows}),
            "sample_times_s": tuple(round(t, 4) for t in run.times),
            "rows": tuple(run.rows),
        }
        damage = _damage(run.decode)
        if len(run.times) < thresholds.min_frames:
            reason = f"{len(run.times)} frames can be read, {thresholds.min_frames} are needed"
            return VideoResult(state=TOO_SHORT, reason=_joined(reason, damage), **base)
        if not run.rows:
            reason = f"no face found in any of {len(run.times)} frames"
            return VideoResult(state=NO_FACE, reason=_joined(reason, damage), **base)
        with watch.stage("aggregate"):
            scored, order = self._aggregate(run)
        base["faces"] = tuple(_face_summary(run, track, result) for track, result in zip(order, scored.tracks))
        base["evidence"] = run.evidence()
        faces = [dataclasses.asdict(row) for row in run.rows]
        abstain = quality.reason_to_abstain(faces, base["frames_with_face"], thresholds, self.domain)
        if abstain:
            return VideoResult(state=INCONCLUSIVE, reason=_joined(abstain, damage), **base)
        dropped = f"{run.dropped} faces beyond --max_faces were not looked at" if run.dropped else ""
        reason = _joined(damage, dropped)
        probability = self.calibration.probability(scored.score) if self.calibration else None
        return VideoResult(
            state=PARTIAL if reason else OK,
            reason=reason,
            score=scored.score,
            verdict=scored.verdict,
            probability=probability,
            probability_note=self.calibration_note,
            segments=tuple((s.start_s, s.end_s, s.score) for s in scored.segments),
            character=dataclasses.asdict(self._character(run, scored, order)),
            **base,
        )

    def _aggregate(self, run: Pass) -> tuple[VideoScore, list[int]]:
        """(video score, track numbers in the order of its tracks)."""
        order = sorted({row.track for row in run.rows})
        place = {index: at for at, index in enumerate(run.indices)}
        tracks = np.full((len(order), len(run.indices)), np.nan)
        for row in run.rows:
            tracks[order.index(row.track), place[row.frame_index]] = row.score
        times = np.maximum.accumulate(np.array(run.times))  # damaged files may hold time stamps that jump back
        return video_score(list(tracks), times, self.config.aggregate), order

    def _character(self, run: Pass, scored: VideoScore, order: list[int]) -> characterise.Character:
        threshold = self.config.aggregate.cut
        tracks: dict[int, list[characterise.FrameRegions]] = {track: [] for track in order}
        for row, regions in zip(run.rows, run.regions):
            if not scored.is_fake or row.score > threshold:
                tracks[row.track].append(regions)
        return characterise.characterise(list(tracks.values()), scored.is_fake)


def _face_summary(run: Pass, track: int, result: Any) -> dict[str, Any]:
    rows = [row for row in run.rows if row.track == track]
    return {
        "track": track,
        "score": result.score,
        "frames": len(rows),
        "segments": [list(segment) for segment in result.segments],
        "face_px": float(np.median([row.face_px for row in rows])),
        "first_s": rows[0].time_s,
        "last_s": rows[-1].time_s,
    }


def _damage(decode: dict[str, Any]) -> str:
    if decode.get("problem"):
        return str(decode["problem"])
    parts = [f"{decode[name]} {what}" for name, what in _DAMAGE.items() if decode.get(name)]
    return ", ".join(parts)


_DAMAGE = {"failed": "packets could not be decoded", "corrupt": "frames are damaged"}


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def file_sha256(path: PathLike) -> Optional[str]:
    """SHA-256 of a file's bytes; None where it is no regular file or cannot be read (the decoder says why)."""
    if not os.path.isfile(path):
        return None
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_CHUNK), b""):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def score_video(
    path: PathLike,
    model: Union[str, os.PathLike[str], LoadedModel, None] = None,
    config: Optional[ScoreConfig] = None,
    trust: bool = False,
    detector: Optional[FaceDetector] = None,
) -> VideoResult:
    """Score one video file.

    Args:
        model: folder of an exported model, or one already loaded with `runtime.models.load_model`; None: the one that
            comes with this installation.
        trust: load a model whose hash is unknown; a SavedModel is a program.
    Raises:
        ModelError: the model is missing, not trusted or not one of ours. A bad video does not raise: see `state`.
    """
    if model is None:
        model = load_model(default_model(), trust=True)
    loaded = model if isinstance(model, LoadedModel) else load_model(os.fspath(model), trust)
    return Scorer(loaded, config, detector).score(path)
