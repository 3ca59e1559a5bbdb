"""Soft masks of face regions: drawn, bent, eroded and blurred, so that no two blends have the same outline."""

from __future__ import annotations

import cv2
import numpy as np

from mask_generation.synthesis import jitter, template

# Chances of each region in the hard mix; the easy end draws large ones only.
CHANCES = {"full": 0.18, "brow": 0.2, "hairline": 0.14, "inner": 0.16, "lower": 0.1, "mouth": 0.16, "eyes": 0.06}


def draw_region(rng: np.random.Generator, difficulty: float) -> str:
    """A region's name. `difficulty` 0: only large ones; 1: the hard mix."""
    names = list(CHANCES)
    if rng.random() > difficulty:
        names = list(template.LARGE_REGIONS)
    weights = np.array([CHANCES[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


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


def region_mask(
    shape: tuple[int, ...], landmarks: np.ndarray, region: str, rng: np.random.Generator, soft: bool = True
) -> np.ndarray:
    """(H, W) float32 in [0, 1]: a region of the face, randomly distorted.

    Args:
        landmarks: (189, 2) pixels.
        region: key of `template.REGIONS`.
        soft: blurred edges; otherwise antialiased only.
    """
    unit = face_unit(landmarks)
    polygon = template.region_polygon(landmarks, region, hair=float(rng.uniform(0.2, 1)))
    centre = polygon.mean(0)
    polygon = centre + (polygon - centre) * rng.uniform(0.9, 1.08, 2).astype(np.float32)
    polygon = polygon + rng.normal(0, 0.03 * unit, polygon.shape).astype(np.float32)
    mask = elastic(fill(polygon.astype(np.float32), shape), rng, unit * float(rng.uniform(0.02, 0.12)))
    return soften(mask, rng, unit) if soft else keep_margin(mask)
