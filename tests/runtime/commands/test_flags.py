"""One flag vocabulary: a name means one thing, its default is that of its configuration, earlier names still work."""

from __future__ import annotations

import importlib

import pytest
from absl import flags

from mask_generation import cli
from mask_generation.commands.synthesize import Job
from mask_generation.datasets.base import Options
from mask_generation.pairs.outcome import GroupConfig
from mask_generation.parallel.processes import Parallel
from mask_generation.pipeline import GenerateConfig
from mask_generation.video.types import Limits
from runtime.__main__ import SUBCOMMANDS, main
from runtime.evaluation.classifier import ClassifierConfig
from runtime.evaluation.measure import Settings
from runtime.scoring.abstention import Thresholds
from runtime.scoring.frame_score import ScorerConfig
from runtime.scoring.result import ScoreConfig
from runtime.scoring.video_score import AggregateConfig
from runtime.training.pair_source import PairConfig
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.setting import settings_of

ROWS = dict(cli.walk(SUBCOMMANDS))
# (subcommand, what 0.1 called it, what it is called, a value)
RENAMED = [
    ("demo", "output_dir", "output", "o"),
    ("evaluate", "output_dir", "output", "o"),
    ("compare", "output_dir", "output", "o"),
    ("robustness", "output_dir", "output", "o"),
    ("export", "export_dir", "output", "o"),
    ("classifier", "results_dir", "output", "o"),
    ("classifier", "split", "train_split", "x"),
    ("classifier", "augment", "augment_data", "false"),
    ("calibrate", "max_false_alarms", "max_fpr", "0.3"),
    ("calibrate", "max_misses", "max_fnr", "0.3"),
    ("score", "num_workers", "processes", "3"),
    ("train", "recipe", "preset", "sbi"),
    ("train", "pool", "face_bank", "b.npz"),
    ("train", "pool_shares", "face_bank_shares", "a=1,b=2"),
    ("train", "synthesis_processes", "processes", "3"),
    ("mask generate", "output_dir", "output", "o"),
    ("mask generate", "pairs", "pairs_csv", "p.csv"),
    ("mask generate", "recipe", "mask_recipe", "ssim"),
    ("mask generate", "split", "split_policy", "strict"),
    ("mask generate", "timeout_s", "decode_limit_s", "5"),
    ("mask audit", "pairs", "pairs_csv", "p.csv"),
    ("mask audit", "split", "split_policy", "strict"),
    ("mask audit", "threads", "processes", "3"),
    ("mask preview", "pairs", "pairs_csv", "p.csv"),
    ("mask preview", "recipe", "mask_recipe", "ssim"),
    ("mask preview", "part", "split", "val"),
    ("mask preview", "split", "split_policy", "strict"),
    ("mask synthesize", "output_dir", "output", "o"),
    ("mask synthesize", "pairs", "num_pairs", "7"),
    ("mask synthesize", "pool", "face_bank", "b.npz"),
    ("mask synthesize", "pool_shares", "face_bank_shares", "a=1,b=2"),
    ("mask synthesize", "num_workers", "processes", "3"),
]
ANOTHER = {"o": "elsewhere", "x": "y", "false": "true", "0.3": "0.2", "3": "4", "sbi": "ffpp", "strict": "official"}
ANOTHER.update({"ssim": "article", "5": "6", "val": "test", "7": "8", "p.csv": "q.csv", "b.npz": "c.npz"})
# Names whose help text or default differs from subcommand to subcommand, and why.
DIFFER = {
    "memory_mb": "generate reads all clips of a group side by side",
    "output": "what is written differs",
    "data_dir": "records for the runtime, a data set as downloaded for mask; both the reference's name of an input",
    "model": "a checkpoint where a network is needed, a SavedModel where a program is, required where it is changed",
    "scores": "one table for compare, a whole folder of `score` for calibrate",
    "labels": "required columns for calibrate, optional ones for compare",
    "split": "the default depends on what is done with it",
    "eval_split": "train validates, classifier tests",
    "threshold": "score and robustness have the model's own",
    "processes": "a job of audit mostly waits for the disk; train has a set of them for each worker",
    "frames": "score can look at all of them; a face bank needs fewer of each person",
    "max_faces": "score looks at crowds, training needs the people a clip is about",
    "min_frames": "a clip may be short to train on, but not to judge",
    "batch_size": "of the classifier, smaller networks",
    "input_size": "MesoNet pools to a 32nd; export takes that of the training",
    "learning_rate": "of the classifier, the one of MesoNet's paper",
    "steps": "a demo is short",
}
CONFIGS = {
    "train": (ModelConfig, DataConfig, TrainConfig, PairConfig),
    "evaluate": (Settings,),
    "compare": (Settings,),
    "classifier": (ClassifierConfig, Settings),
    "score": (ScoreConfig, ScorerConfig, AggregateConfig, Thresholds, Parallel),
    "mask generate": (Options, GroupConfig, Limits, GenerateConfig),
    "mask audit": (Options,),
    "mask preview": (Options,),
    "mask synthesize": (Job,),
}


def flags_of(name):
    """{flag: (help text, default)} of a subcommand, earlier names left out."""
    with cli.defined_flags(importlib.import_module(ROWS[name].module).define_flags) as own:
        found = {each: flags.FLAGS[each] for each in own}
        return {each: (f.help, f.default) for each, f in found.items() if not isinstance(f, cli.Alias)}


def needed(name, *given):
    """Values for the flags that a subcommand requires, less those given."""
    with cli.defined_flags(importlib.import_module(ROWS[name].module).define_flags) as own:
        required = [
            each for each in own if any("other than None" in str(v.message) for v in flags.FLAGS[each].validators)
        ]
    return [f"--{each}=o" for each in required if each not in given]


@pytest.fixture
def parsed(monkeypatch):
    """Parses a command line without running the subcommand: (exit code, the flags' values)."""

    def parse(name, *words):
        module, found = importlib.import_module(ROWS[name].module), {}

        def keep(_):
            found.update({each: flags.FLAGS[each].value for each in flags.FLAGS})
            return cli.OK

        monkeypatch.setattr(module, "main", keep)
        return main([*name.split(), *words]), found

    return parse


@pytest.mark.parametrize("name, old, new, value", RENAMED)
def test_an_earlier_name_sets_the_new_one_and_is_reported(parsed, capsys, name, old, new, value):
    code, found = parsed(name, *needed(name, new), f"--{old}={value}")
    assert code == cli.OK
    assert capsys.readouterr().err == f"deepfake-unet {name}: --{old} is now --{new}\n"
    again = parsed(name, *needed(name, new), f"--{new}={value}")
    assert again[1][new] == found[new]


@pytest.mark.parametrize("name, old, new, value", [row for row in RENAMED if row[3] in ANOTHER])
def test_both_names_with_different_values_are_a_usage_error(parsed, capsys, name, old, new, value):
    words = [f"--{old}={value}", f"--{new}={ANOTHER[value]}"]
    assert parsed(name, *needed(name, new), *words)[0] == cli.USAGE
    assert parsed(name, *needed(name, new), *words[::-1])[0] == cli.USAGE
    assert "both are given, with different values" in capsys.readouterr().err


def test_the_references_name_of_the_output_of_train_is_here_to_stay(parsed, capsys):
    code, found = parsed("train", "--results_dir=r")
    assert (code, found["output"]) == (cli.OK, "r")
    assert capsys.readouterr().err == ""


def test_preview_takes_a_part_of_the_data_and_by_its_value_the_earlier_policy(parsed):
    assert parsed("mask preview", "--split=val")[1]["split"] == "val"
    code, found = parsed("mask preview", "--split=strict", "--split=val")
    assert (code, found["split"], found["split_policy"]) == (cli.OK, "val", "strict")


def test_a_face_bank_was_a_pool(capsys):
    assert main(["mask", "pool", "--help"]) == cli.OK
    shown = capsys.readouterr()
    assert shown.err == "deepfake-unet mask: pool is now face_bank\n"
    assert "Usage: deepfake-unet mask face_bank" in shown.out


def test_a_name_means_one_thing_and_has_one_default():
    meanings = {}
    for name in ROWS:
        for flag, (text, default) in flags_of(name).items():
            meanings.setdefault(flag, set()).add((text, str(default)))
    assert {flag for flag, found in meanings.items() if len(found) > 1} == set(DIFFER)


@pytest.mark.parametrize("name, config", [(name, config) for name, configs in CONFIGS.items() for config in configs])
def test_a_default_is_that_of_the_configuration(name, config):
    defined = flags_of(name)
    for field, setting in settings_of(config):
        default = defined[setting.flag or field.name][1]
        if setting.choices is not None:
            default = setting.written[default]
        if isinstance(field.default, tuple):
            default = tuple(type(value)(text) for value, text in zip(field.default, default))
        assert default == field.default, field.name
