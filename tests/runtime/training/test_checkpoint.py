"""Checkpoints are whole or not there, whatever kills the run or fills the disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from runtime.training import checkpoint
from runtime.training.checkpoint import CheckpointError, CheckpointStore, TrainState

ROOT = Path(__file__).resolve().parents[3]


def trackable(value=0.0, size=1000):
    return tf.train.Checkpoint(model=tf.Variable(tf.fill([size], float(value))))


def save(store, step, **state):
    return store.save(trackable(step), TrainState(step=step, position=8 * step, **state))


def value_of(path):
    target = trackable()
    checkpoint.restore(path, target)
    return float(target.model[0])


def test_state_and_variables_come_back(tmp_path):
    state = TrainState(7, 56, 0.5, 5, {"train": {"seed": 3}})
    path = CheckpointStore(tmp_path).save(trackable(7), state)
    assert checkpoint.read_state(path) == state
    assert value_of(path) == 7
    assert CheckpointStore(tmp_path).newest() == path


def test_the_newest_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in range(1, 6):
        save(store, step, best=0.9, best_step=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000004", "step-00000005"]
    assert checkpoint.resolve(tmp_path).name == "step-00000002"


@pytest.mark.parametrize("how", ["cut", "flipped bit", "missing", "no state", "half a state", "empty folder"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, how):
    store = CheckpointStore(tmp_path)
    good, bad = save(store, 1), save(store, 2)
    part = max(bad.glob("model*"), key=lambda path: path.stat().st_size)
    state = bad / checkpoint.STATE_FILE
    if how == "cut":
        os.truncate(part, part.stat().st_size // 2)
    elif how == "flipped bit":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif how == "missing":
        part.unlink()
    elif how == "no state":
        state.unlink()
    elif how == "half a state":
        os.truncate(state, state.stat().st_size // 2)
    else:
        for path in bad.iterdir():
            path.unlink()
    assert store.newest() == good
    assert str(bad) in caplog.text
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint.restore(bad, trackable())


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import unet_industrial, tensorflow as tf
from runtime.training import checkpoint
store = checkpoint.CheckpointStore(Path(sys.argv[1]))
def write(step):
    store.save(tf.train.Checkpoint(model=tf.Variable(tf.fill([1000], float(step)))), checkpoint.TrainState(step=step))
write(1)
setattr(*{"after the variables": (json, "dump"), "before the name": (os, "rename")}[sys.argv[2]],
        lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
write(2)
"""


@pytest.mark.parametrize("moment", ["after the variables", "before the name"])
def test_a_kill_while_writing_leaves_the_one_before(tmp_path, moment):
    code = "import json\n" + KILLED_WHILE_WRITING
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path), moment], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (half,) = tmp_path.glob(".writing-*")
    assert any(half.iterdir())
    store = CheckpointStore(tmp_path)
    assert store.newest().name == "step-00000001"
    assert value_of(store.newest()) == 1
    save(store, 2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000002"]


def test_a_file_that_cannot_grow_stops_with_the_last_good_one_named(tmp_path):
    store = CheckpointStore(tmp_path)
    good = save(store, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))  # Python ignores the signal, so writing fails
    try:
        with pytest.raises(CheckpointError, match=f"step 2 not written to {tmp_path}.*last good one is {good}"):
            store.save(trackable(2, size=100_000), TrainState(step=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [good]
    assert value_of(good) == 1


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="there is no earlier one"):
        save(CheckpointStore(tmp_path / "file" / "checkpoints"), 1)


def test_another_network_does_not_fit(tmp_path):
    path = save(CheckpointStore(tmp_path), 1)
    with pytest.raises(CheckpointError, match="does not fit this model and optimizer"):
        checkpoint.restore(path, trackable(size=7))
    more = trackable()
    more.optimizer = tf.Variable(1.0)
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.restore(path, more)


def test_a_part_is_enough_only_where_asked_for(tmp_path):
    whole = trackable(3)
    whole.optimizer = tf.Variable(1.0)
    path = CheckpointStore(tmp_path).save(whole, TrainState(step=3))
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.restore(path, trackable())
    part = trackable()
    checkpoint.restore(path, part, partial=True)
    assert float(part.model[0]) == 3


def test_resolve_takes_a_checkpoint_a_folder_of_them_or_a_run(tmp_path):
    path = save(CheckpointStore(tmp_path / "checkpoints"), 4, best_step=4)
    assert {checkpoint.resolve(p) for p in (path, tmp_path / "checkpoints", tmp_path)} == {path}
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.resolve(tmp_path / "elsewhere")


def test_the_state_file_lists_every_part(tmp_path):
    path = save(CheckpointStore(tmp_path), 1)
    listed = json.loads((path / checkpoint.STATE_FILE).read_text())["files"]
    assert set(listed) == {item.name for item in path.iterdir()} - {checkpoint.STATE_FILE}


SHAPES = ["[]", "null", "7", "[" * 200_000, '{"state": []}', '{"files": {}}', '{"state": {"step": "7"}, "files": {}}',
          '{"state": {"step": -1}, "files": {}}', '{"state": {"config": []}, "files": {}}',
          '{"state": {"config": {"train": 3}}, "files": {}}', '{"state": {"best": "high"}, "files": {}}',
          '{"state": {"walk": 1}, "files": {}}', '{"state": {}, "files": []}', '{"state": {}, "files": {"a": 3}}',
          '{"state": {}, "files": {"state.json": {"bytes": [], "sha256": null}}}']  # fmt: skip


@pytest.mark.parametrize("content", SHAPES, ids=[shape[:40] for shape in SHAPES])
def test_a_state_of_any_shape_is_passed_over(tmp_path, content):
    """Before, a list, a nested one, or a state of other types ended in a traceback."""
    store = CheckpointStore(tmp_path)
    good, bad = save(store, 1), save(store, 2)
    (bad / "state.json").write_text(content)
    assert store.newest() == good
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint.read_state(bad)
