"""The TFRecord schema, once: what the mask stage writes and what training reads.

One record is a **face group**: the crop of an original at one frame and one box, and the crops of every manipulated
copy of it at the same frame and box. Faces are found once per original, and real and fake of one moment can go into
the same batch. Images and masks are stored as PNG, hence exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from unet_industrial.config import FAKE_ABOVE_UINT8

PNG_LEVEL = 3  # of zlib: on face crops a quarter of the default's time (8 for 30 ms) for 5 % more bytes


class RecordError(ValueError):
    """A group breaks the schema, or bytes are no record of it; the message says which rule."""


@dataclasses.dataclass(frozen=True, eq=False)
class FaceImage:
    """One crop and its mask.

    Attributes:
        image: (H,W,3) uint8 RGB, or (H,W,1) uint8 grey.
        mask: (H,W) uint8, 255 times the probability that the pixel is faked; all 0 in an untouched image.
        label: 1 manipulated, 0 untouched.
        clip: unique name of the clip, `dataset/method/compression/video`.
        method: manipulation, or the name of the untouched part of the data set.
        frame_index: index of the frame within this clip (a fake that lost frames has its own numbering).
        recipe: how the mask was made; empty for an untouched image.
        noise_level: codec noise the recipe measured, in grey levels; 0 where it measures none.
        threshold: grey level the recipe cut at; 0 where it does not cut.
    """

    image: np.ndarray
    mask: np.ndarray
    label: int
    clip: str
    method: str
    frame_index: int
    recipe: str = ""
    noise_level: float = 0.0
    threshold: float = 0.0

    @property
    def fake_area(self) -> float:
        """Share of the crop whose pixels count as faked, in [0, 1]."""
        return float(np.mean(self.mask > FAKE_ABOVE_UINT8))


@dataclasses.dataclass(frozen=True, eq=False)
class FaceGroup:
    """One face at one moment, in the original and in every manipulated copy.

    Attributes:
        key: unique name of the group over all data sets.
        identity: name of the connected component of people and sources this belongs to: the unit of splitting and of
            resampling in statistics.
        frame_index, time_s: of the original, or of the only clip.
        track: number of the person within the clip.
        box: x0, y0, x1, y1 of the detected face in pixels of the original's frame.
        images: the original first if there is one, then the copies.
    """

    key: str
    dataset: str
    split: str
    identity: str
    frame_index: int
    time_s: float
    track: int
    box: tuple[float, float, float, float]
    images: tuple[FaceImage, ...]

    @property
    def has_original(self) -> bool:
        return self.images[0].label == 0


_SCALARS = {"key": "s", "dataset": "s", "split": "s", "identity": "s", "frame_index": "i", "time_s": "f", "track": "i"}
_PER_IMAGE = {
    "image": "s",
    "mask": "s",
    "label": "i",
    "clip": "s",
    "method": "s",
    "image_frame_index": "i",
    "recipe": "s",
    "noise_level": "f",
    "threshold": "f",
    "fake_area": "f",
}
_KINDS = {"s": tf.string, "i": tf.int64, "f": tf.float32}
_SPEC: dict[str, object] = {
    **{name: tf.io.FixedLenFeature([], _KINDS[kind]) for name, kind in _SCALARS.items()},
    **{name: tf.io.FixedLenSequenceFeature([], _KINDS[kind], allow_missing=True) for name, kind in _PER_IMAGE.items()},
    "box": tf.io.FixedLenFeature([4], tf.float32),
}


def _feature(kind: str, values: Sequence[object]) -> tf.train.Feature:
    if kind == "s":
        data = [value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))
    if kind == "i":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def check_group(group: FaceGroup) -> None:
    """Raise RecordError unless the group keeps the schema."""
    if not group.images:
        raise RecordError(f"{group.key}: a group needs at least one image")
    shape = group.images[0].image.shape
    for number, item in enumerate(group.images):
        where = f"{group.key}, image {number} ({item.clip})"
        if item.image.dtype != np.uint8 or item.image.ndim != 3 or item.image.shape[2] not in (1, 3):
            raise RecordError(f"{where}: image must be (H,W,1|3) uint8, is {item.image.shape} {item.image.dtype}")
        if item.image.shape != shape:
            raise RecordError(f"{where}: all images of a group share one shape, {item.image.shape} is not {shape}")
        if item.mask.dtype != np.uint8 or item.mask.shape != shape[:2]:
            raise RecordError(f"{where}: mask must be {shape[:2]} uint8, is {item.mask.shape} {item.mask.dtype}")
        if item.label not in (0, 1):
            raise RecordError(f"{where}: label must be 0 or 1, is {item.label!r}")
        if item.label == 0 and number:
            raise RecordError(f"{where}: an untouched image can only come first")
        if item.label == 0 and item.mask.any():
            raise RecordError(f"{where}: an untouched image has faked pixels")


def encode_group(group: FaceGroup) -> bytes:
    """The group as a serialised `tf.train.Example`; the same group always gives the same bytes.

    Raises:
        RecordError: the group breaks the schema.
    """
    check_group(group)
    columns: dict[str, list[object]] = {
        "image": [tf.io.encode_png(item.image, PNG_LEVEL).numpy() for item in group.images],
        "mask": [tf.io.encode_png(item.mask[..., None], PNG_LEVEL).numpy() for item in group.images],
        "image_frame_index": [item.frame_index for item in group.images],
    }
    for name in _PER_IMAGE:
        columns.setdefault(name, [getattr(item, name, None) for item in group.images])
    features = {name: _feature(kind, columns[name]) for name, kind in _PER_IMAGE.items()}
    features.update({name: _feature(kind, [getattr(group, name)]) for name, kind in _SCALARS.items()})
    features["box"] = _feature("f", group.box)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse_group(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
    """A serialised group → its fields, in eager mode or inside `tf.data`; images and masks stay encoded.

    Args:
        serialised: scalar string.
    Returns:
        scalars `key`, `dataset`, `split`, `identity`, `frame_index`, `time_s`, `track`; `box` (4,) float32; and per
        image, (N,): `image` and `mask` as PNG strings, `label`, `clip`, `method`, `image_frame_index`, `recipe`,
        `noise_level`, `threshold`, `fake_area`.
    """
    return dict(tf.io.parse_single_example(serialised, _SPEC))


def decode_image(encoded: tf.Tensor, channels: int = 0) -> tf.Tensor:
    """PNG string → (H,W,channels) uint8; channels 1 makes grey, 3 colour, 0 takes what is stored."""
    image = tf.io.decode_png(encoded, channels=channels)
    image.set_shape([None, None, channels or None])
    return image


def decode_mask(encoded: tf.Tensor) -> tf.Tensor:
    """PNG string → (H,W,1) uint8."""
    return decode_image(encoded, 1)


def parse_member(serialised: tf.Tensor, member: tf.Tensor, channels: int = 0) -> dict[str, tf.Tensor]:
    """One image of a group, decoded; the others are not touched. For eager mode and `tf.data`.

    Args:
        serialised: scalar string.
        member: 0 the original, i the i-th manipulated copy, whether there is an original or not.
    Returns:
        `image` (H,W,C) uint8, `mask` (H,W,1) uint8, and as scalars the group's and the image's other fields;
        `frame_index` is the image's own.
    """
    group = parse_group(serialised)
    place = tf.cast(member, tf.int64) - group["label"][0]  # without an original the first copy is stored at 0
    example = {name: group[name] for name in (*_SCALARS, "box")}
    example.update({name: group[name][place] for name in _PER_IMAGE})
    example["frame_index"] = example.pop("image_frame_index")
    example["image"] = decode_image(example["image"], channels)
    example["mask"] = decode_mask(example["mask"])
    return example


def decode_group(serialised: bytes) -> FaceGroup:
    """The inverse of `encode_group`.

    Raises:
        RecordError: the bytes are no record of this schema.
    """
    try:
        fields = {name: value.numpy() for name, value in parse_group(tf.constant(serialised)).items()}
        pictures = [decode_image(png).numpy() for png in fields["image"]]
        masks = [decode_mask(png).numpy()[..., 0] for png in fields["mask"]]
    except tf.errors.InvalidArgumentError as error:
        raise RecordError(f"not a record of face groups, or a damaged one: {error.message.splitlines()[0]}") from error

    def text(value: bytes) -> str:
        return value.decode("utf-8", "surrogateescape")

    images = tuple(
        FaceImage(
            image=pictures[i],
            mask=masks[i],
            label=int(fields["label"][i]),
            clip=text(fields["clip"][i]),
            method=text(fields["method"][i]),
            frame_index=int(fields["image_frame_index"][i]),
            recipe=text(fields["recipe"][i]),
            noise_level=float(fields["noise_level"][i]),
            threshold=float(fields["threshold"][i]),
        )
        for i in range(len(pictures))
    )
    if not images:
        raise RecordError("a record of face groups without an image")
    return FaceGroup(
        key=text(fields["key"]),
        dataset=text(fields["dataset"]),
        split=text(fields["split"]),
        identity=text(fields["identity"]),
        frame_index=int(fields["frame_index"]),
        time_s=float(fields["time_s"]),
        track=int(fields["track"]),
        box=tuple(float(value) for value in fields["box"]),  # type: ignore[arg-type]
        images=images,
    )
