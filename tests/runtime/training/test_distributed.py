"""Real Horovod jobs over Gloo: N workers equal one, nobody stalls, a dead worker ends or (elastic) shrinks the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runtime.__main__ import main
from runtime.training import distributed
from tests.helpers.drawn_records import write_dataset

ROOT = Path(__file__).resolve().parents[3]
HOROVODRUN = Path(sys.executable).with_name("horovodrun")


def needs_horovod(test):
    """Marks a test that starts `horovodrun`; skipped where there is none."""
    skipped = pytest.mark.skipif(not HOROVODRUN.exists(), reason="horovodrun is not installed")
    return pytest.mark.horovod(skipped(test))


def train_command(data, results, *flags):
    return [
        sys.executable, "-m", "runtime", "train", f"--data_dir={data}", f"--output={results}", "--input_size=32",
        "--display_every=1", "--learning_rate=0.001", *flags,
    ]  # fmt: skip


def launch(words, log, **kwargs):
    with open(log, "w", encoding="utf-8") as stream:
        return subprocess.Popen(
            list(map(str, words)), cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, **kwargs
        )


def run(words, log, timeout_s=240):
    process = launch(words, log)
    try:
        assert process.wait(timeout_s) == 0, Path(log).read_text()[-3000:]
    finally:
        end(process)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rows(results, kind="train"):
    path = Path(results) / "train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def wait_for(condition, process, log, timeout_s=150):
    until = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, Path(log).read_text()[-3000:]
        assert time.monotonic() < until, f"nothing after {timeout_s} s: {Path(log).read_text()[-3000:]}"
        time.sleep(0.2)


def worker_process(results, **environment):
    """The training process under `results` with these environment variables (not its shell)."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        ours = f"--output={results}" in words and words[:3] == [sys.executable, "-m", "runtime"]
        if ours and environment.items() <= process.environ().items():
            found.append(process)
    assert len(found) == 1, found
    return found[0]


def compare_with_one_process(folder, workers, loss, mode):
    """Five steps of some workers and of one process with the same global batch of 12."""
    data = write_dataset(folder / "data", train=5, val=2)  # epochs end within a step, unevenly
    flags = ["--num_iter=5", f"--exec_mode={mode}", f"--loss_fn_name={loss}"]
    alone = train_command(data, folder / "one", *flags, "--batch_size=12")
    assert main(alone[3:]) == 0
    together = train_command(data, folder / "many", *flags, f"--batch_size={12 // workers}")
    run([HOROVODRUN, "-np", workers, "--gloo", *together], folder / "many.log")
    one, many = rows(folder / "one"), rows(folder / "many")
    assert len(one) == len(many) == 5
    for alone, together in zip(one, many):
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        assert together["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-4)
    assert one[0]["loss"] != one[-1]["loss"]


@needs_horovod
def test_two_workers_do_what_one_process_does(tmp_path):
    compare_with_one_process(tmp_path, 2, "adaptive_loss", "train")


@needs_horovod
def test_three_workers_with_uneven_shards_train_and_evaluate_as_one_process_does(tmp_path):
    compare_with_one_process(tmp_path, 3, "dice_sorensen", "train_and_evaluate")
    # 2 groups to evaluate leave the third worker nothing at all
    alone, together = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "many"))
    assert together["crops"] == alone["crops"] == 4
    assert together["mean_score_fake"] == pytest.approx(alone["mean_score_fake"], abs=1e-4)
    tables = [(tmp_path / name / "frame_scores.csv").read_text().splitlines() for name in ("one", "many")]
    assert [row.split(",")[:4] for row in tables[0]] == [row.split(",")[:4] for row in tables[1]]


@needs_horovod
def test_a_dead_worker_ends_the_job_within_a_minute_and_says_so(tmp_path):
    data, results, log = write_dataset(tmp_path / "data"), tmp_path / "run", tmp_path / "log"
    words = train_command(data, results, "--num_iter=100000", "--exec_mode=train", "--batch_size=2")
    process = launch([HOROVODRUN, "-np", 2, "--gloo", *words], log)
    try:
        wait_for(lambda: len(rows(results)) >= 3, process, log)
        worker_process(results, HOROVOD_RANK="1").kill()
        killed = time.monotonic()
        assert process.wait(60) != 0
        assert time.monotonic() - killed < 60
    finally:
        end(process)
    logged = log.read_text()
    assert "Process 1 exit with status code 137" in logged  # from horovodrun: which one
    assert "worker 0: another worker has gone" in logged  # from us: what it means and what to do
    assert "Traceback" not in logged.split("another worker has gone")[0][-2000:]


@needs_horovod
def test_an_elastic_job_goes_on_without_a_dead_worker_from_the_last_commit(tmp_path):
    data, results, log = write_dataset(tmp_path / "data"), tmp_path / "run", tmp_path / "log"
    hosts = tmp_path / "hosts.sh"
    hosts.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:1\n")  # two names, or both workers share one fate
    hosts.chmod(0o755)
    words = train_command(data, results, "--num_iter=120", "--exec_mode=train", "--batch_size=2", "--commit_every=5")
    elastic = [HOROVODRUN, "-np", 2, "--min-np", 1, "--host-discovery-script", hosts, "--gloo", *words]
    process = launch(elastic, log)
    try:
        wait_for(lambda: len(rows(results)) >= 12, process, log)
        worker_process(results, HOROVOD_HOSTNAME="127.0.0.1").kill()
        assert process.wait(200) == 0, log.read_text()[-3000:]
    finally:
        end(process)
    starts = rows(results, "start")
    assert [start["workers"] for start in starts] == [2, 1]
    assert starts[1]["at_step"] >= 10
    assert starts[1]["at_step"] % 5 == 0
    assert rows(results, "end")[-1]["at_step"] == 120


def test_launched_without_horovod_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    with pytest.raises(distributed.DistributedError, match="one of 2 workers, but Horovod cannot be imported"):
        distributed.start()


@pytest.fixture
def no_launcher(monkeypatch):
    for name in (*distributed.LAUNCHER_VARIABLES, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment, size",
    [
        ({}, 1),
        ({"HOROVOD_SIZE": "3", "HOROVOD_RANK": "0"}, 3),  # horovodrun
        ({"OMPI_COMM_WORLD_SIZE": "4"}, 4),  # mpirun, also of a Kubernetes MPIJob
        ({"PMI_SIZE": "2"}, 2),  # srun --mpi=pmi2
        ({"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "8"}, 8),  # srun --mpi=pmix
        ({"SLURM_STEP_NUM_TASKS": "8"}, 1),  # a batch script's own step is one process
    ],
)
def test_every_launcher_is_recognised(no_launcher, monkeypatch, environment, size):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert distributed.launched_size() == size
    assert distributed.launched_by_horovod() == (size > 1)


def test_workers_that_do_not_see_each_other_stop_rather_than_train_alone(no_launcher, monkeypatch):
    class Alone:
        size = 1

    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setattr(distributed, "HorovodWorkers", lambda _: Alone())
    with pytest.raises(distributed.DistributedError, match="one of 4 workers, but Horovod sees 1.*check-build"):
        distributed.start()


def test_one_process_needs_no_horovod(no_launcher, monkeypatch):
    monkeypatch.setitem(sys.modules, "horovod", None)
    workers = distributed.start()
    assert (workers.rank, workers.size, workers.is_chief) == (0, 1, True)
    assert workers.gather({"a": 1}) == [{"a": 1}]
    assert workers.broadcast("x") == "x"
    assert not distributed.is_lost_worker(RuntimeError("anything"))


def test_importing_the_package_imports_no_horovod_and_no_tensorflow():
    code = (
        "import runtime, runtime.training.distributed, sys; "
        "sys.exit(any(n in sys.modules for n in ('horovod', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
