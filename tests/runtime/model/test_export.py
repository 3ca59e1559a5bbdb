"""`export`: a checkpoint → a SavedModel that gives the live model's answers, with all that is known about it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from mask_generation.datasets.base import Options
from mask_generation.datasets.registry import find
from mask_generation.parallel import processes
from mask_generation.pipeline import GenerateConfig, generate
from runtime.__main__ import main
from runtime.model import export, saved_model
from runtime.training import checkpoint
from tests.helpers import drawn_model, drawn_pairs
from unet_industrial.config import FACE_MARGIN, DataConfig, ModelConfig, TrainConfig
from unet_industrial.train_step import make_network

SIDE = 32
METADATA = {"input_size": SIDE, "export_error": 0.0}


def config(**changes) -> ModelConfig:
    return ModelConfig(**{"input_size": SIDE, **changes})


def save_run(folder, model_config):
    """A results folder with one checkpoint of untrained, but not symmetric, weights."""
    tf.keras.utils.set_random_seed(1)
    network = make_network(model_config)
    state = checkpoint.TrainState(
        step=7,
        best_step=7,
        config={
            "model": model_config.to_dict(),
            "data": DataConfig().to_dict(),
            "train": TrainConfig().to_dict(),
            "source": {"files": 3},
        },
    )
    checkpoint.CheckpointStore(folder / "checkpoints").save(tf.train.Checkpoint(model=network), state)
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, save_run(folder, config(features="rgb+srm"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The output folder of `export`, made with its own file of trusted models."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(saved_model.PIN_VARIABLE, str(folder / "pins.json"))
        assert main(["export", f"--model={run[0]}", f"--output={folder / 'model'}", "--face_margin=1.4"]) == 0
    return folder / "model"


@pytest.fixture
def crops():
    return np.random.default_rng(5).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def test_the_export_gives_the_live_models_answers(run, exported, crops):
    live = export.ServingModule(run[1], config(features="rgb+srm")).serve(tf.constant(crops))
    masks, scores = saved_model.load_model(exported, trust=True).predict(crops, batch_size=2)
    np.testing.assert_allclose(masks, live["mask"].numpy()[..., 0], atol=1e-6)
    np.testing.assert_allclose(scores, live["frame_score"].numpy(), atol=1e-6)
    assert masks.std() > 1e-3  # not one constant for everything
    top = np.sort(masks.reshape(3, -1), axis=1)[:, -round(SIDE * SIDE * 0.03) :].mean(axis=1)
    np.testing.assert_allclose(scores, top, atol=5e-3)  # how the frame score is defined


def test_the_metadata_say_what_it_is_and_where_it_comes_from(run, exported):
    about = json.loads((exported / "assets.extra" / "model.json").read_text())
    assert about["model"] == config(features="rgb+srm").to_dict()
    assert (about["input_size"], about["face_margin"], about["step"]) == (SIDE, 1.4, 7)
    assert about["training"]["source"] == {"files": 3}
    assert about["weights_sha256"] == export.weights_sha256(run[1])
    assert about["export_error"] <= export.AGREEMENT
    assert about["parameters"] == sum(int(np.prod(v.shape)) for v in run[1].trainable_variables)
    assert about["versions"]["tensorflow"] == tf.__version__


def test_the_margin_of_the_records_crops_goes_all_the_way_into_the_export(tmp_path, monkeypatch):
    """Before, it was typed by hand at `export`, 1.3 unless one thought of it."""
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "pins.json"))
    inventory = find(str(drawn_pairs.pairs_csv(tmp_path / "pairs", 1, splits=("train",))), "pairs_csv", Options())
    config = GenerateConfig(dataclasses.replace(drawn_pairs.CONFIG, crop_margin=1.5), tmp_path / "records")

    def inline(jobs, work, *_):
        built = work.build()
        return [(job, processes.Answer(*processes.attempt(work, built, job))) for job in jobs]

    monkeypatch.setattr(processes, "run", inline)
    generate(inventory, config, lambda *_: None, drawn_pairs.build_quick)
    words = ["--input_size=32", "--batch_size=2", "--num_iter=1", "--exec_mode=train"]
    assert main(["train", f"--data_dir={tmp_path / 'records'}", f"--results_dir={tmp_path / 'run'}", *words]) == 0
    margins = {}
    for name, flag in (("own", []), ("given", ["--face_margin=2"])):
        assert main(["export", f"--model={tmp_path / 'run'}", f"--export_dir={tmp_path / name}", *flag]) == 0
        margins[name] = saved_model.read_metadata(tmp_path / name)[0]["face_margin"]
    assert margins == {"own": 1.5, "given": 2.0}


def test_without_a_known_margin_the_export_takes_the_usual_one(run, tmp_path, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "pins.json"))
    assert main(["export", f"--model={run[0]}", f"--export_dir={tmp_path / 'model'}"]) == 0
    assert saved_model.load_model(tmp_path / "model").face_margin == FACE_MARGIN


def test_what_this_user_exported_is_trusted_and_a_changed_copy_is_not(exported, tmp_path, monkeypatch):
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(exported.parent / "pins.json"))
    assert saved_model.load_model(exported).input_size == SIDE
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in [p for p in exported.rglob("*") if p.is_file()]:
        target = copy / path.relative_to(exported)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert saved_model.program_sha256(copy) == saved_model.program_sha256(exported)
    saved_model.write_metadata(copy, {"format": 1, "note": "metadata are no part of the program"})
    assert saved_model.program_sha256(copy) == saved_model.program_sha256(exported)
    with (copy / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(saved_model.ModelError, match=r"unknown model .* --trust_model"):
        saved_model.load_model(copy)


def test_a_home_that_cannot_be_written_to_does_not_lose_the_export(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(saved_model.PIN_VARIABLE, str(tmp_path / "file" / "pins.json"))
    monkeypatch.setattr(export, "export", lambda *_: drawn_model.save(tmp_path / "model") and METADATA)
    assert main(["export", f"--model={run[0]}", f"--output={tmp_path / 'model'}"]) == 0
    assert "not remembered" in capsys.readouterr().err
    assert (tmp_path / "model" / "saved_model.pb").is_file()


def test_an_existing_folder_is_kept_without_overwrite(run, exported, capsys):
    before = (exported / "saved_model.pb").stat().st_mtime_ns
    assert main(["export", f"--model={run[0]}", f"--output={exported}"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (exported / "saved_model.pb").stat().st_mtime_ns == before


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(run, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "precious").write_text("")
    monkeypatch.setattr(export, "worst_difference", lambda *_: 0.1)
    with pytest.raises(export.ExportError, match=r"differs .* by 1.00e-01"):
        export.export(run[1], config(features="rgb+srm"), folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "precious").exists()


def test_grey_models_take_colour_crops(crops):
    tf.keras.utils.set_random_seed(2)
    network = make_network(config(in_channels=1))
    masks = export.ServingModule(network, config(in_channels=1)).serve(tf.constant(crops))["mask"][..., 0]
    grey = np.round(tf.image.rgb_to_grayscale(crops.astype(np.float32)))
    logits = network((grey / 127.5 - 1).astype(np.float32), training=False)
    np.testing.assert_allclose(masks, tf.sigmoid(logits)[..., 0], atol=1e-5)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--model=/nowhere", "--output=x"], 1, "no checkpoint in /nowhere"),
        (["--output=x"], 2, "--model"),
        (["--model=RUN", "--output=x", "--input_size=33"], 2, "input_size=33"),
        (["--model=RUN", "--output=x", "--face_margin=0.5"], 2, "face_margin"),
    ],
)
def test_bad_arguments_are_named(run, arguments, code, message, capsys):
    assert main(["export", *[word.replace("RUN", str(run[0])) for word in arguments]]) == code
    assert message in capsys.readouterr().err
