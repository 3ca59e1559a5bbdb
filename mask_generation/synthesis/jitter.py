"""Changes of colour, sharpness and place that make one picture look like it came from another camera or network.

All take and return float32 RGB (H, W, 3) in [0, 255]; results may leave the range until `to_uint8`.
"""

from __future__ import annotations

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Rounded and cut to uint8."""
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def colour(rgb: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Each of channel shift (SBI: up to 20), brightness and contrast (.1), saturation and gamma with some chance."""
    out = rgb
    if rng.random() < 0.5:
        out = out + rng.uniform(-20, 20, 3).astype(np.float32) * np.float32(strength)
    if rng.random() < 0.6:
        gain = np.float32(1 + strength * rng.uniform(-0.15, 0.15))
        out = (out - 128) * gain + np.float32(128 + strength * rng.uniform(-20, 20))
    if rng.random() < 0.5:
        grey = (out @ LUMA)[..., None]
        out = grey + (out - grey) * np.float32(1 + strength * rng.uniform(-0.4, 0.4))
    if rng.random() < 0.3:
        out = 255 * np.power(np.clip(out, 0, 255) / 255, np.float32(1 + strength * rng.uniform(-0.25, 0.25)))
    if out is rgb:  # a change that changes nothing would make a fake with nothing to find
        out = out + rng.choice([-1, 1]) * np.float32(rng.uniform(6, 14) * max(strength, 0.5))
    return out.astype(np.float32)


def relight(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light on the whole picture: exposure, light from one side, and smooth uneven light, some of it coloured.

    Meant for the picture before anyone manipulates it. Studio portraits are lit evenly; a network that has seen no
    other light calls a face in half shadow swapped.
    """
    h, w = rgb.shape[:2]
    log_gain = np.zeros((h, w, 1), np.float32)
    if rng.random() < 0.6:
        angle, middle, width = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3), rng.uniform(0.05, 0.6)
        x, y = np.meshgrid(np.linspace(-0.5, 0.5, w, dtype=np.float32), np.linspace(-0.5, 0.5, h, dtype=np.float32))
        side = np.tanh((x * np.cos(angle) + y * np.sin(angle) - middle) / width)
        log_gain += np.float32(rng.uniform(0.05, 0.5)) * side[..., None].astype(np.float32)
    if rng.random() < 0.6:
        log_gain += smooth_field((h, w), rng, int(rng.integers(3, 7)), float(rng.uniform(0.03, 0.25)), 1)
    if rng.random() < 0.4:
        log_gain = log_gain + smooth_field((h, w), rng, int(rng.integers(2, 5)), float(rng.uniform(0.02, 0.1)), 3)
    log_gain = log_gain + np.float32(rng.uniform(-0.8, 0.2))
    return (rgb * np.exp(log_gain)).astype(np.float32)


def smooth_field(
    size: tuple[int, int], rng: np.random.Generator, grain: int, spread: float, channels: int
) -> np.ndarray:
    """(h, w, channels) float32: normal numbers of that spread on a grain x grain grid, interpolated."""
    field = rng.normal(0, spread, (grain, grain, channels)).astype(np.float32)
    return cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, channels)


def displace(
    picture: np.ndarray, field: np.ndarray, how: int = cv2.INTER_LINEAR, border: int = cv2.BORDER_REFLECT
) -> np.ndarray:
    """(h, w) or (h, w, C): what lay `field` (h, w, 2), xy in pixels, beside each place; `border` beyond the edges."""
    h, w = picture.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return cv2.remap(picture, x + field[..., 0], y + field[..., 1], how, borderMode=border)


def reshape(rgb: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture smoothly bent, so that few people have many faces: uint8 and landmarks → both, moved.

    Args:
        landmarks: (N, 2) pixels; the distance of the first two, the eyes, is the unit.
    """
    h, w = rgb.shape[:2]
    unit = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    field = smooth_field((h, w), rng, 5, unit * float(rng.uniform(0.02, 0.1)), 2)
    moved = landmarks
    for _ in range(5):  # the new place q of a point p is where q + field(q) = p: by fixed point iteration
        at = np.clip(np.rint(moved), 0, (w - 1, h - 1)).astype(int)
        moved = landmarks - field[at[:, 1], at[:, 0]]
    return displace(rgb, field), moved.astype(np.float32)


def rescale(rgb: np.ndarray, factor: float, how: int = cv2.INTER_AREA) -> np.ndarray:
    """Down to `factor` of its size and up again: what a network with a small output does to a face."""
    h, w = rgb.shape[:2]
    small = cv2.resize(rgb, (max(8, round(w * factor)), max(8, round(h * factor))), interpolation=how)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC if how != cv2.INTER_NEAREST else cv2.INTER_LINEAR)


def soften(rgb: np.ndarray, rng: np.random.Generator, unit: float, strength: float = 1.0) -> np.ndarray:
    """Detail lost: rescaled to 16..60 pixels between the eyes, blurred, or smoothed along edges only.

    Args:
        unit: distance of the eyes in pixels.
        strength: 0..1, higher for more loss.
    """
    kind = rng.random()
    if kind < 0.5:
        pixels = float(np.exp(rng.uniform(np.log(14 + 10 * (1 - strength)), np.log(44 + 30 * (1 - strength)))))
        return rescale(rgb, min(0.9, pixels / unit))
    if kind < 0.85:
        return cv2.GaussianBlur(rgb, (0, 0), max(0.5, unit * float(rng.uniform(0.008, 0.02 + 0.02 * strength))))
    smooth = cv2.bilateralFilter(rgb, 7, float(rng.uniform(15, 45)), max(1.0, unit * 0.04))
    return smooth


def no_sharper(face: np.ndarray, base: np.ndarray, alpha: np.ndarray, unit: float, share: float) -> np.ndarray:
    """`face` blurred until its fine grain is at most `share` of that of `base`, both measured where `alpha` > 0.5.

    Grain is the standard deviation of the luma above 0.03 eye distances, about one pixel in a crop of 128 pixels: there
    real fakes at CRF 40 are softer than their originals whatever made them, while a face taken from a sharper picture
    is not.

    Args:
        face, base: (H, W, 3) float32. alpha: (H, W). unit: distance of the eyes in pixels. share: 0..1.
    """
    inside = alpha > 0.5
    if not inside.any():
        return face
    reach = max(0.7, 0.03 * unit)

    def grain_of(picture: np.ndarray) -> float:
        luma = cv2.cvtColor(np.ascontiguousarray(picture, np.float32), cv2.COLOR_RGB2GRAY)
        return float((luma - cv2.GaussianBlur(luma, (0, 0), reach))[inside].std())

    allowed = share * grain_of(base)
    if grain_of(face) <= allowed:
        return face
    low, high = 0.0, 4 * reach
    for _ in range(6):  # bisection: to 1/16 of a pixel or so
        middle = (low + high) / 2
        low, high = (middle, high) if grain_of(cv2.GaussianBlur(face, (0, 0), middle)) > allowed else (low, middle)
    return cv2.GaussianBlur(face, (0, 0), high)


def sharpen(rgb: np.ndarray, rng: np.random.Generator, unit: float) -> np.ndarray:
    """Unsharp masking, amount 0.3 to 1.2."""
    blurred = cv2.GaussianBlur(rgb, (0, 0), max(0.6, unit * float(rng.uniform(0.008, 0.03))))
    return rgb + np.float32(rng.uniform(0.3, 1.2)) * (rgb - blurred)


def grain(rgb: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Gaussian noise of `sigma` grey levels, alike in the three channels (luma) or not."""
    h, w = rgb.shape[:2]
    noise = rng.standard_normal((h, w, 1 if rng.random() < 0.5 else 3), np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(noise.shape) * 2
    return rgb + np.float32(sigma) * noise


def nudge(
    rgb: np.ndarray, rng: np.random.Generator, landmarks: np.ndarray, strength: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Shifted, scaled and turned a little about the face (SBI: x 3 %, y 1.5 %, scale 5 % of the crop).

    Returns:
        The picture and the (2, 3) map that moved it.
    """
    unit = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    cx, cy = landmarks.mean(0)
    angle = float(rng.uniform(-3, 3)) * strength
    scale = float(1 + strength * rng.uniform(-0.05, 0.05))
    matrix = cv2.getRotationMatrix2D((float(cx), float(cy)), angle, scale)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * unit * strength * (0.1, 0.06)
    h, w = rgb.shape[:2]
    return cv2.warpAffine(rgb, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), matrix


def match_colour(source: np.ndarray, target: np.ndarray, weight: np.ndarray, amount: float) -> np.ndarray:
    """`source` with mean and spread of each channel moved towards the target's, both measured under `weight`.

    Args:
        source, target: (H, W, 3). weight: (H, W), at least one pixel above zero. amount: 0 (as it is) to 1 (matched).
    """
    total = float(weight.sum()) + 1e-6

    def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.tensordot(weight, x, ([0, 1], [0, 1])) / total
        square = np.tensordot(weight, x * x, ([0, 1], [0, 1])) / total
        return mean, np.sqrt(np.maximum(square - mean * mean, 1))

    (mean_s, std_s), (mean_t, std_t) = moments(source), moments(target)
    gain = np.clip(std_t / std_s, 0.6, 1.6)
    matched = (source - mean_s) * gain + mean_t
    return (source + np.float32(amount) * (matched - source)).astype(np.float32)
