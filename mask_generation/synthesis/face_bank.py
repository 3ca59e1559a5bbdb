"""A bank of face crops in one file: what the synthesis draws from, so that training needs no videos and no detector.

An .npz without pickles: JPEG crops of the face box grown by `MARGIN` (less where the picture ends), at most `SIDE_PX`
wide and never enlarged, each with five points, margin, identity, source, file, frame and split. Whole identities are
held out for validation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import cv2
import numpy as np

from unet_industrial import files

MARGIN = 1.5  # of the box; training windows are cut from it
LEAST_MARGIN = 0.8  # where a picture ends sooner, as crops of faces do
SIDE_PX = 320
JPEG_QUALITY = 93
FORMAT = 1
SPLITS = ("train", "val")


class FaceBankError(ValueError):
    """A face bank that cannot be used, or nothing to make one of; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square picture of one face.

    Attributes:
        rgb: (S, S, 3) uint8. points: (5, 2) float32, MTCNN's five, in pixels of the crop.
        margin: side of the crop over that of the face's box.
        identity: who it is, unique over sources. source: which collection. origin: file it came from. frame: index.
    """

    rgb: np.ndarray
    points: np.ndarray
    margin: float
    identity: str
    source: str
    origin: str = ""
    frame: int = 0


class FaceBank:
    """Crops in memory as JPEG, decoded when drawn. Drawing is a function of the generator handed in.

    Args:
        weights: share of the draws that each source gets; None: in proportion to the root of its identities, so that
            a source with many people leads but does not drown the others.
    Raises:
        FaceBankError: a weight names a source that is not there, or the split is empty.
    """

    def __init__(
        self,
        jpegs: Sequence[bytes],
        points: np.ndarray,
        identities: Sequence[str],
        sources: Sequence[str],
        weights: Optional[Mapping[str, float]] = None,
        digest: str = "",
        margins: Optional[np.ndarray] = None,
    ) -> None:
        if not len(jpegs):
            raise FaceBankError("the face bank holds no crops of this split")
        self._jpegs, self.points = list(jpegs), np.asarray(points, np.float32)
        self.identities, self.sources = list(identities), list(sources)
        self.digest = digest
        self.margins = np.full(len(jpegs), MARGIN) if margins is None else np.asarray(margins, np.float64)
        self._by_source: dict[str, list[str]] = {}
        self._by_identity: dict[str, list[int]] = {}
        for index, (identity, source) in enumerate(zip(self.identities, self.sources)):
            if identity not in self._by_identity:
                self._by_source.setdefault(source, []).append(identity)
            self._by_identity.setdefault(identity, []).append(index)
        names = sorted(self._by_source)
        if weights is None:
            weights = {name: len(self._by_source[name]) ** 0.5 for name in names}
        unknown = sorted(set(weights) - set(names))
        if unknown:
            raise FaceBankError(f"no crops of source {', '.join(unknown)}; there are {', '.join(names)}")
        share = np.array([max(0.0, float(weights.get(name, 0))) for name in names])
        if share.sum() <= 0:
            raise FaceBankError("every source has weight 0")
        self._names, self._share = names, share / share.sum()

    def __len__(self) -> int:
        return len(self._jpegs)

    def summary(self) -> dict[str, Any]:
        """Counts and draw shares of each source."""
        return {
            name: {
                "identities": len(self._by_source[name]),
                "crops": sum(len(self._by_identity[identity]) for identity in self._by_source[name]),
                "share": round(float(share), 4),
            }
            for name, share in zip(self._names, self._share)
        }

    def rgb(self, index: int) -> np.ndarray:
        """(S, S, 3) uint8."""
        data = np.frombuffer(self._jpegs[index], np.uint8)
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def draw(self, rng: np.random.Generator) -> int:
        """A crop: source by its share, then a person of it, then one of their crops."""
        people = self._by_source[self._names[int(rng.choice(len(self._names), p=self._share))]]
        return self._one(people[int(rng.integers(len(people)))], rng)

    def draw_other(self, index: int, rng: np.random.Generator) -> Optional[int]:
        """A crop of another person than that of `index`; None where the bank has one person only."""
        for _ in range(8):
            other = self.draw(rng)
            if self.identities[other] != self.identities[index]:
                return other
        others = [name for name in self._by_identity if name != self.identities[index]]
        return self._one(others[int(rng.integers(len(others)))], rng) if others else None

    def draw_same(self, index: int, rng: np.random.Generator) -> Optional[int]:
        """Another crop of the same person; None where there is none."""
        rest = [other for other in self._by_identity[self.identities[index]] if other != index]
        return rest[int(rng.integers(len(rest)))] if rest else None

    def _one(self, identity: str, rng: np.random.Generator) -> int:
        crops = self._by_identity[identity]
        return crops[int(rng.integers(len(crops)))]


def crop_face(
    rgb: np.ndarray, box: Sequence[float], points: np.ndarray
) -> Optional[tuple[np.ndarray, np.ndarray, float]]:
    """The square about a box (xyxy) grown by `MARGIN`, at most `SIDE_PX`, the five points in it, and its margin.

    The margin is smaller, down to `LEAST_MARGIN`, where more than an eighth of the square would lie outside the
    picture. None for boxes under 48 pixels, or where that is so even then.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(x1 - x0, y1 - y0)
    if side < 48:
        return None
    h, w = rgb.shape[:2]
    for margin in np.linspace(MARGIN, LEAST_MARGIN, 15):
        span = side * float(margin)
        left, top = (x0 + x1 - span) / 2, (y0 + y1 - span) / 2
        seen = max(0.0, min(w, left + span) - max(0.0, left)) * max(0.0, min(h, top + span) - max(0.0, top))
        if seen >= 0.875 * span * span:
            break
    else:
        return None
    size = min(SIDE_PX, round(span))
    scale = size / span
    if scale < 1:  # averaging by whole factors first, so that the last, bilinear step does not alias
        rgb = cv2.resize(rgb, (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA)
    matrix = np.array([[1.0, 0, -left * scale], [0, 1.0, -top * scale]])
    if scale >= 1:
        matrix[0, 0] = matrix[1, 1] = scale
    cut = cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return cut, ((np.asarray(points, np.float32) - (left, top)) * scale).astype(np.float32), float(margin)


def assign_splits(identities: Iterable[str], sources: Iterable[str], share: float, seed: int = 0) -> dict[str, str]:
    """Identity → split, `share` of each source's people held out; ranked by a hash, so new people move few."""
    people: dict[str, set[str]] = {}
    for identity, source in zip(identities, sources):
        people.setdefault(source, set()).add(identity)
    split = {}
    for names in people.values():
        ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        held_out = round(share * len(ranked)) if len(ranked) > 1 else 0
        split.update({name: SPLITS[rank < held_out] for rank, name in enumerate(ranked)})
    return split


def save(path: str, crops: Iterable[Crop], validation_share: float = 0.12, seed: int = 0) -> dict[str, Any]:
    """Write a face bank; returns what it holds. Whole or not there.

    Raises:
        FaceBankError: no crops.
    """
    jpegs, points, margins, rows = [], [], [], []
    for crop in crops:
        options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)  # 4:4:4
        _, data = cv2.imencode(".jpg", cv2.cvtColor(crop.rgb, cv2.COLOR_RGB2BGR), options)
        jpegs.append(data.tobytes())
        points.append(crop.points)
        margins.append(crop.margin)
        rows.append((crop.identity, crop.source, crop.origin, crop.frame))
    if not rows:
        raise FaceBankError(f"{path}: no usable face was found, so there is no face bank to write")
    splits = assign_splits([row[0] for row in rows], [row[1] for row in rows], validation_share, seed)
    info = {"format": FORMAT, "margin": MARGIN, "side_px": SIDE_PX, "seed": seed, "validation_share": validation_share}
    lengths = np.array([len(data) for data in jpegs], np.int64)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with files.atomic_path(path) as temporary, open(temporary, "wb") as stream:  # a stream, or NumPy appends a suffix
        np.savez(
            stream,
            info=np.array(json.dumps(info)),
            jpeg=np.frombuffer(b"".join(jpegs), np.uint8),
            end=np.cumsum(lengths),
            points=np.stack(points).astype(np.float32),
            margin=np.array(margins, np.float32),
            identity=np.array([row[0] for row in rows]),
            source=np.array([row[1] for row in rows]),
            origin=np.array([row[2] for row in rows]),
            frame=np.array([row[3] for row in rows], np.int64),
            split=np.array([splits[row[0]] for row in rows]),
        )
    return {name: load(path, name).summary() for name in SPLITS if name in splits.values()}


def load(path: str, split: str, weights: Optional[Mapping[str, float]] = None) -> FaceBank:
    """The crops of one split ("train", "val", or "all").

    Raises:
        FaceBankError: not a face bank, of another format, or without crops of that split.
    """
    if split not in (*SPLITS, "all"):
        raise FaceBankError(f"split {split!r}: allowed are {', '.join(SPLITS)}, all")
    try:
        with np.load(path, allow_pickle=False) as data:
            info = files.parse_json(str(data["info"]).encode("utf-8", "surrogateescape"), path)
            if info["format"] != FORMAT:
                reason = f"face bank of format {info['format']}, this version reads {FORMAT}; build it again"
                raise FaceBankError(f"{path}: {reason}")
            raw, ends = data["jpeg"], data["end"]
            fields = {name: data[name] for name in ("points", "identity", "source", "split")}
            margins = data["margin"] if "margin" in data else np.full(len(ends), MARGIN)  # banks of version 0.1.0
    except (OSError, LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, FaceBankError):
            raise
        raise FaceBankError(f"{path}: no face bank ({error}); make one with `mask face_bank`") from error
    digest = hashlib.sha256(raw.tobytes()).hexdigest()
    starts = np.concatenate([[0], ends[:-1]])
    chosen = np.flatnonzero((fields["split"] == split) | (split == "all"))
    jpegs = [raw[starts[i] : ends[i]].tobytes() for i in chosen]
    try:
        return FaceBank(
            jpegs,
            fields["points"][chosen],
            [str(fields["identity"][i]) for i in chosen],
            [str(fields["source"][i]) for i in chosen],
            weights,
            digest,
            margins[chosen],
        )
    except FaceBankError as error:
        raise FaceBankError(f"{path}: {error}") from error
