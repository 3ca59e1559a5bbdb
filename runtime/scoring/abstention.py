"""When is there too little to judge by? Every threshold of an abstention has its home here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from unet_industrial.setting import setting

DOMAIN_KEY = "domain"  # in model.json: measure → [low, high] of the material the model was validated on
MOST_SHARE = 0.75  # of the frames looked at with a face, below which the reason says how many they are
MEASURES = ("face_px", "sharpness", "brightness")


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Below these a video is `inconclusive`; all settable, all saved with the report.

    Attributes:
        min_frames: decoded frames below which a video is `too_short`, and frames with a face below which it is
            inconclusive (the aggregation needs three to distinguish a stretch from a spike).
        min_face_share: share of the frames looked at with a face below which it is inconclusive: what is found so
            seldom is often no face, or one that the detector sees at its worst.
        min_face_px: median longer side of the face box. Crops of smaller faces are mostly interpolation.
        min_sharpness: median of `sharpness`; the value is that of a face so blurred that eyes lose their edges.
        max_outside: share of faces outside the trained domain (where the model states one) above which to abstain.
    """

    min_frames: int = setting(3, "Frames, and frames with a face, needed for a score.")
    min_face_share: float = setting(
        0.2, "Share of the frames looked at that must show a face for a score.", low=0.0, high=1.0
    )
    min_face_px: float = setting(32.0, "Faces smaller than this get no score.")
    min_sharpness: float = setting(1.0, "Faces more blurred than this get no score.")
    max_outside: float = 0.5

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise ValueError(f"min_frames={self.min_frames}: must be at least 1")
        if not 0 <= self.min_face_share <= 1:
            raise ValueError(f"min_face_share={self.min_face_share}: must lie in [0, 1]")
        if self.min_face_px < 0 or self.min_sharpness < 0:
            raise ValueError("min_face_px and min_sharpness must not be negative")
        if not 0 < self.max_outside <= 1:
            raise ValueError(f"max_outside={self.max_outside}: must lie above 0 and at most at 1")


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of a (S,S,3) uint8 crop in grey levels: 0 for a flat or fully blurred face.

    The usual focus measure (Pech-Pacheco et al. 2000), on the inner half of the crop, where the face is. A small
    face enlarged to the crop's size counts as blurred, which it is.
    """
    side = crop.shape[0]
    inner = crop[side // 4 : side - side // 4, side // 4 : side - side // 4]
    return float(cv2.Laplacian(cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def brightness(crop: np.ndarray) -> float:
    """Mean grey level of a crop, 0 to 255."""
    return float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean())


def reason_to_abstain(
    faces: Sequence[Mapping[str, Any]],
    frames_with_face: int,
    frames: int,
    thresholds: Thresholds,
    domain: Mapping[str, Any],
) -> str | None:
    """Why the video should get no score, or None.

    Args:
        faces: of every face seen its `face_px`, `sharpness` and `brightness`, at least one.
        frames: frames looked at.
        domain: measure → [low, high], from the model; {} where it states none.
    """
    if frames_with_face < thresholds.min_frames:
        return f"a face in only {frames_with_face} of the frames looked at, {thresholds.min_frames} are needed"
    if frames_with_face < thresholds.min_face_share * frames:
        found = _share(frames_with_face, frames)
        return f"{found}; at least {100 * thresholds.min_face_share:.0f} % are needed (--min_face_share)"
    face_px = float(np.median([face["face_px"] for face in faces]))
    if face_px < thresholds.min_face_px:
        return f"faces too small: {face_px:.0f} px (median), {thresholds.min_face_px:.0f} are needed"
    sharp = float(np.median([face["sharpness"] for face in faces]))
    if sharp < thresholds.min_sharpness:
        return f"faces too blurred: sharpness {sharp:.1f} (median), {thresholds.min_sharpness:.1f} is needed"
    for measure in MEASURES:
        bounds = domain.get(measure)
        if bounds is None:
            continue
        low, high = bounds
        outside = float(np.mean([not low <= face[measure] <= high for face in faces]))
        if outside > thresholds.max_outside:
            middle = float(np.median([face[measure] for face in faces]))
            return (
                f"outside what the model was validated on: {measure} {middle:.0f} (median), validated {low:.0f} to "
                f"{high:.0f}"
            )
    return None


def few_faces(frames_with_face: int, frames: int) -> str:
    """What to say of a score that rests on few of the frames looked at; "" where it rests on most."""
    return _share(frames_with_face, frames) if frames_with_face < MOST_SHARE * frames else ""


def _share(frames_with_face: int, frames: int) -> str:
    return f"a face in {frames_with_face} of {frames} frames looked at ({100 * frames_with_face / frames:.0f} %)"


def domain_of(metadata: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The validated ranges in a model's metadata.

    Raises:
        ValueError: they are no pairs of numbers.
    """
    stored = metadata.get(DOMAIN_KEY) or {}
    ranges = {}
    for measure in MEASURES:
        if measure not in stored:
            continue
        try:
            low, high = (float(value) for value in stored[measure])
        except (TypeError, ValueError) as error:
            raise ValueError(f"the model's domain of {measure} is damaged; run `calibrate` again") from error
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"the model's domain of {measure} is damaged; run `calibrate` again")
        ranges[measure] = (low, high)
    return ranges


def fit_domain(faces: Mapping[str, np.ndarray], widen: float = 2.0) -> dict[str, list[float]]:
    """Ranges from validation faces: 1st and 99th percentile, widened by a factor each way (brightness: by 20 levels).

    Args:
        faces: measure → (N,) values.
    """
    domain = {}
    for measure in MEASURES:
        low, high = (float(np.percentile(faces[measure], percent)) for percent in (1, 99))
        if measure == "brightness":
            domain[measure] = [max(0.0, low - 20), min(255.0, high + 20)]
        else:
            domain[measure] = [low / widen, high * widen]
    return domain
