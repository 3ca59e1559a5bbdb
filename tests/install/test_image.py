"""The container's installation script and Dockerfile, with stand-ins for pip and apt; no image is built here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/bash
case "$*" in
  "-m pip list"*) cat "$FAKES/../pip-list" ;;
  "-m pip install"*)
    echo "pip ${*:3}" >>"$LOG"
    if [[ "$*" =~ -c\\ ([^ ]+) ]]; then cp "${BASH_REMATCH[1]}" "$FAKES/../constraints"; fi
    if [[ "$*" == *horovod==* ]]; then
      echo "gloo=$HOROVOD_WITH_GLOO mpi-less=$HOROVOD_WITHOUT_MPI" >>"$LOG"
      : >"$FAKES/horovod/__init__.py"
    fi
    if [[ "$*" == *tensorflow==* ]]; then echo '__version__ = "2.15.1"' >"$FAKES/tensorflow.py"; fi ;;
  *) PYTHONPATH=$FAKES PYTHONDONTWRITEBYTECODE=1 exec REAL "$@" ;;
esac
"""


@pytest.fixture
def image(tmp_path):
    """Runs tools/install_image.sh in an image with given packages and tools; returns its process and what it did."""
    fakes, tools = tmp_path / "fakes", tmp_path / "bin"
    for folder in (fakes, tools):
        folder.mkdir()

    def tool(name, text):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def install(tensorflow=None, horovod=False, packages="", without=()):
        absent = "raise ImportError\n"
        (fakes / "tensorflow.py").write_text(f"__version__ = {tensorflow!r}\n" if tensorflow else absent)
        (fakes / "tensorflow_addons.py").write_text('__version__ = "0.23.0"\n')
        (fakes / "numpy.py").write_text('__version__ = "1.26.4"\n')
        (fakes / "horovod").mkdir()
        (fakes / "horovod" / "__init__.py").write_text("" if horovod else absent)
        (fakes / "horovod" / "tensorflow.py").write_text("")
        (tmp_path / "pip-list").write_text(packages)
        tool("python", PYTHON.replace("REAL", sys.executable))
        for name in ("apt-get", "rm"):
            tool(name, f'#!/bin/sh\necho {name} "$@" >>"$LOG"\n')
        for name in {"cmake", "g++", "make", "sshd"} - set(without):
            tool(name, "#!/bin/sh\n")
        for name in ("bash", "sh", "cp", "mktemp", "cut", "tr", "sort", "grep", "cat", "mkdir", "touch", "dirname"):
            if not (tools / name).exists():
                (tools / name).symlink_to(next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists()))
        log = tmp_path / "log"
        log.touch()
        environment = {"PATH": str(tools), "LOG": str(log), "FAKES": str(fakes), "TMPDIR": str(tmp_path)}
        answer = subprocess.run(
            [str(tools / "bash"), str(ROOT / "tools" / "install_image.sh")],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        constraints = tmp_path / "constraints"
        return answer, log.read_text(), constraints.read_text().splitlines() if constraints.exists() else []

    return install


NVIDIA = "tensorflow==2.15.0+nv24.3\nhorovod==0.28.1+nv24.3\nnumpy==1.24.4\nprotobuf==4.24.4\nsetuptools==70.1\n"


def test_nvidias_tensorflow_and_horovod_stay_as_they_are(image):
    answer, did, constraints = image(tensorflow="2.15.0", horovod=True, packages=NVIDIA)
    assert answer.returncode == 0, answer.stderr
    assert "tensorflow==" not in did
    assert "horovod==" not in did
    assert "apt-get" not in did
    assert "numpy==1.24.4" in constraints  # the image's, not ours
    assert "protobuf==4.24.4" in constraints
    names = [re.split("[=<>]", line)[0].lower().replace("_", "-") for line in constraints]
    assert len(names) == len(set(names))
    assert not {"tensorflow", "horovod", "setuptools"} & set(names)
    assert any(line.startswith("av==") for line in constraints)  # what the image lacks comes at our version
    assert "TensorFlow 2.15.0" in answer.stdout


def test_a_plain_base_gets_the_tested_set_and_a_horovod_with_gloo(image):
    answer, did, constraints = image(without=("cmake",))
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^pip install -c \S+ tensorflow==2\.15\.1$", did, re.M)
    assert re.search(r"^pip install --no-build-isolation -c \S+ horovod==0\.28\.1$", did, re.M)
    assert "gloo=1 mpi-less=1" in did
    assert constraints == (ROOT / "constraints.txt").read_text().splitlines()
    order = [did.index(part) for part in ("apt-get update", "cmake", "rm -rf /var/lib/apt/lists", "apt-get purge")]
    assert order == sorted(order)
    assert re.search(r"^apt-get purge .*cmake$", did, re.M)  # and not g++, which was there


def test_ssh_is_added_where_it_is_missing(image):
    _, did, _ = image(tensorflow="2.15.1", horovod=True, without=("sshd",))
    assert "openssh-client openssh-server" in did


def test_another_tensorflow_is_refused_by_name(image):
    answer, did, _ = image(tensorflow="2.16.1")
    assert answer.returncode != 0
    assert "has TensorFlow 2.16.1; this product needs 2.15" in answer.stderr
    assert "pip install" not in did


def test_every_package_the_image_installs_is_pinned_and_every_dependency_is_installed():
    script = (ROOT / "tools" / "install_image.sh").read_text()
    pins = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "constraints.txt").read_text(), re.M))
    pins = {name.lower().replace("_", "-") for name in pins}
    words = re.findall(r"pip install(?:[^\n\\]|\\\n)*", script)
    named = {
        re.split(r"[=<>]", word.strip('"'))[0] for words in words for word in words.replace("\\\n", " ").split()[2:]
    }
    named = {name for name in named if re.fullmatch(r"[a-z][a-z0-9-]+", name)} - {"pip", "install"}
    assert named <= pins | {"wheel", "setuptools"}
    (required,) = re.findall(r"install_requires=\[(.*?)\n    \]", (ROOT / "setup.py").read_text(), re.S)
    assert set(re.findall(r'^ +"([A-Za-z0-9-]+)', required, re.M)) <= named


def test_the_dockerfile_keeps_its_promises():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE_IMAGE=nvcr\.io/nvidia/tensorflow:24\.03-tf2-py3$", text, re.M)
    assert "FROM ${BASE_IMAGE}" in text
    assert re.search(r"^USER 1000$", text, re.M)
    assert "HEALTHCHECK" in text
    assert "PIP_NO_CACHE_DIR=1" in text
    for source in re.findall(r"^COPY (.+) \S+$", text, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "**/__pycache__"} <= set(ignored)
