"""Hard negatives: things on and around real faces that look like edits but are none.

Drawn alike over the real and the fake of a pair. What covers the face opaquely covers the fake too, so its mask is
cleared there; make-up and lighting go under the manipulation and leave the mask alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from mask_generation.synthesis import jitter, regions

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
_LIPS = tuple(range(87, 109))


def before(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB with make-up, a cast of light, or a blurred background: in the real picture, before the edit."""
    kind = rng.random()
    if kind < 0.4:
        return make_up(rgb, landmarks, rng)
    if kind < 0.7:
        return light(rgb, rng)
    return defocus(rgb, landmarks, rng)


def make_up(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lips, lids and cheeks tinted softly."""
    out, unit = rgb.astype(np.float32), regions.face_unit(landmarks)
    patches = [landmarks[list(_LIPS)]]
    patches += [
        landmarks[list(group)] for group in ((34, 35, 36, 37, 38, 71, 73, 75), (39, 40, 41, 42, 43, 78, 80, 82))
    ]
    for patch in patches:
        if rng.random() < 0.6:
            mask = regions.fill(cv2.convexHull(patch.astype(np.float32))[:, 0], rgb.shape)
            mask = cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.04 * unit)) * np.float32(rng.uniform(0.15, 0.45))
            tint = np.asarray(rng.uniform((80, 10, 10), (200, 110, 130)), np.float32)
            out += mask[..., None] * (tint * (out.mean(2, keepdims=True) / 120) - out)
    return jitter.to_uint8(out)


def light(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brighter towards one side, or the edge of a shadow, over the whole picture."""
    h, w = rgb.shape[:2]
    x, y = np.meshgrid(np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32))
    angle = float(rng.uniform(0, 2 * np.pi))
    ramp = np.tanh((x * np.cos(angle) + y * np.sin(angle) + float(rng.uniform(-0.5, 0.5))) * float(rng.uniform(0.5, 8)))
    gain = 1 + np.float32(rng.uniform(0.05, 0.3)) * ramp
    return jitter.to_uint8(rgb * gain[..., None])


def defocus(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Background out of focus while the head is sharp, or the other way round: blur alone is no manipulation."""
    unit = regions.face_unit(landmarks)
    centre = landmarks.mean(0)
    head = np.zeros(rgb.shape[:2], np.float32)
    axes = (round(1.6 * unit), round(2.2 * unit))
    cv2.ellipse(head, (round(float(centre[0])), round(float(centre[1]))), axes, 0, 0, 360, 1.0, cv2.FILLED)
    head = cv2.GaussianBlur(head, (0, 0), 0.15 * unit)[..., None]
    if rng.random() < 0.25:
        head = 1 - head
    soft = cv2.GaussianBlur(rgb, (0, 0), max(0.6, unit * float(rng.uniform(0.01, 0.06))))
    return jitter.to_uint8(head * rgb + (1 - head) * soft)


def cover(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Caption, logo, glasses or microphone to lay over real and fake.

    Returns:
        overlay: (H, W, 3) uint8. alpha: (H, W) float32, 1 where it hides what is below.
    """
    kind = rng.random()
    if kind < 0.4:
        return caption(rgb.shape, rng)
    if kind < 0.75:
        return glasses(rgb.shape, landmarks, rng)
    return microphone(rgb.shape, landmarks, rng)


def lay_over(rgb: np.ndarray, overlay: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 picture with an overlay on it."""
    return jitter.to_uint8(rgb + alpha[..., None] * (overlay.astype(np.float32) - rgb))


def caption(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A line of letters anywhere, with or without a bar behind it."""
    h, w = shape[:2]
    overlay, alpha = np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.float32)
    text = "".join(rng.choice(list("ABCDEFGHKLMNOPRSTUVWXYZabcdeghiklmnoprstu0123456789  "), rng.integers(3, 22)))
    size = float(rng.uniform(0.25, 0.9)) * h / 200
    at = (int(rng.integers(-w // 6, w // 2)), int(rng.integers(h // 10, h)))
    thickness = max(1, round(2 * size))
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    (width, height), _ = cv2.getTextSize(text, font, size, thickness)
    ink = rng.integers(0, 256, 3) if rng.random() < 0.3 else np.full(3, int(rng.choice([0, 255, 240])))
    if rng.random() < 0.5:
        corner = (at[0] + width + height // 2, at[1] + height // 2)
        opacity = float(rng.uniform(0.5, 1))
        cv2.rectangle(alpha, (at[0] - height // 2, at[1] - height - height // 2), corner, opacity, cv2.FILLED)
        overlay[:] = rng.integers(0, 256, 3)
    letters = np.zeros((h, w), np.uint8)
    cv2.putText(letters, text, at, font, size, 255, thickness, cv2.LINE_AA)
    share = letters[..., None] / np.float32(255)
    overlay = jitter.to_uint8(overlay * (1 - share) + share * ink)
    overlay[(alpha == 0) & (letters > 0)] = ink
    return overlay, np.maximum(alpha, letters / np.float32(255))


def glasses(shape: tuple[int, ...], landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rims around both eyes with a bridge and side pieces; sometimes dark lenses."""
    h, w = shape[:2]
    unit = regions.face_unit(landmarks)
    left, right = landmarks[0], landmarks[1]
    tilt = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    axes = (round(unit * float(rng.uniform(0.3, 0.44))), round(unit * float(rng.uniform(0.22, 0.36))))
    rim = max(1, round(unit * float(rng.uniform(0.02, 0.07))))
    overlay = np.full((h, w, 3), rng.integers(0, 110, 3), np.uint8)
    alpha = np.zeros((h, w), np.float32)
    if rng.random() < 0.25:
        opacity = float(rng.uniform(0.4, 0.95))
        for eye in (left, right):
            cv2.ellipse(alpha, _pixel(eye), axes, tilt, 0, 360, opacity, cv2.FILLED, cv2.LINE_AA)
    for eye in (left, right):
        cv2.ellipse(alpha, _pixel(eye), axes, tilt, 0, 360, 1.0, rim)
    along = (right - left) / unit
    cv2.line(alpha, _pixel(left + along * axes[0]), _pixel(right - along * axes[0]), 1.0, rim)
    cv2.line(alpha, _pixel(left - along * axes[0]), _pixel(left - along * 0.9 * unit), 1.0, rim)
    cv2.line(alpha, _pixel(right + along * axes[0]), _pixel(right + along * 0.9 * unit), 1.0, rim)
    return overlay, cv2.GaussianBlur(alpha, (0, 0), 0.6)


def microphone(
    shape: tuple[int, ...], landmarks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A round, mottled head on a thick stem, from below up to the chin or the mouth."""
    h, w = shape[:2]
    unit = regions.face_unit(landmarks)
    head = landmarks[129] + unit * rng.normal(0, (0.5, 0.3))
    foot = head + unit * np.array([rng.normal(0, 1), rng.uniform(2, 4)])
    radius = max(2, round(unit * float(rng.uniform(0.15, 0.4))))
    alpha = np.zeros((h, w), np.float32)
    cv2.line(alpha, _pixel(head), _pixel(foot), 1.0, max(2, round(radius * float(rng.uniform(0.6, 1.2)))))
    cv2.circle(alpha, _pixel(head), radius, 1.0, cv2.FILLED)
    mottle = rng.normal(0, float(rng.uniform(2, 25)), (h, w, 1)).astype(np.float32)
    overlay = jitter.to_uint8(np.float32(rng.uniform(15, 130)) + cv2.GaussianBlur(mottle, (0, 0), 1.0)[..., None])
    return np.repeat(overlay.reshape(h, w, 1), 3, axis=2), cv2.GaussianBlur(alpha, (0, 0), 0.7)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
