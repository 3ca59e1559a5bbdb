"""Train, store and run the classifiers of `mesonet` on the same records as the segmenter: one small loop, frame-level
BCE.

The loop has no model selection: it runs the steps it is told and keeps the last weights, so nothing is picked on a test
set.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from runtime.evaluation import baselines
from runtime.evaluation.measure import Detector
from runtime.evaluation.recorder import Recorder
from unet_industrial.config import DataConfig, ModelConfig
from unet_industrial.dataset import RecordSource, eval_dataset
from unet_industrial.files import write_bytes, write_json

# Image classifiers to compare with: MesoNet, reimplemented from its paper, and a plain Keras network.
#
# Afchar, Nozick, Yamagishi & Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018, figures
# 4 and 5. The parameter counts of the paper (27,977 and 28,615 trainable at 256 × 256 × 3) are what the tests hold
# these to. Two things differ from the authors' published weights: images come in [-1, 1] and are brought to their [0,
# 1] inside, and the output is the logit of *fake* (their output 1 means real).


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


ARCHITECTURES: dict[str, Callable[[int, int], tf.keras.Model]] = {
    "meso4": meso4,
    "mesoinception4": mesoinception4,
    "plain": plain,
}


def build(architecture: str, size: int, channels: int = 3) -> tf.keras.Model:
    """One of ARCHITECTURES.

    Raises:
        ValueError: an unknown name, or a size that the poolings do not divide.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {architecture!r}")
    if size % 32:
        raise ValueError(f"input size must be a multiple of 32, not {size}")
    return ARCHITECTURES[architecture](size, channels)


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


WEIGHTS, CONFIG, LOG = "classifier.weights.h5", "classifier.json", "log.json"
Progress = Callable[[Iterable[Any]], Iterable[Any]]


class ClassifierError(Exception):
    """A folder holds no trained classifier, or one that cannot be read; the message names it."""


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """What is trained and how. Adam with cosine decay to 0, as our own recipe has it (MesoNet's paper: Adam, 1e-3,
    steps)."""

    architecture: str = "mesoinception4"
    input_size: int = 256
    steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 0
    augment: bool = True
    display_every: int = 50

    def model_config(self) -> ModelConfig:
        """How the record reader crops and scales for it."""
        return ModelConfig(input_size=self.input_size)


def train(config: ClassifierConfig, files: Sequence[str], folder: Path, progress: Progress = iter) -> tf.keras.Model:
    """Train on half real, half fake crops and store weights, configuration and loss curve in `folder`.

    Raises:
        RecordFileError: the files are missing, damaged or hold one class only.
    """
    tf.keras.utils.set_random_seed(config.seed)
    model = build(config.architecture, config.input_size)
    schedule = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    optimizer = tf.keras.optimizers.Adam(schedule)
    source = RecordSource(files, config.model_config(), DataConfig(augment=config.augment), config.seed)
    batches = source.batches(0, config.batch_size, 0, 1)

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)[:, 0]
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    curve: list[dict[str, float]] = []
    recent: list[float] = []
    for number, batch in enumerate(progress(batches.take(config.steps)), start=1):
        recent.append(float(step(batch["image"], tf.cast(batch["label"], tf.float32))))
        if number % config.display_every == 0 or number == config.steps:
            curve.append({"step": number, "loss": float(np.mean(recent))})
            recent = []
    save(model, config, folder, {"data": source.describe(), "curve": curve})
    return model


def save(model: tf.keras.Model, config: ClassifierConfig, folder: Path, log: dict[str, Any]) -> None:
    """Write weights, log and, last, the configuration: a folder that has it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:  # Keras takes the format from the name's two suffixes
        model.save_weights(Path(scratch) / WEIGHTS)
        write_bytes(folder / WEIGHTS, (Path(scratch) / WEIGHTS).read_bytes())
    write_json(folder / LOG, log)
    write_json(folder / CONFIG, dataclasses.asdict(config))


def load(folder: Path) -> tuple[tf.keras.Model, ClassifierConfig]:
    """A trained classifier and its configuration.

    Raises:
        ClassifierError: the folder has none, or a file in it is damaged.
    """
    try:
        config = ClassifierConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        model = build(config.architecture, config.input_size)
        model.load_weights(folder / WEIGHTS)
    except FileNotFoundError as error:
        missing = Path(error.filename or WEIGHTS).name
        raise ClassifierError(f"{folder}: no trained classifier here ({missing} is missing)") from error
    except (OSError, ValueError, TypeError) as error:
        raise ClassifierError(f"{folder}: not a readable classifier ({error})") from error
    return model, config


def evaluate(
    model: tf.keras.Model, config: ClassifierConfig, files: Sequence[str], batch_size: int, progress: Progress = iter
) -> dict[str, Detector]:
    """The classifier and the blur baseline on every crop of the record files, as detectors to compare.

    Raises:
        RecordFileError: the files are missing or damaged.
        ValueError: they hold no crops.
    """
    predict = tf.function(lambda images: tf.sigmoid(model(images, training=False)[:, 0]), reduce_retracing=True)
    own, blur = Recorder(), Recorder()
    for batch in progress(eval_dataset(files, config.model_config(), DataConfig(), batch_size)):
        arrays = {name: value.numpy() for name, value in batch.items()}
        own.update(arrays, predict(batch["image"]).numpy())
        crops = baselines.to_uint8(arrays["image"])
        blur.update(arrays, np.array([baselines.blur_score(crop) for crop in crops]))
    return {config.architecture: own.detector(), "blur": blur.detector()}
