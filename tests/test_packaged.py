"""Weights in the box: only the released ones are used, and what is made of them answers as they do."""

import hashlib
import io
import json

import numpy as np
import pytest

from runtime import packaged
from runtime.models import ModelError, load_model
from unet_industrial.config import ModelConfig


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A folder of weights as `scripts/pack_weights.py` leaves it: an untrained network for crops of 32 px."""
    from unet_industrial.train_step import make_network

    config = ModelConfig(input_size=32, features="rgb+srm")
    network = make_network(config)
    stream = io.BytesIO()
    np.savez_compressed(stream, **{f"{i:03d}": w.astype(np.float16) for i, w in enumerate(network.get_weights())})
    weights, description = tmp_path / "tinyunet.npz", tmp_path / "model.json"
    weights.write_bytes(stream.getvalue())
    description.write_text(json.dumps({"model": config.to_dict(), "note": "untrained"}))
    monkeypatch.setattr(packaged, "WEIGHTS_FILE", weights)
    monkeypatch.setattr(packaged, "METADATA_FILE", description)
    monkeypatch.setattr(packaged, "WEIGHTS_SHA256", hashlib.sha256(stream.getvalue()).hexdigest())
    monkeypatch.setenv(packaged.CACHE_VARIABLE, str(tmp_path / "cache"))
    return network


def test_the_model_is_made_once_and_answers_as_its_weights(box, tmp_path):
    folder = packaged.model_folder()
    model = load_model(folder, trust=True)
    assert model.input_size == 32
    assert model.metadata["note"] == "untrained"
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    masks, _ = model.predict(crops)
    from unet_industrial.train_step import network_input

    logits = box(network_input(crops.astype(np.float32) / 127.5 - 1, ModelConfig(input_size=32, features="rgb+srm")))
    np.testing.assert_allclose(masks, 1 / (1 + np.exp(-logits.numpy()[..., 0])), atol=1e-3)
    made = (folder / "saved_model.pb").stat().st_mtime_ns
    assert packaged.model_folder() == folder
    assert (folder / "saved_model.pb").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_other_weights_than_the_released_are_refused(box):
    data = bytearray(packaged.WEIGHTS_FILE.read_bytes())
    data[100] ^= 1
    packaged.WEIGHTS_FILE.write_bytes(data)
    with pytest.raises(ModelError, match=r"tinyunet\.npz: SHA-256 .* is not the released"):
        packaged.model_folder()


def test_without_weights_it_says_what_to_do(box):
    packaged.WEIGHTS_FILE.unlink()
    assert not packaged.available()
    with pytest.raises(ModelError, match="holds no weights: give --model=FOLDER"):
        packaged.model_folder()
