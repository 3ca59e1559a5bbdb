"""What scoring one video returns: plain data, JSON both ways, and the states it can be in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mask_generation.video.types import TIMEOUT, TOO_SHORT, UNREADABLE, UNSUPPORTED, Limits
from runtime.model import calibration, saved_model
from runtime.scoring.abstention import Thresholds
from runtime.scoring.frame_score import ScorerConfig
from runtime.scoring.video_score import AggregateConfig

OK, PARTIAL, INCONCLUSIVE, NO_FACE = "ok", "partial", "inconclusive", "no_face"
STATES = (OK, PARTIAL, INCONCLUSIVE, NO_FACE, UNREADABLE, TOO_SHORT, UNSUPPORTED, TIMEOUT)
SCORED = (OK, PARTIAL)
FAILURES = (UNREADABLE, TOO_SHORT, UNSUPPORTED, TIMEOUT)  # the file could not be looked at: exit code 1
RESULT_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """Everything that can change a result, besides the file and the model.

    Attributes:
        frames: frames looked at, spread evenly over the video; 0: every frame.
        fps: frames a second to look at instead; None: as `frames` says.
        detect_size, detect_retry_size: long side in pixels at which faces are searched, first and where none is found.
        detect_every_s: seconds between two full searches; in between a face is followed.
        max_faces: most faces scored in one frame, the largest first; leaving one out makes the video `partial`.
        evidence: number of suspicious frames kept as pictures.
    """

    frames: int = 32
    fps: float | None = None
    scorer: ScorerConfig = dataclasses.field(default_factory=ScorerConfig)
    aggregate: AggregateConfig = dataclasses.field(default_factory=AggregateConfig)
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)
    limits: Limits = dataclasses.field(default_factory=Limits)
    detect_size: int = 640
    detect_retry_size: int = 1280
    detect_every_s: float = 0.4
    max_faces: int = 64
    batch_size: int = 8  # on a CPU 16 are no faster and take 350 MB more
    evidence: int = 4

    def __post_init__(self) -> None:
        if self.frames < 0 or self.max_faces < 1 or self.batch_size < 1 or self.evidence < 1:
            raise ValueError("frames must not be negative; max_faces, batch_size and evidence must be at least 1")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps={self.fps}: must be above 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they come back from JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def scoring(self, model: str) -> dict[str, Any]:
        """What the scores depend on that a calibration is read with; see `scoring_of`."""
        return scoring_of(model, self.to_dict())

    def for_model(self, sha256: str, metadata: Mapping[str, Any]) -> ScoreConfig:
        """The same with the threshold as a number: the one given, else the model's own (with its band of "unclear"),
        else the default.

        Raises:
            CalibrationError: the model's own is damaged.
        """
        if self.aggregate.threshold is not None:
            return self
        own = calibration.threshold_of_model(metadata, self.scoring(saved_model.identity(sha256, metadata)))
        threshold, real_below = own or (self.aggregate.cut, self.aggregate.real_below)
        aggregate = dataclasses.replace(self.aggregate, threshold=threshold, real_below=real_below)
        return dataclasses.replace(self, aggregate=aggregate)

    def fingerprint(self, model: Mapping[str, Any]) -> str:
        """Hash of all settings and the model's hashes: results with the same one may stand beside each other."""
        text = json.dumps([RESULT_FORMAT, self.to_dict(), dict(model)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def scoring_of(model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a calibration depends on: the model (see `saved_model.identity`), the frame scorer and the aggregation.

    Thresholds are left out: they move verdicts and segments, no score.

    Args:
        config: `ScoreConfig.to_dict`, as report.json holds it.
    """
    aggregate = {name: value for name, value in config["aggregate"].items() if name not in ("threshold", "real_below")}
    return {"model": model, "scorer": config["scorer"], "aggregate": aggregate}


@dataclasses.dataclass(frozen=True)
class FaceRow:
    """One face in one frame; `score` in [0, 1], the box in pixels of the frame as shown, `features` of its mask as
    named in `frame_score.FEATURES`."""

    frame_index: int
    time_s: float
    track: int
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    detection: float
    face_px: float
    sharpness: float
    brightness: float
    features: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """One video's answer. `score`, `probability` and `verdict` are None unless `state` is "ok" or "partial".

    Attributes:
        path: as given, printable.
        state: one of `STATES`; reason: why it is not "ok", "" otherwise.
        score: video score in [0, 1]; verdict: one of `video_score.VERDICTS`, by the thresholds of the aggregation.
        probability: calibrated probability of a fake; None without a calibration, `probability_note` says why.
        segments: (start_s, end_s, score) of suspicious stretches.
        faces: summary of each track: track, score, frames, segments, face_px.
        character: what kind of fake (see `runtime.scoring.manipulation_type.Character`); None without a score.
        frames_sampled, frames_with_face: frames looked at, and those with a face.
        sample_times_s: time stamps of the frames looked at.
        rows: one for each face in each frame.
        video: what the container declares; decode: what happened while decoding.
        timings_s: seconds by stage: hash, decode, detect, network, total.
        evidence: (S,…) pictures in memory, not part of the JSON.
    """

    path: str
    state: str
    reason: str
    score: float | None = None
    verdict: str | None = None
    probability: float | None = None
    probability_note: str = ""
    segments: tuple[tuple[float, float, float], ...] = ()
    faces: tuple[Mapping[str, Any], ...] = ()
    character: Mapping[str, Any] | None = None
    frames_sampled: int = 0
    frames_with_face: int = 0
    sample_times_s: tuple[float, ...] = ()
    rows: tuple[FaceRow, ...] = ()
    sha256: str | None = None
    video: Mapping[str, Any] | None = None
    decode: Mapping[str, Any] | None = None
    timings_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    overlay: str | None = None
    overlay_video: str | None = None
    thumbnails: tuple[Mapping[str, Any], ...] = ()
    evidence: tuple[Any, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state={self.state!r}: allowed are {', '.join(STATES)}")
        if (self.score is not None) != (self.state in SCORED):
            raise ValueError(f"a video in state {self.state} with score {self.score}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the pictures in memory."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("evidence", "rows")}
        values["rows"] = [list(dataclasses.astuple(row)) for row in self.rows]
        return json.loads(json.dumps(values, allow_nan=False))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoResult:
        """
        Raises:
            TypeError, ValueError, KeyError: it is not what `to_dict` wrote.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"evidence"}
        plain = {name: value for name, value in values.items() if name in known}
        names = [field.name for field in dataclasses.fields(FaceRow)]
        rows = [dict(zip(names, row)) for row in plain["rows"]]
        plain["rows"] = tuple(FaceRow(**{**row, "features": tuple(row["features"])}) for row in rows)
        plain["segments"] = tuple((float(a), float(b), float(c)) for a, b, c in plain["segments"])
        for name in ("faces", "sample_times_s", "thumbnails"):
            plain[name] = tuple(plain[name])
        return cls(**plain)
