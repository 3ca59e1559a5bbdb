"""What scoring one video is asked for and what it returns: plain data, JSON both ways, and the states it can be in.

A field of `FaceRow` or `VideoResult` has beside its type where it is reported: as what kind of value in report.json,
and as which columns of frames.csv or videos.csv. Tables, Parquet types, report.json and its JSON Schema are made from
that (`runtime.scoring.tables`), so a new field is written here, filled by the scorer, and shown by the page's template.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mask_generation.video.types import TIMEOUT, TOO_SHORT, UNREADABLE, UNSUPPORTED, Limits
from runtime.model import calibration, saved_model
from runtime.scoring.abstention import Thresholds
from runtime.scoring.frame_score import FEATURES, ScorerConfig
from runtime.scoring.video_score import VERDICT_SETTINGS, VERDICTS, AggregateConfig, Segment
from unet_industrial.config import TrainConfig
from unet_industrial.files import csv_cell
from unet_industrial.setting import same_setting, setting

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
        fps: frames a second to look at instead; None: `frames` decides.
        detect_size, detect_retry_size: long side in pixels at which faces are searched, first and where none is found.
        detect_every_s: seconds between two full searches; in between a face is followed.
        max_faces: most faces scored in one frame, the largest first; leaving one out makes the video `partial`.
        evidence: number of suspicious frames kept as pictures; named so in report.json.
    """

    frames: int = setting(32, "Frames taken of each video, evenly spread; 0: all.", low=0)
    fps: float | None = setting(None, "Frames a second to look at, instead of --frames.", low=0.001)
    scorer: ScorerConfig = dataclasses.field(default_factory=ScorerConfig)
    aggregate: AggregateConfig = dataclasses.field(default_factory=AggregateConfig)
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)
    limits: Limits = dataclasses.field(default_factory=Limits)
    detect_size: int = setting(640, "Long side at which faces are searched, px.", low=64)
    detect_retry_size: int = 1280
    detect_every_s: float = setting(0.4, "Seconds between two full searches; faces are followed.")
    max_faces: int = setting(64, "Faces scored in one frame, the largest first.", low=1)
    batch_size: int = same_setting(TrainConfig, "batch_size", 8)  # on a CPU 16 are no faster and take 350 MB more
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
        """The same with the thresholds as numbers: the ones given, else the model's own (that of videos with its band
        of "unclear"), else the default.

        Raises:
            CalibrationError: the model's own is damaged.
        """
        scoring, aggregate = self.scoring(saved_model.fingerprint(sha256, metadata)), self.aggregate
        if aggregate.frame_threshold is None:
            frames = calibration.frame_threshold_of_model(metadata, scoring)
            aggregate = dataclasses.replace(aggregate, frame_threshold=frames or aggregate.frame_cut)
        if aggregate.threshold is None:
            own = calibration.threshold_of_model(metadata, scoring)
            threshold, real_below = own or (aggregate.cut, aggregate.real_below)
            aggregate = dataclasses.replace(aggregate, threshold=threshold, real_below=real_below)
        return dataclasses.replace(self, aggregate=aggregate)

    def fingerprint(self, model: Mapping[str, Any]) -> str:
        """Hash of all settings and the model's hashes: results with the same one may stand beside each other."""
        text = json.dumps([RESULT_FORMAT, self.to_dict(), dict(model)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def scoring_of(model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a calibration depends on: the model (see `saved_model.fingerprint`), the frame scorer and the aggregation.

    Thresholds are left out: they move verdicts and segments, no score.

    Args:
        config: `ScoreConfig.to_dict`, as report.json holds it.
    """
    aggregate = {name: value for name, value in config["aggregate"].items() if name not in VERDICT_SETTINGS}
    return {"model": model, "scorer": config["scorer"], "aggregate": aggregate}


class Column(NamedTuple):
    """A column of videos.csv or frames.csv: its name, its type in pandas and Parquet, and how a field's value becomes
    its cell."""

    name: str
    dtype: str = "object"
    cell: Callable[[Any], Any] = lambda value: value


def _segments_cell(segments: tuple[Segment, ...]) -> str:
    return json.dumps([[round(start, 3), round(end, 3), round(score, 4)] for start, end, score in segments])


def _part(name: str) -> Callable[[Mapping[str, Any] | None], Any]:
    """The cell of one entry of a field that holds a mapping, or nothing."""
    return lambda values: (values or {}).get(name)


def reported(schema: Mapping[str, Any] | None, *columns: Column) -> dict[str, Any]:
    """Metadata of a field: the JSON Schema of its value in report.json (None: it is not in there), and its columns."""
    return {"schema": schema, "columns": columns}


def _row_column(name: str, dtype: str = "float64") -> dict[str, Any]:
    return reported(None, Column(name, dtype))


# JSON Schemas of values; what they refer to stands in schemas/score_report.schema.json.
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_SHARE = {"$ref": "#/$defs/maybe_share"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_OBJECT = {"type": ["object", "null"]}


def _maybe(name: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}


@dataclasses.dataclass(frozen=True)
class FaceRow:
    """One face in one frame; `score` in [0, 1], the box in pixels of the frame as shown, `features` of its mask as
    named in `frame_score.FEATURES`."""

    frame_index: int = dataclasses.field(metadata=_row_column("frame_index", "int64"))
    time_s: float = dataclasses.field(metadata=_row_column("time_s"))
    track: int = dataclasses.field(metadata=_row_column("track", "int64"))
    score: float = dataclasses.field(metadata=_row_column("score"))
    x0: float = dataclasses.field(metadata=_row_column("x0"))
    y0: float = dataclasses.field(metadata=_row_column("y0"))
    x1: float = dataclasses.field(metadata=_row_column("x1"))
    y1: float = dataclasses.field(metadata=_row_column("y1"))
    detection: float = dataclasses.field(metadata=_row_column("detection"))
    face_px: float = dataclasses.field(metadata=_row_column("face_px"))
    sharpness: float = dataclasses.field(metadata=_row_column("sharpness"))
    brightness: float = dataclasses.field(metadata=_row_column("brightness"))
    features: tuple[float, ...] = dataclasses.field(
        metadata=reported(
            None, *(Column(f"mask_{name}", "float64", operator.itemgetter(i)) for i, name in enumerate(FEATURES))
        )
    )


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """One video's answer. `score`, `probability` and `verdict` are None unless `state` is "ok" or "partial".

    Attributes:
        path: as given, printable.
        state: one of `STATES`; reason: why it is not "ok"; beside "ok" what is worth knowing (where to look
            in an unclear video), mostly "".
        score: video score in [0, 1]; verdict: one of `video_score.VERDICTS`, by the thresholds of the aggregation.
        probability: calibrated probability of a fake; None without a calibration, `probability_note` gives the reason.
        segments: suspicious stretches.
        faces: summary of each track: track, score, frames, counted (see `TrackScore`), segments, face_px, first_s,
            last_s.
        frames_sampled, frames_with_face: frames looked at, and those with a face.
        doubtful_faces: findings left out as no faces (`mask_generation.faces.people`), one a track.
        character: the manipulation type, as a mapping (see `manipulation_type.Attribution`); None without a score.
        video: what the container declares; decode: what happened while decoding.
        sha256: of the file; None where it cannot be read.
        timings_s: seconds by stage: hash, decode, detect, network, total.
        overlay, overlay_video: pictures and video with masks, as paths inside the output folder.
        sample_times_s: time stamps of the frames looked at.
        rows: one for each face in each frame.
        thumbnails: small pictures for report.html: time_s, face, score, jpeg (a data URL).
        pictures: the most suspicious frames (`drawing.FramePicture`), in memory only: no part of the JSON.
    """

    path: str = dataclasses.field(metadata=reported(_TEXT, Column("path", cell=csv_cell)))
    state: str = dataclasses.field(metadata=reported({"enum": list(STATES)}, Column("state")))
    reason: str = dataclasses.field(metadata=reported(_TEXT, Column("reason", cell=csv_cell)))
    score: float | None = dataclasses.field(default=None, metadata=reported(_MAYBE_SHARE, Column("score", "float64")))
    verdict: str | None = dataclasses.field(
        default=None, metadata=reported({"enum": [*VERDICTS, None]}, Column("verdict"))
    )
    probability: float | None = dataclasses.field(
        default=None, metadata=reported(_MAYBE_SHARE, Column("probability", "float64"))
    )
    probability_note: str = dataclasses.field(default="", metadata=reported(_TEXT))
    segments: tuple[Segment, ...] = dataclasses.field(
        default=(), metadata=reported(_list_of("segment"), Column("segments", cell=_segments_cell))
    )
    faces: tuple[Mapping[str, Any], ...] = dataclasses.field(
        default=(), metadata=reported(_list_of("face"), Column("faces", "int64", len))
    )
    frames_sampled: int = dataclasses.field(default=0, metadata=reported(_COUNT, Column("frames_sampled", "int64")))
    frames_with_face: int = dataclasses.field(default=0, metadata=reported(_COUNT, Column("frames_with_face", "int64")))
    doubtful_faces: int = dataclasses.field(default=0, metadata=reported(_COUNT))
    character: Mapping[str, Any] | None = dataclasses.field(
        default=None,
        metadata=reported(
            _maybe("character"),
            Column("family", cell=_part("family")),
            Column("family_confidence", cell=_part("confidence")),
        ),
    )
    video: Mapping[str, Any] | None = dataclasses.field(
        default=None,
        metadata=reported(
            _MAYBE_OBJECT,
            Column("duration_s", "float64", _part("duration_s")),
            Column("width", "Int64", _part("width")),
            Column("height", "Int64", _part("height")),
            Column("fps", "float64", _part("fps")),
            Column("codec", cell=_part("codec")),
        ),
    )
    decode: Mapping[str, Any] | None = dataclasses.field(default=None, metadata=reported(_MAYBE_OBJECT))
    sha256: str | None = dataclasses.field(default=None, metadata=reported(_maybe("sha256"), Column("sha256")))
    timings_s: Mapping[str, float] = dataclasses.field(
        default_factory=dict,
        metadata=reported(
            {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
            Column("seconds", "float64", _part("total")),
        ),
    )
    overlay: str | None = dataclasses.field(default=None, metadata=reported(_MAYBE_TEXT, Column("overlay")))
    overlay_video: str | None = dataclasses.field(default=None, metadata=reported(_MAYBE_TEXT, Column("overlay_video")))
    # Not in report.json: frames.csv and report.html hold them.
    sample_times_s: tuple[float, ...] = ()
    rows: tuple[FaceRow, ...] = ()
    thumbnails: tuple[Mapping[str, Any], ...] = ()
    pictures: tuple[Any, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state={self.state!r}: allowed are {', '.join(STATES)}")
        if (self.score is not None) != (self.state in SCORED):
            raise ValueError(f"a video in state {self.state} with score {self.score}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the pictures in memory."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "pictures"}
        values["rows"] = [list(dataclasses.astuple(row)) for row in self.rows]
        return json.loads(json.dumps(values, allow_nan=False))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoResult:
        """
        Raises:
            TypeError, ValueError, KeyError: it is not what `to_dict` wrote.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"pictures"}
        plain: dict[str, Any] = {name: _frozen(value) for name, value in values.items() if name in known}
        plain["segments"] = tuple(Segment(*map(float, segment)) for segment in plain["segments"])
        plain["rows"] = tuple(FaceRow(*map(_frozen, row)) for row in plain["rows"])
        return cls(**plain)

    def to_report(self) -> dict[str, Any]:
        """The video's entry in report.json."""
        values = {field.name: getattr(self, field.name) for field in reported_fields(type(self))}
        values["segments"] = [Segment(*segment)._asdict() for segment in self.segments]
        return json.loads(json.dumps(values, allow_nan=False))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def reported_fields(result_type: type[VideoResult] = VideoResult) -> list[dataclasses.Field[Any]]:
    """The fields that are in report.json."""
    return [field for field in dataclasses.fields(result_type) if field.metadata.get("schema") is not None]


def columns_of(row_type: type) -> list[tuple[str, Column]]:
    """(field, column) for each column that `VideoResult` or `FaceRow` gives its table, in their order."""
    return [(f.name, column) for f in dataclasses.fields(row_type) for column in f.metadata.get("columns", ())]


def cells(row: VideoResult | FaceRow) -> dict[str, Any]:
    """Column → cell."""
    return {column.name: column.cell(getattr(row, name)) for name, column in columns_of(type(row))}
