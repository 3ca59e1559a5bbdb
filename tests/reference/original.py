"""What the original does and this product does otherwise, held to its numbers so that docs/fidelity.md can say how.

Source: NVIDIA/DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial (Apache-2.0): datasets/core.py,
datasets/dagm2007.py, utils/image_processing.py, model/unet.py, runtime/runner.py.
"""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from unet_industrial.reference_mode import resize_bilinear

INPUT_SIZE = 512  # the side the reference crops or pads every image to
ITER_UNITS = ("batch", "epoch")


def decode_png(contents: tf.Tensor, channels: int) -> tf.Tensor:
    """PNG bytes → uint8 (H, W, channels). Colour to one channel: 0.299 R + 0.587 G + 0.114 B, fraction cut off."""
    return tf.io.decode_png(contents, channels=channels)


def zero_centered(image: tf.Tensor) -> tf.Tensor:
    """Grey levels [0, 255] → float32 [-1, 1]."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def zero_one(mask: tf.Tensor) -> tf.Tensor:
    """Mask levels [0, 255] → float32 [0, 1]. After a bilinear resize it is fractional at its edges, and stays so."""
    return tf.cast(mask, tf.float32) / 255.0


def preprocess(images: tf.Tensor, masks: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decoded levels (B, H, W, C) → what the reference's network gets: images in [-1, 1], masks in [0, 1], float32."""
    return zero_centered(resize_bilinear(images, size)), zero_one(resize_bilinear(masks, size))


def crop_or_pad(images: tf.Tensor, size: int = INPUT_SIZE) -> tf.Tensor:
    """(B, H, W, C) → (B, size, size, C): the centre, zero-padded where too small.

    Top and left get floor(difference / 2). On images in [-1, 1] the padding is mid-grey.
    """
    return tf.image.resize_with_crop_or_pad(images, size, size)


def binarise(images: tf.Tensor, threshold: Optional[float] = None) -> tf.Tensor:
    """Sample pictures of masks in [0, 1], uint8: 255*x with its fraction cut off, or 255 where x > threshold."""
    images = tf.cast(images, tf.float32)
    if threshold is not None:
        images = tf.cast(images > threshold, tf.float32)
    return tf.cast(images * 255.0, tf.uint8)


def count_steps(iter_unit: str, samples: int, iterations: int, global_batch: int) -> tuple[int, int]:
    """(steps, epochs) of a run, an epoch being samples // global_batch steps.

    `samples` counts every image of the folder, clean ones included, although training drops those.

    Raises:
        ValueError: an unknown unit, or a global batch larger than the data set.
    """
    if iter_unit not in ITER_UNITS:
        raise ValueError(f"iter_unit={iter_unit!r}: allowed are {', '.join(ITER_UNITS)}")
    per_epoch = samples // global_batch
    if not per_epoch:
        raise ValueError(f"{samples} samples do not fill one global batch of {global_batch}")
    if iter_unit == "epoch":
        return iterations * per_epoch, iterations
    return iterations, -(-iterations // per_epoch)


def base_seed(seed: int, rank: int) -> int:
    """What the reference seeds numpy, Python, the shuffle and the augmentation with: workers all differ."""
    return 2 * (seed + rank)


def graph_seed(seed: int, rank: int) -> int:
    """What it seeds the graph, and so the initial weights, with: the rule applied once more."""
    return 2 * (base_seed(seed, rank) + rank)
