"""Short clips for the demo, drawn from two public-domain portraits that ship inside our dependencies.

Eileen Collins (NASA, `astronaut` of scikit-image) and Grace Hopper (US Navy, sample data of matplotlib). A clip is
the photograph under a camera that drifts, zooms and turns, in changing light, with sensor noise; its manipulated
copy is the same clip with a self-blended face, so which pixels are fake is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mask_generation.faces.detector import Detection, FaceDetector
from mask_generation.synthesis import face_bank, jitter
from mask_generation.synthesis.manipulations import self_blend
from mask_generation.synthesis.pairs import Mix, Pair, make_pair
from mask_generation.video.writer import video_file

SIDE_PX, FPS = 320, 12
UNSEEN_SEED, UNSEEN_MIX = 7, Mix(video=0.9, soft=1, hardness=0.5, cover=0.1, alike=0.85)


class Part(NamedTuple):
    """What is drawn of one person: the split it goes to, how many pairs of clips, and frames in each."""

    split: str
    pairs: int
    frames: int


# No person is in both. Many short clips to train on, as every clip has a look and a manipulation of its own: from eight
# clips a network learned those eight.
PARTS = {"collins": Part("train", 32, 6), "hopper": Part("test", 3, 24)}


class DrawnPair(NamedTuple):
    """Files of one original and its manipulated copy, and the split they belong to."""

    original: Path
    fake: Path
    split: str


def portraits() -> dict[str, np.ndarray]:
    """Person → photograph, uint8 RGB."""
    import matplotlib.cbook
    import skimage.data

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = cv2.cvtColor(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return {"collins": skimage.data.astronaut(), "hopper": hopper}


def portrait_faces(detector: FaceDetector) -> Iterator[tuple[str, np.ndarray, Detection]]:
    """(person, photograph, their face) of each portrait.

    Raises:
        ValueError: no face is found in one, which means that the detector does not work here.
    """
    for person, photo in portraits().items():
        found = detector.detect(photo)
        if not found:
            raise ValueError(f"no face found in the portrait {person!r}: is mtcnn installed as pinned?")
        yield person, photo, max(found, key=lambda detection: detection.score)


def unseen_pairs(count: int, size: int, detector: FaceDetector) -> list[Pair]:
    """The first `count` manipulations that the synthesis draws of both portraits, as the shipped weights were trained
    to find them: two people whom they have never seen."""
    crops = []
    for person, photo, face in portrait_faces(detector):
        cut = face_bank.crop_face(photo, face.box, face.landmarks)
        assert cut is not None, person  # both faces are large and well inside
        crops.append(face_bank.Crop(*cut, person, person, person, 0))
    with tempfile.TemporaryDirectory() as folder:
        face_bank.save(f"{folder}/faces.npz", crops, 0.0, 0)
        people = face_bank.load(f"{folder}/faces.npz", "train", None)
    return [make_pair(people, UNSEEN_SEED, index, size, 1.0, UNSEEN_MIX) for index in range(count)]


def draw_pairs(folder: Path, detector: FaceDetector) -> list[DrawnPair]:
    """Draw every clip and its manipulated copy, and `pairs.csv` beside them for `mask_generation`.

    Raises:
        ValueError: no face is found in a portrait, which means that the detector does not work here.
    """
    pairs = []
    for person, photo, face in portrait_faces(detector):
        part = PARTS[person]
        (folder / part.split).mkdir(parents=True, exist_ok=True)
        for number in range(part.pairs):
            rng = np.random.default_rng([len(person), number])
            real, fake = draw_clip(photo, np.asarray(face.landmarks, np.float64), rng, part.frames)
            stem = folder / part.split / f"{person}_{number:02d}"
            pair = DrawnPair(Path(f"{stem}.mp4"), Path(f"{stem}_fake.mp4"), part.split)
            crf = int(rng.integers(14, 24))
            write_clip(pair.original, real, crf)
            write_clip(pair.fake, fake, crf)
            pairs.append(pair)
    rows = [f"{p.fake.relative_to(folder)},{p.original.relative_to(folder)},self-blend,{p.split}" for p in pairs]
    (folder / "pairs.csv").write_text("\n".join(["fake,original,method,split", *rows]) + "\n", "utf-8")
    return pairs


def draw_clip(
    photo: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, frames: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """One clip and its manipulated copy: two lists of `frames` uint8 RGB frames (SIDE_PX, SIDE_PX, 3).

    Args:
        landmarks: (5, 2) xy of the eyes, nose and corners of the mouth in `photo`, in pixels.
    """
    centre, pupils = landmarks.mean(axis=0), np.linalg.norm(landmarks[1] - landmarks[0])
    scale = rng.uniform(55, 75) / pupils  # pixels between the eyes in the clip
    phase, mirrored = rng.uniform(0, 2 * np.pi, 4), rng.random() < 0.5
    photo = jitter.to_uint8(jitter.colour(photo.astype(np.float32), rng))  # another camera, another skin
    blend_seed = int(rng.integers(2**31))  # one seed for all frames: the same manipulation throughout
    real, fake = [], []
    for index in range(frames):
        wave = np.sin(2 * np.pi * index / frames + phase)
        matrix = cv2.getRotationMatrix2D(tuple(centre), 5 * wave[0], scale * (1 + 0.06 * wave[1]))
        matrix[:, 2] += SIDE_PX / 2 - centre + 12 * wave[2:]
        frame = cv2.warpAffine(photo, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        points = landmarks @ matrix[:, :2].T + matrix[:, 2]
        if mirrored:
            frame = np.ascontiguousarray(frame[:, ::-1])
            points = (points * [-1, 1] + [SIDE_PX - 1, 0])[[1, 0, 2, 4, 3]]  # left and right change places
        lit = frame * (1 + 0.04 * wave[1]) + rng.normal(0, 1.5, frame.shape)
        pair = self_blend(
            np.clip(lit, 0, 255).astype(np.uint8), points, np.random.default_rng(blend_seed), difficulty=0.0
        )
        real.append(pair.real)
        fake.append(pair.fake)
    return real, fake


def write_clip(path: Path, frames: list[np.ndarray], crf: int) -> None:
    """Encode uint8 RGB frames with x264, at the constant rate factor `crf`."""
    with video_file(path, crf, fps=FPS) as writer:
        for frame in frames:
            writer.write(frame)
