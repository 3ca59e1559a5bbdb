"""Frame scores per face track → one video score with the segments that caused it. NumPy only.

A short spliced fake, or one faked person in a group, is lost by every rule that averages over frames and faces; a
maximum finds it but raises false positives with each further face and frame. The rule here lies between the two and is
one formula. With e(i) the odds of the windowed score of frame i (the mean of the `top_k` highest scores among
`window` successive seen frames of the same face) and N the number of frames seen in all tracks,

    odds of the video = ((1/N) * sum_i e(i)^p)^(1/p)

p = 1 is the posterior odds when one unknown window among N equally likely ones is fake (the mixture form of a scan
statistic); p = infinity is the maximum. A share f of suspicious frames costs a factor f^(1/p) of the odds, which is
the correction for the number of tracks and frames: fifty faces that each look real stay exactly as real as one.
The `top_k` highest frames of a track count a second time wherever they lie, so that scattered frames are seen too.

Two frames are too little to judge a face by: a face seen in fewer than `top_k` frames does not count beside faces that
are seen in more, as long as those hold at least half of all sightings (`TrackScore.counted`).

Where the video's threshold decides the verdict, the frames' own decides what is pointed at. They are two numbers: the
one answers how many real videos may be called fake, the other how many frames of real videos may be marked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from unet_industrial.setting import setting

ODDS_MARGIN = 0.01  # scores are squeezed into [margin, 1 - margin] before they become odds: 99 to 1 at most
DEFAULT_THRESHOLD = 0.5
VERDICTS = ("fake", "unclear", "real")
MAX_GAP = 2  # frames below the threshold that a segment may bridge
VERDICT_SETTINGS = ("threshold", "real_below", "frame_threshold")  # of `AggregateConfig`: they move no score
ADVISED = 3  # stretches named in one piece of advice
ArrayLike = Union[Sequence[float], np.ndarray]


class NoFaceError(ValueError):
    """No track holds a single frame with a face: there is nothing to score, and 0.5 is a score, not an error code."""


@dataclasses.dataclass(frozen=True)
class AggregateConfig:
    """The settings of `video_score`, saved with every report.

    Attributes:
        top_k: one high frame alone cannot exceed 1/top_k or so.
        power: p above; 1 corrects fully for the number of frames and faces, infinity not at all.
        threshold: a video above it is called fake. None: the model's own where a model is in play
            (`ScoreConfig.for_model`), else DEFAULT_THRESHOLD.
        real_below: a video below it is called real, one between it and the threshold "unclear". None: the same as the
            threshold, so that every video is called one or the other.
        frame_threshold: frames above it whose window is above it too make segments. None: the model's own where a
            model is in play, else DEFAULT_THRESHOLD.
    """

    window: int = setting(5, "Successive frames of a face judged together.", low=1)
    top_k: int = setting(3, "The highest of them that are averaged.", low=1)
    power: float = setting(2.0, "1: full correction for many frames and faces; more: less.")
    threshold: float | None = setting(
        None, "A video whose score is above it is called fake.", shown=f"the model's own, else {DEFAULT_THRESHOLD}"
    )
    real_below: float | None = setting(
        None,
        "With --threshold: scores below it are called real, those between unclear.",
        shown="the threshold",
    )
    frame_threshold: float | None = setting(
        None,
        "Frames above it, in a row, are pointed at as a segment.",
        shown=f"the model's own, else {DEFAULT_THRESHOLD}",
    )

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.window:
            raise ValueError(f"top_k={self.top_k}, window={self.window}: needed are 1 <= top_k <= window")
        if not self.power >= 1:
            raise ValueError(f"power={self.power}: must be 1 or more")
        if not 0 < self.cut < 1:
            raise ValueError(f"threshold={self.threshold}: must lie between 0 and 1")
        if self.real_below is not None and not 0 <= self.real_below <= self.cut:
            raise ValueError(f"real_below={self.real_below}: must lie between 0 and the threshold, {self.cut}")
        if not 0 < self.frame_cut < 1:
            raise ValueError(f"frame_threshold={self.frame_threshold}: must lie between 0 and 1")

    @property
    def cut(self) -> float:
        """The threshold as a number."""
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    @property
    def frame_cut(self) -> float:
        """The threshold of frames as a number."""
        return DEFAULT_THRESHOLD if self.frame_threshold is None else self.frame_threshold


class Segment(NamedTuple):
    """A stretch of suspicious frames: time stamps of its first and last frame in seconds, its score in [0, 1]."""

    start_s: float
    end_s: float
    score: float


@dataclasses.dataclass(frozen=True)
class TrackScore:
    """One face: its score in [0, 1] (None where it was never seen), frames seen, segments, and the windowed scores.

    `local` has the length of the track; NaN where the face was not seen. `counted`: whether the video's score and
    segments depend on it; False where it was seen too seldom beside others.
    """

    score: float | None
    frames_seen: int
    segments: tuple[Segment, ...]
    local: np.ndarray
    counted: bool = True


def verdict(score: float, threshold: float, real_below: float | None = None) -> str:
    """One of VERDICTS: the only place where a video's score becomes a word.

    Args:
        score, threshold: on one scale; above the threshold, strictly, is "fake".
        real_below: below it is "real", from it up to the threshold "unclear"; None: the threshold itself, so that
            every video, one exactly at the threshold included, is called one or the other.
    """
    if called_fake(score, threshold):
        return "fake"
    return "real" if real_below is None or score < real_below or real_below >= threshold else "unclear"


def called_fake(scores: Any, threshold: float) -> Any:
    """Which scores (a number or an array) are called fake: those strictly above the threshold."""
    return scores > threshold


@dataclasses.dataclass(frozen=True)
class VideoScore:
    """A video: score in [0, 1], segments merged over its faces and sorted by time, and each face's own result."""

    score: float
    segments: tuple[Segment, ...]
    tracks: tuple[TrackScore, ...]
    frames_seen: int
    threshold: float
    real_below: float | None = None

    @property
    def is_fake(self) -> bool:
        return self.verdict == "fake"

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        return verdict(self.score, self.threshold, self.real_below)

    @property
    def advice(self) -> str:
        """Where to look in a video that is unclear and has suspicious stretches, else ""."""
        return look_at(self.segments) if self.verdict == "unclear" else ""


def look_at(segments: Sequence[Segment]) -> str:
    """The ADVISED most suspicious stretches in words, as "look at 5.2–5.8 s and 9.1 s"; "" where there are none."""
    chosen = sorted(sorted(segments, key=lambda segment: -segment.score)[:ADVISED])
    if not chosen:
        return ""
    ends = [(f"{start:.1f}", f"{end:.1f}") for start, end, _ in chosen]
    *others, last = [f"{start} s" if start == end else f"{start}–{end} s" for start, end in ends]
    return f"look at {', '.join(others)} and {last}" if others else f"look at {last}"


def video_score(
    tracks: Sequence[ArrayLike],
    time_s: ArrayLike | Sequence[ArrayLike] | None = None,
    config: AggregateConfig | None = None,
) -> VideoScore:
    """Score a video from the frame scores of its faces.

    Args:
        tracks: one 1-D array a face, frame scores in [0, 1], NaN where the frame has no such face.
        time_s: time stamps in seconds, never falling: one array shared by all tracks or one a track; the frame's
            index where None.
    Raises:
        NoFaceError: there is no track, or no track has a seen frame.
        ValueError: a track is not 1-D or leaves [0, 1]; the time stamps do not match.
    """
    config = config or AggregateConfig()
    scores = [_checked_track(track, index) for index, track in enumerate(tracks)]
    times = _checked_times(time_s, scores)
    seen = [np.flatnonzero(~np.isnan(track)) for track in scores]
    total = sum(map(len, seen))
    if total == 0:
        raise NoFaceError(f"no face in any frame ({len(scores)} tracks)")
    # A face seen once in a longer video is too little to judge the video by; in a still picture it is all there is.
    top_k = min(config.top_k, max(map(len, seen)))

    counted = _counted([len(where) for where in seen], top_k)

    locals_, tops = [], []
    for track, where in zip(scores, seen):
        values = track[where]
        locals_.append(_windowed(values, config.window, top_k))
        tops.append(_top_mean(values, top_k) if len(values) else 0.0)

    results = []
    for track, where, stamps, local, top, counts in zip(scores, seen, times, locals_, tops, counted):
        full = np.full(track.shape, np.nan)
        full[where] = local
        score = _combine([local], [top], top_k, config.power) if len(where) else None
        segments = _segments(track[where], local, stamps[where], score, config)
        results.append(TrackScore(score, len(where), segments, full, counts))
    kept = [at for at, counts in enumerate(counted) if counts]
    score = _combine([locals_[at] for at in kept], [tops[at] for at in kept], top_k, config.power)
    merged = _merge([segment for at in kept for segment in results[at].segments])
    return VideoScore(score, merged, tuple(results), total, config.cut, config.real_below)


def marking_level(track: ArrayLike, config: AggregateConfig | None = None) -> np.ndarray:
    """Up to which threshold each frame of a face would be marked: the lower of its own score and its window's.

    Args:
        track: one face's frame scores in [0, 1], NaN where it was not seen.
    Returns:
        (n,) one value a seen frame: what a frame threshold is fitted on.
    """
    config = config or AggregateConfig()
    scores = _checked_track(track, 0)
    values = scores[~np.isnan(scores)]
    return np.minimum(values, _windowed(values, config.window, config.top_k))


def _counted(frames_seen: Sequence[int], top_k: int) -> list[bool]:
    """Which faces the video is judged by: those seen in `top_k` frames or more where they hold half of all sightings,
    else all that were seen."""
    enough = [seen >= top_k for seen in frames_seen]
    held = sum(seen for seen, counts in zip(frames_seen, enough) if counts)
    return enough if 2 * held >= sum(frames_seen) else [seen > 0 for seen in frames_seen]


def _checked_track(track: ArrayLike, index: int) -> np.ndarray:
    array = np.asarray(track, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"track {index}: frame scores of shape {array.shape}, expected 1-D")
    known = array[~np.isnan(array)]
    if known.size and (known.min() < 0 or known.max() > 1):
        raise ValueError(f"track {index}: frame scores from {known.min():g} to {known.max():g}, expected 0 to 1")
    return array


def _checked_times(time_s: ArrayLike | Sequence[ArrayLike] | None, tracks: list[np.ndarray]) -> list[np.ndarray]:
    if time_s is None:
        return [np.arange(len(track), dtype=np.float64) for track in tracks]
    nested = len(time_s) > 0 and np.ndim(time_s[0]) == 1
    per_track = list(time_s) if nested else [time_s] * len(tracks)
    if len(per_track) != len(tracks):
        raise ValueError(f"{len(per_track)} arrays of time stamps for {len(tracks)} tracks")
    times = [np.asarray(stamps, dtype=np.float64) for stamps in per_track]
    for index, (stamps, track) in enumerate(zip(times, tracks)):
        if stamps.shape != track.shape:
            raise ValueError(f"track {index}: {len(track)} frame scores but time stamps of shape {stamps.shape}")
        if not np.isfinite(stamps).all() or np.any(np.diff(stamps) < 0):
            raise ValueError(f"track {index}: time stamps must be finite and must not fall")
    return times


def _top_mean(values: np.ndarray, top_k: int) -> float:
    """Mean of the top_k highest values; where there are fewer, the missing ones count as 0."""
    return float(np.sort(values)[-top_k:].sum() / top_k)


def _windowed(values: np.ndarray, window: int, top_k: int) -> np.ndarray:
    """For each of (n,) seen frames the mean of the top_k highest in the window centred there, cut at the ends."""
    before, after = (window - 1) // 2, window // 2
    padded = np.concatenate([np.zeros(before), values, np.zeros(after)])
    if not len(values):
        return values
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    return np.sort(windows, axis=1)[:, -top_k:].sum(axis=1) / top_k


def _odds(scores: np.ndarray) -> np.ndarray:
    squeezed = ODDS_MARGIN + (1 - 2 * ODDS_MARGIN) * np.asarray(scores, dtype=np.float64)
    return squeezed / (1 - squeezed)


def _from_odds(odds: float) -> float:
    score = (odds / (1 + odds) - ODDS_MARGIN) / (1 - 2 * ODDS_MARGIN)
    return float(np.clip(score, 0.0, 1.0))


def _combine(locals_: Sequence[np.ndarray], tops: Sequence[float], top_k: int, power: float) -> float:
    """The formula of the module's head: windows everywhere, or each track's top_k frames wherever they lie."""
    windows = np.concatenate(locals_) if locals_ else np.zeros(0)
    scattered = np.sort(np.asarray(tops, dtype=np.float64))  # sorted: the order of tracks must not change a sum
    if np.isinf(power):
        return _from_odds(max(_odds(windows).max(), _odds(scattered).max()))
    total = len(windows)
    by_window = float(np.mean(_odds(np.sort(windows)) ** power))
    by_track = float(np.sum(_odds(scattered) ** power) * min(1.0, top_k / total))
    by_track = min(by_track, float(_odds(scattered).max() ** power))  # never more than the highest of them
    return _from_odds(max(by_window, by_track) ** (1 / power))


def _segments(
    values: np.ndarray, local: np.ndarray, stamps: np.ndarray, score: float | None, config: AggregateConfig
) -> tuple[Segment, ...]:
    """Runs of frames above the frames' threshold whose window is above it as well, bridging up to MAX_GAP frames.

    A face that is called fake has one in any case: frames that have no suspicious neighbours, but count together.
    """
    hot = np.flatnonzero(np.minimum(values, local) > config.frame_cut)
    if not hot.size and score is not None and score > config.cut:
        hot = np.flatnonzero(values > min(config.frame_cut, config.cut))
    if not hot.size:
        return ()
    runs = np.split(hot, np.flatnonzero(np.diff(hot) > MAX_GAP + 1) + 1)
    return tuple(Segment(float(stamps[r[0]]), float(stamps[r[-1]]), float(values[r].mean())) for r in runs)


def _merge(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments of all faces in order of time; those that overlap become one with the higher score."""
    merged: list[Segment] = []
    for segment in sorted(segments):
        if merged and segment.start_s <= merged[-1].end_s:
            last = merged[-1]
            merged[-1] = Segment(last.start_s, max(last.end_s, segment.end_s), max(last.score, segment.score))
        else:
            merged.append(segment)
    return tuple(merged)
