"""`pip install .` gives one command, `deepfake-unet`, whose table holds every subcommand of the product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mask_generation import __main__ as mask_program
from mask_generation.cli import walk
from runtime.__main__ import SUBCOMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("unet_industrial", "mask_generation", "runtime")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the project, built from a copy so that no build folder is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", "-q", *offline, "-w", source / "out", source], check=True, timeout=200)
    (built,) = (source / "out").glob("*.whl")
    return built


def test_the_wheel_declares_one_console_script(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        lines = archive.read(name).decode().split("\n")
    assert [line for line in lines if line] == ["[console_scripts]", "deepfake-unet = runtime.__main__:main"]


@pytest.mark.parametrize("words", [["score"], ["mask", "audit"], ["train"]])
def test_the_installed_script_shows_help(wheel, tmp_path, words):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "site", wheel], check=True, timeout=200)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    script = [str(tmp_path / "site" / "bin" / "deepfake-unet"), *words, "--help"]
    answer = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert answer.returncode == 0, answer.stderr
    assert f"Usage: deepfake-unet {' '.join(words)} [--flag=value ...]" in answer.stdout
    where = [sys.executable, "-c", "import runtime.__main__ as m; print(m.__file__)"]
    imported = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert imported.stdout.startswith(str(tmp_path / "site"))


def test_the_table_holds_every_subcommand_of_the_mask_stage_too():
    names = [name for name, _ in walk(SUBCOMMANDS)]
    assert {f"mask {name}" for name, _ in walk(mask_program.SUBCOMMANDS)} < set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("words", [["mask"], ["mask", "--frames=4"]])
def test_mask_alone_is_mask_generate(capsys, words):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("deepfake-unet mask generate: ")


def test_mask_help_lists_its_subcommands(capsys):
    assert main(["mask", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "  audit " in shown
    assert "`deepfake-unet mask` without a subcommand is `deepfake-unet mask generate`." in shown


@pytest.mark.parametrize("module", ["runtime", "mask_generation"])
def test_modules_run_through_the_same_tables(module):
    words = ["mask", "audit"] if module == "runtime" else ["audit"]
    command = [sys.executable, "-m", module, *words, "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    assert f"Usage: python -m {module} {' '.join(words)} " in answer.stdout


def test_no_help_text_loads_tensorflow():
    code = (
        "import sys; from runtime.__main__ import SUBCOMMANDS, main; from mask_generation.cli import walk; "
        "codes = [main([*name.split(), '--help']) for name, _ in walk(SUBCOMMANDS)]; "
        "sys.exit(any(codes) or 'tensorflow' in sys.modules)"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=100, check=False).returncode == 0
