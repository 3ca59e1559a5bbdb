"""Augmentations of one example: image (H,W,C) float32 in [0,255] and mask (H,W,1) float32 in [0,1], moved together.

All draws are stateless: the same seeds give the same result in whatever process, thread and order, which is what
makes a resumed run, and a run on more workers, see the same pictures.

What separates the laboratory from the web is compression and scale, so `jpeg` and `downscale` are on by default and
touch real and fake alike: a network trained on fakes that were saved once more than the reals learns the codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import tensorflow as tf

Pair = tuple[tf.Tensor, tf.Tensor]

GEOMETRIC = ("flip", "rot90", "rotate", "cutout")  # drawn once a pair, so that its halves stay on top of each other
MAX_ROTATION_RAD = 0.26  # 15°
JPEG_QUALITY = (25, 96)  # upper bound exclusive
MIN_SCALE = 0.4
MAX_NOISE_SIGMA = 8.0  # grey levels
CUTOUT_SHARE = 0.25  # of the side


def _uniform(seed: tf.Tensor, number: int, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """The `number`-th independent uniform draw of a seed."""
    return tf.random.stateless_uniform((), tf.random.experimental.stateless_fold_in(seed, number), low, high)


def flip(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Left-right, probability 0.5, as in the reference."""
    chosen = _uniform(seed, 0) > 0.5
    # tf.reverse takes a tenth of the time of [:, ::-1]
    return tf.cond(chosen, lambda: (tf.reverse(image, [1]), tf.reverse(mask, [1])), lambda: (image, mask))


def rot90(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """0, 90, 180 or 270° counter-clockwise, equally likely (the reference never draws 270°; see `reference_mode`)."""
    turns = tf.cast(_uniform(seed, 0, 0.0, 4.0), tf.int32)
    return tf.image.rot90(image, turns), tf.image.rot90(mask, turns)


def rotate(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Up to ±15°, probability 0.5."""
    from unet_industrial import tfa_ops

    angle = _uniform(seed, 1, -MAX_ROTATION_RAD, MAX_ROTATION_RAD)
    return tf.cond(_uniform(seed, 0) < 0.5, lambda: tfa_ops.rotate(image, mask, angle), lambda: (image, mask))


def cutout(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Hide a square of a quarter of the side anywhere, probability 0.3; hidden pixels count as real."""
    from unet_industrial import tfa_ops

    side = int(image.shape[0])
    size = max(2, int(side * CUTOUT_SHARE) // 2 * 2)
    centre = tf.cast(tf.stack([_uniform(seed, 1, 0.0, side), _uniform(seed, 2, 0.0, side)]), tf.int32)
    return tf.cond(_uniform(seed, 0) < 0.3, lambda: tfa_ops.cutout(image, mask, centre, size), lambda: (image, mask))


def photometric(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Brightness ±25 levels, contrast 0.8–1.2, and for colour images saturation 0.8–1.2; probability 0.5 together."""

    def changed() -> tf.Tensor:
        mean = tf.reduce_mean(image, (0, 1), keepdims=True)
        out = (image - mean) * _uniform(seed, 1, 0.8, 1.2) + mean + _uniform(seed, 2, -25.0, 25.0)
        if image.shape[-1] == 3:
            grey = tf.image.rgb_to_grayscale(out)
            out = grey + (out - grey) * _uniform(seed, 3, 0.8, 1.2)
        return tf.clip_by_value(out, 0.0, 255.0)

    return tf.cond(_uniform(seed, 0) < 0.5, changed, lambda: image), mask


def downscale(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Shrink to 0.4–1 of the side (area averaging) and enlarge again (bilinear), probability 0.5."""
    size = image.shape[:2]

    def changed() -> tf.Tensor:
        small = tf.cast(tf.cast(tf.stack(size), tf.float32) * _uniform(seed, 1, MIN_SCALE, 1.0), tf.int32)
        small = tf.maximum(small, 1)
        return tf.image.resize(tf.image.resize(image, small, "area"), size, "bilinear")

    return tf.ensure_shape(tf.cond(_uniform(seed, 0) < 0.5, changed, lambda: image), image.shape), mask


def blur(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Gaussian, σ one of 0.5, 1, 1.5, 2 px, probability 0.25."""
    from unet_industrial import tfa_ops

    choice = tf.cast(_uniform(seed, 1, 0.0, float(len(tfa_ops.BLUR_SIGMAS_PX))), tf.int32)
    return tf.cond(_uniform(seed, 0) < 0.25, lambda: tfa_ops.gaussian_blur(image, choice), lambda: image), mask


def noise(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Gaussian noise of up to 8 grey levels, probability 0.25."""

    def changed() -> tf.Tensor:
        field = tf.random.stateless_normal(tf.shape(image), tf.random.experimental.stateless_fold_in(seed, 2))
        return tf.clip_by_value(image + field * _uniform(seed, 1, 0.0, MAX_NOISE_SIGMA), 0.0, 255.0)

    return tf.cond(_uniform(seed, 0) < 0.25, changed, lambda: image), mask


def jpeg(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Save as JPEG of quality 25–95 and read again, probability 0.5."""
    quality = tf.cast(_uniform(seed, 1, *map(float, JPEG_QUALITY)), tf.int32)

    def changed() -> tf.Tensor:
        levels = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
        return tf.cast(tf.image.adjust_jpeg_quality(levels, quality), tf.float32)

    return tf.ensure_shape(tf.cond(_uniform(seed, 0) < 0.5, changed, lambda: image), image.shape), mask


_OPERATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Pair]] = {
    operation.__name__: operation
    for operation in (flip, rot90, rotate, photometric, downscale, jpeg, blur, noise, cutout)
}


def augment(image: tf.Tensor, mask: tf.Tensor, pair_seed: tf.Tensor, own_seed: tf.Tensor, names: Sequence[str]) -> Pair:
    """Apply the named operations in their order.

    Args:
        image: (H,W,C) float32 in [0,255], H = W known.
        mask: (H,W,1) float32 in [0,1].
        pair_seed: (2,) integers shared by the two halves of a real/fake pair; draws the geometry.
        own_seed: (2,) integers of this example; draws everything else.
    Returns:
        Image and mask of the same shapes and ranges.
    """
    shape = image.shape
    for number, name in enumerate(names):
        seed = pair_seed if name in GEOMETRIC else own_seed
        image, mask = _OPERATIONS[name](image, mask, tf.random.experimental.stateless_fold_in(seed, 100 + number))
        image, mask = tf.ensure_shape(image, shape), tf.ensure_shape(mask, (*shape[:2], 1))
    return image, mask
