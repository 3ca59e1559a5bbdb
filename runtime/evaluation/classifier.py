"""Train, store and run the classifiers of `mesonet` on the segmenter's records: one small loop, frame-level BCE.

The loop has no model selection: it runs the steps it is given and keeps the last weights, so nothing is picked on a
test set.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from runtime.evaluation import baselines
from runtime.evaluation.measure import Detector
from runtime.evaluation.recorder import Recorder
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.files import read_json_object, write_bytes, write_json
from unet_industrial.setting import same_setting, setting

if TYPE_CHECKING:  # the command's --help reads ClassifierConfig, and must not load TensorFlow
    import tensorflow as tf

ARCHITECTURES = ("meso4", "mesoinception4", "plain")  # functions of `mesonet`
WEIGHTS, CONFIG, LOG = "classifier.weights.h5", "classifier.json", "log.json"
Progress = Callable[[Iterable[Any]], Iterable[Any]]


class ClassifierError(Exception):
    """A folder holds no trained classifier, or one that cannot be read; the message names it."""


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """What is trained and how. Adam with cosine decay to 0, as our own preset has it (MesoNet's paper: Adam, 1e-3,
    steps)."""

    architecture: str = setting("mesoinception4", "Network.", choices=ARCHITECTURES)
    input_size: int = setting(256, "Side of the crops in pixels, a multiple of 32.", low=32)
    steps: int = setting(2000, "Training steps.", low=1)
    batch_size: int = same_setting(TrainConfig, "batch_size", 16)  # half of them real
    learning_rate: float = same_setting(TrainConfig, "learning_rate", 1e-3)
    seed: int = same_setting(TrainConfig, "seed")
    augment: bool = same_setting(DataConfig, "augment")
    display_every: int = 50

    def model_config(self) -> ModelConfig:
        """How the record reader crops and scales for it."""
        return ModelConfig(input_size=self.input_size)


def train(config: ClassifierConfig, files: Sequence[str], folder: Path, progress: Progress = iter) -> tf.keras.Model:
    """Train on half real, half fake crops and store weights, configuration and loss curve in `folder`.

    Raises:
        RecordFileError: the files are missing, damaged or hold one class only.
    """
    import tensorflow as tf

    from runtime.evaluation import mesonet
    from unet_industrial.dataset import RecordSource

    tf.keras.utils.set_random_seed(config.seed)
    model = mesonet.build(config.architecture, config.input_size)
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
    from runtime.evaluation import mesonet

    try:
        config = ClassifierConfig(**read_json_object(folder / CONFIG))
        model = mesonet.build(config.architecture, config.input_size)
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
    import tensorflow as tf

    from unet_industrial.dataset import eval_dataset

    predict = tf.function(lambda images: tf.sigmoid(model(images, training=False)[:, 0]), reduce_retracing=True)
    own, blur = Recorder(), Recorder()
    for batch in progress(eval_dataset(files, config.model_config(), DataConfig(), batch_size)):
        arrays = {name: value.numpy() for name, value in batch.items()}
        own.update(arrays, predict(batch["image"]).numpy())
        crops = baselines.to_uint8(arrays["image"])
        blur.update(arrays, np.array([baselines.blur_score(crop) for crop in crops]))
    return {config.architecture: own.detector(), "blur": blur.detector()}
