"""What happens to a picture between camera and detector: scaling, blur, noise, H.264 and JPEG.

Applied to real and fake alike, after the manipulation, or a network learns the codec and calls every soft clip a fake.
Masks need no change: nothing here moves pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import av
import cv2
import numpy as np

from mask_generation.synthesis import jitter
from mask_generation.video import writer
from mask_generation.video.picture import PictureConverter

RUN_FRAMES = 3  # a key frame and two that are predicted from it: most frames of a video are predicted
LEAST_SIDE_PX = 96  # no smaller by scaling: what is left of a face below shows no manipulation any more
# Highest CRF by the picture's side: FF++'s c40 faces measure 250 px and more; at 100 px CRF 40 leaves coloured blocks.
CRF_LIMITS = ((200, 41), (140, 36), (0, 31))


@dataclasses.dataclass(frozen=True)
class Degradation:
    """One drawn chain, in the order it is applied. None and 0 leave a step out.

    Attributes:
        scale: share of the size that is left.
        blur_px: Gaussian sigma. noise: grey levels (standard deviation).
        crf: x264's constant rate factor. frame: which of the run's frames is kept. motion_px: shift between frames.
        jpeg: quality. seed: of the noise.
    """

    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    crf: Optional[int] = None
    frame: int = 0
    motion_px: tuple[float, float] = (0.0, 0.0)
    jpeg: Optional[int] = None
    seed: int = 0


def draw(rng: np.random.Generator, side_px: int, strength: float = 1.0) -> Degradation:
    """A random chain: scaled in half of the cases, blur or noise in a quarter, then H.264 (60 %) or JPEG (25 %).

    Args:
        side_px: shorter side of the picture it is meant for.
        strength: 0 (hardly anything lost) to 1 (down to 40 % of the size, CRF up to 40, quality down to 25).
    """
    scale, blur, noise = 1.0, 0.0, 0.0
    if rng.random() < 0.5:
        scale = float(rng.uniform(max(1 - 0.6 * strength, min(1, LEAST_SIDE_PX / side_px)), 1))
    kind = rng.random()
    if kind < 0.15:
        blur = float(rng.uniform(0.4, 0.6 + 1.2 * strength))
    elif kind < 0.25:
        noise = float(rng.uniform(1, 2 + 6 * strength))
    crf, jpeg, codec = None, None, rng.random()
    if codec < 0.6:
        limit = next(crf for side, crf in CRF_LIMITS if side_px * scale >= side)
        crf = int(rng.integers(16, 19 + round((limit - 18) * strength), 2).max())  # the strong end is the hard one
    elif codec < 0.85:
        jpeg = int(rng.integers(95 - round(70 * strength), 98))
    return Degradation(
        scale=scale,
        blur_px=blur,
        noise=noise,
        crf=crf,
        frame=int(rng.integers(RUN_FRAMES)),
        motion_px=(float(rng.normal(0, 1)), float(rng.normal(0, 1))),
        jpeg=jpeg,
        seed=int(rng.integers(2**31)),
    )


def draw_video(rng: np.random.Generator) -> Degradation:
    """What a platform does to an upload: scaled in 40 % of the cases, then H.264 at CRF 20 to 41."""
    return Degradation(
        scale=float(rng.uniform(0.55, 1)) if rng.random() < 0.4 else 1.0,
        crf=int(rng.integers(20, CRF_LIMITS[0][1] + 1)),
        frame=int(rng.integers(RUN_FRAMES)),
        motion_px=(float(rng.normal(0, 1)), float(rng.normal(0, 1))),
    )


def apply(rgb: np.ndarray, chain: Degradation) -> np.ndarray:
    """uint8 RGB (h, w, 3) → the same degraded; smaller than before where the chain scales."""
    out = rgb
    if chain.scale < 1:
        h, w = (max(LEAST_SIDE_PX, round(size * chain.scale)) for size in rgb.shape[:2])
        out = cv2.resize(out, (w, h), interpolation=cv2.INTER_AREA)
    if chain.blur_px:
        out = cv2.GaussianBlur(out, (0, 0), chain.blur_px)
    if chain.noise:
        out = jitter.to_uint8(jitter.grain(out.astype(np.float32), np.random.default_rng(chain.seed), chain.noise))
    if chain.crf is not None:
        out = h264_still(out, chain.crf, chain.frame, chain.motion_px)
    if chain.jpeg is not None:
        out = jpeg(out, chain.jpeg)
    return out


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB through JPEG (4:2:0) of that quality, 1..100."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def h264_still(rgb: np.ndarray, crf: int, frame: int = 0, motion_px: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """uint8 RGB as it looks in an x264 video: a run in which it slides by `motion_px` a frame, of which one is kept."""
    h, w = rgb.shape[:2]
    run = []
    for index in range(RUN_FRAMES):
        dx, dy = ((index - frame) * motion for motion in motion_px)  # the kept frame stays where it is
        moved = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        still = cv2.warpAffine(rgb, moved, (w, h), borderMode=cv2.BORDER_REPLICATE) if index != frame else rgb
        run.append(still)
    return h264(run, crf)[frame]


def h264(frames: list[np.ndarray], crf: int, preset: str = "medium", fps: int = 25) -> list[np.ndarray]:
    """uint8 RGB frames of one size through x264 (yuv420p) and back, in memory.

    Odd sizes are padded by a copied row or column, as 4:2:0 needs even ones, and cut back.

    Raises:
        ValueError: no frames.
        RuntimeError: the codec returned another number of frames than it was given.
    """
    if not frames:
        raise ValueError("no frames to encode")
    h, w = frames[0].shape[:2]
    if w % 2 or h % 2:
        frames = [cv2.copyMakeBorder(frame, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE) for frame in frames]
    packets = writer.encode(frames, crf, preset, fps)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    convert = PictureConverter(decoder)
    decoded = [picture for packet in packets for picture in decoder.decode(packet)]
    decoded += decoder.decode(None)
    if len(decoded) != len(frames):
        raise RuntimeError(f"x264 returned {len(decoded)} frames for {len(frames)}")
    return [convert.rgb(picture)[:h, :w] for picture in decoded]
