"""Real and manipulated pictures with exact masks, without end: pair i depends on the seed and i alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

import cv2
import numpy as np

from mask_generation.synthesis import degrade, hard_negatives, jitter, manipulations, regions
from mask_generation.synthesis.face_bank import FaceBank

if TYPE_CHECKING:  # it loads TensorFlow
    from unet_industrial.records import FaceGroup

DATASET = "synthesis"
WORK_PX = (150, 290)  # sides at which pictures are manipulated and compressed before they are brought to size
WIDEST = 1.45  # largest side of a training picture over that of the face's box; scoring cuts at 1.3


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How hard pair i is. Easy fakes first: without them a network learns where the face is and nothing else.

    Attributes:
        ramp_pairs: difficulty rises linearly from 0 to 1 over so many pairs; 0: hard from the start.
    """

    ramp_pairs: int = 0

    def difficulty(self, index: int) -> float:
        return 1.0 if self.ramp_pairs <= 0 else min(1.0, index / self.ramp_pairs)


_CHANCES = (
    *("relight", "reshape", "recorded", "before", "cover", "compress", "alike"),
    *("video", "softened", "soft", "hardness"),
)


@dataclasses.dataclass(frozen=True)
class Mix:
    """Shares of the manipulations (they need not add up to one) and chances of everything around them.

    `relight`, `reshape`: chance of other light and of another shape of the face, before everything else; `recorded`:
    that the picture was compressed before anyone touched it; `before`, `cover`: hard negatives; `compress`: strength of
    the degradation afterwards, 0 to 1; `alike`: chance that real and fake of a pair go through the very same chain;
    `video`: chance that this is `degrade.draw_video`; `softened`: that the picture itself lost detail, so that softness
    alone decides nothing; `soft`: least chance that a replaced part did; `hardness`: how hard manipulations get.

    `least_margin`: pictures show from so much (up to `WIDEST`) of the face's box: with one margin only, a network
    expects the surround it was trained with.
    """

    self_blend: float = 0.35
    swap: float = 0.33
    mouth: float = 0.18
    expression: float = 0.14
    relight: float = 0.7
    reshape: float = 0.6
    recorded: float = 0.5
    before: float = 0.2
    cover: float = 0.15
    compress: float = 1.0
    alike: float = 0.5
    video: float = 0.0
    softened: float = 0.0
    soft: float = 0.0
    hardness: float = 1.0
    least_margin: float = 1.15

    def __post_init__(self) -> None:
        shares = (self.self_blend, self.swap, self.mouth, self.expression)
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError("shares of manipulations must not be negative, and one must be above 0")
        for name in _CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: must lie in 0..1")
        if not 0.5 <= self.least_margin <= WIDEST:
            raise ValueError(f"least_margin={self.least_margin}: must lie in 0.5..{WIDEST}")


class Pair(NamedTuple):
    """Real and fake of one picture: uint8 (S, S, 3) each, mask (S, S) uint8 in 0..255, name of the manipulation, and
    who is in the picture."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    kind: str
    identity: str


class LabelledPair(NamedTuple):
    """Real and fake as training takes them, wherever they come from: uint8 (S, S, 3) each, the fake's mask (S, S) uint8
    in 0..255, and of each picture its clip, the key of its group, and its frame. Keys differ where they are not of one
    moment of one face."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    clips: tuple[bytes, bytes]
    keys: tuple[bytes, bytes]
    frames: tuple[int, int]


def make_pair(faces: FaceBank, seed: int, index: int, size: int, difficulty: float, mix: Optional[Mix] = None) -> Pair:
    """Pair number `index` of the stream with that seed, each picture `size` pixels wide.

    Args:
        difficulty: 0 to 1. Beside the manipulation's own, it scales how often and how strongly pictures are compressed
            and covered: trained on full compression from the start, a network learned nothing in 16,000 images;
            without it, to separate real from fake in 4,000.
    """
    mix = mix or Mix()
    rng = np.random.default_rng([seed, index])
    number = faces.draw(rng)
    stored = faces.rgb(number)
    window = draw_window(stored.shape[0], float(faces.margins[number]), rng, mix.least_margin)
    rgb, landmarks = window.cut(stored), window.move(manipulations.as_landmarks(faces.points[number]))
    if rng.random() < 0.5:
        rgb = jitter.to_uint8(jitter.colour(rgb.astype(np.float32), rng, 0.8))
    if rng.random() < mix.reshape:
        rgb, landmarks = jitter.reshape(rgb, landmarks, rng)
    if rng.random() < mix.relight:
        rgb = jitter.to_uint8(jitter.relight(rgb.astype(np.float32), rng))
    if rng.random() < mix.before * difficulty:
        rgb = hard_negatives.before(rgb, landmarks, rng)
    if rng.random() < mix.recorded * difficulty:
        motion = (float(rng.normal(0, 1)), float(rng.normal(0, 1)))
        rgb = degrade.h264_still(rgb, int(rng.integers(16, 30)), int(rng.integers(degrade.RUN_FRAMES)), motion)
    if mix.softened and rng.random() < mix.softened:
        unit = regions.face_unit(landmarks)
        rgb = jitter.to_uint8(jitter.soften(rgb.astype(np.float32), rng, unit, float(rng.uniform(0, 1))))
    made, kind = _manipulate(faces, number, rgb, landmarks, rng, difficulty * mix.hardness, mix)
    real, fake, mask = made
    if rng.random() < mix.cover * difficulty:
        overlay, alpha = hard_negatives.cover(real, landmarks, rng)
        real, fake = (hard_negatives.lay_over(picture, overlay, alpha) for picture in (real, fake))
        mask = mask * (1 - alpha)
    real, fake = (to_size(picture, size) for picture in degrade_pair(real, fake, rng, difficulty, mix))
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if size <= mask.shape[0] else cv2.INTER_LINEAR)
    return Pair(real, fake, np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8), kind, faces.identities[number])


def degrade_pair(
    real: np.ndarray, fake: np.ndarray, rng: np.random.Generator, difficulty: float, mix: Mix
) -> tuple[np.ndarray, np.ndarray]:
    """Real and fake of one picture, uint8 RGB of one size, after two chains of one kind, or after the very same."""
    chains = [degrade.Degradation()] * 2
    if mix.compress:
        chains = [degrade.draw(rng, real.shape[0], mix.compress * difficulty) for _ in range(2)]
    if mix.video and rng.random() < mix.video * difficulty:
        chains = [degrade.draw_video(rng)] * 2
    elif rng.random() < mix.alike:
        chains[1] = chains[0]
    return degrade.apply(real, chains[0]), degrade.apply(fake, chains[1])


def face_groups(
    faces: FaceBank, split: str, seed: int, pairs: range, size: int, difficulty: float = 1.0, mix: Optional[Mix] = None
) -> Iterator[FaceGroup]:
    """Pairs as records, training and evaluation take them: a group each, the real picture, then its fake.

    A group's identity is the person in the picture. The other face of a swap is not counted as a second one: nearly
    everybody would be connected with everybody, and no interval by identity could be given.
    """
    from unet_industrial.records import FaceGroup, FaceImage

    for index in pairs:
        pair = make_pair(faces, seed, index, size, difficulty, mix)
        clip = f"{DATASET}/{{}}/-/{index}"
        real = FaceImage(pair.real, np.zeros_like(pair.mask), 0, clip.format("real"), "real", 0)
        fake = FaceImage(pair.fake, pair.mask, 1, clip.format(pair.kind), pair.kind, 0, "exact")
        box = (0.0, 0.0, float(size), float(size))
        key = f"{DATASET}/{seed}/{index}"
        yield FaceGroup(key, DATASET, split, pair.identity, 0, 0.0, 0, box, (real, fake))


def _manipulate(
    faces: FaceBank,
    number: int,
    rgb: np.ndarray,
    landmarks: np.ndarray,
    rng: np.random.Generator,
    difficulty: float,
    mix: Mix,
) -> tuple[manipulations.Manipulated, str]:
    shares = {"self_blend": mix.self_blend, "swap": mix.swap, "mouth": mix.mouth, "expression": mix.expression}
    names = list(shares)
    weights = np.array(list(shares.values()))
    kind = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    if kind == "swap":
        other = faces.draw_other(number, rng)
        if other is not None:
            source, points = _flip_maybe(faces.rgb(other), faces.points[other], rng)
            return manipulations.face_swap(rgb, landmarks, source, points, rng, difficulty, soft=mix.soft), kind
        kind = "self_blend"
    if kind == "mouth":
        same = faces.draw_same(number, rng) if rng.random() < 0.5 else None
        if same is not None:
            taken, points = faces.rgb(same), faces.points[same]
            return manipulations.mouth_rerender(rgb, landmarks, rng, difficulty, taken, points, mix.soft), kind
        return manipulations.mouth_rerender(rgb, landmarks, rng, difficulty, soft=mix.soft), kind
    if kind == "expression":
        return manipulations.expression_warp(rgb, landmarks, rng, difficulty, mix.soft), kind
    return manipulations.self_blend(rgb, landmarks, rng, difficulty, mix.soft), kind


def _flip_maybe(rgb: np.ndarray, five: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if rng.random() < 0.5:
        return rgb, five
    mirrored = np.array(five)
    mirrored[:, 0] = rgb.shape[1] - 1 - mirrored[:, 0]
    return np.ascontiguousarray(rgb[:, ::-1]), mirrored[[1, 0, 2, 4, 3]]


@dataclasses.dataclass(frozen=True)
class Window:
    """A square to be cut out of a stored crop: turned, shifted, scaled, maybe mirrored.

    Attributes:
        matrix: (2, 3) float64, pixels of the stored crop → pixels of the window. side: of the window, px.
        scale: pixels of the window for one of the crop.
    """

    matrix: np.ndarray
    side: int
    scale: float

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The window of a picture (S, S, 3) or a mask (S, S)."""
        if self.scale < 0.75:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / self.scale)  # or the warp would alias
        size = (self.side, self.side)
        return cv2.warpAffine(picture, self.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def move(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points of the crop → float32 points of the window."""
        return (points @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)


def draw_window(stored: int, margin: float, rng: np.random.Generator, least: float) -> Window:
    """A window that shows from `least` to `WIDEST` times the face's box, as far as the crop reaches.

    Args:
        stored: side of the crop, px. margin: that side over the box's.
    """
    span = stored * float(rng.uniform(min(least, margin), min(WIDEST, margin))) / margin
    side = int(rng.uniform(WORK_PX[0], max(WORK_PX[0] + 1, min(WORK_PX[1], span * 1.1))))
    scale = side / span
    angle = float(rng.normal(0, 5))
    matrix = cv2.getRotationMatrix2D(((stored - 1) / 2, (stored - 1) / 2), angle, scale)
    matrix[:, 2] += (side - stored) / 2 + rng.uniform(-0.04, 0.04, 2) * side
    if rng.random() < 0.5:
        mirror = np.array([[-1.0, 0, side - 1], [0, 1, 0], [0, 0, 1]])
        matrix = (mirror @ np.vstack([matrix, [0, 0, 1]]))[:2]
    return Window(matrix, side, scale)


def to_size(rgb: np.ndarray, size: int) -> np.ndarray:
    """A square picture or mask, `size` pixels wide."""
    shrinking = rgb.shape[0] >= size
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
