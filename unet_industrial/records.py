"""The TFRecord schema, once: what the mask stage writes and what training reads.

One record is a **face group**: the crop of an original at one frame and one box, and the crops of every manipulated
copy of it at the same frame and box. Faces are found once per original, and real and fake of one moment can go into
the same batch. Images and masks are stored as PNG, hence exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.record_files import RecordFileError

PNG_LEVEL = 3  # of zlib: on face crops a quarter of the default's time (8 for 30 ms) for 5 % more bytes
MAX_SIDE_PX = 4096  # of a crop; a few hundred bytes of PNG can declare a picture that fills the memory
_AREA_TOLERANCE = 1e-5  # fake_area is stored as float32
# PNG, third edition: signature, then IHDR: length 13, type, width, height (4 bytes each), bit depth, colour type
_PNG_START, _PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 26
_GREY_8, _RGB_8 = b"\x08\x00", b"\x08\x02"


READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)  # of `tf.data` on bad records; the second: it quotes their bytes


class RecordError(RecordFileError):
    """A group breaks the schema, or bytes are no record of it; the message says which rule."""


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Puts file and byte (`RecordIndex.name`) before the message of a RecordError of the block."""
    try:
        yield
    except RecordError as error:
        raise RecordError(f"{place}: damaged record: {error}") from error


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
    """Raise RecordError unless the group keeps the schema; on writing and on reading."""
    if not group.images:
        raise RecordError(f"{group.key}: a group needs at least one image")
    if not all(map(math.isfinite, (group.time_s, *group.box))):
        raise RecordError(f"{group.key}: time_s and box must be finite, are {group.time_s} and {group.box}")
    if group.box[0] > group.box[2] or group.box[1] > group.box[3]:
        raise RecordError(f"{group.key}: box must be x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, is {group.box}")
    shape = group.images[0].image.shape
    for number, item in enumerate(group.images):
        where = f"{group.key}, image {number} ({item.clip})"
        if item.image.dtype != np.uint8 or item.image.ndim != 3 or item.image.shape[2] not in (1, 3):
            raise RecordError(f"{where}: image must be (H,W,1|3) uint8, is {item.image.shape} {item.image.dtype}")
        if not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE_PX:
            raise RecordError(f"{where}: image must have sides of 1 to {MAX_SIDE_PX} px, is {item.image.shape}")
        if item.image.shape != shape:
            raise RecordError(f"{where}: all images of a group share one shape, {item.image.shape} is not {shape}")
        if item.mask.dtype != np.uint8 or item.mask.shape != shape[:2]:
            raise RecordError(f"{where}: mask must be {shape[:2]} uint8, is {item.mask.shape} {item.mask.dtype}")
        if item.label not in (0, 1):
            raise RecordError(f"{where}: label must be 0 or 1, is {item.label!r}")
        if item.label == 0 and number:
            raise RecordError(f"{where}: label 0: an untouched image can only come first")
        if item.label == 0 and item.mask.any():
            raise RecordError(f"{where}: label and mask disagree: an untouched image has faked pixels")
        for name in ("noise_level", "threshold"):
            if not math.isfinite(getattr(item, name)):
                raise RecordError(f"{where}: {name} must be finite, is {getattr(item, name)}")


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

    Lists of unequal lengths, labels that are none, and pictures that do not declare one size and kind are refused
    here; what shows only in the pixels is refused by `parse_member` and `check_pixels`. The messages of `tf.data` know
    neither file nor field: `decode_group` of the same bytes names what is wrong.

    Args:
        serialised: scalar string.
    Returns:
        scalars `key`, `dataset`, `split`, `identity`, `frame_index`, `time_s`, `track`; `box` (4,) float32; and per
        image, (N,): `image` and `mask` as PNG strings, `label`, `clip`, `method`, `image_frame_index`, `recipe`,
        `noise_level`, `threshold`, `fake_area`.
    Raises:
        tf.errors.InvalidArgumentError: the bytes are no record of this schema.
    """
    group = dict(tf.io.parse_single_example(serialised, _SPEC))
    count = tf.size(group["label"])
    with tf.control_dependencies([_assert(count > 0, "a group without an image")]):
        lengths = tf.stack([tf.size(group[name]) for name in _PER_IMAGE])
    with tf.control_dependencies([_assert(tf.reduce_all(lengths == count), "lists of unequal lengths")]):
        first = group["label"][0]
        heads = tf.strings.substr([group["image"], group["mask"]], 0, _PNG_HEAD)  # an error for anything shorter
    sides = tf.io.decode_raw(tf.strings.substr(heads[0, 0], 16, 8), tf.int32, little_endian=False)
    kind = tf.strings.substr(heads[0, 0], 24, 2)
    numbers = tf.stack([group["time_s"], *tf.unstack(group["box"])])
    numbers = tf.concat([numbers, group["noise_level"], group["threshold"]], 0)
    box = group["box"]
    keeps = [
        tf.logical_or(first == 0, first == 1),
        tf.reduce_all(group["label"][1:] == 1),
        tf.reduce_all(tf.math.is_finite(numbers)),
        tf.reduce_all(box[:2] <= box[2:]),
        tf.strings.substr(heads[0, 0], 0, len(_PNG_START)) == _PNG_START,
        tf.logical_or(kind == _GREY_8, kind == _RGB_8),
        tf.reduce_all(heads[0] == heads[0, 0]),
        tf.reduce_all(heads[1] == tf.strings.substr(heads[0, 0], 0, 24) + _GREY_8),
        tf.reduce_all(tf.logical_and(sides >= 1, sides <= MAX_SIDE_PX)),
    ]
    with tf.control_dependencies([_assert(tf.reduce_all(tf.stack(keeps)), "a record that breaks the schema")]):
        return {name: tf.identity(value) for name, value in group.items()}


def _assert(holds: tf.Tensor, message: str) -> tf.Operation:
    return tf.debugging.Assert(holds, [message])


def check_pixels(mask: tf.Tensor, label: tf.Tensor, fake_area: tf.Tensor) -> tf.Tensor:
    """The mask (H,W,1) uint8 of one image, unless it disagrees with the label or the area stored beside it.

    Raises:
        tf.errors.InvalidArgumentError: it does.
    """
    area = tf.reduce_mean(tf.cast(mask > FAKE_ABOVE_UINT8, tf.float32))
    clean = tf.logical_or(label == 1, tf.reduce_max(mask) == 0)
    agrees = tf.logical_and(clean, tf.abs(area - fake_area) <= _AREA_TOLERANCE)
    with tf.control_dependencies([_assert(agrees, "a mask that disagrees with its label or fake_area")]):
        return tf.identity(mask)


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
    Raises:
        tf.errors.InvalidArgumentError: the bytes are no record of this schema, or this image cannot be decoded.
    """
    group = parse_group(serialised)
    place = tf.cast(member, tf.int64) - group["label"][0]  # without an original the first copy is stored at 0
    example = {name: group[name] for name in (*_SCALARS, "box")}
    example.update({name: group[name][place] for name in _PER_IMAGE})
    example["frame_index"] = example.pop("image_frame_index")
    example["image"] = decode_image(example["image"], channels)
    example["mask"] = check_pixels(decode_mask(example["mask"]), example["label"], example["fake_area"])
    return example


def decode_group(serialised: bytes) -> FaceGroup:
    """The inverse of `encode_group`.

    Raises:
        RecordError: the bytes are no record of this schema; the message names the field.
    """
    fields = fields_of(serialised)

    def text(value: bytes) -> str:
        return value.decode("utf-8", "surrogateescape")

    images = tuple(
        FaceImage(
            image=_decoded(fields, "image", i),
            mask=_decoded(fields, "mask", i)[..., 0],
            label=int(fields["label"][i]),
            clip=text(fields["clip"][i]),
            method=text(fields["method"][i]),
            frame_index=int(fields["image_frame_index"][i]),
            recipe=text(fields["recipe"][i]),
            noise_level=float(fields["noise_level"][i]),
            threshold=float(fields["threshold"][i]),
        )
        for i in range(len(fields["label"]))
    )
    group = FaceGroup(
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
    check_group(group)
    for number, (item, area) in enumerate(zip(images, fields["fake_area"])):
        if not abs(item.fake_area - area) <= _AREA_TOLERANCE:
            raise RecordError(
                f"{group.key}, image {number} ({item.clip}): fake_area and mask disagree: "
                f"{area:.6g} is stored, the mask has {item.fake_area:.6g}"
            )
    return group


def fields_of(serialised: bytes) -> dict[str, Any]:
    """A record's fields as `parse_group` has them, as arrays; the pictures stay encoded, and unchecked.

    Raises:
        RecordError: a field is missing, of another type, or its list of another length than the labels'.
    """
    try:
        fields = {name: value.numpy() for name, value in tf.io.parse_single_example(serialised, _SPEC).items()}
    except tf.errors.InvalidArgumentError as error:
        raise RecordError(f"not a record of face groups: {error.message.splitlines()[0]}") from error
    except UnicodeDecodeError as error:  # TensorFlow quotes the bytes in its message, and cannot hand that over
        raise RecordError("not a record of face groups: no serialised tf.train.Example") from error
    count = len(fields["label"])
    if not count:
        raise RecordError("not a record of face groups: field 'label' is empty, so it has no images")
    for name in _PER_IMAGE:
        if len(fields[name]) != count:
            raise RecordError(f"field {name!r} has {len(fields[name])} values for {count} labels")
    return fields


def _decoded(fields: dict[str, Any], name: str, number: int) -> np.ndarray:
    """A picture of a record, (H,W,1|3) uint8; its head is looked at first, as memory is taken for what it declares.

    Raises:
        RecordError: it is no PNG of the kind and size that `encode_group` writes, or damaged.
    """
    where, encoded = f"field {name!r} of image {number}", fields[name][number]
    head = encoded[:_PNG_HEAD]
    if len(head) < _PNG_HEAD or not head.startswith(_PNG_START):
        raise RecordError(f"{where} is no PNG")
    if head[24:] not in ((_GREY_8, _RGB_8) if name == "image" else (_GREY_8,)):
        kinds = "8-bit grey or RGB" if name == "image" else "8-bit grey"
        raise RecordError(f"{where} must be {kinds}, is a PNG of bit depth {head[24]} and colour type {head[25]}")
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
    if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE_PX:
        raise RecordError(f"{where} must have sides of 1 to {MAX_SIDE_PX} px, is {width}x{height}")
    try:
        return decode_image(encoded).numpy()
    except tf.errors.OpError as error:
        raise RecordError(f"{where} cannot be decoded: {error.message.splitlines()[0]}") from error
