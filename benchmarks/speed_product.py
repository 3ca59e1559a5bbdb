"""The product's own step, for `benchmarks.speed`: python benchmarks/speed_product.py training 256 8 [bf16]."""

from __future__ import annotations

import sys

import unet_industrial  # noqa: F401  sets TensorFlow's environment before it is imported


def main(mode: str, size: int, batch: int, amp: str = "none") -> None:
    import tensorflow as tf
    from turns import serve

    from runtime.training.device import configure
    from runtime.training.distributed import Workers
    from unet_industrial.config import ModelConfig, TrainConfig
    from unet_industrial.dataset import SyntheticSource
    from unet_industrial.train_step import TrainStep, make_network, make_optimizer

    model, train = ModelConfig(input_size=size), TrainConfig(batch_size=batch, amp=amp)
    configure(Workers(), train)
    (data,) = SyntheticSource(model, 0).batches(0, batch, 0, 1).take(1)
    net = make_network(model)
    if mode == "training":
        step = TrainStep(net, make_optimizer(train), model, train)
        no = tf.constant(0.0), tf.constant(False)
        serve(lambda: float(step.run((data,), *no)["loss"]))
    else:
        forward = tf.function(lambda images: tf.sigmoid(net(images, training=False)))
        serve(lambda: forward(data["image"]).numpy())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
