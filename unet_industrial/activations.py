"""The reference's seven activations as Keras layers, the same function in either data format."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unet_industrial.config import ACTIVATIONS

LEAKY_SLOPE = 0.2  # the reference's, not Keras' 0.3


@tf.keras.utils.register_keras_serializable("unet_industrial")
class SigmoidPReLU(tf.keras.layers.Layer):
    """The reference's PReLU, max(x, x * sigmoid(alpha)): its slope below zero stays within (0, 1).

    Args:
        shared: one alpha for the layer; otherwise one for each channel.
        channel_axis: -1 (NHWC) or 1 (NCHW). The reference always took the last axis, which in NCHW made an alpha per
            image column; here it is the channel in both.
    """

    def __init__(self, shared: bool, channel_axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shared = shared
        self.channel_axis = channel_axis

    def build(self, input_shape: Any) -> None:
        size = 1 if self.shared else int(input_shape[self.channel_axis])
        self.alpha = self.add_weight(
            name="alpha", shape=(size,), initializer=tf.keras.initializers.TruncatedNormal(mean=-1.0, stddev=0.2)
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        slope = tf.sigmoid(tf.cast(self.alpha, inputs.dtype))
        if self.channel_axis == 1:
            slope = tf.reshape(slope, (-1, 1, 1))
        return tf.maximum(inputs, inputs * slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared": self.shared, "channel_axis": self.channel_axis}


@tf.keras.utils.register_keras_serializable("unet_industrial")
class CReLU(tf.keras.layers.Layer):
    """relu(x) and relu(-x) side by side on the channel axis: twice as many channels come out as went in."""

    def __init__(self, channel_axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channel_axis = channel_axis

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.crelu(inputs, axis=self.channel_axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channel_axis": self.channel_axis}


def activation_layer(name: str, channel_axis: int, layer_name: str) -> tf.keras.layers.Layer:
    """A fresh layer for one of `config.ACTIVATIONS`.

    Raises:
        ValueError: unknown name.
    """
    if name in ("relu", "selu", "elu"):
        return tf.keras.layers.Activation(name, name=layer_name)
    if name == "leaky_relu":
        return tf.keras.layers.LeakyReLU(LEAKY_SLOPE, name=layer_name)
    if name in ("prelu_shared", "prelu_not_shared"):
        return SigmoidPReLU(name == "prelu_shared", channel_axis, name=layer_name)
    if name == "crelu":
        return CReLU(channel_axis, name=layer_name)
    raise ValueError(f"activation={name!r}: allowed are {', '.join(ACTIVATIONS)}")
