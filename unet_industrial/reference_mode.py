"""What the reference does that we do only under `--reference_mode`, quirk for quirk; and its checkpoints.

Source: NVIDIA/DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial (Apache-2.0): datasets/core.py,
datasets/dagm2007.py. `docs/fidelity.md` says what we do by default instead.
"""

from __future__ import annotations

import tensorflow as tf

from unet_industrial.unet import reference_variable_names


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
