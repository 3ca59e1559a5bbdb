"""Pictures for people: the most suspicious frames of a video with the mask drawn in. RGB uint8 throughout."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from unet_industrial import files
from unet_industrial.config import FAKE_ABOVE

FRAME_WIDTH = 400  # of a frame in the picture, px
FRAME_HEIGHT = 400  # at most: upright phone clips
THUMB_SIDE = 112
HEAT = np.array([255, 32, 32], np.float32)
CONTOUR = (255, 230, 0)
BACKGROUND = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclasses.dataclass(frozen=True, eq=False)
class FramePicture:
    """One face in one frame, small enough to keep a few of them for each video.

    Attributes:
        frame: (h,w,3) the frame, reduced; square_xyxy: the crop's square in its pixels (may leave the frame).
        crop: (S,S,3); mask: (S,S) probabilities in [0, 1].
    """

    index: int
    time_s: float
    track: int
    score: float
    frame: np.ndarray
    square_xyxy: tuple[float, float, float, float]
    crop: np.ndarray
    mask: np.ndarray


def reduce_frame(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """(frame at most FRAME_WIDTH x FRAME_HEIGHT, factor by which it shrank)."""
    factor = min(1.0, FRAME_WIDTH / rgb.shape[1], FRAME_HEIGHT / rgb.shape[0])
    size = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    return (rgb.copy() if factor == 1 else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)), factor


def tint(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Picture (H,W,3) with its mask (H,W) in [0, 1] as a red tint, and an outline around what counts as fake."""
    alpha = (0.55 * np.clip(mask, 0, 1))[..., None]
    drawn = np.ascontiguousarray((rgb * (1 - alpha) + HEAT * alpha).astype(np.uint8))
    outlines, _ = cv2.findContours((mask > FAKE_ABOVE).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, CONTOUR, 1)
    return drawn


def paste_mask(
    size_hw: tuple[int, int], square_xyxy: Sequence[float], mask: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """(H,W) mask of a whole frame: the crop's mask put back at its square, cut at the frame's edges.

    Args:
        out: a mask to add to, as the maximum, for several faces.
    """
    height, width = size_hw
    full = np.zeros((height, width), np.float32) if out is None else out
    x0, y0, x1, y1 = (round(float(v)) for v in square_xyxy)
    if x1 <= x0 or y1 <= y0:
        return full
    resized = cv2.resize(mask.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left < right and top < bottom:
        part = resized[top - y0 : bottom - y0, left - x0 : right - x0]
        np.maximum(full[top:bottom, left:right], part, out=full[top:bottom, left:right])
    return full


def overlay_picture(items: Sequence[FramePicture], title: str) -> np.ndarray:
    """One picture: a column for each, the frame above, the crop without and with its mask below."""
    columns = [_column(item) for item in items]
    height = max(column.shape[0] for column in columns)
    gap = np.full((height, 8, 3), BACKGROUND, np.uint8)
    parts = []
    for column in columns:
        below = np.full((height - column.shape[0], column.shape[1], 3), BACKGROUND, np.uint8)
        parts += [np.concatenate([column, below]), gap]
    body = np.concatenate(parts[:-1], axis=1)
    head = np.full((34, body.shape[1], 3), BACKGROUND, np.uint8)
    _put_text(head, title, (6, 23), 0.55)
    return np.concatenate([head, body])


def thumbnail(item: FramePicture) -> str:
    """The crop with its mask as a small JPEG in a data URL."""
    small = cv2.resize(tint(item.crop, item.mask), (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])
    if not done:
        raise OSError("a thumbnail cannot be encoded")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a picture; folders above it are made."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    if not done:
        raise OSError(f"{path}: the picture cannot be encoded")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, data.tobytes())


def _column(item: FramePicture) -> np.ndarray:
    frame = item.frame
    mask = paste_mask(frame.shape[:2], item.square_xyxy, item.mask)
    drawn = tint(frame, mask)
    x0, y0, x1, y1 = (round(v) for v in item.square_xyxy)
    cv2.rectangle(drawn, (x0, y0), (x1, y1), (255, 255, 255), 1)
    width = FRAME_WIDTH
    left = (width - drawn.shape[1]) // 2
    centred = np.full((drawn.shape[0], width, 3), BACKGROUND, np.uint8)
    centred[:, left : left + drawn.shape[1]] = drawn
    half = width // 2
    pair = [cv2.resize(part, (half, half)) for part in (item.crop, tint(item.crop, item.mask))]
    caption = np.full((26, width, 3), BACKGROUND, np.uint8)
    _put_text(caption, f"{item.time_s:.2f} s  face {item.track + 1}  score {item.score:.2f}", (4, 18), 0.5)
    return np.concatenate([centred, caption, np.concatenate(pair, axis=1)])


def _put_text(picture: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    """OpenCV's fonts know ASCII only, and the text must fit: shortened in the middle if it does not."""
    text = text.encode("ascii", "replace").decode()
    while len(text) > 8 and cv2.getTextSize(text, _FONT, scale, 1)[0][0] > picture.shape[1] - 2 * at[0]:
        middle = len(text) // 2
        text = text[: middle - 2] + ".." + text[middle + 2 :]
        if ".." in text[middle - 4 : middle] and len(text) <= 8:
            break
    cv2.putText(picture, text, at, _FONT, scale, (240, 240, 240), 1, cv2.LINE_AA)
