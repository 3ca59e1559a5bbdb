"""The same network as one would write it with Keras alone: what `benchmarks.speed` compares the product with.

Run as a script (python benchmarks/plain_keras.py training 256 8): it imports TensorFlow as it comes.
"""

from __future__ import annotations

import sys
from typing import Any


def network(channels: int = 3) -> Any:
    """tinyUNet: (B,H,W,channels) → logits (B,H,W,1); its weights come in the product's order."""
    from tensorflow import keras
    from tensorflow.keras import layers

    def conv(x: Any, filters: int, size: int = 3) -> Any:
        return layers.Conv2D(filters, size, padding="same", activation="relu", kernel_initializer="he_uniform")(x)

    def up(x: Any, filters: int) -> Any:
        return conv(layers.UpSampling2D()(x), filters, 2)

    images = keras.Input((None, None, channels))
    x, skips = images, []
    for filters in (32, 32, 64, 128):
        x = conv(conv(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = up(conv(conv(x, 256), 256), 128)
    for filters in (128, 64, 32):
        x = layers.Concatenate()([x, skips.pop()])
        x = up(conv(conv(x, filters), filters // 2), filters // 2)
    x = conv(conv(layers.Concatenate()([x, skips.pop()]), 32), 32)
    return keras.Model(images, layers.Conv2D(1, 1)(x))


def main(mode: str, size: int, batch: int) -> None:
    import numpy as np
    from tensorflow import keras
    from turns import serve

    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    masks = (rng.random((batch, size, size, 1)) > 0.8).astype(np.float32)
    model = network()
    model.compile(keras.optimizers.RMSprop(1e-4, momentum=0.8, centered=True), keras.losses.BinaryCrossentropy(True))
    if mode == "training":
        serve(lambda: model.train_on_batch(images, masks))
    else:
        serve(lambda: model.predict_on_batch(images))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
