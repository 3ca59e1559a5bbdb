"""Record files → batches. The batch of a step depends on the seed and the step alone, so resuming is one number.

Training draws an endless stream of examples out of face groups (see `records`): groups in an order shuffled anew each
epoch, and of each group first the original, then one of its manipulated copies, so that real and fake of one face and
frame lie side by side and each batch is half real. Step s of W workers with batches of B takes examples
s·W·B … (s+1)·W·B − 1 of that stream, worker r the r-th part of them: N workers together see what one worker with
the same global batch sees, no two workers share an example, and no worker ever runs out before another.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional, Protocol

import numpy as np
import tensorflow as tf

from unet_industrial import records, reference_mode
from unet_industrial.augment import augment
from unet_industrial.config import DataConfig, ModelConfig
from unet_industrial.record_files import RecordFileError, RecordIndex, RecordReader, index_files

Batch = dict[str, tf.Tensor]
DESCRIPTION = ("dataset", "method", "identity", "track", "original", "face_px")  # beside a training batch's fields


class BatchSource(Protocol):
    """Where training batches come from: record files, synthesis on the fly, or noise for benchmarks.

    `batches` yields dictionaries of `image` (B,H,W,C) float32 in [-1,1], `mask` (B,H,W,1) float32 in [0,1],
    `label` (B,) int32 (1 fake), `clip` and `key` (B,) strings, `frame_index` (B,) int64, without end. It must be a
    function of its arguments: `position` counts the examples that all workers together have consumed before.
    """

    def batches(self, position: int, batch_size: int, rank: int, workers: int) -> tf.data.Dataset: ...

    def epoch_examples(self) -> int:
        """Examples in one pass over the data."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the data is, for the checkpoint: a resumed run must find the same."""
        ...

    def find_damage(self, positions: Sequence[int]) -> Optional[str]:
        """For the message after `batches` has failed: the first of these examples of the stream that cannot be read and
        decoded, named with what is wrong with it. None: all are well, or they do not come from files."""
        ...


def find_files(data_dir: str, split: str) -> list[str]:
    """Record files of one split: `<data_dir>/<split>*.tfrecord` or `<data_dir>/<split>/*.tfrecord`.

    Raises:
        RecordFileError: there are none; the message says where they were looked for.
    """
    patterns = [os.path.join(glob.escape(data_dir), name) for name in (f"{split}*.tfrecord", f"{split}/*.tfrecord")]
    found = sorted({name for pattern in patterns for name in glob.glob(pattern)})
    if not found:
        raise RecordFileError(f"no record files for split {split!r}: looked for {' and '.join(patterns)}")
    return found


@dataclasses.dataclass(frozen=True)
class Draws:
    """Some examples of the stream: which record, which of its images, and the seeds of their augmentation."""

    record: np.ndarray  # (N,) int64
    member: np.ndarray  # (N,) int64: 0 the original, i the i-th manipulated copy
    pair_seed: np.ndarray  # (N,2) int64
    own_seed: np.ndarray  # (N,2) int64


class Sampler:
    """Positions of the endless stream → examples. Every draw is a function of seed and position."""

    def __init__(self, copies: np.ndarray, has_original: np.ndarray, seed: int, drop_clean: bool) -> None:
        """
        Args:
            copies: (N,) manipulated copies in each record; has_original: (N,) bool.
        Raises:
            RecordFileError: no manipulated image at all, or no real one where real ones are wanted.
        """
        self._copies, self._has_original = copies, has_original
        self._seed, self._drop_clean = seed, drop_clean
        self._with_copies = np.flatnonzero(copies > 0)
        self._with_original = np.flatnonzero(has_original)
        if not self._with_copies.size:
            raise RecordFileError("no manipulated image in any record: nothing to learn")
        if not drop_clean and not self._with_original.size:
            raise RecordFileError("no real image in any record; train with --drop_clean, or add originals")
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        # Groups that nothing is drawn from would only lengthen the epoch.
        self._groups = self._with_copies if drop_clean else np.arange(len(copies))

    def epoch_examples(self) -> int:
        return len(self._groups) * (1 if self._drop_clean else 2)

    def _group(self, turn: int) -> int:
        epoch, place = divmod(turn, len(self._groups))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, 1, epoch]).permutation(self._groups))
        return int(self._order[1][place])

    def draw(self, positions: Sequence[int]) -> Draws:
        record = np.empty(len(positions), np.int64)
        member = np.empty(len(positions), np.int64)
        turns = np.asarray(positions, np.int64) // (1 if self._drop_clean else 2)
        for i, (position, turn) in enumerate(zip(positions, turns)):
            group = self._group(int(turn))
            rng = np.random.default_rng([self._seed, 2, int(turn)])
            wants_fake = self._drop_clean or position % 2 == 1
            allowed = self._copies[group] > 0 if wants_fake else self._has_original[group]
            if not allowed:  # a group without a partner borrows one, so the batch stays half real
                candidates = self._with_copies if wants_fake else self._with_original
                group = int(candidates[rng.integers(candidates.size)])
            record[i] = group
            member[i] = 1 + rng.integers(self._copies[group]) if wants_fake else 0
        seeds = np.full(len(positions), self._seed, np.int64)
        return Draws(
            record,
            member,
            np.stack([seeds, 2 * turns], 1),
            np.stack([seeds, 2 * np.asarray(positions, np.int64) + 1], 1),
        )


class RecordSource:
    """Training batches from record files; see `BatchSource`."""

    def __init__(self, files: Sequence[str], model: ModelConfig, data: DataConfig, seed: int) -> None:
        """
        Raises:
            RecordFileError: files are missing, damaged or hold nothing to train on.
        """
        self._index = index_files(files)
        self.files = self._index.files
        self._reader = RecordReader(self._index)
        self._model, self._data = model, data
        copies, has_original = count_members(self._index, self._reader)
        self._sampler = Sampler(copies, has_original, seed, data.drop_clean)
        self.images = int(copies.sum() + has_original.sum())

    def epoch_examples(self) -> int:
        return self._sampler.epoch_examples()

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for name in self._index.files:
            digest.update(f"{os.path.basename(name)}\0{os.path.getsize(name)}\n".encode())
        return {
            "kind": "records",
            "files": len(self._index.files),
            "groups": len(self._index),
            "images": self.images,
            "names_and_sizes_sha256": digest.hexdigest(),
        }

    def batches(self, position: int, batch_size: int, rank: int, workers: int) -> tf.data.Dataset:
        def plan() -> Iterator[tuple[np.ndarray, ...]]:
            start = position + rank * batch_size
            while True:
                draws = self._sampler.draw(range(start, start + batch_size))
                yield draws.record, draws.member, draws.pair_seed, draws.own_seed
                start += batch_size * workers

        signature = tuple(tf.TensorSpec((batch_size, *rest), tf.int64) for rest in ((), (), (2,), (2,)))
        data = tf.data.Dataset.from_generator(plan, output_signature=signature).unbatch()
        data = data.map(self._example, num_parallel_calls=self._data.reader_threads or tf.data.AUTOTUNE)
        data = data.batch(batch_size, drop_remainder=True)
        return data.prefetch(self._data.prefetch_batches or tf.data.AUTOTUNE)

    def find_damage(self, positions: Sequence[int]) -> Optional[str]:
        """See `BatchSource`."""
        numbers = map(int, self._sampler.draw(positions).record)
        return first_damage(self._index, self._reader, numbers)

    def members(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """These examples of the stream as they are stored, outside any graph: the fields of `records.parse_member`,
        `image` (H,W,C) and `mask` (H,W,1) uint8 arrays.

        Raises:
            RecordFileError: a record is damaged, or its file cannot be read.
        """
        draws = self._sampler.draw(positions)
        found = []
        for record, member in zip(draws.record, draws.member):
            serialised = tf.constant(self._reader.read(int(record)))
            try:
                parsed = records.parse_member(serialised, tf.constant(member), self._model.in_channels)
            except records.READ_ERRORS as error:
                damage = first_damage(self._index, self._reader, [int(record)])
                raise RecordFileError(damage or str(error)) from error
            found.append({name: value.numpy() for name, value in parsed.items()})
        return found

    def _example(self, record: tf.Tensor, member: tf.Tensor, pair_seed: tf.Tensor, own_seed: tf.Tensor) -> Batch:
        serialised = read_record(self._reader, record)
        example = records.parse_member(serialised, member, self._model.in_channels)
        drawn = (pair_seed, own_seed) if self._data.augment else None
        return finish(example, self._model, self._data, drawn)


class SyntheticSource:
    """One batch of noise, made once and handed out for ever: what is measured is the step, not the input.

    As in the reference, the image is truncated normal (0, 1) and the mask truncated normal (0.01, 0.1); unlike there,
    both are cut to their ranges, and half of the batch is labelled fake. For benchmarks; see `BatchSource`.
    """

    def __init__(self, model: ModelConfig, seed: int) -> None:
        self._model, self._seed = model, seed

    def epoch_examples(self) -> int:
        return 1000

    def describe(self) -> dict[str, Any]:
        return {"kind": "synthetic", "seed": self._seed}

    def find_damage(self, positions: Sequence[int]) -> Optional[str]:
        return None

    def batches(self, position: int, batch_size: int, rank: int, workers: int) -> tf.data.Dataset:
        shape = (batch_size, self._model.input_size, self._model.input_size)
        image = tf.random.stateless_truncated_normal((*shape, self._model.in_channels), (self._seed, 2 * rank))
        mask = tf.random.stateless_truncated_normal((*shape, 1), (self._seed, 2 * rank + 1), 0.01, 0.1)
        batch = {
            "image": tf.clip_by_value(image, -1.0, 1.0),
            "mask": tf.clip_by_value(mask, 0.0, 1.0),
            "label": tf.range(batch_size) % 2,
            "clip": tf.fill((batch_size,), "noise"),
            "key": tf.strings.as_string(tf.range(batch_size)),
            "frame_index": tf.zeros((batch_size,), tf.int64),
        }
        return tf.data.Dataset.from_tensors(batch).cache().repeat()


def eval_dataset(
    files: Sequence[str], model: ModelConfig, data: DataConfig, batch_size: int, rank: int = 0, workers: int = 1
) -> Iterator[Batch]:
    """Every image of every group once, the last batch as short as it comes; worker r takes each W-th group.

    Batches have the fields of `BatchSource` and those of `DESCRIPTION`: `original` names the clip of the group's
    original (empty without one), `face_px` is the longer side of the detected box in source pixels.

    Raises:
        RecordFileError: files are missing or damaged, at once or at the batch that has the damage.
    """
    index = index_files(files)
    reader = RecordReader(index)

    def members(record: tf.Tensor) -> tf.data.Dataset:
        group = records.parse_group(read_record(reader, record))
        box = group["box"]
        first = group["label"][0] == 0
        shared = {name: group[name] for name in ("key", "dataset", "identity", "track")}
        shared["original"] = tf.where(first, group["clip"][0], "")
        shared["face_px"] = tf.maximum(box[2] - box[0], box[3] - box[1])
        count = tf.shape(group["label"], tf.int64)
        each = {name: group[name] for name in ("image", "mask", "label", "clip", "method", "fake_area")}
        each["frame_index"] = group["image_frame_index"]
        each.update({name: tf.repeat(value, count) for name, value in shared.items()})
        return tf.data.Dataset.from_tensor_slices(each)

    def example(fields: dict[str, tf.Tensor]) -> Batch:
        fields["image"] = records.decode_image(fields["image"], model.in_channels)
        mask = records.decode_mask(fields["mask"])
        fields["mask"] = records.check_pixels(mask, fields["label"], fields["fake_area"])
        batch = finish(fields, model, data, None)
        batch.update({name: fields[name] for name in DESCRIPTION})
        return batch

    mine = tf.data.Dataset.range(rank, len(index), workers)
    threads = data.reader_threads or tf.data.AUTOTUNE
    batches = mine.flat_map(members).map(example, num_parallel_calls=threads).batch(batch_size).prefetch(2)
    return explained(batches, index, reader)


def finish(
    example: dict[str, tf.Tensor],
    model: ModelConfig,
    data: DataConfig,
    seeds: Optional[tuple[tf.Tensor, tf.Tensor]],
) -> Batch:
    """A decoded example, uint8 → resized, augmented (with `seeds` only) and normalised, float32."""
    side = model.input_size
    image = fit(tf.cast(example["image"], tf.float32), side, model.in_channels, data.reference_mode)
    mask = fit(tf.cast(example["mask"], tf.float32), side, 1, data.reference_mode) / 255.0
    if seeds is not None:
        if data.reference_mode:
            image, mask = reference_mode.augment(image, mask, seeds[0])
        else:
            image, mask = augment(image, mask, *seeds, data.augmentations)
    return {
        "image": tf.ensure_shape(normalise(image), (side, side, model.in_channels)),
        "mask": tf.ensure_shape(mask, (side, side, 1)),
        "label": tf.cast(example["label"], tf.int32),
        **{name: example[name] for name in ("clip", "key", "frame_index")},
    }


def normalise(image: tf.Tensor) -> tf.Tensor:
    """Grey levels in [0,255] → [-1,1]."""
    return image / 127.5 - 1.0


def fit(image: tf.Tensor, side: int, channels: int, as_reference: bool = False) -> tf.Tensor:
    """(H,W,C) float32 → (side,side,C), bilinear, averaging when it shrinks; untouched if it has that size already."""
    image = tf.ensure_shape(image, (None, None, channels))

    def resized() -> tf.Tensor:
        if as_reference:
            return reference_mode.resize_bilinear(image[tf.newaxis], (side, side))[0]
        return tf.image.resize(image, (side, side), "bilinear", antialias=True)

    fits = tf.reduce_all(tf.shape(image)[:2] == side)
    return tf.ensure_shape(tf.cond(fits, lambda: image, resized), (side, side, channels))


def count_members(index: RecordIndex, reader: RecordReader) -> tuple[np.ndarray, np.ndarray]:
    """(copies (N,) int64, has_original (N,) bool) of every record; reads each file once, with all its check sums.

    Raises:
        RecordFileError: a record is damaged, or no face group.
    """

    def labels(record: tf.Tensor) -> tf.Tensor:
        label = records.parse_group(read_record(reader, record))["label"]
        return tf.stack([tf.math.count_nonzero(label == 1), tf.math.count_nonzero(label == 0)])

    data = tf.data.Dataset.range(len(index)).map(labels, num_parallel_calls=tf.data.AUTOTUNE)
    counts = np.empty((len(index), 2), np.int64)
    number = 0
    for block in explained(data.batch(256), index, reader):
        counts[number : number + len(block)] = block.numpy()
        number += len(block)
    return counts[:, 0], counts[:, 1] > 0


def read_record(reader: RecordReader, record: tf.Tensor) -> tf.Tensor:
    """A record's bytes, in a `tf.data` graph."""
    # Reading has no side effect; declaring that lets deterministic mode read in parallel.
    data = tf.numpy_function(lambda number: reader.read(int(number)), [record], tf.string, stateful=False)
    return tf.ensure_shape(data, ())


def first_damage(index: RecordIndex, reader: RecordReader, numbers: Iterable[int]) -> Optional[str]:
    """The first of these records that cannot be read or breaks the schema: file, byte, field. None: all are well.

    Reading fails inside `tf.data`, whose messages know neither file nor place.
    """
    for number in numbers:
        try:
            with records.located(index.name(number)):
                records.decode_group(reader.read(number))
        except RecordFileError as error:
            return str(error)
    return None


def explained(batches: tf.data.Dataset, index: RecordIndex, reader: RecordReader) -> Iterator[Any]:
    """The elements of a data set made of these records.

    Raises:
        RecordFileError: one of them is damaged; named.
    """
    try:
        yield from batches
    except records.READ_ERRORS as error:
        damage = first_damage(index, reader, range(len(index)))
        if damage is None:
            raise
        raise RecordFileError(damage) from error
