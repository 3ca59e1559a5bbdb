"""What the reference does that we do only under `--reference_mode`, quirk for quirk.

Source: NVIDIA/DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial (Apache-2.0): datasets/core.py,
datasets/dagm2007.py, utils/image_processing.py, model/unet.py, runtime/runner.py. `docs/fidelity.md` says what we do
by default instead.
"""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from unet_industrial.unet import reference_variable_names

INPUT_SIZE = 512  # the side the reference crops or pads every image to
ITER_UNITS = ("batch", "epoch")


def decode_png(contents: tf.Tensor, channels: int) -> tf.Tensor:
    """PNG bytes → uint8 (H, W, channels). Colour to one channel: 0.299 R + 0.587 G + 0.114 B, fraction cut off."""
    return tf.io.decode_png(contents, channels=channels)


def resize_bilinear(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """TF1's bilinear resize: source = target * in / out, without half-pixel centres and without antialiasing.

    It shifts the picture by up to half a pixel towards the bottom right, and shrinking skips pixels.

    Args:
        images: (B, H, W, C), any numeric dtype.
        size: height and width of the result.
    Returns:
        (B, *size, C) float32.
    """
    return tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=False, half_pixel_centers=False)


def zero_centered(image: tf.Tensor) -> tf.Tensor:
    """Grey levels [0, 255] → float32 [-1, 1]."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def zero_one(mask: tf.Tensor) -> tf.Tensor:
    """Mask levels [0, 255] → float32 [0, 1]. After a bilinear resize it is fractional at its edges, and stays so."""
    return tf.cast(mask, tf.float32) / 255.0


def preprocess(images: tf.Tensor, masks: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decoded levels (B, H, W, C) → what the reference's network gets: images in [-1, 1], masks in [0, 1], float32."""
    return zero_centered(resize_bilinear(images, size)), zero_one(resize_bilinear(masks, size))


def flip_and_turn(images: tf.Tensor, flip: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """(H, W, C) or (B, H, W, C): left-right flip if `flip`, then `turns` quarter turns counter-clockwise."""
    images = tf.cond(tf.cast(flip, tf.bool), lambda: tf.image.flip_left_right(images), lambda: images)
    return tf.image.rot90(images, tf.cast(turns, tf.int32))


def augment(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The reference's augmentation: a flip with probability 1/2, then 0, 90 or 180 degrees, never 270.

    Its draw of the turns has an exclusive upper bound of 3. Nothing photometric.

    Args:
        image: (H, W, C), square, any scale.
        mask: (H, W, 1), moved together with the image.
        seed: (2,) integers; the same seed gives the same result.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    flip = tf.random.stateless_uniform((), seeds[0]) > 0.5
    turns = tf.random.stateless_uniform((), seeds[1], 0, 3, tf.int32)
    return flip_and_turn(image, flip, turns), flip_and_turn(mask, flip, turns)


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


def load_checkpoint(model: tf.keras.Model, prefix: str) -> None:
    """Put the weights of a TF1 checkpoint of the reference into a `build_unet` model.

    Args:
        prefix: path without ".index", e.g. "results/checkpoints/model.ckpt-2500".
    Raises:
        ValueError: no such checkpoint, or a variable is missing from it or of another shape.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(f"{prefix}: not a TensorFlow checkpoint ({prefix}.index cannot be read)") from error
    shapes = reader.get_variable_to_shape_map()
    variables = list(zip(reference_variable_names(model), model.trainable_variables))
    for name, variable in variables:
        if shapes.get(name) != variable.shape.as_list():
            found = "is missing" if name not in shapes else f"has shape {shapes[name]}"
            raise ValueError(f"{prefix}: {name} {found}; {variable.shape.as_list()} is needed (another variant?)")
    for name, variable in variables:
        variable.assign(reader.get_tensor(name))
