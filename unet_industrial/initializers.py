"""The reference's five kernel initialisers; biases are always zero."""

from __future__ import annotations

import tensorflow as tf

from unet_industrial.config import WEIGHT_INITS


def get_initializer(name: str) -> tf.keras.initializers.Initializer:
    """A fresh initialiser for kernels of shape (kh, kw, in, out), fan_in = kh*kw*in and fan_out = kh*kw*out.

    Keras' rules are the reference's: variance 2/fan_in (He) or 2/(fan_in+fan_out) (Glorot), normal ones truncated at
    two standard deviations and corrected for it. It draws from the global seed (`tf.keras.utils.set_random_seed`).

    Raises:
        ValueError: unknown name.
    """
    classes = {
        "he_normal": tf.keras.initializers.HeNormal,
        "he_uniform": tf.keras.initializers.HeUniform,
        "glorot_normal": tf.keras.initializers.GlorotNormal,
        "glorot_uniform": tf.keras.initializers.GlorotUniform,
        "orthogonal": tf.keras.initializers.Orthogonal,
    }
    if name not in classes:
        raise ValueError(f"weight_init={name!r}: allowed are {', '.join(WEIGHT_INITS)}")
    return classes[name]()
