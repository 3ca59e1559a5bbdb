"""Video score → probability that the video is fake, fitted on validation videos and stored with the model.

Platt's logistic curve (Platt 1999, with his smoothed targets) for few videos, isotonic regression for many. The
curve belongs to one way of scoring: it
names the model's hash, the scorer and the aggregation it was fitted with, and is not applied to anything else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METHODS = ("platt", "isotonic")
ISOTONIC_FROM = 1000  # below that isotonic regression overfits (scikit-learn's guide on calibration)
MIN_PER_CLASS = 5
_THRESHOLDS = (0.001, 0.999)  # a threshold must leave room on both sides
CLIP = 0.01  # no stated probability is more certain than 99 %: no validation set here could support it
KEY, THRESHOLD_KEY, FRAME_THRESHOLD_KEY = "calibration", "threshold", "frame_threshold"  # in model.json


class CalibrationError(ValueError):
    """There is too little to fit, or a stored calibration is damaged."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A monotone curve through (x, y) knots of scores and probabilities, or Platt's slope and intercept.

    Attributes:
        method: "platt" or "isotonic".
        parameters: platt: {"slope", "intercept"} on the score's logit; isotonic: {"x": [...], "y": [...]}.
        scoring: what it belongs to: model hash, scorer and aggregation settings.
        videos: number of validation videos, {"real": …, "fake": …}.
        log_loss: mean negative log-likelihood on those videos, {"before": …, "after": …}; fitted on the same ones.
    """

    method: str
    parameters: Mapping[str, Any]
    scoring: Mapping[str, Any]
    videos: Mapping[str, int]
    log_loss: Mapping[str, float]

    def probability(self, score: float) -> float:
        """Probability in [CLIP, 1 - CLIP] for a video score in [0, 1]."""
        if self.method == "platt":
            logit = self.parameters["slope"] * _logit(np.array(score)) + self.parameters["intercept"]
            value = float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
        else:
            value = float(np.interp(score, self.parameters["x"], self.parameters["y"]))
        return float(np.clip(value, CLIP, 1 - CLIP))

    def fits(self, scoring: Mapping[str, Any]) -> bool:
        """Whether scores made this way may be read through this curve."""
        return _plain(self.scoring) == _plain(scoring)

    def to_dict(self) -> dict[str, Any]:
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """
        Raises:
            CalibrationError: it is damaged, or not monotone.
        """
        try:
            calibration = cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})
            curve = [calibration.probability(score) for score in np.linspace(0, 1, 101)]
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"the model's calibration is damaged ({error}); run `calibrate` again") from error
        if calibration.method not in METHODS or not np.all(np.diff(curve) >= 0):
            raise CalibrationError("the model's calibration is no rising curve; run `calibrate` again")
        return calibration


def fit(
    scores: Sequence[float], labels: Sequence[int], scoring: Mapping[str, Any], method: str = "auto"
) -> Calibration:
    """Fit on video scores in [0, 1] with labels 1 fake, 0 real; both classes weigh the same (prior one half).

    Args:
        method: "platt", "isotonic", or "auto": isotonic from ISOTONIC_FROM videos.
    Raises:
        CalibrationError: fewer than MIN_PER_CLASS videos of a class, or scores that rank reals above fakes.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.shape != y.shape or x.ndim != 1 or not np.isin(y, (0, 1)).all() or not ((x >= 0) & (x <= 1)).all():
        raise CalibrationError("scores in [0, 1] and labels 0 or 1 are needed, one each a video")
    videos = {"real": int((y == 0).sum()), "fake": int((y == 1).sum())}
    _check_counts(videos)
    if method == "auto":
        method = "isotonic" if len(x) >= ISOTONIC_FROM else "platt"
    if method not in METHODS:
        raise CalibrationError(f"method={method!r}: allowed are auto, {', '.join(METHODS)}")
    weights = np.where(y == 1, 0.5 / videos["fake"], 0.5 / videos["real"]) * len(y)
    if method == "platt":
        parameters = _platt(x, y, weights, videos, LogisticRegression)
    else:
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(x, y, sample_weight=weights)
        parameters = {"x": curve.X_thresholds_.tolist(), "y": curve.y_thresholds_.tolist()}
    fitted = Calibration(method, parameters, _plain(scoring), videos, {})
    after = np.array([fitted.probability(score) for score in x])
    losses = {"before": _log_loss(x, y, weights), "after": _log_loss(after, y, weights)}
    return dataclasses.replace(fitted, log_loss=losses)


def _check_counts(videos: Mapping[str, int]) -> None:
    if min(videos.values()) < MIN_PER_CLASS:
        raise CalibrationError(
            f"{videos['real']} real and {videos['fake']} fake videos with a score: at least {MIN_PER_CLASS} of each"
        )


def _platt(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, videos: Mapping[str, int], regression: Any
) -> dict[str, float]:
    """Slope and intercept on the logit. Platt's targets (n+1)/(n+2) instead of 1 keep separable data finite."""
    logits = _logit(x)[:, None]
    target = np.where(y == 1, (videos["fake"] + 1) / (videos["fake"] + 2), 1 / (videos["real"] + 2))
    both = np.concatenate([logits, logits])
    sides = np.concatenate([np.ones(len(x)), np.zeros(len(x))])
    shares = np.concatenate([weights * target, weights * (1 - target)])
    fitted = regression(C=1e6, max_iter=1000).fit(both, sides, sample_weight=shares)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        raise CalibrationError("these scores do not rank fakes above reals; there is nothing to calibrate")
    return {"slope": slope, "intercept": float(fitted.intercept_[0])}


def of_model(metadata: Mapping[str, Any], scoring: Mapping[str, Any]) -> tuple[Calibration | None, str]:
    """(calibration, why there is none) for a model's metadata and a way of scoring.

    Raises:
        CalibrationError: the stored one is damaged.
    """
    stored = metadata.get(KEY)
    if stored is None:
        return None, "the model has no calibration; `python -m runtime calibrate` fits one on labelled videos"
    calibration = Calibration.from_dict(stored)
    if not calibration.fits(scoring):
        return None, "the model's calibration was fitted with other scoring settings"
    return calibration, ""


def fit_threshold(
    scores: Sequence[float],
    labels: Sequence[int],
    scoring: Mapping[str, Any],
    max_fpr: float,
    max_fnr: float,
) -> dict[str, Any]:
    """The lowest video threshold with at most that false-positive rate on these real videos, and the highest one below
    which at most that false-negative rate of these fakes lies. What lies between is unclear.

    Args:
        labels: 1 fake, 0 real. max_fpr, max_fnr: rates in [0, 1).
    Returns:
        What model.json holds: threshold, real_below (at most the threshold), the rates asked for, the reals and fakes
        fitted on, how many of each score above the one and below the other, and the `scoring` it belongs to.
    Raises:
        CalibrationError: fewer than MIN_PER_CLASS of a class, or a rate outside [0, 1).
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    reals, fakes = np.sort(x[y == 0])[::-1], np.sort(x[y == 1])
    _check_counts({"real": len(reals), "fake": len(fakes)})
    _check_rates(max_fpr=max_fpr, max_fnr=max_fnr)
    highest_real = reals[int(max_fpr * len(reals) + 1e-9)]
    lowest_fake = fakes[int(max_fnr * len(fakes) + 1e-9)]
    # Half-way to the next score, so that the last digits of the same video's score on another machine decide nothing.
    threshold = float(np.clip((highest_real + x[x > highest_real].min(initial=1)) / 2, *_THRESHOLDS))
    real_below = min(threshold, float((lowest_fake + x[x < lowest_fake].max(initial=0)) / 2))
    return {
        "threshold": threshold,
        "real_below": real_below,
        "max_false_alarms": max_fpr,  # these two keys are older than the words FPR and FNR here
        "max_misses": max_fnr,
        "videos": {"real": len(reals), "fake": len(fakes)},
        "above": {"real": int((reals > threshold).sum()), "fake": int((fakes > threshold).sum())},
        "below": {"real": int((reals < real_below).sum()), "fake": int((fakes < real_below).sum())},
        "scoring": _plain(scoring),
    }


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise CalibrationError(f"{name}={rate}: must lie in 0..1, below 1")


def fit_frame_threshold(
    real: Sequence[np.ndarray], fake: Sequence[np.ndarray], scoring: Mapping[str, Any], max_frame_fpr: float
) -> dict[str, Any]:
    """The lowest threshold of frames that marks at most that share of the frames of real videos.

    Frames of one video are much alike, so it is the number of videos, not of frames, that the rate rests on.

    Args:
        real, fake: one array a video of what `video_score.marking_level` gives for its faces, in [0, 1].
        max_frame_fpr: rate in [0, 1).
    Returns:
        What model.json holds: frame_threshold, the rate asked for, the videos and frames of each class, how many of the
        frames are marked, and the `scoring` it belongs to.
    Raises:
        CalibrationError: fewer than MIN_PER_CLASS real videos, or a rate outside [0, 1).
    """
    _check_rates(max_frame_fpr=max_frame_fpr)
    if len(real) < MIN_PER_CLASS:
        raise CalibrationError(
            f"{len(real)} real videos with a score: at least {MIN_PER_CLASS} for the frames' threshold"
        )
    frames = {"real": np.concatenate(real), "fake": np.concatenate([*fake, np.zeros(0)])}
    falling = np.sort(frames["real"])[::-1]
    highest = falling[int(max_frame_fpr * len(falling) + 1e-9)]
    both = np.concatenate(list(frames.values()))
    threshold = float(np.clip((highest + both[both > highest].min(initial=1)) / 2, *_THRESHOLDS))
    return {
        "frame_threshold": threshold,
        "max_frame_fpr": max_frame_fpr,
        "videos": {"real": len(real), "fake": len(fake)},
        "frames": {label: len(levels) for label, levels in frames.items()},
        "marked": {label: int((levels > threshold).sum()) for label, levels in frames.items()},
        "scoring": _plain(scoring),
    }


def frame_threshold_of_model(metadata: Mapping[str, Any], scoring: Mapping[str, Any]) -> float | None:
    """The model's own threshold of frames for that way of scoring; None where it has none.

    Raises:
        CalibrationError: the stored one is damaged.
    """
    stored = metadata.get(FRAME_THRESHOLD_KEY)
    if stored is None:
        return None
    try:
        threshold, fits = float(stored["frame_threshold"]), _plain(stored["scoring"]) == _plain(scoring)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"the model's threshold of frames is damaged ({error!r})"
        raise CalibrationError(f"{problem}; run `calibrate` again") from error
    if not 0 < threshold < 1:
        raise CalibrationError(f"the model's threshold of frames is {threshold}, not in 0..1; run `calibrate` again")
    return threshold if fits else None


def threshold_of_model(metadata: Mapping[str, Any], scoring: Mapping[str, Any]) -> tuple[float, float] | None:
    """The model's own (threshold, real_below) for that way of scoring; None where it has none.

    Raises:
        CalibrationError: the stored one is damaged.
    """
    stored = metadata.get(THRESHOLD_KEY)
    if stored is None:
        return None
    try:
        threshold, real_below = float(stored["threshold"]), float(stored["real_below"])
        fits = _plain(stored["scoring"]) == _plain(scoring)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"the model's threshold is damaged ({error!r}); run `calibrate` again") from error
    if not 0 <= real_below <= threshold < 1:
        problem = f"the model's thresholds are {real_below} and {threshold}, not rising between 0 and 1"
        raise CalibrationError(f"{problem}; run `calibrate` again")
    return (threshold, real_below) if fits else None


def _logit(score: np.ndarray) -> np.ndarray:
    clipped = np.clip(score, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))


def _log_loss(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return float(np.average(-np.log(np.where(y == 1, clipped, 1 - clipped)), weights=weights))


def _plain(values: Any) -> Any:
    """As it comes back from JSON: tuples as lists, so that settings compare equal after a round trip."""
    return json.loads(json.dumps(values))
