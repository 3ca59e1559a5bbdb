"""ONNX: the same answers in ONNX Runtime as in TensorFlow; skipped with a message where the extra is not installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from runtime.model import export, onnx, saved_model
from runtime.model.onnx import OnnxError, export_onnx
from tests.helpers import drawn_model
from unet_industrial.config import ModelConfig
from unet_industrial.train_step import make_network

MISSING = [name for name in ("onnx", "onnxruntime", "tf2onnx") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (the extra `onnx`)")
SIDE = 32


@needs_onnx
def test_the_network_gives_the_same_answers_in_any_batch(tmp_path):
    import onnxruntime

    tf.keras.utils.set_random_seed(3)
    config = ModelConfig(input_size=SIDE, features="rgb+srm")
    export.export(make_network(config), config, tmp_path / "model")
    model = saved_model.load_model(tmp_path / "model", trust=True)
    assert export_onnx(model, tmp_path / "deep" / "model.onnx") <= onnx.AGREEMENT
    session = onnxruntime.InferenceSession(str(tmp_path / "deep" / "model.onnx"))
    for count in (1, 5):
        crops = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        mask, score = session.run(["mask", "frame_score"], {"images": crops})
        masks, scores = model.predict(crops)
        np.testing.assert_allclose(mask[..., 0], masks, atol=onnx.AGREEMENT)
        np.testing.assert_allclose(score, scores, atol=onnx.AGREEMENT)
    assert masks.std() > 1e-3


@needs_onnx
def test_a_conversion_that_disagrees_is_not_kept(tmp_path, monkeypatch):
    model = saved_model.load_model(drawn_model.save(tmp_path / "model"), trust=True)
    (tmp_path / "model.onnx").write_text("precious")
    monkeypatch.setattr(onnx, "worst_difference", lambda *_: 0.25)
    with pytest.raises(OnnxError, match=r"differs by 2.50e-01"):
        export_onnx(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "precious"


@pytest.mark.skipif(not MISSING, reason="the extra `onnx` is installed")
def test_without_the_extra_the_message_says_how_to_get_it(tmp_path):
    model = saved_model.load_model(drawn_model.save(tmp_path / "model"), trust=True)
    with pytest.raises(OnnxError, match=r"pip install .*\[onnx\]"):
        export_onnx(model, tmp_path / "model.onnx")


def test_probes_cover_flat_smooth_and_busy_pictures():
    pictures = onnx.probes(SIDE)
    assert pictures.shape == (onnx.PROBES, SIDE, SIDE, 3)
    assert len({picture.tobytes() for picture in pictures}) == onnx.PROBES
