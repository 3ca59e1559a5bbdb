"""Manipulations whose masks are known exactly: self-blends, face swaps, re-rendered mouths, moved expressions.

Each returns `Manipulated(real, fake, mask)`: uint8 RGB, uint8 RGB and float32 (H, W) in [0, 1]. Where the mask is 0 the
two pictures are equal to the last bit; where it is 1 the pixel was replaced. `difficulty` runs from 0 (large regions,
full strength, always softened) to 1 (the hard mix). `soft` is the least chance that the replaced part loses detail, and
the chance that it ends up no sharper than what it replaces.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import cv2
import numpy as np

from mask_generation.synthesis import jitter, regions

# Landmark groups (London numbering) and how far each may move, in eye distances.
_MOUTH = tuple(range(87, 109))
_LOWER_LIP = (99, 100, 101, 102, 103, 104, 105, 106, 107, 108)
_UPPER_LIP = (88, 89, 90, 91, 92, 94, 95, 96, 97, 98)
_CORNERS = (87, 93)
_CHIN = (127, 128, 129, 130, 131, 174, 175, 176, 177, 178)
_BROW_POINTS = tuple(range(71, 87))
_ANCHORS = (134, 137, 139, 141, 144, 109, 112, 111, 114)


class Manipulated(NamedTuple):
    """A pair from one picture and where it differs."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray


def as_landmarks(points: np.ndarray) -> np.ndarray:
    """(189, 2) landmarks as they are, or the mean face placed on five points (5, 2).

    Raises:
        ValueError: any other shape.
    """
    points = np.asarray(points, np.float32)
    if points.shape == (5, 2):
        return regions.place(points)
    if points.shape != (len(regions.POINTS), 2):
        raise ValueError(f"landmarks are {points.shape}; (5, 2) or ({len(regions.POINTS)}, 2) is needed")
    return points


def blend(background: np.ndarray, face: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8: `background` (uint8) with `face` (float32) laid over it; untouched where `alpha` is 0."""
    base = background.astype(np.float32)
    out = jitter.to_uint8(base + alpha[..., None] * (face - base))
    return np.where(alpha[..., None] > 0, out, background)


def poisson(background: np.ndarray, face: np.ndarray, inside: np.ndarray) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """Poisson blending (Pérez et al. 2003) of uint8 pictures over a bool mask, and the mask of what it may change.

    None where the region is too small or touches the border, where the method has no boundary to hold on to.
    """
    binary = inside.astype(np.uint8)
    binary[:2], binary[-2:], binary[:, :2], binary[:, -2:] = 0, 0, 0, 0
    x, y, w, h = cv2.boundingRect(binary)
    if w < 8 or h < 8:
        return None
    # OpenCV centres the bounding box of the mask on the point, rounding down.
    cloned = cv2.seamlessClone(face, background, binary * 255, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)
    changed = binary.astype(bool)
    return np.where(changed[..., None], cloned, background), changed


def _no_sharper(
    face: np.ndarray, replaced: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, unit: float, soft: float
) -> np.ndarray:
    """With chance `soft`: the new part no sharper than 60 to 100 % of what it replaces."""
    if soft and rng.random() < soft:
        return jitter.no_sharper(face, replaced.astype(np.float32), alpha, unit, float(rng.uniform(0.6, 1)))
    return face


def self_blend(
    rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, difficulty: float, soft: float = 0.0
) -> Manipulated:
    """A self-blended image (Shiohara & Yamasaki, CVPR 2022): a changed copy of a face laid over itself.

    Args:
        rgb: (H, W, 3) uint8, a face with some surround. landmarks: (189, 2), or MTCNN's five points (5, 2).
    """
    landmarks = as_landmarks(landmarks)
    unit = regions.face_unit(landmarks)
    alpha = regions.region_mask(rgb.shape, landmarks, regions.draw_region(rng, difficulty), rng)
    easy = rng.random() > difficulty
    base = rgb.astype(np.float32)
    real = rgb
    if not easy and rng.random() < 0.3 * (1 - soft):  # the change is on the outside: the face is the sharper part
        base = jitter.soften(jitter.colour(base, rng, 0.7), rng, unit, 0.3)
        face, real = rgb.astype(np.float32), jitter.to_uint8(base)
    else:
        face = base
        if easy or rng.random() < 0.85:
            face = jitter.colour(face, rng, 1.0 if easy else float(rng.uniform(0.4, 1)))
        if easy or rng.random() < max(0.65, soft):
            face = jitter.soften(face, rng, unit, 1.0 if easy else float(rng.uniform(0, 1)))
        elif rng.random() < 0.6:
            face = jitter.sharpen(face, rng, unit)
    face, _ = jitter.nudge(face, rng, landmarks, 1.0 if easy else float(rng.uniform(0, 1)))
    ratio = 1.0 if easy else float(rng.choice([0.35, 0.5, 0.75, 1, 1, 1]))
    return Manipulated(real, blend(real, face, alpha * np.float32(ratio)), alpha)


def face_swap(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    source: np.ndarray,
    source_landmarks: np.ndarray,
    rng: np.random.Generator,
    difficulty: float,
    poisson_chance: float = 0.35,
    soft: float = 0.0,
) -> Manipulated:
    """Another person's face laid on the target by their landmarks, blended by Poisson's equation or by a soft mask.

    Args:
        target, source: uint8 RGB of any sizes. landmarks: (189, 2) or (5, 2), each in its own picture's pixels.
        poisson_chance: how often Poisson's equation is used; where it cannot be, the soft mask is.
    """
    target_landmarks, source_landmarks = as_landmarks(target_landmarks), as_landmarks(source_landmarks)
    unit = regions.face_unit(target_landmarks)
    h, w = target.shape[:2]
    matrix, _ = cv2.estimateAffine2D(source_landmarks, target_landmarks, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        matrix = regions.fit_similarity(source_landmarks, target_landmarks)
    face = cv2.warpAffine(source, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    face = face.astype(np.float32)
    region = str(rng.choice(["brow", "hairline", "full", "inner"], p=[0.4, 0.25, 0.15, 0.2]))
    alpha = regions.region_mask(target.shape, target_landmarks, region, rng)
    easy = rng.random() > difficulty
    face = jitter.match_colour(
        face, target.astype(np.float32), alpha, float(rng.uniform(0.3, 0.7) if easy else rng.uniform(0.6, 1))
    )
    if easy or rng.random() < max(0.7, soft):
        face = jitter.soften(face, rng, unit, 1.0 if easy else float(rng.uniform(0, 1)))
    face = _no_sharper(face, target, alpha, rng, unit, soft)
    if rng.random() < poisson_chance:
        done = poisson(target, jitter.to_uint8(face), alpha > 0.5)
        if done is not None:
            return Manipulated(target, done[0], done[1].astype(np.float32))
    return Manipulated(target, blend(target, face, alpha), alpha)


def _displacement(shape: tuple[int, ...], points: np.ndarray, moves: np.ndarray, reach: float) -> np.ndarray:
    """(H, W, 2) float32: moves of the points spread smoothly by normalised Gaussians of `reach` pixels."""
    h, w = shape[:2]
    step = max(1, int(reach // 4))  # smooth, so a coarse grid is enough
    ys, xs = np.arange(0, h + step, step, dtype=np.float32), np.arange(0, w + step, step, dtype=np.float32)
    distance = (xs[None, :, None] - points[:, 0]) ** 2 + (ys[:, None, None] - points[:, 1]) ** 2
    weight = np.exp(-distance / (2 * reach * reach))
    field = weight @ moves / (weight.sum(2, keepdims=True) + 0.05)
    x, y = np.meshgrid(np.arange(w, dtype=np.float32) / step, np.arange(h, dtype=np.float32) / step)
    return cv2.remap(field.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def warp(rgb: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The picture (float32) with its contents moved by `field` (H, W, 2) pixels."""
    return jitter.displace(rgb, -field, cv2.INTER_CUBIC)


def _moved_mouth(landmarks: np.ndarray, rng: np.random.Generator, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Points about the mouth and where another expression would put them, as (N, 2) and (N, 2) moves."""
    down = landmarks[129] - landmarks[0:2].mean(0)
    down = down / max(1e-3, float(np.linalg.norm(down)))
    across = np.array([down[1], -down[0]], np.float32)
    opening, smile, pull = unit * np.asarray(rng.normal(0, (0.07, 0.05, 0.04)))
    moves = np.zeros_like(landmarks)
    moves[list(_LOWER_LIP)] = down * opening
    moves[list(_UPPER_LIP)] = -down * opening * 0.3
    moves[list(_CHIN)] = down * opening * 0.8
    moves[_CORNERS[0]] = -down * smile - across * pull
    moves[_CORNERS[1]] = -down * smile + across * pull
    chosen = (*_MOUTH, *_CHIN, *_ANCHORS)
    return landmarks[list(chosen)], moves[list(chosen)]


def mouth_rerender(
    rgb: np.ndarray,
    landmarks: np.ndarray,
    rng: np.random.Generator,
    difficulty: float,
    other: Optional[np.ndarray] = None,
    other_landmarks: Optional[np.ndarray] = None,
    soft: float = 0.0,
) -> Manipulated:
    """Only the mouth anew, as NeuralTextures and lip-sync networks do: moved lips, or those of another frame; softened.

    Args:
        rgb, landmarks: as in `self_blend`.
        other, other_landmarks: another picture of the same person to take the mouth from; None: the own mouth, moved.
    """
    landmarks = as_landmarks(landmarks)
    unit = regions.face_unit(landmarks)
    h, w = rgb.shape[:2]
    easy = rng.random() > difficulty
    alpha = regions.region_mask(rgb.shape, landmarks, "lower" if rng.random() < 0.35 else "mouth", rng)
    if other is not None and other_landmarks is not None:
        matrix = regions.fit_similarity(as_landmarks(other_landmarks)[list(_MOUTH)], landmarks[list(_MOUTH)])
        face = cv2.warpAffine(other, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        face = jitter.match_colour(face.astype(np.float32), rgb.astype(np.float32), alpha, float(rng.uniform(0.5, 1)))
    else:
        points, moves = _moved_mouth(landmarks, rng, unit)
        face = warp(rgb.astype(np.float32), _displacement(rgb.shape, points, moves, 0.22 * unit))
    if easy or rng.random() < max(0.85, soft):
        face = jitter.soften(face, rng, unit, 1.0 if easy else float(rng.uniform(0.2, 1)))
    if easy or rng.random() < 0.4:
        face = jitter.colour(face, rng, 0.8 if easy else float(rng.uniform(0.2, 0.6)))
    face = _no_sharper(face, rgb, alpha, rng, unit, soft)
    return Manipulated(rgb, blend(rgb, face, alpha), alpha)


def expression_warp(
    rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, difficulty: float, soft: float = 0.0
) -> Manipulated:
    """The face re-rendered with another expression, as Face2Face does: lips, chin and brows moved, detail lost."""
    landmarks = as_landmarks(landmarks)
    unit = regions.face_unit(landmarks)
    easy = rng.random() > difficulty
    points, moves = _moved_mouth(landmarks, rng, unit)
    down = (landmarks[129] - landmarks[0:2].mean(0)) / max(1.0, float(np.linalg.norm(landmarks[129] - landmarks[0])))
    brows = landmarks[list(_BROW_POINTS)]
    points = np.concatenate([points, brows])
    moves = np.concatenate([moves, np.broadcast_to(down * unit * rng.normal(0, 0.05), brows.shape)])
    face = warp(rgb.astype(np.float32), _displacement(rgb.shape, points, moves, 0.25 * unit))
    if easy or rng.random() < max(0.75, soft):
        face = jitter.soften(face, rng, unit, 1.0 if easy else float(rng.uniform(0, 0.8)))
    if easy or rng.random() < 0.5:
        face = jitter.colour(face, rng, 0.9 if easy else float(rng.uniform(0.2, 0.7)))
    region = str(rng.choice(["brow", "hairline", "inner", "full"], p=[0.4, 0.2, 0.25, 0.15]))
    alpha = regions.region_mask(rgb.shape, landmarks, region, rng)
    face = _no_sharper(face, rgb, alpha, rng, unit, soft)
    return Manipulated(rgb, blend(rgb, face, alpha), alpha)
