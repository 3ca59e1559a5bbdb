"""Which record it was: reading fails inside `tf.data`, whose messages know neither file nor place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

import tensorflow as tf

from unet_industrial import records
from unet_industrial.record_files import RecordFileError, RecordIndex, RecordReader


def first_damage(index: RecordIndex, reader: RecordReader, numbers: Iterable[int], channels: int) -> Optional[str]:
    """The first of these records that cannot be read and decoded: file, byte and reason. None: all are well.

    Args:
        channels: of the images, as they were asked for: 1 or 3.
    """
    for number in numbers:
        try:
            group = records.parse_group(tf.constant(reader.read(number)))
            for image, mask in zip(group["image"], group["mask"]):
                records.decode_image(image, channels)
                records.decode_mask(mask)
        except RecordFileError as error:
            return str(error)
        except tf.errors.OpError as error:
            return f"{index.name(number)}: damaged record ({error.message.splitlines()[0]})"
    return None


def explained(
    batches: tf.data.Dataset, index: RecordIndex, reader: RecordReader, channels: int
) -> Iterator[dict[str, tf.Tensor]]:
    """The batches of a data set made of these records.

    Raises:
        RecordFileError: one of them is damaged; named.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        damage = first_damage(index, reader, range(len(index)), channels)
        if damage is None:
            raise
        raise RecordFileError(damage) from error
