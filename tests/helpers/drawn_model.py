"""A SavedModel with the product's signature and a rule one can check by eye: a pixel is fake where it is green."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from unet_industrial.config import FACE_MARGIN

SIDE = 64


class GreenIsFake(tf.Module):
    """mask = how much the green level exceeds the red and blue ones; frame_score = mean of the top 3 %."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.gain = tf.Variable(1.0)  # so that there is a variable to load
        self.side = side

    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.cast(images, tf.float32) / 255.0
        excess = pixels[..., 1:2] - tf.maximum(pixels[..., 0:1], pixels[..., 2:3])
        mask = tf.sigmoid(self.gain * 20.0 * (excess - 0.25))
        flat = tf.reshape(mask, (-1, self.side * self.side))
        top = tf.math.top_k(flat, k=max(1, self.side * self.side * 3 // 100)).values
        return {"mask": mask, "frame_score": tf.reduce_mean(top, axis=1)}


def save(folder: Path, side: int = SIDE, metadata: dict[str, Any] | None = None) -> Path:
    """Write the model to a folder and return it."""
    return _save(folder, GreenIsFake(side), side, metadata)


def save_writing(folder: Path, written: Path, side: int = SIDE) -> Path:
    """As `save`, a stranger's: running it writes the file `written`."""

    class Stranger(GreenIsFake):
        def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            tf.io.write_file(str(written), "this ran with your rights")
            return super().serve(images)

    return _save(folder, Stranger(side), side, None)


def _save(folder: Path, module: GreenIsFake, side: int, metadata: dict[str, Any] | None) -> Path:
    spec = tf.TensorSpec((None, side, side, 3), tf.uint8, name="images")
    tf.saved_model.save(module, str(folder), signatures={"serving_default": tf.function(module.serve, [spec])})
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    content = {"format": 1, "input_size": side, "face_margin": FACE_MARGIN, **(metadata or {})}
    (extra / "model.json").write_text(json.dumps(content))
    return folder
