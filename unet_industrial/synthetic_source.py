"""Noise in the shape of batches, for benchmarks without data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unet_industrial.config import ModelConfig


class SyntheticSource:
    """One batch of noise, made once and handed out for ever: what is measured is the step, not the input.

    As in the reference, the image is truncated normal (0, 1) and the mask truncated normal (0.01, 0.1); unlike there,
    both are cut to their ranges, and half of the batch is labelled fake. See `dataset.BatchSource`.
    """

    def __init__(self, model: ModelConfig, seed: int) -> None:
        self._model, self._seed = model, seed

    def epoch_examples(self) -> int:
        return 1000

    def describe(self) -> dict[str, Any]:
        return {"kind": "synthetic", "seed": self._seed}

    def batches(self, position: int, batch_size: int, rank: int, workers: int) -> tf.data.Dataset:
        shape = (batch_size, self._model.input_size, self._model.input_size)
        image = tf.random.stateless_truncated_normal((*shape, self._model.in_channels), (self._seed, 2 * rank))
        mask = tf.random.stateless_truncated_normal((*shape, 1), (self._seed, 2 * rank + 1), 0.01, 0.1)
        batch = {
            "image": tf.clip_by_value(image, -1.0, 1.0),
            "mask": tf.clip_by_value(mask, 0.0, 1.0),
            "label": tf.range(batch_size) % 2,
            "clip": tf.fill((batch_size,), "noise"),
            "key": tf.strings.as_string(tf.range(batch_size)),
            "frame_index": tf.zeros((batch_size,), tf.int64),
        }
        return tf.data.Dataset.from_tensors(batch).cache().repeat()
