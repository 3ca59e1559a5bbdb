"""A run that is killed again and again, for real, ends with the very bytes of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mask_generation.datasets.base import Options
from mask_generation.datasets.registry import find
from mask_generation.parallel import processes
from mask_generation.pipeline import GenerateConfig, generate
from tests.helpers import drawn_pairs
from tests.helpers.drawn_work import inline

PEOPLE = 8
# Three kills each; 17 for fifty: KILL_SEEDS=17 python -m pytest tests/mask_generation/test_pipeline_kill.py
SEEDS = int(os.environ.get("KILL_SEEDS", "2"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return drawn_pairs.pairs_csv(tmp_path_factory.mktemp("pairs"), PEOPLE, splits=("train", "train", "val"))


@pytest.fixture(scope="module")
def undisturbed(pairs, tmp_path_factory):
    """{file: bytes} of the records and tables of a run in one process, with other shards' parts done in order."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", inline)
        inventory = find(str(pairs), "pairs_csv", Options())
        config = GenerateConfig(drawn_pairs.CONFIG, folder, shard_groups=3)
        generate(inventory, config, lambda clips, states, resumed: None, drawn_pairs.build_quick)
    return results(folder)


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tfrecord", ".csv")}


def start(pairs: Path, folder: Path, processes: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.helpers.drawn_pairs", str(pairs), str(folder), str(processes)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def groups_done(folder: Path) -> int:
    """Groups whose part is whole, or in a shard; a shard holds three."""
    shards = list(folder.glob("*-of-*.tfrecord"))
    return 3 * len(shards) + len(list(folder.glob(".work/*/?????.json")))


def wait_for(condition, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill_all(process: subprocess.Popen) -> None:
    """Kill -9 the run, as the machine's power switch would; its child processes must follow by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_killed_runs_end_as_if_nothing_had_been(pairs, undisturbed, tmp_path, seed):
    rng = random.Random(seed)
    folder = tmp_path / "records"
    for kill in range(2):
        goal = min(groups_done(folder) + rng.randint(kill, 2), PEOPLE - 1)
        process = start(pairs, folder, processes=1)
        wait_for(lambda: groups_done(folder) >= goal or process.poll() is not None)  # noqa: B023  called at once
        time.sleep(rng.uniform(0, 0.15))
        kill_all(process)
    before = groups_done(folder)
    process = start(pairs, folder, processes=1)
    wait_for(lambda: list(folder.glob(".work/*/*.at")) or process.poll() is not None)
    time.sleep(rng.uniform(0, 0.1))
    for child in psutil.Process(process.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)  # its group is given to another process
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert before >= 1
    assert results(folder) == undisturbed
    assert not (folder / ".work").exists()
