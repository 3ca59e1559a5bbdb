"""Fixed high-pass residuals beside the colours: what blending and upsampling leave in the noise of a picture.

The three kernels are those that Zhou et al., "Learning Rich Features for Image Manipulation Detection" (CVPR 2018)
took from the spatial rich model of Fridrich and Kodovsky, "Rich Models for Steganalysis of Digital Images" (2012).
"""

from __future__ import annotations

from typing import Optional

import numpy as np
import tensorflow as tf

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOCAL_SIGMA_PX, LOCAL_GAIN = 4.0, 3.0  # of `local_contrast`; a sixteenth of a 128 px crop either way
CLIP_LEVELS = 3.0  # of 255; an edge then weighs no more than noise (Ye, Ni and Yi 2017 truncate SRM residuals here)

_SECOND_ORDER_3X3 = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4.0
_THIRD_ORDER_5X5 = (
    np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12.0
)
_SECOND_ORDER_ROW = np.array([[1, -2, 1]]) / 2.0


def kernels() -> np.ndarray:
    """(5, 5, 1, 3) float32; each sums to zero, so a flat area gives zero whatever its level."""
    padded = [
        np.pad(kernel, [((5 - size) // 2,) * 2 for size in kernel.shape])
        for kernel in (_SECOND_ORDER_3X3, _THIRD_ORDER_5X5, _SECOND_ORDER_ROW)
    ]
    return np.stack(padded, axis=-1)[:, :, None, :].astype(np.float32)


def add_residuals(images: tf.Tensor, colours: Optional[tf.Tensor] = None) -> tf.Tensor:
    """RGB in [-1, 1] → RGB and three residuals of its grey picture, in [-1, 1] as well.

    Plain TensorFlow operations without variables, so an exported graph holds them. Borders are mirrored.

    Args:
        images: (B, H, W, 3), float, H and W at least 3.
        colours: (B, H, W, 3) to put in the place of the RGB, such as `local_contrast(images)`.
    Returns:
        (B, H, W, 6), of the same dtype; residuals are computed in float32.
    Raises:
        ValueError: not three channels.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"residuals need RGB images (B, H, W, 3), not {images.shape}")
    grey = 127.5 * tf.tensordot(tf.cast(images, tf.float32), tf.constant(GREY_WEIGHTS), axes=1)[..., None]
    grey = tf.pad(grey, ((0, 0), (2, 2), (2, 2), (0, 0)), "REFLECT")
    residuals = tf.nn.conv2d(grey, kernels(), strides=1, padding="VALID")
    residuals = tf.clip_by_value(residuals / CLIP_LEVELS, -1.0, 1.0)
    return tf.concat([images if colours is None else colours, tf.cast(residuals, images.dtype)], axis=-1)


def local_contrast(images: tf.Tensor) -> tf.Tensor:
    """RGB in [-1, 1] → each channel's difference from its Gaussian surroundings, `LOCAL_GAIN` fold, clipped to [-1, 1].

    Takes exposure, tint and slow shadows out of a picture and leaves edges, texture and seams.

    Args:
        images: (B, H, W, 3), float, H and W more than 10.
    Returns:
        (B, H, W, 3), of the same dtype; computed in float32.
    """
    reach = round(2.5 * LOCAL_SIGMA_PX)
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * LOCAL_SIGMA_PX**2))
    column = np.repeat((bell / bell.sum()).astype(np.float32)[:, None, None, None], 3, axis=2)
    pixels = tf.cast(images, tf.float32)
    surroundings = tf.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "REFLECT")
    for kernel in (column, column.transpose(1, 0, 2, 3)):
        surroundings = tf.nn.depthwise_conv2d(surroundings, kernel, (1, 1, 1, 1), "VALID")
    return tf.cast(tf.clip_by_value(LOCAL_GAIN * (pixels - surroundings), -1.0, 1.0), images.dtype)
