"""The named settings of `train`, and how flags outrank them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mask_generation import cli
from mask_generation.synthesis.pairs import Mix
from runtime.__main__ import main
from runtime.commands import demo
from runtime.commands import train as train_command
from runtime.training.pair_source import PairConfig
from runtime.training.presets import PRESETS, REFERENCE_MODE, Preset
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = (ModelConfig, DataConfig, TrainConfig)


@pytest.fixture
def settings_of(monkeypatch):
    """Parses a command line as `train` does: (model, data, train, synthesis or None)."""

    def parse(*words):
        found = []

        def stop(_):
            model, data, train = train_command.configurations()
            given = any(word.startswith("--face_bank=") for word in words)
            found.append((model, data, train, train_command.pair_config(model, train) if given else None))
            return cli.OK

        monkeypatch.setattr(train_command, "main", stop)
        assert main(["train", "--output=o", *words]) == cli.OK
        return found[0]

    return parse


def test_the_reference_is_the_defaults():
    assert PRESETS["reference"] == Preset()


@pytest.mark.parametrize("preset", [*PRESETS.values(), REFERENCE_MODE])
def test_every_preset_is_a_valid_configuration(preset):
    for config in CONFIGS:
        config(**preset.of(config))
    if preset.pairs is not None:
        synthesis = PairConfig("b.npz", 128, 0, **preset.pairs)
        Mix(**synthesis.mix)


def test_a_preset_sets_what_the_user_did_not(settings_of):
    model, data, train, synthesis = settings_of("--preset=sbi", "--face_bank=b.npz", "--learning_rate=3e-4")
    assert (model.features, model.input_size, data.augment) == ("rgb+srm", 128, False)
    assert (train.optimizer, train.learning_rate) == ("adam", 3e-4)
    assert synthesis == PairConfig("b.npz", 128, 0)


def test_a_flag_outranks_a_preset_even_with_the_default_as_its_value(settings_of):
    model, _, train, _ = settings_of("--preset=ffpp", f"--optimizer={TrainConfig.optimizer}", "--features=rgb")
    assert (train.optimizer, model.features) == ("rmsprop", "rgb")


def test_shipped_is_what_the_weights_record_of_their_training(settings_of):
    training = json.loads((ROOT / "runtime/model/weights/model.json").read_text("utf-8"))
    model, data, train, synthesis = settings_of("--preset=shipped", "--face_bank=b.npz")
    assert model.to_dict() == training["model"]
    assert data.to_dict() == training["training"]["data"]
    recorded = training["training"]["train"]
    assert {
        name for name, value in train.to_dict().items() if value != recorded.get(name, getattr(TrainConfig(), name))
    } == {"amp"}  # the machine's matter
    source = training["training"]["source"]
    assert {name: getattr(synthesis, name) for name in ("size", "picture_size", "seed", "mix", "ramp_images")} == {
        name: source[name] for name in ("size", "picture_size", "seed", "mix", "ramp_images")
    }


def test_single_settings_of_a_presets_mix_can_be_changed(settings_of):
    synthesis = settings_of("--preset=shipped", "--face_bank=b.npz", "--mix=soft=0", "--ramp_images=500")[3]
    assert synthesis.mix == {**PRESETS["shipped"].pairs["mix"], "soft": 0.0}
    assert synthesis.ramp_images == 500


def test_the_length_of_a_run_comes_from_the_preset_unless_it_is_given(settings_of):
    words = ["--preset=shipped", "--face_bank=b.npz"]
    assert settings_of(*words)[2].total_steps == 9000
    assert settings_of(*words, "--num_iter=7")[2].total_steps == 7
    assert settings_of(*words, "--num_iter=7", "--iter_unit=epoch")[2].total_steps == 9000  # the loop counts epochs


def test_the_demo_takes_its_training_from_a_preset(settings_of):
    """What the demo was trained with before it had a preset; only what differs from it stands in the demo."""
    model, data, train, _ = settings_of(*demo.TRAINING)
    assert model == ModelConfig(features="rgb+srm", input_size=128)
    assert data == DataConfig(augmentations=("flip",))
    assert train == TrainConfig(
        loss="x-entropy",
        dice_loss_weight=0.5,
        image_loss_weight=0.3,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="cosine",
        clip_norm=1.0,
        weight_decay=0.0,
        seed=1,
        display_every=20,
    )
