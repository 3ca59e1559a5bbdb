"""Checkpoint → SavedModel: uint8 RGB crops in, mask probabilities and frame scores out; kept only if it agrees.

Normalisation and residual features are part of the graph, so whoever serves the model needs the pixels and nothing
else. Plain TensorFlow operations only: newer TensorFlow loads it, TF Serving serves it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf

import unet_industrial
from runtime.model.saved_model import METADATA_FORMAT, load_model, write_metadata
from runtime.training import checkpoint
from unet_industrial.config import TOP_SHARE, ModelConfig
from unet_industrial.dataset import normalise
from unet_industrial.train_step import frame_score, make_network, network_input

AGREEMENT = 1e-5  # largest difference of a probability allowed between the live and the exported model
SCORER = "top_mean"  # frame score: mean of the highest TOP_SHARE of a crop's probabilities


class ExportError(RuntimeError):
    """The model could not be exported, or the export does not agree with the live model."""


def weights_sha256(network: Any) -> str:
    """SHA-256 over names, shapes, types and values of all weights, in their order."""
    digest = hashlib.sha256()
    for variable in network.variables:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.name}{value.shape}{value.dtype.str}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


class ServingModule(tf.Module):
    """The network behind the one signature everything else uses."""

    def __init__(self, network: Any, config: ModelConfig) -> None:
        super().__init__()
        self._network, self._config = network, config
        side = config.input_size
        spec = tf.TensorSpec((None, side, side, 3), tf.uint8, name="images")
        self.serve = tf.function(self._serve, input_signature=[spec])

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.cast(images, tf.float32)
        if self._config.in_channels == 1:
            # As the training pipeline decodes grey: rounded to whole levels.
            pixels = tf.round(tf.image.rgb_to_grayscale(pixels))
        logits = self._network(network_input(normalise(pixels), self._config), training=False)
        probability = tf.sigmoid(tf.cast(logits, tf.float32))
        return {"mask": probability, "frame_score": frame_score(probability)}


def load_network(path: Path) -> tuple[Any, ModelConfig, checkpoint.TrainState, Path]:
    """(network, its configuration, training state, checkpoint folder) of a results folder or a checkpoint.

    Raises:
        CheckpointError: no usable checkpoint there.
    """
    folder = checkpoint.resolve(path)
    state = checkpoint.read_state(folder)
    config = ModelConfig.from_dict(state.config["model"])
    network = make_network(config)
    checkpoint.restore(folder, tf.train.Checkpoint(model=network), partial=True)
    return network, config, state, folder


def export(
    network: Any,
    config: ModelConfig,
    folder: Path,
    about: Optional[dict[str, Any]] = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Save, load back, compare with the live model, and only then put in place; returns the metadata.

    Args:
        about: more metadata: `training` (configuration of the run), `step`, `data`, `face_margin`, ….
    Raises:
        ExportError: the folder exists (without `overwrite`), or the export disagrees with the live model.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ExportError(f"{folder} exists: choose another --output, or give --overwrite")
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    module = ServingModule(network, config)
    try:
        tf.saved_model.save(module, str(temporary), signatures={"serving_default": module.serve})
        error = worst_difference(module, temporary, config)
        if not error <= AGREEMENT:
            raise ExportError(f"the exported model differs from the live one by {error:.2e} (allowed {AGREEMENT:g})")
        metadata = describe(network, config, about or {}, error)
        write_metadata(temporary, metadata)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return metadata


def worst_difference(module: ServingModule, saved: Path, config: ModelConfig) -> float:
    """Largest difference in mask or frame score between live and saved model, on noise, a ramp, black and white."""
    side = config.input_size
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, side, dtype=np.uint8)[:, None, None], (side, side, 3))
    flat = [np.full((side, side, 3), level, np.uint8) for level in (0, 255)]
    images = tf.constant(np.stack([rng.integers(0, 256, (side, side, 3), np.uint8), ramp, *flat]))
    model = load_model(saved, trust=True)  # it was written a moment ago, by `export`
    loaded = model.signature(images=images)
    live = module.serve(images)
    return max(float(tf.reduce_max(tf.abs(loaded[name] - live[name]))) for name in ("mask", "frame_score"))


def describe(network: Any, config: ModelConfig, about: dict[str, Any], error: float) -> dict[str, Any]:
    """The metadata beside an exported model."""
    return {
        "format": METADATA_FORMAT,
        "model": config.to_dict(),
        "input_size": config.input_size,
        "scorer": {"name": SCORER, "top_share": TOP_SHARE},
        "weights_sha256": weights_sha256(network),
        "parameters": int(sum(np.prod(variable.shape) for variable in network.trainable_variables)),
        "export_error": error,
        "versions": {
            "deepfake-unet-industrial": unet_industrial.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        **about,
    }
