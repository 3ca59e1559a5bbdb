"""`train`: the reference's flags and modes, mistakes reported at once, and life without Horovod."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from mask_generation import cli
from runtime.__main__ import main
from runtime.commands import train as train_command
from tests.helpers.drawn_records import write_dataset
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.files import sole_writer

ROOT = Path(__file__).resolve().parents[3]

# The reference's own command line (its UNet_1GPU.sh and trainbench scripts), less the data set's name and class.
REFERENCE = """
    --exec_mode=train_and_evaluate --iter_unit=batch --num_iter=2500 --batch_size=16 --warmup_step=10
    --results_dir=r --data_dir=d --unet_variant=tinyUNet --activation_fn=relu --data_format=NCHW
    --weight_init_method=he_uniform --loss_fn_name=adaptive_loss --learning_rate=1e-4
    --learning_rate_decay_factor=0.8 --learning_rate_decay_steps=500 --rmsprop_decay=0.9 --rmsprop_momentum=0.8
    --weight_decay=1e-5 --augment_data --amp --use_auto_loss_scaling --xla --display_every=250 --seed=4
    --log_dir=log.json --save_eval_results_to_json
"""


@pytest.fixture
def settings_of(monkeypatch):
    """Parses a command line as `train` does and returns its configurations."""

    def parse(*words):
        found = []

        def stop(_):
            found.append(train_command.configurations())
            return cli.OK

        monkeypatch.setattr(train_command, "main", stop)
        assert main(["train", *words]) == cli.OK
        return found[0]

    return parse


def test_the_reference_command_line_is_understood(settings_of):
    model, data, train = settings_of(*REFERENCE.split())
    assert model == ModelConfig(data_format="channels_first")
    assert data == DataConfig()
    assert train == TrainConfig(batch_size=16, amp="fp16", xla=True, display_every=250, seed=4)


def test_defaults_are_the_configurations_own(settings_of):
    assert settings_of("--output=r") == (ModelConfig(), DataConfig(), TrainConfig())


def test_reference_mode_sets_the_reference_ways_and_a_flag_outranks_it(settings_of):
    model, data, train = settings_of("--output=r", "--reference_mode")
    assert model.weight_init == "he_normal"
    assert data.drop_clean
    assert data.reference_mode
    assert train.loss_scope == "worker"
    model, data, _ = settings_of("--output=r", "--reference_mode", "--weight_init_method=orthogonal", "--nodrop_clean")
    assert model.weight_init == "orthogonal"
    assert not data.drop_clean


@pytest.mark.parametrize(
    "words, expected",
    [([], "none"), (["--amp"], "fp16"), (["--amp", "--amp_type=bf16"], "bf16"), (["--noamp"], "none")],
)
def test_precision(settings_of, words, expected):
    assert settings_of("--output=r", *words)[2].amp == expected


def test_the_references_command_line_without_a_subcommand_still_trains(capsys):
    assert main(["--exec_mode=trian", "--output=r"]) == cli.USAGE
    assert "train_and_evaluate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--batch_sizes=3"], "unknown flag --batch_sizes; did you mean --batch_size"),
        (["--dataset_classID=1"], "unknown flag --dataset_classID"),
        (["--exec_mode=fit"], "training_benchmark"),
        (["--iter_unit=steps"], "<epoch|batch>"),
        (["--unet_variant=huge"], "<tinyUNet|original>"),
        (["--loss_fn_name=mse"], "adaptive_loss"),
        (["--activation_fn=gelu"], "crelu"),
        (["--data_format=NHCW"], "<NHWC|NCHW>"),
        (["--amp_type=fp8"], "<fp16|bf16>"),
        (["--num_iter=0"], "0 is not a positive integer"),
        (["--warmup_step=-1"], "-1 is not a non-negative integer"),
        (["--batch_size=0"], "batch_size=0: must be at least 1"),
        (["--batch_size=many"], "batch_size"),
        (["--learning_rate=0"], "learning_rate=0.0: must be above 0"),
        (["--learning_rate_decay_factor=1.5"], "must be above 0 and at most 1"),
        (["--rmsprop_decay=-1"], "must be at least 0 and at most 1"),
        (["--weight_decay=-1"], "weight_decay"),
        (["--input_size=250"], "multiple of 16"),
        (["--augmentations=flip,twirl"], "photometric"),
        (["--in_channels=2"], "<1|3>"),
        (["--seed=x"], "seed"),
        (["extra"], "takes flags only"),
        ([], "--data_dir is needed"),
    ],
)
def test_mistakes_are_reported_at_once_with_what_is_allowed(capsys, tmp_path, words, message):
    results = tmp_path / "results"
    assert main(["train", f"--output={results}", *words]) == cli.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not results.exists()


def test_mistakes_are_reported_before_tensorflow_is_loaded():
    code = (
        "import sys; from runtime.__main__ import main; "
        "code = main(['train', '--output=r', '--batch_size=0']); "
        "sys.exit(code + 10 * ('tensorflow' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_missing_records_are_reported(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["train", f"--output={tmp_path}", f"--data_dir={tmp_path / 'empty'}"]) == cli.FAILED
    assert "no record files for split 'train'" in capsys.readouterr().err


def test_two_jobs_do_not_share_a_folder(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", train=4, val=1)
    results = tmp_path / "results"
    (results / "checkpoints").mkdir(parents=True)
    words = ["train", f"--output={results}", f"--data_dir={data}", "--input_size=16", "--num_iter=1", "--overwrite"]
    with sole_writer(results):
        assert main(words) == cli.FAILED
    assert f"{results}: another run is writing there" in capsys.readouterr().err
    assert (results / "checkpoints").is_dir()  # --overwrite deletes nothing of the other job's


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", train=4, val=1)
    (tmp_path / "file").touch()
    assert main(["train", f"--output={tmp_path / 'file' / 'r'}", f"--data_dir={data}", "--input_size=16"]) == cli.FAILED
    assert f"{tmp_path / 'file' / 'r'}: cannot be written to: Not a directory" in capsys.readouterr().err


def benchmark(mode, results, *words):
    small = ("--input_size=16", "--batch_size=2", "--num_iter=3", "--warmup_step=1")
    assert main(["train", f"--exec_mode={mode}", f"--output={results}", *small, *words]) == cli.OK
    return json.loads((results / f"{mode}.json").read_text())


def test_training_benchmark_on_noise(tmp_path, capsys):
    measured = benchmark("training_benchmark", tmp_path)
    assert measured["images_per_s"] > 0
    assert measured["cpu_s_per_image"] > 0
    assert 0 <= measured["waiting_share"] < 1
    assert measured["source"]["kind"] == "synthetic"
    assert (measured["steps"], measured["warmup_steps"], measured["workers"]) == (3, 1, 1)
    assert "images/s" in capsys.readouterr().out


def test_inference_benchmark_on_records(tmp_path):
    data = write_dataset(tmp_path / "data", train=4, val=1)
    measured = benchmark("inference_benchmark", tmp_path, f"--data_dir={data}")
    assert measured["images_per_s"] > 0
    assert measured["source"] == {**measured["source"], "kind": "records", "groups": 4}


def test_it_trains_evaluates_and_counts_epochs_where_horovod_is_not_installed(tmp_path, monkeypatch):
    for name in ("horovod", "horovod.tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    data = write_dataset(tmp_path / "data", train=4, val=1)
    words = ["--input_size=16", "--batch_size=4", "--iter_unit=epoch", "--num_iter=1", "--exec_mode=train_and_evaluate"]
    where = [f"--data_dir={data}", f"--output={tmp_path / 'run'}"]
    assert main(["train", *where, *words]) == cli.OK
    end = json.loads((tmp_path / "run" / "train.jsonl").read_text().splitlines()[-1])
    assert end["at_step"] == 2  # 4 groups are 8 examples
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["crops"] == 2
    assert main(["train", *where, "--exec_mode=evaluate", "--input_size=16"]) == cli.OK
    assert "horovod" not in {name for name, module in sys.modules.items() if module is not None}
    assert "output" not in flags.FLAGS
