"""launch.sh, with stand-ins for python, horovodrun and docker that print their arguments."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stubs(tmp_path):
    """A folder for PATH whose python, deepfake-unet and horovodrun print how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "deepfake-unet", "horovodrun"):
        stub = folder / name
        stub.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        stub.chmod(0o755)
    return folder


def launch(*words, path=None, **environment):
    env = {**os.environ, **environment}
    if path is not None:
        env["PATH"] = f"{path}:/usr/bin:/bin"
    return subprocess.run([str(ROOT / "launch.sh"), *words], capture_output=True, text=True, env=env, timeout=60)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_help_lists_the_subcommands_without_installing(words):
    answer = launch(*words)
    assert answer.returncode == 0
    for name in ("demo", "test", "mask", "train", "evaluate", "export", "score", "docker"):
        assert f"  {name} " in answer.stdout


@pytest.mark.parametrize(
    "words, command",
    [
        (["mask", "--frames=4"], "deepfake-unet mask --frames=4"),
        (["mask", "audit", "--json"], "deepfake-unet mask audit --json"),
        (["score", "--input", "a b"], "deepfake-unet score --input a b"),
        (["train", "--np", "1", "--seed=1"], "deepfake-unet train --seed=1"),
        (["train", "--seed=1"], "deepfake-unet train --seed=1"),
        (["demo"], "deepfake-unet demo"),
        (["test", "-k", "x"], "python -m pytest -k x"),
    ],
)
def test_subcommands_become_calls_of_the_console_script(stubs, words, command):
    answer = launch(*words, path=stubs, DEEPFAKE_IN_IMAGE="1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == command


@pytest.mark.parametrize("np", [["--np", "2"], ["--np=2"]])
def test_several_processes_go_through_horovodrun(stubs, np):
    answer = launch("train", *np, "--seed=1", path=stubs, DEEPFAKE_IN_IMAGE="1")
    assert answer.stdout.split() == [
        "horovodrun",
        "--gloo",
        "-np",
        "2",
        str(stubs / "deepfake-unet"),
        *["train", "--seed=1"],
    ]


def test_an_image_without_the_console_script_is_refused(stubs):
    (stubs / "deepfake-unet").unlink()
    answer = launch("score", path=stubs, DEEPFAKE_IN_IMAGE="1")
    assert answer.returncode == 2
    assert "deepfake-unet is not installed" in answer.stderr


def test_several_processes_without_horovod_say_what_to_install(stubs):
    (stubs / "horovodrun").unlink()
    answer = launch("train", "--np", "2", path=stubs, DEEPFAKE_IN_IMAGE="1")
    assert answer.returncode == 2
    assert "Horovod" in answer.stderr
    assert "cmake" in answer.stderr


@pytest.mark.parametrize("np", ["0", "two", "-1", "1.5"])
def test_a_wrong_number_of_processes_is_refused(stubs, np):
    answer = launch("train", "--np", np, path=stubs, DEEPFAKE_IN_IMAGE="1")
    assert answer.returncode == 2
    assert "--np takes a whole number" in answer.stderr


def test_without_a_fitting_python_it_says_what_to_install(tmp_path):
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    answer = launch("setup", PYTHON=str(old), DEEPFAKE_VENV=str(tmp_path / "venv"))
    assert answer.returncode == 2
    assert "no Python 3.9, 3.10 or 3.11" in answer.stderr
    assert "apt-get install" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_docker_builds_the_image_and_runs_it_on_all_gpus(tmp_path):
    answer = launch("docker", "train", "--np", "8", DRY_RUN="1", RESULTS=str(tmp_path / "out"), DATA="/some/data")
    build, run = answer.stdout.strip().splitlines()
    assert build.startswith("docker build -t ")
    for part in (
        "--gpus all",
        "--shm-size",
        "--ulimit memlock=-1",
        "--ulimit stack=67108864",
        "-v /some/data:/data:ro",
        f"-v {tmp_path / 'out'}:/results",
        "--env HOME=/results/.home",
    ):
        assert part in run
    assert run.endswith("train --np 8")
    assert (tmp_path / "out" / ".home").stat().st_mode & 0o777 == 0o700


def test_docker_takes_another_base_image(tmp_path):
    answer = launch("docker", "score", DRY_RUN="1", RESULTS=str(tmp_path), BASE_IMAGE="python@sha256:1234")
    assert "--build-arg BASE_IMAGE=python@sha256:1234" in answer.stdout
