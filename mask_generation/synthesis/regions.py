"""Soft masks of face regions: drawn, bent, eroded and blurred, so that no two blends have the same outline.

Where landmarks lie once five points of a face are known, and the regions they span, comes from a mean face: the mean of
the 189 landmarks of 102 neutral faces of the Face Research Lab London Set (DeBruine & Jones 2017,
doi 10.6084/m9.figshare.5047666, CC BY 4.0), each brought by a similarity to MTCNN's five points of the same picture.
Unit: the distance of MTCNN's eyes; origin: the middle between them; x to the right, y down.
"""

from __future__ import annotations

import cv2
import numpy as np

from mask_generation.synthesis import jitter

# fmt: off
_TABLE = (
    -0.491, -0.005, 0.508, -0.001, -0.492, -0.068, -0.568, -0.046, -0.587, 0.001, -0.564, 0.058, -0.492, 0.085,
    -0.419, 0.056, -0.397, 0.001, -0.414, -0.044, 0.508, -0.064, 0.435, -0.042, 0.417, 0.004, 0.440, 0.060, 0.512,
    0.089, 0.585, 0.062, 0.606, 0.005, 0.587, -0.043, -0.689, 0.024, -0.607, -0.040, -0.493, -0.068, -0.372, -0.032,
    -0.261, 0.054, 0.279, 0.057, 0.390, -0.031, 0.509, -0.065, 0.627, -0.034, 0.708, 0.032, -0.609, 0.075, -0.492,
    0.090, -0.374, 0.071, 0.397, 0.074, 0.512, 0.094, 0.628, 0.078, -0.746, -0.028, -0.645, -0.100, -0.514, -0.127,
    -0.381, -0.110, -0.281, -0.048, 0.294, -0.040, 0.399, -0.110, 0.529, -0.128, 0.661, -0.100, 0.766, -0.030, -0.550,
    0.339, -0.375, 0.271, -0.247, 0.159, 0.265, 0.163, 0.398, 0.282, 0.573, 0.351, -0.100, -0.079, -0.062, 0.053,
    -0.060, 0.194, -0.075, 0.330, -0.105, 0.473, 0.010, 0.706, 0.122, -0.077, 0.088, 0.057, 0.084, 0.195, 0.097,
    0.332, 0.122, 0.477, -0.236, 0.468, -0.275, 0.554, -0.271, 0.651, -0.189, 0.703, -0.195, 0.630, 0.257, 0.477,
    0.296, 0.560, 0.294, 0.652, 0.211, 0.704, 0.211, 0.633, -0.914, -0.124, -0.824, -0.287, -0.676, -0.362, -0.473,
    -0.358, -0.212, -0.263, -0.215, -0.178, 0.226, -0.180, 0.224, -0.267, 0.484, -0.358, 0.682, -0.362, 0.840, -0.287,
    0.939, -0.128, -0.716, -0.234, -0.501, -0.235, 0.509, -0.233, 0.721, -0.238, -0.392, 1.095, -0.241, 0.992, -0.108,
    0.937, 0.007, 0.962, 0.127, 0.939, 0.265, 1.000, 0.405, 1.090, -0.235, 1.073, -0.116, 1.060, 0.008, 1.070, 0.138,
    1.060, 0.260, 1.075, -0.235, 1.074, -0.116, 1.060, 0.009, 1.072, 0.139, 1.061, 0.261, 1.076, -0.274, 1.173,
    -0.143, 1.222, 0.015, 1.238, 0.177, 1.220, 0.301, 1.171, -1.102, 0.097, -1.086, 0.455, -1.027, 0.843, 1.128,
    0.104, 1.116, 0.462, 1.054, 0.853, -1.296, 0.003, -1.331, 0.221, -1.286, 0.459, -1.231, 0.676, -1.113, 0.845,
    1.338, 0.012, 1.378, 0.218, 1.334, 0.452, 1.271, 0.676, 1.152, 0.851, -0.969, 1.101, -0.856, 1.354, -0.614, 1.607,
    -0.319, 1.767, 0.021, 1.826, 0.377, 1.755, 0.675, 1.583, 0.901, 1.327, 1.001, 1.089, -1.049, -0.289, -0.952,
    -0.614, -0.857, -0.929, -0.640, -1.123, -0.330, -1.201, 0.015, -1.189, 0.367, -1.189, 0.672, -1.101, 0.886,
    -0.903, 0.983, -0.600, 1.072, -0.280, -0.833, 1.912, -1.319, 1.123, -1.483, 0.052, -1.346, -0.600, -1.041, -1.147,
    -0.613, -1.522, 0.018, -1.687, 0.681, -1.496, 1.109, -1.100, 1.400, -0.568, 1.535, 0.060, 1.365, 1.123, 0.890,
    1.893, -0.366, 0.702, -0.463, 0.828, -0.532, 0.996, 0.402, 0.704, 0.503, 0.838, 0.568, 1.004, -0.961, 0.325,
    -0.801, 0.455, -0.586, 0.517, 0.993, 0.331, 0.847, 0.460, 0.643, 0.526, -0.080, 0.748, -0.099, 0.879, 0.096,
    0.747, 0.115, 0.879, 0.018, 1.499, 0.020, 1.638, -0.167, 1.395, 0.016, 1.354, 0.202, 1.397, -0.073, 0.646, -0.041,
    0.690, 0.059, 0.691, 0.089, 0.646, -0.322, 2.237, 0.384, 2.243, -1.100, 0.276, -1.058, 0.643, 1.131, 0.281, 1.088,
    0.650,
)
# fmt: on
POINTS = np.array(_TABLE, np.float32).reshape(-1, 2)  # (189, 2), in the London Set's order
# MTCNN's order: eyes, nose, corners of the mouth, the picture's left first.
FIVE = np.array([(-0.500, 0.000), (0.500, -0.000), (-0.003, 0.524), (-0.405, 1.081), (0.399, 1.083)], np.float32)
BOX = (-1.060, -1.143, 1.057, 1.765)  # MTCNN's mean box of the same faces, xyxy

_JAW = (111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114)
_HAIRLINE = tuple(range(134, 145))
_BROWS = (71, 72, 73, 74, 75, 78, 79, 80, 81, 82)
# Each region is the convex hull of these landmarks; `hairline` is made of two of them in `region_polygon`.
REGIONS = {
    "full": (109, *_JAW, 112, *_HAIRLINE),
    "brow": (109, *_JAW, 112, *_BROWS),
    "hairline": (109, *_JAW, 112, *_BROWS, *_HAIRLINE),
    "inner": (*_BROWS, 160, 163, 164, 168, 104, 108, 174, 176, 178),
    "lower": (*_JAW, 44, 45, 48, 49, 52, 58),
    "mouth": (159, 162, 87, 93, 104, 108, 171, 173, 176, 177, 178),
    "eyes": (*_BROWS, 34, 43, 44, 45, 48, 49, 53, 59),
}
LARGE_REGIONS = ("full", "brow", "hairline")
# Chances of each region in the hard mix; the easy end draws large ones only.
CHANCES = {"full": 0.18, "brow": 0.2, "hairline": 0.14, "inner": 0.16, "lower": 0.1, "mouth": 0.16, "eyes": 0.06}


def draw_region(rng: np.random.Generator, difficulty: float) -> str:
    """A region's name. `difficulty` 0: only large ones; 1: the hard mix."""
    names = list(CHANCES)
    if rng.random() > difficulty:
        names = list(LARGE_REGIONS)
    weights = np.array([CHANCES[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def region_mask(
    shape: tuple[int, ...], landmarks: np.ndarray, region: str, rng: np.random.Generator, soft: bool = True
) -> np.ndarray:
    """(H, W) float32 in [0, 1]: a region of the face, randomly distorted.

    Args:
        landmarks: (189, 2) pixels.
        region: key of `REGIONS`.
        soft: blurred edges; otherwise antialiased only.
    """
    unit = face_unit(landmarks)
    polygon = region_polygon(landmarks, region, hair=float(rng.uniform(0.2, 1)))
    centre = polygon.mean(0)
    polygon = centre + (polygon - centre) * rng.uniform(0.9, 1.08, 2).astype(np.float32)
    polygon = polygon + rng.normal(0, 0.03 * unit, polygon.shape).astype(np.float32)
    mask = elastic(fill(polygon.astype(np.float32), shape), rng, unit * float(rng.uniform(0.02, 0.12)))
    return soften(mask, rng, unit) if soft else keep_margin(mask)


def place(five: np.ndarray) -> np.ndarray:
    """(189, 2) float32 landmarks of the mean face laid on a face's five points.

    An affine map fitted by least squares, held near the best similarity so that a profile, whose points nearly line
    up, does not flatten the face.

    Args:
        five: (5, 2) left eye, right eye, nose, left and right corner of the mouth, in pixels.
    Raises:
        ValueError: not (5, 2), not finite, or all in one place.
    """
    five = np.asarray(five, np.float64)
    if five.shape != (5, 2) or not np.isfinite(five).all():
        raise ValueError(f"five finite points (5, 2) are needed, not {five.shape}")
    close = fit_similarity(FIVE, five)
    # Least squares with the similarity as a prior worth half a point a coordinate.
    design = np.concatenate([FIVE, np.ones((5, 1))], 1).astype(np.float64)
    prior = 0.5 * np.eye(3)
    prior[2, 2] = 0
    rest = five - design @ close.T
    solution = np.linalg.solve(design.T @ design + prior, design.T @ rest)
    matrix = close + solution.T
    return (POINTS @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) float64: the rotation, scale and shift that bring (N, 2) points nearest to (N, 2) others.

    Raises:
        ValueError: the source or target points all coincide.
    """
    a = np.asarray(source, np.float64) @ (1, 1j)
    b = np.asarray(target, np.float64) @ (1, 1j)
    spread = np.vdot(a - a.mean(), a - a.mean()).real
    if spread <= 0 or np.allclose(b, b.mean()):
        raise ValueError("points coincide: no similarity fits them")
    turn = np.vdot(a - a.mean(), b - b.mean()) / spread
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def region_polygon(landmarks: np.ndarray, region: str, hair: float = 0.5) -> np.ndarray:
    """(N, 2) float32 convex outline of a region.

    Args:
        landmarks: (189, 2) pixels.
        region: a key of `REGIONS`.
        hair: for `hairline`, how far it reaches from the brows (0) to the hair (1).
    """
    landmarks = np.asarray(landmarks, np.float32)
    points = landmarks[list(REGIONS[region])]
    if region == "hairline":
        places = np.linspace(0, len(_BROWS) - 1, len(_HAIRLINE))
        brows = landmarks[list(_BROWS)]
        low = np.stack([np.interp(places, np.arange(len(_BROWS)), brows[:, axis]) for axis in (0, 1)], 1)
        points[-len(_HAIRLINE) :] = hair * points[-len(_HAIRLINE) :] + (1 - hair) * low
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def fill(polygon: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) float32 of 0 and 1, edges antialiased: the inside of a polygon (N, 2) in pixels."""
    mask = np.zeros(shape[:2], np.uint8)
    shift = 4  # OpenCV's fixed point: sixteenths of a pixel
    cv2.fillPoly(mask, [np.round(polygon * (1 << shift)).astype(np.int32)], 255, cv2.LINE_AA, shift)
    return mask.astype(np.float32) / 255


def elastic(mask: np.ndarray, rng: np.random.Generator, strength_px: float, grain: int = 5) -> np.ndarray:
    """The mask bent by a smooth random field of about `strength_px` pixels (standard deviation)."""
    h, w = mask.shape
    return jitter.displace(mask, jitter.smooth_field((h, w), rng, grain, strength_px, 2), border=cv2.BORDER_CONSTANT)


def face_unit(landmarks: np.ndarray) -> float:
    """Distance of the pupils in pixels: the length that every strength here is measured in."""
    return max(4.0, float(np.linalg.norm(landmarks[1] - landmarks[0])))


def soften(mask: np.ndarray, rng: np.random.Generator, unit: float) -> np.ndarray:
    """Eroded a little and blurred twice (SBI blurs twice with kernels of 5 to 25 pixels at about 100 a unit)."""
    erode = round(unit * rng.uniform(0, 0.08))
    if erode:
        mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * erode + 1, 2 * erode + 1)))
    sigma = max(0.6, unit * float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))))
    mask = cv2.GaussianBlur(mask, (0, 0), sigma)
    if rng.random() < 0.5:  # most of the transition inside the region, so that no background is carried in
        mask = np.clip(mask * 2 - 1, 0, 1) if mask.max() > 0.9 else mask
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.6, sigma / 2))
    return keep_margin(mask)


def keep_margin(mask: np.ndarray, level: float = 1 / 255) -> np.ndarray:
    """Values too small to change an 8-bit pixel set to zero, in place of a far-reaching tail."""
    mask[mask < level] = 0
    return np.minimum(mask, 1)
