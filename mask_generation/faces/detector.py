"""Faces in a frame, and the square crop around one: the same crop for an original, its fakes, and their masks."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Optional, Protocol

import cv2
import numpy as np

from unet_industrial.config import FACE_MARGIN

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # left and right as the viewer sees them
DARK, LIT = 70.0, 100.0  # mean grey level of a picture too dark for the detector, and the one it is brightened to
CROP_SIZE_PX = 256
PATCH_PX = 48  # what MTCNN's last network looks at
# A box as it is, then moved right, left, down, up and scaled: shares of its side, and factors.
VIEWS = ((0, 0, 1), (0.1, 0, 1), (-0.1, 0, 1), (0, 0.1, 1), (0, -0.1, 1), (0, 0, 0.85), (0, 0, 1.18))


class Box(NamedTuple):
    """A rectangle in pixels of a frame; x1 and y1 lie just outside."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    def shifted(self, dx: float, dy: float) -> Box:
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def iou(self, other: Box) -> float:
        """Intersection over union, in [0, 1]."""
        across = min(self.x1, other.x1) - max(self.x0, other.x0)
        down = min(self.y1, other.y1) - max(self.y0, other.y0)
        shared = max(across, 0.0) * max(down, 0.0)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Detection:
    """A face: its box, the detector's score in [0, 1], and (5,2) float32 points x, y in the order of `LANDMARKS`.

    `certainty`, in [0, 1], is a second opinion on whether it is a face at all, where the detector has one: a score says
    how well the best of many boxes fits, and the best box of an arm may fit well.
    """

    box: Box
    score: float
    landmarks: np.ndarray
    certainty: Optional[float] = None


class FaceDetector(Protocol):
    """Anything that finds faces. `refine` is what tracking uses between two detections; a detector that has nothing
    cheaper may call `detect` in it."""

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Faces of a (H,W,3) uint8 frame, best first."""
        ...

    def refine(self, rgb: np.ndarray, boxes: list[Box]) -> list[Optional[Detection]]:
        """For each box near a face, the face; None where there is none."""
        ...


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) as the package `mtcnn` ships it, at a working size.

    Args:
        working_size: long side in pixels to which larger frames are shrunk.
        retry_size: long side at which a frame is searched again when nothing was found in it; None: never.
        min_score: detections below it are dropped; the network's own limit is 0.8.
        keep_score: the same for `refine`, where a face is expected and a lower score will do.

    Dark pictures are brightened first: on a DFDC clip at a mean grey level of 34, scores rose from 0.8 to 0.99.
    """

    def __init__(
        self,
        working_size: int = 640,
        retry_size: Optional[int] = 1280,
        min_score: float = 0.9,
        keep_score: float = 0.6,
        device: str = "CPU:0",
    ) -> None:
        self.working_size, self.retry_size, self.device = working_size, retry_size, device
        self.min_score, self.keep_score = min_score, keep_score
        self._network: Any = None
        self._last_net: Any = None

    def _load(self) -> Any:
        if self._network is None:
            import tensorflow as tf
            from mtcnn import MTCNN

            self._network = MTCNN(device=self.device)
            last = self._network.get_stage(stage_id=3)._model
            self._last_net = tf.function(
                lambda patches: last(patches), input_signature=[tf.TensorSpec((None, 48, 48, 3), tf.float32)]
            )
        return self._network

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Faces of a (H,W,3) uint8 frame, best first; boxes end at the frame's edge."""
        found = self._detect_at(rgb, self.working_size)
        long_side = max(rgb.shape[:2])
        if not found and self.retry_size and long_side > self.working_size:
            found = self._detect_at(rgb, self.retry_size)
        certainties = self._certainties(rgb, [face.box for face in found])
        return [dataclasses.replace(face, certainty=value) for face, value in zip(found, certainties)]

    def _detect_at(self, rgb: np.ndarray, size: int) -> list[Detection]:
        network = self._load()
        scale = min(1.0, size / max(rgb.shape[:2]))
        if scale < 1.0:
            rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if min(rgb.shape[:2]) < 24:  # below the smallest face there is no pyramid to build
            return []
        # Its smallest pyramid level falls below the network's field with any min_face_size other than the default
        # of 20 pixels, and the package then reports that there are no faces.
        rows = network.detect_faces(_lit(rgb), output_type="numpy", box_format="xyxy")
        found = [_detection(row, scale) for row in np.asarray(rows).reshape(-1, 16) if row[5] >= self.min_score]
        return sorted(found, key=lambda face: -face.score)

    def refine(self, rgb: np.ndarray, boxes: list[Box]) -> list[Optional[Detection]]:
        """The last of MTCNN's three networks alone, on given boxes: some hundred times cheaper than a detection.

        Returns:
            for each box the face in it, or None where the network sees none.
        """
        if not boxes:
            return []
        squares = [crop_geometry(box, 1.0) for box in boxes]
        offsets, points, scores = self._look_again([_lit(square.crop(rgb, PATCH_PX)) for square in squares])
        found: list[Optional[Detection]] = []
        height, width = rgb.shape[:2]
        for square, offset, point, score in zip(squares, offsets, points, scores):
            if score < self.keep_score:
                found.append(None)
                continue
            corners = np.array([square.x0, square.y0, square.x0 + square.side, square.y0 + square.side]) + (
                offset * square.side
            )
            corners = np.clip(corners, 0, [width - 1, height - 1, width - 1, height - 1])
            xs, ys = square.x0 + point[:5] * square.side, square.y0 + point[5:] * square.side
            box = Box(*corners.tolist())
            found.append(Detection(box, float(score), np.stack([xs, ys], 1).astype(np.float32)) if box.area else None)
        return found

    def _look_again(self, patches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The last network on N (48,48,3) uint8 patches: (N,4) offsets and (N,10) points, in shares of a patch, and
        (N,) scores."""
        self._load()
        scaled = (np.stack(patches).astype(np.float32) - 127.5) / 128
        offsets, points, scores = (output.numpy() for output in self._last_net(scaled))
        return offsets, points, scores[:, 1]

    def _certainties(self, rgb: np.ndarray, boxes: list[Box]) -> list[float]:
        """The last network's mean score over VIEWS of each box: a face stays one when it is moved, scaled, mirrored or
        blurred a little; what passes for one at just one place does not."""
        if not boxes:
            return []
        patches = []
        for box in boxes:
            square = crop_geometry(box, 1.0)
            for right, down, size in VIEWS:
                side = max(round(square.side * size), 1)
                away = (square.side - side) / 2
                x0, y0 = square.x0 + right * square.side + away, square.y0 + down * square.side + away
                patches.append(_lit(CropGeometry(round(x0), round(y0), side).crop(rgb, PATCH_PX)))
            plain = patches[-len(VIEWS)]
            patches += [np.ascontiguousarray(plain[:, ::-1]), cv2.GaussianBlur(plain, (0, 0), 1.0)]
        scores = self._look_again(patches)[2].reshape(len(boxes), -1)
        return [float(value) for value in scores.mean(axis=1)]


def _lit(rgb: np.ndarray) -> np.ndarray:
    """A dark picture with its grey levels raised by a power law; others as they are."""
    level = max(float(rgb.mean()), 1.0)
    if level >= DARK:
        return rgb
    gamma = np.log(LIT / 255) / np.log(level / 255)
    return cv2.LUT(rgb, (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8))


def _detection(row: np.ndarray, scale: float) -> Detection:
    points = np.stack([row[6:11], row[11:16]], 1) / scale
    return Detection(Box(*(row[1:5] / scale).tolist()), float(row[5]), points.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class CropGeometry:
    """A square of whole pixels in a frame; it may reach beyond the frame's edges."""

    x0: int
    y0: int
    side: int

    def shifted(self, dx: int, dy: int) -> CropGeometry:
        return CropGeometry(self.x0 + dx, self.y0 + dy, self.side)

    def _inside(self, height: int, width: int) -> tuple[int, int, int, int]:
        x0, y0 = (min(max(value, 0), limit) for value, limit in ((self.x0, width), (self.y0, height)))
        x1, y1 = (min(max(value + self.side, 0), limit) for value, limit in ((self.x0, width), (self.y0, height)))
        return x0, y0, x1, y1

    def crop(self, image: np.ndarray, size: int, fill: Optional[float] = None) -> np.ndarray:
        """Cut the square out and scale it.

        Args:
            image: (H,W) or (H,W,C); uint8 or float32.
            fill: value beyond the edges; None repeats the edge's pixels (for pictures; masks want 0).
        Returns:
            (size,size[,C]), the type of `image`; area averages when shrinking, cubic interpolation when a picture
            grows, linear when a mask grows.
        """
        height, width = image.shape[:2]
        x0, y0, x1, y1 = self._inside(height, width)
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"the square {self} lies outside a frame of {width}x{height}")
        part = image[y0:y1, x0:x1]
        pads = (y0 - self.y0, self.y0 + self.side - y1, x0 - self.x0, self.x0 + self.side - x1)
        if any(pads):
            border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
            part = cv2.copyMakeBorder(part, *pads, border, value=0 if fill is None else [fill] * 4)
        if self.side == size:
            return np.ascontiguousarray(part)
        grow = cv2.INTER_CUBIC if fill is None else cv2.INTER_LINEAR
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if self.side > size else grow)

    def paste(self, crop: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Put a (S,S[,C]) crop back where it came from; returns a changed copy of the frame."""
        height, width = frame.shape[:2]
        x0, y0, x1, y1 = self._inside(height, width)
        method = cv2.INTER_AREA if crop.shape[0] > self.side else cv2.INTER_LINEAR
        full = crop if crop.shape[0] == self.side else cv2.resize(crop, (self.side, self.side), interpolation=method)
        result = frame.copy()
        result[y0:y1, x0:x1] = full[y0 - self.y0 : y1 - self.y0, x0 - self.x0 : x1 - self.x0]
        return result


def crop_geometry(box: Box, margin: float = FACE_MARGIN) -> CropGeometry:
    """The square around a box's centre, `margin` times its longer side, on whole pixels."""
    side = max(round(max(box.width, box.height) * margin), 1)
    x, y = box.centre
    return CropGeometry(round(x - side / 2), round(y - side / 2), side)
