"""Contact sheets: original, fake, and the mask laid over the fake. A mask is believed once it is seen."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

TILE_PX, CAPTION_PX, GAP_PX = 192, 18, 6
COLOUR = (255, 0, 80)  # of what is faked
HEADINGS = ("original", "fake", "faked pixels")


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One example: uint8 RGB crops of one size, a mask (H, W) uint8 in which 128 and more is faked, and two lines."""

    original: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    title: str
    detail: str


def overlay(fake: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The fake with what is faked tinted, and the boundary drawn; grey pictures become RGB."""
    fake = _rgb(fake)
    weight = 0.45 * (mask.astype(np.float32) / 255)[..., None]
    tinted = (fake * (1 - weight) + np.array(COLOUR, np.float32) * weight).round().astype(np.uint8)
    outlines, _ = cv2.findContours((mask >= 128).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(tinted), outlines, -1, COLOUR, 1)


def contact_sheet(rows: Sequence[Row], columns: int = 2) -> np.ndarray:
    """All rows as one RGB picture, `columns` of three tiles beside each other."""
    tiles = [_draw_row(row) for row in rows]
    height, width = tiles[0].shape[:2]
    lines = -(-len(tiles) // columns)
    across = min(columns, len(tiles))
    sheet = np.full((lines * (height + GAP_PX) + GAP_PX, across * (width + 2 * GAP_PX), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        line, column = divmod(number, columns)
        y, x = GAP_PX + line * (height + GAP_PX), GAP_PX + column * (width + 2 * GAP_PX)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _draw_row(row: Row) -> np.ndarray:
    pictures = [row.original, row.fake, overlay(row.fake, row.mask)]
    tiles = [_tile(picture, heading) for picture, heading in zip(pictures, HEADINGS)]
    width = 3 * TILE_PX + 2 * GAP_PX
    drawn = np.full((2 * CAPTION_PX + TILE_PX, width, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        x = place * (TILE_PX + GAP_PX)
        drawn[2 * CAPTION_PX :, x : x + TILE_PX] = tile
    for line, text in enumerate((row.title, row.detail)):
        _write(drawn, text, (2, (line + 1) * CAPTION_PX - 5), (0, 0, 0), width)
    return drawn


def _tile(picture: np.ndarray, heading: str) -> np.ndarray:
    shrink = max(picture.shape[:2]) > TILE_PX
    method = cv2.INTER_AREA if shrink else cv2.INTER_NEAREST
    tile = np.ascontiguousarray(cv2.resize(_rgb(picture), (TILE_PX, TILE_PX), interpolation=method))
    _write(tile, heading, (4, TILE_PX - 6), (255, 255, 255), TILE_PX, outlined=True)
    return tile


def _rgb(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        picture = picture[..., None]
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _write(
    picture: np.ndarray,
    text: str,
    at: tuple[int, int],
    colour: tuple[int, int, int],
    width: int,
    outlined: bool = False,
) -> None:
    text = text.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    scale = 0.4
    while cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > width - 6 and len(text) > 8:
        text = text[: len(text) // 2 - 2] + "..." + text[len(text) // 2 + 2 :]
    if outlined:
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a picture atomically.

    Raises:
        OSError: it cannot be written.
    """
    done, data = cv2.imencode(".png", rgb[..., ::-1])
    assert done
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data.tobytes())
    os.replace(temporary, path)
