"""Attribution: the manipulation type, from where in the face the fake pixels lie and how steady they are.

A mask shows where a network sees traces, not how they were made. So the type is a suggestion with its reason, at most
of moderate confidence, and "unknown" whenever the regions fit none of them clearly. The fields `family` (the type) and
`evidence` (the reason) of `Attribution` are keys of report.json and keep these older names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from unet_industrial.config import FAKE_ABOVE

REGIONS = ("eyes", "nose", "mouth", "cheeks", "forehead", "outline", "background")
MANIPULATION_TYPES = ("whole face swapped", "mouth re-rendered", "expression driven", "unknown")
MIN_FRAMES = 3  # frames with fake pixels below which no type is named
ENOUGH_FRAMES = 8  # and above which confidence may be moderate
STEADY = 0.5  # mean IoU of successive masks above which they count as steady
SMALL = 64  # side of the masks that are counted, and kept for the comparison in time


@dataclasses.dataclass(frozen=True)
class FrameRegions:
    """One face in one frame: (7,) fake and all of its pixels by region, and the small mask, one bit a pixel."""

    fake_px: np.ndarray
    all_px: np.ndarray
    bits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The answer for one video.

    Attributes:
        shares: region → share of all fake pixels, summing to 1; {} without fake pixels.
        coverage: region → share of its pixels that are fake.
        stability: mean IoU of masks of successive frames of a face, in [0, 1]; None with fewer than two frames.
        family: one of `MANIPULATION_TYPES`; confidence: "none", "weak" or "moderate".
        evidence: the reason, one sentence.
        frames: frames with fake pixels that this rests on.
    """

    shares: dict[str, float]
    coverage: dict[str, float]
    stability: float | None
    family: str
    confidence: str
    evidence: str
    frames: int


def region_map(points: np.ndarray, side: int) -> np.ndarray:
    """(side,side) uint8 index into REGIONS of every pixel of a crop.

    Coordinates follow the face: down along the line from between the eyes to the mouth (unit: their distance), across
    at right angles (unit: the distance of the eyes, or half of the former in profile).

    Args:
        points: (5,2) x y of left eye, right eye, nose, left and right mouth corner, in pixels of the crop.
    """
    points = np.asarray(points, dtype=np.float64)
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = mouth - eyes
    height = float(np.hypot(*down))
    if not np.isfinite(height) or height < 1:
        return np.full((side, side), REGIONS.index("background"), np.uint8)
    down = down / height
    across = np.array([down[1], -down[0]])
    width = max(abs(float((points[1] - points[0]) @ across)), 0.5 * height)
    y, x = np.mgrid[:side, :side] + 0.5
    a = ((x - eyes[0]) * across[0] + (y - eyes[1]) * across[1]) / width
    b = ((x - eyes[0]) * down[0] + (y - eyes[1]) * down[1]) / height
    radius = np.hypot(a / 1.15, (b - 0.45) / 1.35)  # 1 on the face's outline: chin at 1.8, hair line at -0.9
    regions = np.full((side, side), REGIONS.index("background"), np.uint8)
    regions[radius < 1.2] = REGIONS.index("outline")
    inside = radius < 0.88
    regions[inside] = REGIONS.index("cheeks")
    regions[inside & (b < -0.35)] = REGIONS.index("forehead")
    regions[inside & (np.abs(b + 0.05) <= 0.3) & (np.abs(a) < 0.95)] = REGIONS.index("eyes")
    regions[inside & (b > 0.25) & (b <= 0.75) & (np.abs(a) < 0.32)] = REGIONS.index("nose")
    regions[inside & (b > 0.75) & (b < 1.3) & (np.abs(a) < 0.62)] = REGIONS.index("mouth")
    return regions


def measure(mask: np.ndarray, points: np.ndarray) -> FrameRegions:
    """Count a (S,S) mask of probabilities by region of the face whose (5,2) points are given in its pixels.

    Counted on the mask reduced to SMALL pixels a side: regions are coarse anyway, and it is sixteen times faster.
    """
    regions = region_map(np.asarray(points, dtype=np.float64) * (SMALL / mask.shape[0]), SMALL)
    fake = cv2.resize(mask.astype(np.float32), (SMALL, SMALL), interpolation=cv2.INTER_AREA) > FAKE_ABOVE
    return FrameRegions(
        np.bincount(regions[fake], minlength=len(REGIONS)).astype(np.int16),
        np.bincount(regions.ravel(), minlength=len(REGIONS)).astype(np.int16),
        np.packbits(fake),
    )


def stability(tracks: Sequence[Sequence[FrameRegions]]) -> float | None:
    """Mean IoU of successive masks in each track; pairs without fake pixels are left out."""
    values = []
    for track in tracks:
        for first, second in zip(track, track[1:]):
            union = int(np.unpackbits(first.bits | second.bits).sum())
            if union:
                values.append(int(np.unpackbits(first.bits & second.bits).sum()) / union)
    return float(np.mean(values)) if values else None


def attribute(tracks: Sequence[Sequence[FrameRegions]], called_fake: bool) -> Attribution:
    """Sum up the suspicious frames of each face.

    Args:
        tracks: frames in order of time, of each face; pass the suspicious ones if there are any.
        called_fake: whether the video's score is above the threshold; without that no type is named.
    """
    frames = [frame for track in tracks for frame in track if frame.fake_px.sum()]
    steady = stability(tracks)
    if not frames:
        return Attribution({}, {}, steady, "unknown", "none", "no pixel is marked as fake", 0)
    fake = np.sum([frame.fake_px for frame in frames], axis=0, dtype=np.int64)
    whole = np.sum([frame.all_px for frame in frames], axis=0, dtype=np.int64)
    shares = {name: float(v) for name, v in zip(REGIONS, fake / fake.sum())}
    coverage = {name: float(v) for name, v in zip(REGIONS, fake / np.maximum(whole, 1))}
    if not called_fake:
        return Attribution(shares, coverage, steady, "unknown", "none", "the video is not called fake", len(frames))
    if len(frames) < MIN_FRAMES:
        reason = f"only {len(frames)} frames with fake pixels, {MIN_FRAMES} are needed"
        return Attribution(shares, coverage, steady, "unknown", "none", reason, len(frames))
    kind, reason = _manipulation_type(shares, coverage)
    confidence = "none"
    if kind != "unknown":
        sure = len(frames) >= ENOUGH_FRAMES and steady is not None and steady >= STEADY
        confidence = "moderate" if sure else "weak"
        if steady is not None and steady < STEADY:
            reason += f"; the masks change from frame to frame (IoU {steady:.2f})"
    return Attribution(shares, coverage, steady, kind, confidence, reason, len(frames))


def _manipulation_type(shares: dict[str, float], coverage: dict[str, float]) -> tuple[str, str]:
    marked = ", ".join(f"{name} {coverage[name]:.0%}" for name in REGIONS[:5])
    inner = [coverage[name] for name in ("eyes", "nose", "mouth", "cheeks")]
    on_face = 1 - shares["background"]
    if on_face < 0.5:
        return "unknown", f"most fake pixels ({shares['background']:.0%}) lie outside the face"
    if min(inner) >= 0.5:
        return "whole face swapped", f"all of the inner face is marked: {marked}"
    if coverage["mouth"] >= 0.4 and shares["mouth"] / on_face >= 0.4 and coverage["eyes"] <= 0.15:
        return "mouth re-rendered", f"marked around the mouth, not at the eyes: {marked}"
    if coverage["mouth"] >= 0.3 and coverage["eyes"] >= 0.3 and coverage["forehead"] < 0.3:
        return "expression driven", f"the moving parts are marked, mouth and eyes, not the forehead: {marked}"
    return "unknown", f"the marked regions fit no manipulation type: {marked}"
