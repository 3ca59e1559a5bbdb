"""NVIDIA's UNet Industrial (`UNet_v1`) as a Keras model: images in, one logit a pixel out.

The sizes of its two variants, the network, then what it is made of: activations, initialisers, layers. A new choice
of one of these is a line here and its name in `config.py`, where `ModelConfig` checks it.

Source: NVIDIA/DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial, model/unet.py (Apache-2.0).
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import tensorflow as tf

from unet_industrial.config import ACTIVATIONS, DATA_FORMATS, STRIDE, VARIANTS, WEIGHT_INITS

SCOPE = "UNet_v1"  # every variable of the reference lies under it
OUTPUT_BLOCK = "ouputs_block"  # the reference's spelling, kept so that its checkpoints can be read
LEAKY_SLOPE = 0.2  # the reference's, not Keras' 0.3


@dataclasses.dataclass(frozen=True)
class Filters:
    """Channels of one variant: input block, three down (and up) blocks, bottleneck, output block."""

    input: int
    down: tuple[int, int, int]
    bottleneck: int
    output: int


FILTERS: dict[str, Filters] = {
    "tinyUNet": Filters(32, (32, 64, 128), 256, 32),
    "original": Filters(64, (128, 256, 512), 1024, 64),
}


def build_unet(
    variant: str = "tinyUNet",
    in_channels: int = 3,
    activation: str = "relu",
    weight_init: str = "he_uniform",
    data_format: str = "channels_last",
) -> tf.keras.Model:
    """The network: (B, H, W, in_channels) float in [-1, 1] → logits (B, H, W, 1) float32; H, W multiples of 16.

    Input and output are NHWC whatever `data_format`, the layout it computes in. `trainable_variables` come in the
    reference's order: kernel, bias and, with PReLU, alpha of each convolution. Under a `mixed_float16` or
    `mixed_bfloat16` policy everything but the last 1x1 convolution computes in half precision.

    Args:
        variant: "tinyUNet" (1,850,305 parameters with one channel, 1,850,881 with three) or "original" (29,137,793).
        in_channels: channels of the images; the reference's are 1.
        activation: one of `config.ACTIVATIONS`.
        weight_init: one of `config.WEIGHT_INITS`, for kernels.
        data_format: "channels_last" or "channels_first"; the latter becomes the former, with a warning, on a CPU
            without oneDNN, which has no NCHW convolution.
    Raises:
        ValueError: an argument is not among these, or (when called) an image size is no multiple of 16.
    """
    if variant not in FILTERS:
        raise ValueError(f"variant={variant!r}: allowed are {', '.join(VARIANTS)}")
    if data_format not in DATA_FORMATS:
        raise ValueError(f"data_format={data_format!r}: allowed are {', '.join(DATA_FORMATS)}")
    if isinstance(in_channels, bool) or not isinstance(in_channels, int) or in_channels < 1:
        raise ValueError(f"in_channels={in_channels!r}: must be a positive whole number")
    if data_format == "channels_first" and not _convolves_nchw():
        warnings.warn(
            "data_format='channels_first' needs a GPU or, on a CPU, oneDNN (set TF_ENABLE_ONEDNN_OPTS=1 before "
            "TensorFlow is imported); computing in channels_last: the same function and weights",
            stacklevel=2,
        )
        data_format = "channels_last"
    filters = FILTERS[variant]
    channel_axis = -1 if data_format == "channels_last" else 1

    def conv(x: tf.Tensor, channels: int, size: int, name: str, **kwargs: Any) -> tf.Tensor:
        layer = tf.keras.layers.Conv2D(
            channels,
            size,
            padding="same",  # an even kernel pads at the bottom and right only
            data_format=data_format,
            kernel_initializer=get_initializer(weight_init),
            name=name,
            **kwargs,
        )
        return layer(x)

    def act(x: tf.Tensor, name: str) -> tf.Tensor:
        return activation_layer(activation, channel_axis, name)(x)

    def conv_pair(x: tf.Tensor, first: int, second: int, block: str) -> tf.Tensor:
        x = act(conv(x, first, 3, f"{block}_conv2d"), f"{block}_act1")
        return act(conv(x, second, 3, f"{block}_conv2d_1"), f"{block}_act2")

    def pool(x: tf.Tensor, block: str) -> tf.Tensor:
        return MaxPool(2, data_format=data_format, name=f"{block}_pool")(x)

    def up(x: tf.Tensor, channels: int, block: str) -> tf.Tensor:
        x = tf.keras.layers.UpSampling2D(2, data_format=data_format, name=f"{block}_upsample")(x)
        return act(conv(x, channels, 2, f"{block}_deconv2d_conv2d"), f"{block}_act3")

    def concat(x: tf.Tensor, skip: tf.Tensor, block: str) -> tf.Tensor:
        return tf.keras.layers.Concatenate(axis=channel_axis, name=f"{block}_concat")([x, skip])

    images = tf.keras.Input((None, None, in_channels), name="images")
    x = ToComputeLayout(data_format, name="input_reshape")(images)
    skips = []
    blocks = [("input_block", filters.input)]
    blocks += [(f"downsample_block_{level}", size) for level, size in enumerate(filters.down, 1)]
    for block, channels in blocks:
        skips.append(conv_pair(x, channels, channels, block))
        x = pool(skips[-1], block)
    x = conv_pair(x, filters.bottleneck, filters.bottleneck, "bottleneck_block")
    x = up(x, filters.bottleneck // 2, "bottleneck_block")
    for level, channels in enumerate(reversed(filters.down), 1):
        block = f"upsample_block_{level}"
        x = conv_pair(concat(x, skips.pop(), block), channels, channels // 2, block)
        x = up(x, channels // 2, block)
    x = conv_pair(concat(x, skips.pop(), OUTPUT_BLOCK), filters.output, filters.output, OUTPUT_BLOCK)
    x = conv(
        x, 1, 1, f"{OUTPUT_BLOCK}_conv2d_2", dtype="float32"
    )  # half-precision logits cost the loss its last digits
    if data_format == "channels_first":
        x = tf.keras.layers.Permute((2, 3, 1), dtype="float32", name="output_layout")(x)
    return tf.keras.Model(images, x, name=SCOPE)


def activation_layer(name: str, channel_axis: int, layer_name: str) -> tf.keras.layers.Layer:
    """A fresh layer for one of `config.ACTIVATIONS`, the reference's seven: the same function in either data format.

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


def get_initializer(name: str) -> tf.keras.initializers.Initializer:
    """A fresh initialiser for kernels, one of the reference's five in `config.WEIGHT_INITS`; biases are always zero.

    Kernels are (kh, kw, in, out), with fan_in = kh*kw*in and fan_out = kh*kw*out.

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


@tf.keras.utils.register_keras_serializable("unet_industrial")
class ToComputeLayout(tf.keras.layers.Layer):
    """(B, H, W, C) in any dtype → the compute dtype and layout; refuses sizes the network cannot handle.

    Raises:
        ValueError: a statically known height or width is no multiple of 16.
        tf.errors.InvalidArgumentError: one known only at run time is none.
    """

    def __init__(self, data_format: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format

    def call(self, images: tf.Tensor) -> tf.Tensor:
        height, width = images.shape[1], images.shape[2]
        rule = (
            f"height and width must be positive multiples of {STRIDE} (four poolings); resize, crop or pad them first"
        )
        if any(size is not None and (size < STRIDE or size % STRIDE) for size in (height, width)):
            raise ValueError(f"images of {height}x{width} pixels: {rule}")
        if height is None or width is None:
            size = tf.shape(images)[1:3]
            check = tf.debugging.Assert(
                tf.reduce_all((size % STRIDE == 0) & (size > 0)), ["images of pixels", size, rule]
            )
            with tf.control_dependencies([check]):
                images = tf.identity(images)
        if self.data_format == "channels_first":
            images = tf.transpose(images, (0, 3, 1, 2))
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


@tf.keras.utils.register_keras_serializable("unet_industrial")
class MaxPool(tf.keras.layers.MaxPooling2D):
    """2x2 maximum, right in NCHW on a CPU as well.

    TF 2.15 keeps oneDNN's pooling kernels in a cache whose key has the sizes but not the layout: after a pooling in
    NHWC, one in NCHW of the same sizes gets its kernel and returns other numbers without an error, and the other way
    round. So without a GPU it always goes through NHWC.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if self.data_format == "channels_first" and not tf.config.list_logical_devices("GPU"):
            pooled = tf.nn.max_pool2d(tf.transpose(inputs, (0, 2, 3, 1)), 2, 2, "VALID")
            return tf.transpose(pooled, (0, 3, 1, 2))
        return super().call(inputs)


def _convolves_nchw() -> bool:
    """Whether this TensorFlow can convolve in NCHW: on a GPU always, on a CPU only with oneDNN."""
    try:
        with tf.init_scope():  # asks the device, even where a graph is being built
            tf.nn.conv2d(tf.zeros((1, 1, 1, 1)), tf.zeros((1, 1, 1, 1)), 1, "SAME", data_format="NCHW")
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        return False
    return True


def reference_variable_names(model: tf.keras.Model) -> list[str]:
    """The reference's name of each of `model.trainable_variables`, e.g. "UNet_v1/input_block/conv2d/kernel"."""
    names = []
    for variable in model.trainable_variables:
        layer, kind = variable.name.split(":")[0].rsplit("/", 1)
        layer = layer.rsplit("/", 1)[-1]
        block, _, rest = layer.partition("_deconv2d_") if "_deconv2d_" in layer else ("", "", "")
        if block:
            rest = f"deconv2d/{rest}"
        elif kind == "alpha":
            block, rest = layer.rsplit("_", 1)
            rest = f"{rest}/prelu"
        else:
            block, rest = layer.split("_conv2d", 1)
            rest = f"conv2d{rest}"
        names.append(f"{SCOPE}/{block}/{rest}/{kind}")
    return names
