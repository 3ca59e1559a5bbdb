"""One decoded picture → pixels as a viewer shows them."""

from __future__ import annotations

from typing import Any

import numpy as np


def luma(picture: Any) -> np.ndarray:
    """(H,W) uint8; a view of the decoder's own plane where it has one, so use it before the next frame."""
    plane = picture.planes[0]
    eight_bit_yuv = picture.format.name.startswith(("yuv4", "yuvj4", "nv12", "gray8", "gray")) and (
        picture.format.components[0].bits == 8
    )
    if not eight_bit_yuv or plane.width != picture.width:
        return picture.to_ndarray(format="gray")
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : picture.width]


def oriented(picture: Any, pixels: np.ndarray) -> np.ndarray:
    matrix = picture.side_data.get("DISPLAYMATRIX") if len(picture.side_data) else None
    return pixels if matrix is None else _orient(pixels, bytes(matrix))


def _orient(rgb: np.ndarray, matrix: bytes) -> np.ndarray:
    """Apply a display matrix (9 int32, 16.16 fixed point, [a b u c d v x y w]) to a picture; right angles only.

    A coded pixel (x, y) is shown at (a·x + c·y, b·x + d·y), see FFmpeg's libavutil/display.h.
    """
    a, b, _, c, d = np.frombuffer(matrix, "<i4")[:5].tolist()
    swap = abs(b) > abs(a)
    if swap:
        rgb = rgb.swapaxes(0, 1)
    across, down = (c, b) if swap else (a, d)
    rgb = rgb[:, ::-1] if across < 0 else rgb
    rgb = rgb[::-1] if down < 0 else rgb
    return np.ascontiguousarray(rgb)
