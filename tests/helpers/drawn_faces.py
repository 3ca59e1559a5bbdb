"""A drawn head in front of something busy, with known landmarks: for masks and synthesis, which need no photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mask_generation.synthesis import face_bank, regions

BANK_LANDMARKS = np.array([[55, 62], [105, 62], [80, 90], [60, 118], [100, 118]], np.float32)


def landmarks(height: int, width: int) -> np.ndarray:
    """(5, 2) float32: eyes, nose, corners of the mouth of the head in `picture` of that size."""
    unit = 0.24 * min(height, width)
    return (regions.FIVE * unit + (width / 2, 0.42 * height)).astype(np.float32)


def box(height: int, width: int) -> tuple[float, float, float, float]:
    """xyxy of the face in `picture`."""
    unit = 0.24 * min(height, width)
    x0, y0, x1, y1 = (value * unit for value in regions.BOX)
    return x0 + width / 2, y0 + 0.42 * height, x1 + width / 2, y1 + 0.42 * height


def picture(height: int = 160, width: int = 160, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: skin with pores, hair, eyes and a mouth before a striped wall; noise as a camera's."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    wall = 120 + 50 * np.sin(across / 5 + seed) * np.cos(down / 9)
    rgb = np.repeat(wall[..., None], 3, axis=2) * (0.9, 1.0, 1.1)
    points = regions.place(landmarks(height, width))
    unit = float(np.linalg.norm(points[1] - points[0]))

    def shape(region: str, grow: float = 1.0) -> np.ndarray:
        outline = regions.region_polygon(points, region)
        outline = outline.mean(0) + (outline - outline.mean(0)) * grow
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255, cv2.LINE_AA)
        return mask[..., None] / 255

    skin = np.array([200, 150, 120]) * (0.75 + 0.25 * across / width)[..., None]
    pores = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 0.02 * unit + 0.5)
    skin = skin + 6 * pores[..., None] / pores.std()
    rgb = rgb + shape("full", 1.2) * ((70, 45, 30) - rgb)
    rgb = rgb + shape("full") * (skin - rgb)
    for eye in points[:2]:
        centre = (round(float(eye[0])), round(float(eye[1])))
        cv2.ellipse(
            rgb, centre, (max(2, round(0.22 * unit)), max(1, round(0.1 * unit))), 0, 0, 360, (235, 235, 230), -1
        )
        cv2.circle(rgb, centre, max(1, round(0.09 * unit)), (40, 30, 25), -1)
    rgb = rgb + 0.7 * shape("mouth", 0.7) * ((170, 60, 70) - rgb)
    rgb = rgb + rng.normal(0, 1.5, (height, width, 1))
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def face_bank_file(path: Path) -> str:
    """A face bank of six people of two sources: smooth noise with a face-sized oval."""
    crops = []
    for person in range(6):
        rng = np.random.default_rng(person)
        y, x = np.mgrid[:160, :160]
        oval = ((x - 80) / 50) ** 2 + ((y - 85) / 65) ** 2 < 1
        picture = (
            rng.integers(60, 200, 3) + oval[..., None] * rng.integers(-50, 50, 3) + rng.normal(0, 6, (160, 160, 3))
        )
        crops.append(
            face_bank.Crop(
                np.clip(picture, 0, 255).astype(np.uint8),
                BANK_LANDMARKS,
                face_bank.MARGIN,
                f"p{person}",
                f"s{person % 2}",
                "drawn",
            )
        )
    face_bank.save(str(path), crops, validation_share=0.34)
    return str(path)
