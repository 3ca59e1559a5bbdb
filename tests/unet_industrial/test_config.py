"""Configurations: checked when made, JSON both ways."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from unet_industrial.config import FAKE_ABOVE, FAKE_ABOVE_UINT8, ConfigError, DataConfig, ModelConfig, TrainConfig


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(variant="original", in_channels=1, activation="elu", data_format="channels_first", input_size=512),
        DataConfig(drop_clean=True, augmentations=("flip", "rot90"), reader_threads=3),
        TrainConfig(deterministic=True, amp="bf16", seed=7, accumulate=2),
        TrainConfig(),
    ],
)
def test_json_there_and_back_is_identity(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "kind, setting, value, message",
    [
        (ModelConfig, "variant", "hugeUNet", "tinyUNet, original"),
        (ModelConfig, "input_size", 250, "multiple of 16"),
        (ModelConfig, "input_size", 256.0, "type int"),
        (ModelConfig, "in_channels", 4, "1, 3"),
        (DataConfig, "augmentations", ("flip", "twirl"), "rotate"),
        (DataConfig, "augmentations", ("flip", "flip"), "at most once"),
        (DataConfig, "drop_clean", "yes", "type bool"),
        (TrainConfig, "loss", "mse", "adaptive_loss"),
        (TrainConfig, "batch_size", 0, "at least 1"),
        (TrainConfig, "batch_size", True, "type int"),
        (TrainConfig, "learning_rate", 0.0, "above 0"),
        (TrainConfig, "learning_rate", float("nan"), "above 0"),
        (TrainConfig, "rmsprop_decay", 1.5, "at most 1"),
        (TrainConfig, "amp", "fp8", "none, fp16, bf16"),
    ],
)
def test_impossible_value_is_refused_naming_it_and_what_is_allowed(kind, setting, value, message):
    with pytest.raises(ConfigError, match=setting) as caught:
        kind(**{setting: value})
    assert message in str(caught.value)


def test_unknown_key_is_refused_and_frozen_is_frozen():
    with pytest.raises(ConfigError, match="no momentumm; it has"):
        TrainConfig.from_dict({"momentumm": 0.9})
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 3  # type: ignore[misc]


def test_network_channels_count_the_residuals():
    assert ModelConfig(in_channels=1).network_channels == 1
    assert ModelConfig(features="rgb+srm").network_channels == 6


def test_a_pixel_counts_as_fake_alike_as_a_probability_and_as_a_level_of_a_mask():
    levels = np.arange(256)
    np.testing.assert_array_equal(levels > FAKE_ABOVE_UINT8, levels / 255 > FAKE_ABOVE)
