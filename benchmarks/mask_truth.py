"""Clips with exactly known masks, for measuring recipes: real ones, manipulated by us, encoded apart with x264."""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Optional, Union

import cv2
import numpy as np

from mask_generation import cli
from mask_generation.faces.detector import Box, FaceDetector, crop_geometry
from mask_generation.synthesis import degrade, manipulations
from mask_generation.video.reader import count_frames, read_frames
from mask_generation.video.types import VideoError, printable
from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES

FRAMES = 10  # consecutive ones of each clip: enough for x264 to predict most of them
WORK_MARGIN = 2.0  # of the box: the square that is manipulated and put back
LONG_SIDE_PX = 640  # larger clips are shrunk
UNTOUCHED, RECODED = "untouched", "recoded"  # the two kinds of pairs without any manipulation
CRFS = (0, 23, 40)
START = 20  # first frame taken where a clip is long enough: titles and black come first


@dataclasses.dataclass
class RealClip:
    """Consecutive frames of a real clip with one face.

    Attributes:
        frames: (H, W, 3) uint8 each, even height and width. boxes: one a frame. points: (5, 2) one a frame.
    """

    name: str
    frames: list[np.ndarray]
    boxes: list[Box]
    points: list[np.ndarray]


@dataclasses.dataclass
class Case:
    """Both clips of a pair before encoding, and the truth: float32 masks, or None where nothing is manipulated."""

    clip: RealClip
    kind: str
    original: list[np.ndarray]
    fake: list[np.ndarray]
    masks: list[Optional[np.ndarray]]


def find_inputs(paths: Sequence[str]) -> list[str]:
    """Clips and photographs among files and folders (searched to the bottom), sorted within each folder.

    Raises:
        cli.Failure: a path does not exist, or nothing usable is there.
    """
    found = []
    for path in paths:
        if os.path.isdir(path):
            for folder, inner, files in os.walk(path, followlinks=False):
                inner.sort()
                found += [
                    os.path.join(folder, f)
                    for f in sorted(files)
                    if f.lower().endswith(VIDEO_SUFFIXES + PICTURE_SUFFIXES)
                ]
        elif os.path.exists(path):
            found.append(path)
        else:
            raise cli.Failure(f"{printable(path)}: no such file or folder")
    if not found:
        raise cli.Failure(f"no clips or photographs in {', '.join(paths)}")
    return found


def load(path: str, detector: FaceDetector) -> Union[RealClip, str]:
    """A clip, or a photograph that a camera moves over; a reason where there is none to be had."""
    name = os.path.splitext(os.path.basename(path))[0]
    if path.lower().endswith(PICTURE_SUFFIXES):
        picture = cv2.imread(path, cv2.IMREAD_COLOR)
        if picture is None:
            return "not a readable picture"
        return _photograph(name, _working_size(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), detector)
    frames, boxes, points = [], [], []
    try:
        start = START if count_frames(path) >= START + FRAMES else 0
        for frame in read_frames(path, range(start, start + FRAMES)):
            rgb = _working_size(frame.rgb)
            faces = detector.detect(rgb)
            if not faces:
                return f"no face in frame {frame.index}"
            face = max(faces, key=lambda found: found.box.area)
            if boxes and face.box.iou(boxes[-1]) < 0.5:
                return f"the largest face changes at frame {frame.index}"
            frames.append(rgb)
            boxes.append(face.box)
            points.append(face.landmarks)
    except VideoError as error:
        return error.reason
    if len(frames) < FRAMES:
        return f"{len(frames)} frames; {FRAMES} are needed"
    return RealClip(name, frames, _smooth_boxes(boxes), list(_smooth(np.stack(points))))


def _working_size(rgb: np.ndarray) -> np.ndarray:
    """At most `LONG_SIDE_PX`, both sides even."""
    scale = min(1.0, LONG_SIDE_PX / max(rgb.shape[:2]))
    if scale < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2])


def _photograph(name: str, rgb: np.ndarray, detector: FaceDetector) -> Union[RealClip, str]:
    """A handheld shot of a picture: it drifts and turns by a few pixels, as a head does before a camera, with noise."""
    faces = detector.detect(rgb)
    if not faces:
        return "no face"
    face = max(faces, key=lambda found: found.box.area)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drift, turn, grow = rng.normal(0, 1.5, 2), float(rng.normal(0, 0.25)), 1 + float(rng.normal(0, 0.002))
    height, width = rgb.shape[:2]
    frames, boxes, points = [], [], []
    for index in range(FRAMES):
        matrix = cv2.getRotationMatrix2D(face.box.centre, turn * index, 1.06 * grow**index)  # 1.06 keeps the edge out
        matrix[:, 2] += drift * index
        moved = cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        noise = rng.normal(0, 1.5, (height, width, 1)).astype(np.float32)
        frames.append(np.clip(np.rint(moved + noise), 0, 255).astype(np.uint8))
        corners = np.array([[face.box.x0, face.box.y0], [face.box.x1, face.box.y1]]) @ matrix[:, :2].T + matrix[:, 2]
        boxes.append(Box(*corners.ravel().tolist()))
        points.append(face.landmarks @ matrix[:, :2].T + matrix[:, 2])
    return RealClip(name, frames, boxes, points)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running means over five frames along the first axis."""
    padded = np.pad(values, [(2, 2)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    return np.mean([padded[i : i + len(values)] for i in range(5)], axis=0)


def _smooth_boxes(boxes: Sequence[Box]) -> list[Box]:
    return [Box(*row.tolist()) for row in _smooth(np.array(boxes))]


def manipulations_of(clip: RealClip, other: RealClip, seed: int) -> dict[str, Callable[..., manipulations.Manipulated]]:
    """Name → (crop, points, generator) → manipulated; `other` lends its face to the swap."""
    middle = other.frames[0]

    def swap(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> manipulations.Manipulated:
        return manipulations.face_swap(crop, points, middle, other.points[0], rng, 1.0, poisson_chance=1.0)

    return {
        "self_blend": lambda crop, points, rng: manipulations.self_blend(crop, points, rng, 1.0),
        "swap": swap,
        "mouth": lambda crop, points, rng: manipulations.mouth_rerender(crop, points, rng, 1.0),
        "expression": lambda crop, points, rng: manipulations.expression_warp(crop, points, rng, 1.0),
    }


def cases(clip: RealClip, other: RealClip, seed: int) -> Iterator[Case]:
    """The clip under each manipulation, and unmanipulated in two ways.

    The same random numbers are drawn for each frame, so that a clip's outline, colours and strength hold still on the
    face while it moves.
    """
    side = max(max(box.width, box.height) for box in clip.boxes)
    for kind, manipulate in manipulations_of(clip, other, seed).items():
        original, fake, masks = [], [], []
        number = zlib.crc32(f"{seed}/{clip.name}/{kind}".encode())
        for frame, box, points in zip(clip.frames, clip.boxes, clip.points):
            x, y = box.centre
            square = crop_geometry(Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2), WORK_MARGIN)
            crop = square.crop(frame, square.side)
            made = manipulate(crop, points - (square.x0, square.y0), np.random.default_rng(number))
            original.append(square.paste(made.real, frame))
            fake.append(square.paste(made.fake, frame))
            masks.append(square.paste(made.mask, np.zeros(frame.shape[:2], np.float32)))
        yield Case(clip, kind, original, fake, masks)
        if kind == "swap":  # a clip that is manipulated in its second half only: its first half is untouched
            half = len(fake) // 2
            yield Case(clip, UNTOUCHED, original, [*original[:half], *fake[half:]], [None] * half + masks[half:])
    again = degrade.h264(clip.frames, 18)  # one more generation of compression on the one side
    yield Case(clip, RECODED, clip.frames, again, [None] * len(again))


def encode(case: Case, crf: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Original and fake, each through x264 by itself. CRF 0 keeps every bit of yuv420p."""
    return degrade.h264(case.original, crf), degrade.h264(case.fake, crf)
