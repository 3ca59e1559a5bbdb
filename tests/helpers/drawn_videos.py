"""Drawn clips with skin-coloured ovals for faces, and a detector that finds exactly those."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from mask_generation.faces.detector import Box, Detection
from mask_generation.video.writer import video_file
from unet_industrial.files import atomic_path

SKIN = (205, 150, 110)
GREEN = (40, 230, 40)
FPS = 16
# Where MTCNN's points lie in a typical frontal box, as shares of its width and height; from the mean of its
# detections on upright faces.
BOX_POINTS = np.array([[0.31, 0.40], [0.69, 0.40], [0.50, 0.59], [0.35, 0.77], [0.65, 0.77]])


def box_points(xyxy: Sequence[float]) -> np.ndarray:
    """(5,2) eyes, nose and mouth corners guessed from a box, in the box's coordinates."""
    x0, y0, x1, y1 = xyxy
    return BOX_POINTS * (x1 - x0, y1 - y0) + (x0, y0)


class OvalDetector:
    """Finds every skin-coloured oval; stands in for MTCNN, which needs photographs and time."""

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        red, green, blue = (rgb[..., c].astype(int) for c in range(3))
        fake = (green > red + 60) & (green > blue + 60)
        skin = ((red > 150) & (red - blue > 50)) | fake
        _, _, stats, _ = cv2.connectedComponentsWithStats(skin.astype(np.uint8))
        found = []
        for x, y, width, height, area in stats[1:]:
            if area > 200:
                xyxy = (float(x), float(y), float(x + width), float(y + height))
                found.append(Detection(Box(*xyxy), 0.99, box_points(xyxy).astype(np.float32)))
        return sorted(found, key=lambda face: face.box.x0)

    def refine(self, rgb: np.ndarray, boxes: list[Box]) -> list[Detection | None]:
        faces = self.detect(rgb)
        return [max(faces, key=lambda face: face.box.iou(box), default=None) for box in boxes]


def frame(faces: int, fake: Collection[int] = (), shift: int = 0, size: tuple[int, int] = (96, 72)) -> np.ndarray:
    """A picture with ovals of the given size beside each other on grey; the fake ones have a green mouth."""
    width, height = size
    rng = np.random.default_rng(0)
    picture = np.full((160, max(160, 140 * faces), 3), 90, np.uint8)
    for face in range(faces):
        centre = (70 + 140 * face + shift, 80)
        cv2.ellipse(picture, centre, (height // 2, width // 2), 0, 0, 360, SKIN, -1)
        for side in (-1, 1):
            cv2.circle(
                picture,
                (centre[0] + side * height // 5, centre[1] - width // 10),
                max(2, width // 20),
                (20, 20, 20),
                -1,
            )
        if face in fake:
            cv2.ellipse(picture, (centre[0], centre[1] + width // 4), (height // 4, width // 8), 0, 0, 360, GREEN, -1)
    speckle = rng.integers(-12, 13, picture.shape[:2])[..., None]
    return np.clip(picture.astype(int) + speckle, 0, 255).astype(np.uint8)


def clip(
    path: Path, frames: int = 32, faces: int = 1, fake: dict[int, Collection[int]] | None = None, **options: object
) -> Path:
    """Write a clip of `frames` pictures; `fake` maps a face to the frames in which it is fake."""
    fake = fake or {}
    pictures = [
        frame(faces, [face for face, when in fake.items() if i in when], shift=i % 3, **options) for i in range(frames)
    ]
    return write(path, pictures)


def write(path: Path, pictures: list[np.ndarray], rate: int = FPS, faststart: bool = False) -> Path:
    """Encode (H,W,3) uint8 pictures as H.264; `faststart`: with the index first, so that the file can be cut short."""
    with video_file(path, crf=12, fps=rate) as video:
        for picture in pictures:
            video.write(picture)
    return index_first(path) if faststart else path


def index_first(path: Path) -> Path:
    """Rewrite an .mp4 as the web has it: the same pictures, the index before them."""
    options = {"movflags": "faststart"}
    with atomic_path(path) as copy, av.open(str(path)) as source, av.open(str(copy), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:  # the last one is empty
                packet.stream = stream
                target.mux(packet)
    return path


def turned(path: Path) -> Path:
    """Rewrite an .mp4 as an upright phone writes it: stored as it is, with the order to show it turned clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the display matrix of a version-0 track header, ISO/IEC 14496-12
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def voice(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        samples = (3000 * np.sin(np.arange(int(16000 * seconds)) / 8)).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path
