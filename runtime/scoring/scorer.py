"""One video → its result: decode, find and follow faces, crop, predict, score; or the reason why there is no answer.

Frames are read one at a time and only numbers and a few small pictures are kept, so memory does not grow with length.
"""

from __future__ import annotations

import dataclasses
import heapq
import os
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from mask_generation.faces import turn
from mask_generation.faces.detector import CropGeometry, FaceDetector, MtcnnDetector, crop_geometry
from mask_generation.faces.people import people
from mask_generation.faces.tracker import FaceTracker, TrackedFace
from mask_generation.video.reader import VideoReader, indices_at_rate, sample_indices
from mask_generation.video.timeline import Timeline
from mask_generation.video.types import TIMEOUT, TOO_SHORT, UNSUPPORTED, Frame, VideoError, VideoInfo, printable
from runtime.model import calibration
from runtime.model.saved_model import LoadedModel, Trust, fingerprint, load_model, shipped_model
from runtime.scoring import abstention, drawing, manipulation_type
from runtime.scoring.frame_score import features, frame_scores
from runtime.scoring.result import INCONCLUSIVE, NO_FACE, OK, PARTIAL, FaceRow, ScoreConfig, VideoResult
from runtime.scoring.video_score import TrackScore, VideoScore, video_score
from unet_industrial import files

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
MOST_SIZES = 4  # named in a reason
HASHED_ANYWAY_BYTES = 256 << 20  # of a file that cannot be used: more would take longer than finding out that it cannot
TRACK_GAP_S = 1.5  # a face unseen for longer is a new one; more where frames are further apart
PICTURES_KEPT = 96  # of all faces together while a video is looked at: a few dozen megabytes
_DAMAGE = {"failed": "packets could not be decoded", "corrupt": "frames are damaged"}


def score_video(
    path: PathLike,
    model: Union[str, os.PathLike[str], LoadedModel, None] = None,
    config: Optional[ScoreConfig] = None,
    trust: Trust = False,
    detector: Optional[FaceDetector] = None,
) -> VideoResult:
    """Score one video file. For many, make a `Scorer` once, or use `batch.score_folder`.

    Args:
        model: folder of an exported model, or one already loaded with `saved_model.load_model`; None: the model that
            is shipped with this package, TinyUNet at 128 px, experimental (`docs/model.md`; built from
            `runtime/model/weights` on first use and kept in the cache, see `saved_model.shipped_model`).
        config: None: the defaults, with the model's own thresholds.
        detector: None: MTCNN.
        trust: load a model whose hash is unknown; a SavedModel is a program.
    Raises:
        ModelError: the model is missing, not trusted or not one of ours. A bad video does not raise: see `state`.
    """
    if model is None:
        model = load_model(*shipped_model())
    loaded = model if isinstance(model, LoadedModel) else load_model(os.fspath(model), trust)
    return Scorer(loaded, config, detector).score(path)


class Scorer:
    """A model and a face detector, ready for one video after another.

    Args:
        detector: None: MTCNN with the configuration's sizes.
    Raises:
        CalibrationError, ValueError: the calibration, or the validated ranges, in the model's metadata are damaged.
    """

    def __init__(
        self, model: LoadedModel, config: Optional[ScoreConfig] = None, detector: Optional[FaceDetector] = None
    ) -> None:
        self.model, self.config = model, (config or ScoreConfig()).for_model(model.sha256, model.metadata)
        self.detector = detector or MtcnnDetector(self.config.detect_size, self.config.detect_retry_size)
        scoring = self.config.scoring(fingerprint(model.sha256, model.metadata))
        self.calibration, self.calibration_note = calibration.of_model(model.metadata, scoring)
        self.domain = abstention.domain_of(model.metadata)

    def warm_up(self) -> None:
        """Build what is built on first use, so that the first video's timings are like the others'."""
        side = self.model.input_size
        self.model.predict(np.zeros((1, side, side, 3), np.uint8))
        self.detector.detect(np.zeros((64, 64, 3), np.uint8))

    def score(self, path: PathLike) -> VideoResult:
        """Score one file. Nothing that is wrong with the file raises: it becomes a state with a reason."""
        watch = _Stopwatch()
        shown, sha256 = printable(path), None
        start = time.perf_counter()
        try:
            with watch.stage("decode"):
                VideoReader(path, self.config.limits).close()  # its limits hold before all of the file is read
            with watch.stage("hash"):
                sha256 = _sha256(path)
            run = self._upright(path, self._look(path, watch), watch)
            result = self._judge(run, watch)
        except VideoError as error:
            if sha256 is None and error.state != TIMEOUT:
                sha256 = _sha256(path, min(HASHED_ANYWAY_BYTES, self.config.limits.max_bytes or HASHED_ANYWAY_BYTES))
            result = VideoResult(shown, error.state, error.reason)
        except MemoryError:
            result = VideoResult(shown, UNSUPPORTED, "it needs more memory than there is for a file (--memory_mb)")
        watch.seconds["total"] = time.perf_counter() - start
        timings = {name: round(seconds, 4) for name, seconds in watch.seconds.items()}
        return dataclasses.replace(result, path=shown, sha256=sha256, timings_s=timings)

    def _look(self, path: PathLike, watch: _Stopwatch) -> _Pass:
        """Decode the sampled frames and predict on every face in them."""
        with VideoReader(path, self.config.limits) as reader:
            indices = self._indices(reader.timeline)
            run = self._pass_over(reader, indices, watch)
            readable = reader.readable
        if indices and self.config.fps is None and len(run.times) < len(indices) / 2 and len(readable):
            # Most samples fell where nothing decodes. Spread them over what does.
            indices = readable[sample_indices(len(readable), self.config.frames)].tolist()
            with VideoReader(path, self.config.limits) as reader:
                run = self._pass_over(reader, indices, watch).with_damage_of(run)
        return run

    def _upright(self, path: PathLike, run: _Pass, watch: _Stopwatch) -> _Pass:
        """The same frames looked at turned, where faces lie on their side or head and the header does not say so."""
        best = dict.fromkeys(run.indices, 0.0)
        for row in run.rows:
            best[row.frame_index] = max(best[row.frame_index], row.detection)
        if not best or not turn.is_few(list(best.values())):
            return run
        with VideoReader(path, self.config.limits) as reader, watch.stage("detect"):
            frames = (frame.rgb for frame in reader.frames(turn.tried(run.indices)))
            turns = turn.find_turn(frames, self.detector, self.config.detect_size)
        if not turns:
            return run
        with VideoReader(path, self.config.limits) as reader:
            return self._pass_over(reader, run.indices, watch, turns).with_damage_of(run)

    def _indices(self, timeline: Timeline) -> Optional[list[int]]:
        """The frames to look at, by number; None: every one."""
        there = timeline.there()
        if self.config.fps is not None:
            return there[indices_at_rate(timeline.times_s[there], self.config.fps)].tolist()
        return there[sample_indices(len(there), self.config.frames)].tolist() if self.config.frames else None

    def _pass_over(self, reader: VideoReader, indices: Optional[list[int]], watch: _Stopwatch, turns: int = 0) -> _Pass:
        """Decode the video once, and predict on every face in the frames at `indices` (None: all), turned by quarters
        to the left."""
        timeline, info = reader.timeline, reader.info
        spacing = 0.0
        if indices and len(indices) > 1 and info.fps:
            spacing = (indices[-1] - indices[0]) / (len(indices) - 1) / info.fps
        gap = max(TRACK_GAP_S, 3 * spacing)
        tracker = FaceTracker(self.detector, self.config.detect_every_s, gap)
        shown = dataclasses.replace(info, frames=timeline.count, duration_s=info.duration_s or timeline.end_s)
        run = _Pass(self.model, self.config, shown, tracker, watch, turns)
        for frame in reader.frames(indices):
            run.add(frame)
        run.finish()
        stats = reader.stats
        watch.seconds["decode"] = watch.seconds.get("decode", 0.0) + stats.seconds
        run.decode = {**dataclasses.asdict(stats), "seconds": round(stats.seconds, 4)}
        return run

    def _judge(self, run: _Pass, watch: _Stopwatch) -> VideoResult:
        """From frame scores to an answer, or to the reason why there is none."""
        thresholds = self.config.thresholds
        base: dict[str, Any] = {
            "path": "",
            "video": run.video(),
            "decode": run.decode,
            "frames_sampled": len(run.times),
            "frames_with_face": len({row.frame_index for row in run.rows}),
            "doubtful_faces": run.doubtful,
            "sample_times_s": tuple(round(t, 4) for t in run.times),
            "rows": tuple(run.rows),
        }
        damage, notes = _damage(run.decode), _joined(*run.notes())
        if len(run.times) < thresholds.min_frames:
            reason = f"{len(run.times)} frames can be read, {thresholds.min_frames} are needed"
            return VideoResult(state=TOO_SHORT, reason=_joined(reason, damage, notes), **base)
        if not run.rows:
            reason = f"no face found in any of {len(run.times)} frames"
            doubtful = f"{run.doubtful} findings are too doubtful to be called faces" if run.doubtful else ""
            return VideoResult(state=NO_FACE, reason=_joined(reason, doubtful, damage, notes), **base)
        with watch.stage("aggregate"):
            scored, order = self._aggregate(run)
        base["faces"] = tuple(_face_summary(run, track, result) for track, result in zip(order, scored.tracks))
        counted = {track for track, result in zip(order, scored.tracks) if result.counted}
        base["pictures"] = run.pictures(counted)
        faces = [dataclasses.asdict(row) for row in run.rows]
        seen = base["frames_with_face"], len(run.times)
        abstain = abstention.reason_to_abstain(faces, *seen, thresholds, self.domain)
        if abstain:
            return VideoResult(state=INCONCLUSIVE, reason=_joined(abstain, damage, notes), **base)
        dropped = f"{run.dropped} faces beyond --max_faces were not looked at" if run.dropped else ""
        missing = _joined(damage, dropped)
        probability = self.calibration.probability(scored.score) if self.calibration else None
        return VideoResult(
            state=PARTIAL if missing else OK,
            reason=_joined(missing, scored.advice, abstention.few_faces(*seen), notes),
            score=scored.score,
            verdict=scored.verdict,
            probability=probability,
            probability_note=self.calibration_note,
            segments=scored.segments,
            character=dataclasses.asdict(self._attribution(run, scored, order)),
            **base,
        )

    def _aggregate(self, run: _Pass) -> tuple[VideoScore, list[int]]:
        """(video score, track numbers in the order of its tracks)."""
        order = sorted({row.track for row in run.rows})
        place = {index: at for at, index in enumerate(run.indices)}
        tracks = np.full((len(order), len(run.indices)), np.nan)
        for row in run.rows:
            tracks[order.index(row.track), place[row.frame_index]] = row.score
        times = np.maximum.accumulate(np.array(run.times))  # damaged files may hold time stamps that jump back
        return video_score(list(tracks), times, self.config.aggregate), order

    def _attribution(self, run: _Pass, scored: VideoScore, order: list[int]) -> manipulation_type.Attribution:
        """What kind of fake it may be, from the suspicious frames; from all where the video is not called fake."""
        threshold = min(self.config.aggregate.frame_cut, self.config.aggregate.cut)
        counted = [track for track, result in zip(order, scored.tracks) if result.counted]
        tracks: dict[int, list[manipulation_type.FrameRegions]] = {track: [] for track in counted}
        for row, regions in zip(run.rows, run.regions):
            if row.track in tracks and (not scored.is_fake or row.score > threshold):
                tracks[row.track].append(regions)
        return manipulation_type.attribute(list(tracks.values()), scored.is_fake)


class _Pass:
    """What is collected while the frames of one video go by: numbers, and a few small pictures.

    Crops wait until a batch is full; then the network sees them all at once.
    """

    def __init__(
        self,
        model: LoadedModel,
        config: ScoreConfig,
        info: VideoInfo,
        tracker: FaceTracker,
        watch: _Stopwatch,
        turns: int = 0,
    ) -> None:
        self._model, self._config, self.info = model, config, info
        self._tracker, self._watch, self._turns = tracker, watch, turns
        self._since: dict[tuple[int, int], float] = {}  # (width, height) → seconds at which it was first seen
        self.indices: list[int] = []
        self.times: list[float] = []
        self.rows: list[FaceRow] = []
        self.regions: list[manipulation_type.FrameRegions] = []
        self.dropped = self.doubtful = 0
        self.decode: dict[str, Any] = {}
        self._waiting: list[_Waiting] = []
        self._best: dict[int, list[tuple[float, int, drawing.FramePicture]]] = {}  # of each track, a heap by score

    def add(self, frame: Frame) -> None:
        frame = turn.turned(frame, self._turns)
        self._since.setdefault((frame.rgb.shape[1], frame.rgb.shape[0]), frame.time_s)
        self.indices.append(frame.index)
        self.times.append(frame.time_s)
        with self._watch.stage("detect"):
            faces = self._tracker.update(frame)
        limit = self._config.max_faces
        self.dropped += max(0, len(faces) - limit)
        with self._watch.stage("crop"):
            # Faces wait with their frames reduced: a batch of 4K frames would be half a gigabyte.
            small, factor = drawing.reduce_frame(frame.rgb)
            for face in faces[:limit]:
                square = crop_geometry(face.box, self._model.face_margin)
                crop = square.crop(frame.rgb, self._model.input_size)
                self._waiting.append(_Waiting(frame.index, frame.time_s, face, square, crop, small, factor))
        if len(self._waiting) >= self._config.batch_size:
            self.flush()

    def with_damage_of(self, before: _Pass) -> _Pass:
        """With what an earlier pass over more of the file found missing: this one may have ended before the damage."""
        self.decode.update({name: before.decode[name] for name in ("failed", "corrupt", "lost_s", "problem")})
        return self

    def video(self) -> dict[str, Any]:
        """What the container declares, and the size of the pictures as looked at: where it changes, the largest."""
        width, height = max(
            self._since, key=lambda size: size[0] * size[1], default=(self.info.width, self.info.height)
        )
        return {**dataclasses.asdict(self.info), "width": width, "height": height, "quarter_turns": self._turns}

    def notes(self) -> Iterator[str]:
        """What of the video is worth saying, although nothing is missing for it."""
        if self._turns:
            yield f"looked at {turn.WORDS[self._turns]}: its faces are upright that way; the header is silent"
        if len(self._since) > 1:
            sizes = [f"{width}x{height} from {time_s:.1f} s" for (width, height), time_s in self._since.items()]
            shown = sizes if len(sizes) <= MOST_SIZES else [*sizes[: MOST_SIZES - 1], "…", sizes[-1]]
            yield f"the picture changes size: {', '.join(shown)}"
        yield from self.decode["notes"]

    def flush(self) -> None:
        """Predict on the crops that wait, score them, and keep the most suspicious as pictures."""
        if not self._waiting:
            return
        with self._watch.stage("network"):
            crops = np.stack([waiting.crop for waiting in self._waiting])
            masks, own = self._model.predict(crops, self._config.batch_size)
        with self._watch.stage("measure"):
            scores = frame_scores(masks, own, self._config.scorer)
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
                sharpness=round(abstention.sharpness(crop), 2),
                brightness=round(abstention.brightness(crop), 1),
                features=tuple(round(float(v), 5) for v in row),
            )
        )
        points = (np.asarray(face.detection.landmarks) - (square.x0, square.y0)) * scale
        self.regions.append(manipulation_type.measure(mask, points))
        keep = 3 * self._config.evidence  # more than are shown, so that they can be chosen apart in time
        rank = len(self.rows)
        best = self._best.setdefault(face.track, [])
        if len(best) < keep or score > best[0][0]:
            x0, y0, side = (waiting.factor * v for v in (square.x0, square.y0, square.side))
            item = drawing.FramePicture(
                index=waiting.frame_index,
                time_s=waiting.time_s,
                track=face.track,
                score=score,
                frame=waiting.small,
                square_xyxy=(x0, y0, x0 + side, y0 + side),
                crop=crop,
                mask=mask.astype(np.float16),
            )
            (heapq.heappush if len(best) < keep else heapq.heapreplace)(best, (score, -rank, item))
            if sum(map(len, self._best.values())) > PICTURES_KEPT:
                heapq.heappop(min((heap for heap in self._best.values() if heap), key=lambda heap: heap[0][:2]))

    def finish(self) -> None:
        """Predict on what waits; then, with all frames seen, leave out what is no face, and give each person one number
        in the order they appear."""
        self.flush()
        tracks = self._tracker.tracks()
        seen = {row.track for row in self.rows}
        persons = [[track.id for track in person] for person in people(tracks)]
        persons = [person for person in persons if seen.intersection(person)]
        number = {track: at for at, person in enumerate(persons) for track in person}
        self.doubtful = len(seen.difference(number))
        kept = [(row, regions) for row, regions in zip(self.rows, self.regions) if row.track in number]
        self.rows = [dataclasses.replace(row, track=number[row.track]) for row, _ in kept]
        self.regions = [regions for _, regions in kept]
        best: dict[int, list[tuple[float, int, drawing.FramePicture]]] = {}
        for track, heap in self._best.items():
            if track in number:
                entries = ((score, rank, dataclasses.replace(item, track=number[track])) for score, rank, item in heap)
                best.setdefault(number[track], []).extend(entries)
        self._best = best

    def pictures(self, of: Container[int]) -> tuple[drawing.FramePicture, ...]:
        """The most suspicious of these faces, in order of time: apart in time where several are about as suspicious."""
        wanted = self._config.evidence
        entries = [entry for track, heap in self._best.items() if track in of for entry in heap]
        ranked = [item for _, _, item in sorted(entries, key=lambda entry: entry[:2], reverse=True)][: 3 * wanted]
        if not ranked:
            return ()
        spread = (self.times[-1] - self.times[0]) / (2 * wanted) if self.times else 0.0
        chosen: list[drawing.FramePicture] = []
        for item in ranked:
            near = any(item.track == other.track and abs(item.time_s - other.time_s) < spread for other in chosen)
            if not near and item.score >= ranked[0].score / 2:
                chosen.append(item)
        chosen += [item for item in ranked if item not in chosen]
        return tuple(sorted(chosen[:wanted], key=lambda item: (item.time_s, item.track)))


class _Waiting(NamedTuple):
    """A face that waits for the batch to be full: `small` is its frame, reduced by `factor`."""

    frame_index: int
    time_s: float
    face: TrackedFace
    square: CropGeometry
    crop: np.ndarray
    small: np.ndarray
    factor: float


class _Stopwatch:
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


def _face_summary(run: _Pass, track: int, result: TrackScore) -> dict[str, Any]:
    rows = [row for row in run.rows if row.track == track]
    return {
        "track": track,
        "score": result.score,
        "frames": len(rows),
        "counted": result.counted,
        "segments": [list(segment) for segment in result.segments],
        "face_px": float(np.median([row.face_px for row in rows])),
        "first_s": rows[0].time_s,
        "last_s": rows[-1].time_s,
    }


def _damage(decode: dict[str, Any]) -> str:
    """What is missing of a video, from what happened while decoding it; "" where nothing is."""
    if decode["problem"]:
        return str(decode["problem"])
    return ", ".join(f"{decode[name]} {what}" for name, what in _DAMAGE.items() if decode[name])


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _sha256(path: PathLike, at_most: Optional[int] = None) -> Optional[str]:
    """SHA-256 of a file's bytes; None where it is no regular file, cannot be read (the decoder names the reason) or is
    larger than `at_most` bytes."""
    try:
        if not os.path.isfile(path) or (at_most is not None and os.path.getsize(path) > at_most):
            return None
        return files.file_sha256(os.fsdecode(path))
    except OSError:
        return None
