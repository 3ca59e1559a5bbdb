"""Image classifiers to compare with: MesoNet, reimplemented from its paper, and a plain Keras network.

Afchar, Nozick, Yamagishi & Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018, figures
4 and 5. The parameter counts of the paper (27,977 and 28,615 trainable at 256 × 256 × 3) are what the tests hold
these to. Two things differ from the authors' published weights: images come in [-1, 1] and are brought to their [0,
1] inside, and the output is the logit of *fake* (their output 1 means real).
"""

from __future__ import annotations

import tensorflow as tf

LAYERS = tf.keras.layers
LEAK = 0.1  # slope of the leaky ReLU before the output
DROPOUT = 0.5


def meso4(size: int, channels: int = 3) -> tf.keras.Model:
    """Meso-4: (B, size, size, channels) in [-1, 1] → (B, 1) logit of fake. size: a multiple of 32."""
    inputs, x = _input(size, channels)
    x = _conv_block(x, 8, 3, 2)
    x = _conv_block(x, 8, 5, 2)
    return _head(inputs, x, "meso4")


def mesoinception4(size: int, channels: int = 3) -> tf.keras.Model:
    """MesoInception-4: Meso-4 with its first two convolutions replaced by inception modules with dilated branches."""
    inputs, x = _input(size, channels)
    for widths in ((1, 4, 4, 2), (2, 4, 4, 2)):
        x = _inception(x, widths)
        x = LAYERS.BatchNormalization()(x)
        x = LAYERS.MaxPooling2D(2, padding="same")(x)
    return _head(inputs, x, "mesoinception4")


def plain(size: int, channels: int = 3) -> tf.keras.Model:
    """What a Keras tutorial builds: four 3×3 convolutions with pooling, global average, one output."""
    inputs, x = _input(size, channels)
    for width in (32, 64, 128, 256):
        x = LAYERS.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = LAYERS.MaxPooling2D(2)(x)
    x = LAYERS.GlobalAveragePooling2D()(x)
    x = LAYERS.Dropout(DROPOUT)(x)
    return tf.keras.Model(inputs, LAYERS.Dense(1)(x), name="plain")


NETWORKS = {each.__name__: each for each in (meso4, mesoinception4, plain)}


def build(architecture: str, size: int, channels: int = 3) -> tf.keras.Model:
    """One of NETWORKS.

    Raises:
        ValueError: an unknown name, or a size that the poolings do not divide.
    """
    if architecture not in NETWORKS:
        raise ValueError(f"architecture must be one of {', '.join(NETWORKS)}, not {architecture!r}")
    if size % 32:
        raise ValueError(f"input size must be a multiple of 32, not {size}")
    return NETWORKS[architecture](size, channels)


def _input(size: int, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    inputs = LAYERS.Input((size, size, channels))
    return inputs, LAYERS.Rescaling(0.5, 0.5)(inputs)


def _conv_block(x: tf.Tensor, width: int, kernel: int, pool: int) -> tf.Tensor:
    x = LAYERS.Conv2D(width, kernel, padding="same", activation="relu")(x)
    x = LAYERS.BatchNormalization()(x)
    return LAYERS.MaxPooling2D(pool, padding="same")(x)


def _inception(x: tf.Tensor, widths: tuple[int, int, int, int]) -> tf.Tensor:
    """Four branches side by side: 1×1; 1×1 then 3×3; the same dilated by 2; the same dilated by 3."""

    def conv(tensor: tf.Tensor, width: int, kernel: int, dilation: int = 1) -> tf.Tensor:
        layer = LAYERS.Conv2D(width, kernel, dilation_rate=dilation, padding="same", activation="relu")
        return layer(tensor)

    branches = [conv(x, widths[0], 1)]
    for dilation, width in enumerate(widths[1:], start=1):
        branches.append(conv(conv(x, width, 1), width, 3, dilation))
    return LAYERS.Concatenate()(branches)


def _head(inputs: tf.Tensor, x: tf.Tensor, name: str) -> tf.keras.Model:
    x = _conv_block(x, 16, 5, 2)
    x = _conv_block(x, 16, 5, 4)
    x = LAYERS.Flatten()(x)
    x = LAYERS.Dropout(DROPOUT)(x)
    x = LAYERS.Dense(16)(x)
    x = LAYERS.LeakyReLU(alpha=LEAK)(x)
    x = LAYERS.Dropout(DROPOUT)(x)
    return tf.keras.Model(inputs, LAYERS.Dense(1)(x), name=name)
