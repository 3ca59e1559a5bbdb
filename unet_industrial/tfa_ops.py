"""Image operations from TensorFlow Addons, and the only import of it: rotation, cut-out, Gaussian blur.

TensorFlow Addons has seen its last release (0.23, for TensorFlow 2.15); whoever replaces it changes this file alone.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import tensorflow as tf

BLUR_SIGMAS_PX = (0.5, 1.0, 1.5, 2.0)


@functools.cache
def _tfa_image() -> Any:
    """tensorflow_addons.image, loaded on first use.

    Raises:
        ImportError: it is not installed; the message says what works without it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its end-of-life notice
            import tensorflow_addons.image as tfa_image
    except ImportError as error:
        raise ImportError(
            "the augmentations rotate, blur and cutout need tensorflow-addons==0.23.0; "
            "install it, or leave them out of --augmentations"
        ) from error
    return tfa_image


def rotate(image: tf.Tensor, mask: tf.Tensor, angle_rad: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn image (H,W,C) and mask (H,W,1) counter-clockwise about the centre, bilinear.

    Corners that come in from outside repeat the image's edge (a black wedge would be a giveaway of augmentation)
    and count as real in the mask.
    """
    tfa_image = _tfa_image()
    turned = tfa_image.rotate(image, angle_rad, interpolation="bilinear", fill_mode="nearest")
    return turned, tfa_image.rotate(mask, angle_rad, interpolation="bilinear", fill_mode="constant", fill_value=0.0)


def cutout(image: tf.Tensor, mask: tf.Tensor, centre_yx: tf.Tensor, size_px: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Grey out a square of even side `size_px` in image (H,W,C), values [0,255]; what is hidden is not fake: mask 0."""
    tfa_image = _tfa_image()
    centre = centre_yx[tf.newaxis]
    hidden = tfa_image.cutout(image[tf.newaxis], size_px, offset=centre, constant_values=127.5)[0]
    return hidden, tfa_image.cutout(mask[tf.newaxis], size_px, offset=centre, constant_values=0.0)[0]


def gaussian_blur(image: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
    """Blur image (H,W,C) with σ = BLUR_SIGMAS_PX[choice] pixels, edges mirrored."""
    tfa_image = _tfa_image()

    def blurred(sigma: float) -> Any:
        side = 2 * int(3 * sigma + 0.5) + 1  # ±3σ

        def along(shape: tuple[int, int], picture: tf.Tensor) -> tf.Tensor:
            return tfa_image.gaussian_filter2d(picture, shape, sigma, padding="REFLECT")

        return lambda: along((1, side), along((side, 1), image))  # the same as both at once, in fewer operations

    return tf.switch_case(choice, [blurred(sigma) for sigma in BLUR_SIGMAS_PX])
