"""Packaged weights: only the released ones are used, and the model built of them answers as they do."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mask_generation.faces.detector import MtcnnDetector
from runtime.commands.demo_clips import unseen_pairs
from runtime.commands.score import notice_of
from runtime.model import calibration, packaged, saved_model
from runtime.model.saved_model import ModelError, fingerprint, load_model
from runtime.scoring import abstention
from runtime.scoring.result import ScoreConfig
from tests.helpers import drawn_model
from unet_industrial.config import ModelConfig


@pytest.fixture
def packaged_network(tmp_path, monkeypatch):
    """A folder of weights as `tools/pack_weights.py` leaves it: an untrained network for crops of 32 px."""
    import tensorflow as tf

    from unet_industrial.train_step import make_network

    config = ModelConfig(input_size=32, features="rgb+srm")
    tf.keras.utils.set_random_seed(0)  # of some random weights, a float16 copy is off by more than the tolerance
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


@pytest.fixture(autouse=True)
def own_pins(tmp_path, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "config" / "pins.json"))


@pytest.fixture
def build_count(monkeypatch):
    """Counts how often the model is built."""
    counted, build = [], packaged._build
    monkeypatch.setattr(packaged, "_build", lambda *args: counted.append(args) or build(*args))
    return counted


def test_the_model_is_made_once_and_answers_as_its_weights(packaged_network, tmp_path):
    folder = packaged.model_folder()
    model = load_model(folder, trust=True)
    assert model.input_size == 32
    assert model.metadata["note"] == "untrained"
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    masks, _ = model.predict(crops)
    from unet_industrial.train_step import network_input

    logits = packaged_network(
        network_input(crops.astype(np.float32) / 127.5 - 1, ModelConfig(input_size=32, features="rgb+srm"))
    )
    np.testing.assert_allclose(masks, 1 / (1 + np.exp(-logits.numpy()[..., 0])), atol=1e-3)
    made = (folder / "saved_model.pb").stat().st_mtime_ns
    assert packaged.model_folder() == folder
    assert (folder / "saved_model.pb").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_a_model_in_the_cache_that_was_changed_is_not_run(packaged_network, tmp_path, caplog):
    """Before, whatever lay under the right name was loaded as the shipped model, with no question about trust."""
    folder, written = packaged.model_folder(), tmp_path / "written"
    shutil.rmtree(folder)
    drawn_model.save_writing(folder, written, side=32)
    again = packaged.model_folder()
    load_model(again, trust=True).predict(np.zeros((1, 32, 32, 3), np.uint8))
    assert not written.exists()
    assert "is passed over" in caplog.text
    assert load_model(again).metadata["note"] == "untrained"  # and its hash is known


def test_a_users_own_export_in_the_cache_is_not_the_shipped_model(packaged_network):
    folder = packaged.model_folder()
    shutil.rmtree(folder)
    saved_model.pin(drawn_model.save(folder, side=32))
    assert load_model(packaged.model_folder()).metadata["note"] == "untrained"


def test_a_half_written_model_in_the_cache_is_built_anew(packaged_network, build_count):
    folder = packaged.model_folder()
    (folder / "variables" / "variables.index").unlink()
    assert load_model(packaged.model_folder()).input_size == 32
    (packaged.model_folder() / "saved_model.pb").unlink()
    assert load_model(packaged.model_folder()).input_size == 32
    assert len(build_count) == 3


def test_where_nothing_can_be_remembered_each_process_builds_its_own(
    packaged_network, build_count, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "file" / "pins.json"))
    monkeypatch.setattr(packaged, "_unpinned", {})
    folder = packaged.model_folder()
    assert load_model(folder, trust=True).input_size == 32
    assert packaged.model_folder() == folder
    assert len(build_count) == 1
    assert (
        list((tmp_path / "cache").iterdir()) == []
    )  # nothing is left there that could not be distinguished from a foreign one
    assert "built anew at every start" in caplog.text


def test_a_cache_of_another_user_or_of_everybody_is_not_used(packaged_network, tmp_path, monkeypatch):
    """Before, a folder that anybody could write to was as good as one's own."""
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    assert cache not in packaged.model_folder().parents
    assert not list(cache.iterdir())
    cache.chmod(0o700)
    assert cache in packaged.model_folder().parents
    monkeypatch.setattr(packaged.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(packaged, "_build", lambda cache, version: (cache, version))
    assert cache not in packaged.model_folder().parents


def test_what_killed_builds_and_forgotten_homes_leave_is_swept(packaged_network, tmp_path, monkeypatch):
    """Before, `.building-*` stayed for ever, and each start of a container without a kept home left 8 MB more."""
    cache = tmp_path / "cache"
    killed, running = cache / ".building-dead", cache / ".building-live"
    for folder in (killed, running):
        folder.mkdir(parents=True)
    os.utime(killed, (0, 0))
    first = packaged.model_folder()
    assert not killed.exists()
    assert running.exists()
    for number in range(5):
        shutil.copytree(first, cache / f"{first.name}{number}")  # as of homes that are gone
    again, _ = packaged.shipped()
    assert again == first
    saved_model.pin_file().unlink()
    shutil.rmtree(first)
    assert packaged.model_folder().is_dir()
    assert len(list(cache.glob(f"{first.name[:16]}-*"))) <= 1 + packaged.KEPT_UNKNOWN


def test_other_weights_than_the_released_are_refused(packaged_network):
    data = bytearray(packaged.WEIGHTS_FILE.read_bytes())
    data[100] ^= 1
    packaged.WEIGHTS_FILE.write_bytes(data)
    with pytest.raises(ModelError, match=r"tinyunet\.npz: SHA-256 .* is not the released"):
        packaged.model_folder()


def test_without_weights_it_says_what_to_do(packaged_network):
    packaged.WEIGHTS_FILE.unlink()
    assert not packaged.available()
    with pytest.raises(ModelError, match="holds no weights: give --model=FOLDER"):
        packaged.model_folder()


# What this version really ships.

SHIPPED = Path(packaged.__file__).parent / "weights"


def test_the_shipped_weights_are_the_pinned_ones_and_small():
    data = (SHIPPED / "tinyunet.npz").read_bytes()
    assert hashlib.sha256(data).hexdigest() == packaged.WEIGHTS_SHA256
    assert len(data) <= 8 << 20
    network, config = packaged.build_network()
    assert sum(int(np.prod(weights.shape)) for weights in network.get_weights()) < 1_860_000
    assert all(np.isfinite(weights).all() for weights in network.get_weights())
    assert config.input_size in (128, 256)


def test_the_shipped_model_is_calibrated_for_the_way_score_uses_it(tmp_path, monkeypatch):
    monkeypatch.setenv(packaged.CACHE_VARIABLE, str(tmp_path))
    model = load_model(packaged.model_folder(), trust=True)
    config = ScoreConfig().for_model(model.sha256, model.metadata)
    scoring = config.scoring(fingerprint(model.sha256, model.metadata))
    found, note = calibration.of_model(model.metadata, scoring)
    assert note == ""
    assert found.probability(0.05) < found.probability(0.95)
    own = calibration.threshold_of_model(model.metadata, scoring)
    assert (config.aggregate.threshold, config.aggregate.real_below) == own
    assert set(abstention.domain_of(model.metadata)) == set(abstention.MEASURES)
    assert "xperimental" in notice_of(model.metadata)


def test_the_shipped_model_finds_manipulations_of_two_people_it_has_never_seen(tmp_path, monkeypatch):
    """Eileen Collins and Grace Hopper, manipulated by the synthesis and encoded as platforms do."""
    monkeypatch.setenv(packaged.CACHE_VARIABLE, str(tmp_path / "cache"))
    model = load_model(packaged.model_folder(), trust=True)
    pairs = unseen_pairs(60, model.input_size, MtcnnDetector())
    (real_masks, real_scores), (fake_masks, fake_scores) = (
        model.predict(np.stack([getattr(pair, side) for pair in pairs])) for side in ("real", "fake")
    )
    faked = np.stack([pair.mask for pair in pairs]) > 127
    assert np.mean(fake_scores > real_scores) > 0.75  # .93 when this was written
    assert (real_masks > 0.5).mean() < 0.1  # .03
    assert (fake_masks > 0.5)[faked].mean() > 2 * (real_masks > 0.5)[faked].mean()
