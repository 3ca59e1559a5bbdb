"""Training runs for real: killed and resumed, out of disk, fed damage and infinities, watched."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from runtime.__main__ import main
from runtime.model.export import load_network
from runtime.training.checkpoint import STATE_FILE, CheckpointError, CheckpointStore, read_state
from runtime.training.distributed import Workers
from runtime.training.loop import StopRequest, Trainer, TrainingError, TrainJob
from tests.helpers.drawn_records import write_dataset
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.dataset import SyntheticSource

ROOT = Path(__file__).resolve().parents[3]


def command(data, results, *flags):
    return [
        "train", f"--data_dir={data}", f"--output={results}", "--input_size=32", "--batch_size=4",
        "--display_every=1", "--learning_rate=0.001", "--exec_mode=train", *flags,
    ]  # fmt: skip


def rows(results, kind="train"):
    path = results / "train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def losses(results):
    """{step: the losses of every time it was run}"""
    found = {}
    for row in rows(results):
        found.setdefault(row["step"], []).append(row["loss"])
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), train=7, val=3, copies=2)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of 40 steps, never interrupted, validated every 20."""
    results = tmp_path_factory.mktemp("whole")
    flags = ("--num_iter=40", "--checkpoint_every=4", "--eval_every=20", "--exec_mode=train_and_evaluate")
    assert main(command(data, results, *flags)) == 0
    return results


def test_killed_and_started_again_it_goes_on_bit_for_bit(data, whole, tmp_path):
    after = int(np.random.default_rng().integers(1, 25))  # anywhere; every place must do
    words = [sys.executable, "-m", "runtime", *command(data, tmp_path, "--num_iter=40", "--checkpoint_every=4")]
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        process = subprocess.Popen(words, cwd=ROOT, stdout=stream, stderr=stream)
        until = time.monotonic() + 120
        while len(rows(tmp_path)) < after:
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)  # at whatever it was doing
        process.wait()
    reached = max(losses(tmp_path))
    assert after <= reached < 40
    assert main(words[3:]) == 0
    start = rows(tmp_path, "start")[1]["at_step"]
    assert start % 4 == 0
    assert reached - 5 <= start <= reached  # no more than one interval is lost
    expected, found = losses(whole), losses(tmp_path)
    assert set(found) == set(expected)
    for step, values in found.items():
        assert set(values) == set(expected[step])  # equal, not close


def stored(results, step):
    """{name: value} of the variables in the checkpoint of a step."""
    path = str(results / "checkpoints" / f"step-{step:08d}" / "model")
    return {name: tf.train.load_variable(path, name) for name, _ in tf.train.list_variables(path)}


def test_averaged_weights_are_kept_evaluated_and_resumed(data, tmp_path):
    flags = ("--ema_decay=0.6", "--checkpoint_every=1", "--keep_checkpoints=9")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(command(data, whole, "--num_iter=4", *flags)) == 0
    for steps in (2, 4):
        assert main(command(data, parts, f"--num_iter={steps}", *flags)) == 0
    found, resumed = stored(whole, 4), stored(parts, 4)
    for name, value in found.items():
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
            np.testing.assert_array_equal(value, resumed[name])
    weights = next(name for name in found if name.startswith("trained/") and "/kernel/" in name)
    trained = [stored(whole, step)[weights] for step in range(1, 5)]
    averages = [stored(whole, step)[weights.replace("trained/", "model/", 1)] for step in range(1, 5)]
    for update in range(2, 5):
        decay = min(0.6, (1 + update) / (10 + update))
        expected = decay * averages[update - 2] + (1 - decay) * trained[update - 1]
        np.testing.assert_allclose(averages[update - 1], expected, rtol=1e-6, atol=1e-7)
    assert np.abs(averages[3] - trained[3]).max() > 1e-6
    network, *_ = load_network(whole)
    kernel = next(variable for variable in network.variables if variable.shape == averages[3].shape)
    np.testing.assert_array_equal(kernel.numpy(), averages[3])  # what export and evaluate read


@pytest.fixture
def copied(whole, tmp_path):
    """The uninterrupted run's folder, to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "copied"))


def test_a_finished_run_has_nothing_left_to_do(data, copied):
    state = copied / "checkpoints" / "step-00000040" / STATE_FILE
    before = state.read_bytes()
    assert main(command(data, copied, "--num_iter=40")) == 0
    assert state.read_bytes() == before
    assert len(rows(copied)) == 40


def test_another_network_or_other_data_is_refused_and_overwrite_starts_anew(data, copied, tmp_path, capsys):
    assert main(command(data, copied, "--num_iter=41", "--activation_fn=elu")) == 1
    assert "another model (activation differ)" in capsys.readouterr().err
    other = write_dataset(tmp_path / "other", train=3, val=1)
    assert main(command(other, copied, "--num_iter=41")) == 1
    assert "another source" in capsys.readouterr().err
    (copied / "notes.txt").write_text("mine")
    assert main(command(other, copied, "--num_iter=1", "--overwrite")) == 0
    assert len(rows(copied)) == 1
    assert (copied / "notes.txt").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 50 MB: one checkpoint of 22 MB fits beside another, a third does not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_with_the_last_checkpoint_whole(data, whole, small_disk, capsys):
    flags = ("--num_iter=8", "--checkpoint_every=2", "--learning_rate_schedule=staircase")
    assert main(command(data, small_disk, *flags)) == 1
    printed = capsys.readouterr().err
    assert "not written" in printed
    assert "No space left" in printed
    assert "the last good one is" in printed
    assert "Traceback" not in printed
    newest = CheckpointStore(small_disk / "checkpoints").newest()
    assert str(newest) in printed
    assert not list((small_disk / "checkpoints").glob(".writing-*"))
    assert 2 <= read_state(newest).step < 8
    assert {step: set(values) for step, values in losses(small_disk).items()}.items() <= {
        step: set(values) for step, values in losses(whole).items()
    }.items()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_that_cannot_be_written_stops_the_run(data, tmp_path, capsys):
    assert main(command(data, tmp_path, "--num_iter=3", "--log_dir=/dev/full")) == 1
    assert "log /dev/full cannot be written: No space left" in capsys.readouterr().err


def test_a_damaged_record_is_named(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", train=2, val=1, files=1)
    path = data / "train-00000.tfrecord"
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT", len(content) // 2) + 8
    content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    assert main(command(data, tmp_path / "run", "--num_iter=5")) == 1
    printed = capsys.readouterr().err
    assert f"{path}, byte" in printed
    assert "damaged record" in printed
    assert "Traceback" not in printed


class Spoilt(SyntheticSource):
    """Noise whose batch number `bad` (from 0) has a picture that is not a number, or sends the signal `stop`."""

    def __init__(self, model, bad, stop=None):
        super().__init__(model, seed=1)
        self._bad, self._stop = bad, stop

    def batches(self, position, batch_size, rank, workers):
        def spoil(number, batch):
            image = tf.where(number == self._bad, np.nan, 1.0) * batch["image"]
            if self._stop is not None:
                image = batch["image"]
                tf.py_function(self._ask, [number], [])
            return {**batch, "image": image, "key": tf.strings.join([tf.strings.as_string(number), batch["key"]], "/")}

        first = position // (batch_size * workers)
        return super().batches(position, batch_size, rank, workers).enumerate(first).map(spoil)

    def _ask(self, number):
        if number == self._bad:
            os.kill(os.getpid(), self._stop)


def job(results, source=None, **train):
    model = ModelConfig(input_size=16)
    config = TrainConfig(**{"batch_size": 2, "display_every": 1, "checkpoint_every": 2, **train})
    return TrainJob(model, DataConfig(), config, source or SyntheticSource(model, 1), 6, results)


def test_a_loss_that_is_not_finite_stops_naming_step_and_records(tmp_path):
    with pytest.raises(TrainingError, match=r"step 2: loss .*not finite.*Records of the batch: 1/0, 1/1\.") as caught:
        Trainer(job(tmp_path, Spoilt(ModelConfig(input_size=16), bad=1), checkpoint_every=1), Workers()).run()
    assert f"last good checkpoint is {tmp_path / 'checkpoints' / 'step-00000001'}" in str(caught.value)
    assert read_state(CheckpointStore(tmp_path / "checkpoints").newest()).step == 1
    assert [row["step"] for row in rows(tmp_path)] == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_stop_saves_first(tmp_path, number):
    asked = job(tmp_path, Spoilt(ModelConfig(input_size=16), bad=3, stop=number), checkpoint_every=0)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        result = Trainer(asked, Workers()).run()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert result.stopped
    saved = read_state(CheckpointStore(tmp_path / "checkpoints").newest())
    assert saved.step == result.state.step < 6
    assert saved.position == 2 * saved.step


def test_a_closed_terminal_does_not_stop_a_run_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert float(stop.flag) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_checkpoint_holds_settings_position_and_loss_scale(tmp_path):
    try:
        tf.keras.mixed_precision.set_global_policy("mixed_float16")
        trainer = Trainer(job(tmp_path, amp="fp16"), Workers())
        trainer.optimizer.inner_optimizer.learning_rate  # noqa: B018  exists
        scale = next(v for v in trainer.variables() if "loss_scale" in v.name)
        scale.assign(64.0)
        trainer.state = dataclasses.replace(trainer.state, step=3, position=6, best=0.5, best_step=2)
        trainer.save()
        again = Trainer(job(tmp_path, amp="fp16"), Workers())
        assert again.resume()
        assert float(again.optimizer.loss_scale) == 64.0
        assert again.state == trainer.state
        assert again.state.config["train"]["seed"] == 0
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def test_weights_to_begin_with_are_those_of_another_run(tmp_path):
    first = Trainer(job(tmp_path / "first"), Workers())
    first.network.trainable_variables[0].assign_add(tf.ones((3, 3, 3, 32)))
    first.save()
    second = Trainer(dataclasses.replace(job(tmp_path / "second"), init_from=tmp_path / "first"), Workers())
    assert not second.resume()
    for ours, theirs in zip(second.network.variables, first.network.variables):
        np.testing.assert_array_equal(ours, theirs)
    missing = dataclasses.replace(second.job, init_from=tmp_path / "nowhere")
    second.job = missing
    with pytest.raises(CheckpointError, match="--init_from: no checkpoint"):
        second.resume()


def events(results):
    """{tag: values or shapes of pictures, by step} of TensorBoard's files."""
    found = {}
    for path in sorted((results / "logs").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                picture = array.ndim == 1 and array.dtype == object
                shown = tf.io.decode_png(array[2]).shape.as_list() if picture else float(array)
                found.setdefault(value.tag, {})[event.step] = shown
    return found


def test_tensorboard_shows_losses_dice_rate_and_masks(whole):
    found = events(whole)
    for tag in ("loss", "mask_loss", "l2", "gradient_norm", "learning_rate", "images_per_s", "waiting_share"):
        assert sorted(found[f"train/{tag}"]) == list(range(1, 41)), tag
    assert {f"train/dice/{t}" for t in ("0.05", "0.5", "0.99")} <= set(found)
    assert found["train/loss"][7] == losses(whole)[7][0]
    assert sorted(found["validation/dice_fake"]) == [20, 40]
    assert found["crop_mask_prediction"][40] == [32, 96, 3]  # crop, true and predicted mask side by side


def test_the_log_holds_the_settings_every_step_and_the_validations(whole):
    start, end = rows(whole, "start")[0], rows(whole, "end")[0]
    assert start["config"]["train"]["batch_size"] == 4
    assert start["config"]["source"]["groups"] == 7
    assert (end["at_step"], end["stopped"]) == (40, False)
    assert [row["step"] for row in rows(whole, "validation")] == [20, 40]
    first, last = losses(whole)[1][0], losses(whole)[40][0]
    assert np.isfinite([first, last]).all()
    assert first != last
    assert set(rows(whole)[0]["dice"]) == {"0.05", "0.125", "0.25", "0.5", "0.75", "0.85", "0.95", "0.99"}
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert evaluation["crops"] == 9
