"""SavedModel → ONNX, kept only if ONNX Runtime gives the same answers: for users without TensorFlow.

Needs `pip install deepfake-unet-industrial[onnx]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import numpy as np

from runtime.model.saved_model import LoadedModel
from unet_industrial.files import write_bytes

OPSET = 17
AGREEMENT = 1e-5  # largest difference of a probability, as between the SavedModel and the live model
PROBES = 8


class OnnxError(RuntimeError):
    """The model cannot be converted, or the conversion disagrees with it."""


def probes(side: int) -> np.ndarray:
    """(PROBES,side,side,3) uint8: noise at several contrasts, ramps, black and white."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    pictures = [np.full((side, side, 3), level, np.uint8) for level in (0, 255)]
    pictures += [np.broadcast_to(axis, (side, side, 3)) for axis in (ramp[:, None, None], ramp[None, :, None])]
    for contrast in (10, 40, 80, 128):
        pictures.append(rng.integers(128 - contrast, 128 + contrast, (side, side, 3), np.uint8))
    return np.stack(pictures[:PROBES])


def export_onnx(model: LoadedModel, path: Union[str, Path]) -> float:
    """Write `path` with the SavedModel's own signature; returns the largest difference of a probability.

    Raises:
        OnnxError: the extra `onnx` is not installed, or the conversion fails or disagrees. `path` is then untouched.
    """
    try:
        import onnxruntime
        import tensorflow as tf
        import tf2onnx
    except ImportError as error:
        raise OnnxError(f"ONNX needs `pip install deepfake-unet-industrial[onnx]` ({error})") from error
    side = model.input_size
    spec = tf.TensorSpec((None, side, side, 3), tf.uint8, name="images")
    serve = tf.function(lambda images: model.signature(images=images), input_signature=[spec])
    try:
        graph, _ = tf2onnx.convert.from_function(serve, input_signature=[spec], opset=OPSET)
    except Exception as error:  # tf2onnx raises whatever its converters do
        raise OnnxError(f"{model.path}: cannot be converted to ONNX: {type(error).__name__}: {error}") from error
    data = graph.SerializeToString()
    difference = worst_difference(model, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]))
    if not difference <= AGREEMENT:
        raise OnnxError(f"{model.path}: in ONNX Runtime it differs by {difference:.2e} (allowed {AGREEMENT:g})")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return difference


def worst_difference(model: LoadedModel, session: Any) -> float:
    """Largest difference in mask or frame score between a SavedModel and an ONNX Runtime session."""
    pictures = probes(model.input_size)
    masks, scores = model.predict(pictures)
    found = dict(zip((output.name for output in session.get_outputs()), session.run(None, {"images": pictures})))
    return float(max(np.abs(found["mask"][..., 0] - masks).max(), np.abs(found["frame_score"] - scores).max()))
