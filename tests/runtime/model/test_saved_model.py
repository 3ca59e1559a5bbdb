"""Loading exported models: trust first, then the signature; every refusal says what to do."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import runtime
from mask_generation import cli
from runtime.__main__ import main
from runtime.model import saved_model
from runtime.model.saved_model import ModelError, default_model, load_model
from tests.helpers import drawn_model
from tests.helpers.drawn_records import write_dataset
from tests.helpers.drawn_videos import clip
from unet_industrial.config import FACE_MARGIN, TOP_SHARE


@pytest.fixture(autouse=True)
def own_pins(tmp_path, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "config" / "pins.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_model.save(tmp_path_factory.mktemp("model") / "green", metadata={"note": "drawn"})


def save(folder, function, dtype=tf.uint8, shape=(None, 32, 32, 3), name="images"):
    module = tf.Module()
    module.serve = tf.function(function, [tf.TensorSpec(shape, dtype, name=name)])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def test_batches_do_not_change_the_answer(folder):
    model = load_model(folder, trust=True)
    crops = np.random.default_rng(0).integers(0, 256, (5, drawn_model.SIDE, drawn_model.SIDE, 3), np.uint8)
    masks, scores = model.predict(crops, batch_size=2)
    assert (masks.shape, masks.dtype, scores.shape) == ((5, drawn_model.SIDE, drawn_model.SIDE), np.float32, (5,))
    np.testing.assert_allclose(masks, model.predict(crops, 16)[0], atol=1e-6)
    assert [len(part) for part in model.predict(crops[:0])] == [0, 0]
    for wrong in (crops[:, :32], crops.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            model.predict(wrong)


def test_unknown_models_are_refused_until_pinned(folder):
    with pytest.raises(ModelError, match=r"runs with your rights.*--trust_model"):
        load_model(folder)
    saved_model.pin(folder)
    assert load_model(folder).sha256 == saved_model.program_sha256(folder)
    saved_model.pin_file().write_text("damaged")
    with pytest.raises(ModelError, match="unknown model"):
        load_model(folder)


@pytest.fixture
def own_model(folder, tmp_path):
    """A copy of the model, pinned, that a test may spoil."""
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    saved_model.pin(own)
    return own


def test_other_thresholds_than_those_pinned_are_refused(own_model):
    """Before, the pin covered the program alone: an edited model.json turned "real" into "fake, .99" unasked."""
    assert load_model(own_model).metadata["note"] == "drawn"
    saved_model.write_metadata(own_model, {**saved_model.read_metadata(own_model)[0], "threshold": 0.0})
    with pytest.raises(ModelError, match=r"model\.json: not the one .*--trust_model"):
        load_model(own_model)
    assert load_model(own_model, trust=True).metadata["threshold"] == 0.0
    (own_model / saved_model.METADATA_PATH).unlink()
    with pytest.raises(ModelError, match="not the one"):
        load_model(own_model)


def test_a_calibrated_model_replaces_what_was_pinned(own_model):
    before = saved_model.examine(own_model)[0].key
    saved_model.write_metadata(own_model, {"note": "calibrated"})
    saved_model.pin(own_model, "mine", replaces=before)
    assert load_model(own_model).metadata["note"] == "calibrated"
    assert list(saved_model.pinned().values()) == ["mine"]


def test_what_is_loaded_is_what_was_hashed(own_model, stranger, monkeypatch):
    """Before, the files were read again for loading: whoever wrote to the folder in between had a program run."""
    check = saved_model.check_trust

    def swap(*given):
        check(*given)
        shutil.rmtree(own_model)
        shutil.copytree(stranger[0], own_model)

    monkeypatch.setattr(saved_model, "check_trust", swap)
    side = drawn_model.SIDE
    load_model(own_model).predict(np.zeros((1, side, side, 3), np.uint8))
    assert not stranger[1].exists()


def test_a_key_vouches_for_one_model_only(own_model, stranger):
    saved_model.pin_file().unlink()
    key = saved_model.examine(own_model)[0].key
    assert load_model(own_model, key).metadata["note"] == "drawn"
    with pytest.raises(ModelError, match="changed since it was checked"):
        load_model(stranger[0], key)


def test_pins_that_others_may_write_vouch_for_nothing(own_model, monkeypatch):
    assert saved_model.pin_file().stat().st_mode & 0o777 == 0o600
    saved_model.pin_file().chmod(0o666)
    with pytest.raises(ModelError, match="unknown model"):
        load_model(own_model)
    saved_model.pin_file().chmod(0o600)
    load_model(own_model)
    monkeypatch.setattr(saved_model.os, "geteuid", lambda: 12345)  # the file is another user's, unless root's
    if saved_model.pin_file().stat().st_uid:
        assert saved_model.pinned() == {}


def test_text_of_a_model_cannot_steer_a_terminal(own_model):
    escape = "\x1b[2J\x1b]0;owned\x07 \u202e"
    saved_model.write_metadata(own_model, {"notice": escape, escape: [{"name": escape}]})
    content, _ = saved_model.read_metadata(own_model)
    assert content["notice"] == r"\x1b[2J\x1b]0;owned\x07 \u202e"
    assert json.dumps(content).isprintable()
    assert "\x1b" not in json.dumps(content, ensure_ascii=False)
    saved_model.write_metadata(own_model, {"format": escape})
    with pytest.raises(ModelError) as refused:
        saved_model.read_metadata(own_model)
    assert str(refused.value).isprintable()


def test_nothing_is_executed_before_the_trust_is_checked(folder, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ModelError):
        load_model(folder)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """(A SavedModel whose signature writes a file, that file, records and a video to run it on.)"""
    root = tmp_path_factory.mktemp("stranger")
    model = drawn_model.save_writing(root / "model", root / "written", side=32)
    write_dataset(root / "records", train=2, val=2)
    video = clip(root / "clip.mp4", frames=4)
    return model, root / "written", root / "records", video


SUBCOMMANDS = {
    "evaluate": ["--model=MODEL", "--data_dir=RECORDS", "--split=val", "--output_dir=OUT"],
    "score": ["--model=MODEL", "--input=VIDEO", "--output=OUT"],
    "robustness": ["--model=MODEL", "--output_dir=OUT", "--kinds=fps", "VIDEO"],
    "export": ["--model=MODEL", "--export_dir=OUT", "--onnx=OUT/model.onnx"],
    "train": ["--exec_mode=evaluate", "--results_dir=MODEL", "--data_dir=RECORDS", "--input_size=32"],
}


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_no_subcommand_runs_a_strangers_model(subcommand, stranger, tmp_path, capsys):
    """Before, `evaluate` loaded and ran anything that it was given."""
    model, written, *_ = stranger
    assert main([subcommand, *_filled(SUBCOMMANDS[subcommand], stranger, tmp_path / "out")]) == cli.FAILED
    error = capsys.readouterr().err
    assert str(model) in error
    assert "Traceback" not in error
    if subcommand in ("evaluate", "score", "robustness"):  # the others take checkpoints, which hold no program
        assert "--trust_model" in error
    assert not written.exists()


def test_python_does_not_run_a_strangers_model_either(stranger):
    model, written, _, video = stranger
    with pytest.raises(ModelError, match="unknown model"):
        runtime.score_video(str(video), str(model))
    assert not written.exists()


def test_a_model_that_the_user_vouches_for_is_evaluated(stranger, tmp_path):
    written = stranger[1]
    assert main(["evaluate", *_filled(SUBCOMMANDS["evaluate"], stranger, tmp_path / "out"), "--trust_model"]) == cli.OK
    assert written.exists()  # so the refusals above did prevent something
    written.unlink()
    about = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert about["sha256"] == saved_model.program_sha256(stranger[0])


def _filled(words, stranger, out):
    places = dict(zip(("MODEL", "WRITTEN", "RECORDS", "VIDEO"), map(str, stranger)), OUT=str(out))
    for name, value in places.items():
        words = [word.replace(name, value) for word in words]
    return words


def test_one_module_loads_saved_models():
    """Two loaders are two checks, of which one is forgotten."""
    root = Path(saved_model.__file__).resolve().parents[2]
    loading = re.compile(r"saved_model\.(load|load_v2)\(|models\.load_model\(|loader\.load\(|TFSMLayer\(")
    found = [
        path.relative_to(root).as_posix()
        for package in ("unet_industrial", "mask_generation", "runtime", "tools")
        for path in sorted((root / package).rglob("*.py"))
        if loading.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["runtime/model/saved_model.py"]


def test_metadata_of_a_later_format_are_refused(tmp_path):
    saved_model.write_metadata(tmp_path, {"format": 2})
    with pytest.raises(ModelError, match="format 2, this version reads 1"):
        saved_model.read_metadata(tmp_path)


def outputs(images):
    mask = tf.cast(images[..., :1], tf.float32) / 255
    return {"mask": mask, "frame_score": tf.reduce_mean(mask, axis=(1, 2, 3))}


@pytest.mark.parametrize(
    "function, options, message",
    [
        (lambda images: {"mask": outputs(images)["mask"]}, {}, "returns"),
        (outputs, {"dtype": tf.float32}, "float32"),
        (lambda x: outputs(x), {"name": "x"}, r"takes \['x'\]"),
        (outputs, {"shape": (None, 32, 32, 4)}, "images are uint8"),
        (outputs, {"shape": (None, None, None, 3)}, "size of its crops is not known"),
    ],
)
def test_other_signatures_are_refused(tmp_path, function, options, message):
    with pytest.raises(ModelError, match=message):
        load_model(save(tmp_path / "other", function, **options), trust=True)


def test_values_that_are_not_finite_are_no_answer(tmp_path):
    def broken(images):
        found = outputs(images)
        return {**found, "mask": found["mask"] / 0.0}

    model = load_model(save(tmp_path / "broken", broken), trust=True)
    with pytest.raises(ModelError, match="not finite"):
        model.predict(np.zeros((1, 32, 32, 3), np.uint8))


def test_missing_damaged_and_odd_metadata_are_named(tmp_path, folder):
    with pytest.raises(ModelError, match=r"no SavedModel there.*export"):
        load_model(tmp_path, trust=True)
    copy = drawn_model.save(tmp_path / "copy")
    damaged = (b"{", b"\xff", b"[" * 200_000)
    odd = ((b"[]", "JSON object"), (b'{"face_margin": "wide"}', "face_margin"))
    for content, message in (*((content, "damaged") for content in damaged), *odd):
        (copy / saved_model.METADATA_PATH).write_bytes(content)
        with pytest.raises(ModelError, match=message):
            load_model(copy, trust=True)
    (copy / saved_model.METADATA_PATH).unlink()
    assert load_model(copy, trust=True).face_margin == FACE_MARGIN
    (copy / "variables" / "variables.index").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(copy, trust=True)


def test_metadata_are_written_whole_and_come_back(tmp_path):
    saved_model.write_metadata(tmp_path, {"a": [1, 2]})
    content, sha256 = saved_model.read_metadata(tmp_path)
    assert content == {"a": [1, 2]}
    assert len(sha256) == 64
    assert json.loads((tmp_path / saved_model.METADATA_PATH).read_text()) == content
    assert saved_model.read_metadata(tmp_path / "none") == ({}, None)


def test_without_a_packaged_model_the_default_is_refused(monkeypatch):
    monkeypatch.setattr(saved_model, "PACKAGED", "runtime.not_there")
    with pytest.raises(ModelError, match="none comes with this installation: give --model"):
        default_model()


def test_the_default_is_the_packaged_model(tmp_path, folder, monkeypatch):
    (tmp_path / "model_along.py").write_text(f"def shipped(): return {str(folder)!r}, 'key'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(saved_model, "PACKAGED", "model_along")
    assert default_model() == folder
    assert saved_model.shipped_model() == (folder, "key")
    sys.modules.pop("model_along", None)


def test_masks_training_export_and_scoring_agree_on_margin_and_top_share():
    from mask_generation.pairs.outcome import GroupConfig
    from runtime.scoring.frame_score import ScorerConfig
    from unet_industrial import losses

    assert GroupConfig().crop_margin == FACE_MARGIN
    assert ScorerConfig().top_percent == 100 * TOP_SHARE
    assert losses.image_logits.__defaults__ == (TOP_SHARE,)
