"""Renews constraints.hashes.txt: every pin of constraints.txt with the SHA-256 of its wheels.

python -m tools.hash_constraints             # writes the file; with --check only says whether it fits constraints.txt

pip itself is asked, once for each Python, what it would download for Linux on x86-64 (`--dry-run --report`), so nothing
is installed. Horovod is built from source and setuptools is a range, so neither is in the file.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from unet_industrial import files

ROOT = Path(__file__).resolve().parents[1]
PINS, HASHES = ROOT / "constraints.txt", ROOT / "constraints.hashes.txt"
PYTHONS = ("3.9", "3.10", "3.11")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64")
SOURCE_ONLY = ("horovod",)
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;]+)", re.MULTILINE)
HEAD = """# Made by `python -m tools.hash_constraints` from constraints.txt: wheels for Linux, x86-64, Python 3.9-3.11.
# python -m pip install --require-hashes --no-deps --only-binary :all: -r constraints.hashes.txt
"""


def normal(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Package → version of a file of pins."""
    return {normal(name): version for name, version in _PIN.findall(text) if normal(name) not in SOURCE_ONLY}


def ask(wanted: dict[str, str], python: str) -> dict[str, str]:
    """Package → SHA-256 of the wheel that pip would download for one Python.

    Raises:
        CalledProcessError: one of them has no wheel there.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, listed = Path(folder) / "report.json", Path(folder) / "pins.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q", "--dry-run"]
        command += ["--ignore-installed", "--ignore-requires-python", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation=cp", f"--python-version={python}", f"--target={folder}/none"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*command, f"--report={report}", f"-r{listed}"], check=True, stdout=subprocess.DEVNULL)
        installs = files.read_json_object(report)["install"]
    return {
        normal(entry["metadata"]["name"]): entry["download_info"]["archive_info"]["hashes"]["sha256"]
        for entry in installs
    }


def renewed() -> str:
    """The whole file."""
    wanted = pins(PINS.read_text("utf-8"))
    found: dict[str, set[str]] = {name: set() for name in wanted}
    for python in PYTHONS:
        for name, sha256 in ask(wanted, python).items():
            found[name].add(sha256)
    lines = [
        f"{name}=={wanted[name]}" + "".join(f" \\\n    --hash=sha256:{sha256}" for sha256 in sorted(hashes))
        for name, hashes in sorted(found.items())
    ]
    return HEAD + "\n".join(lines) + "\n"


def problems() -> list[str]:
    """Where constraints.hashes.txt does not fit constraints.txt."""
    text = HASHES.read_text("utf-8") if HASHES.exists() else ""
    wanted, hashed = pins(PINS.read_text("utf-8")), pins(text)
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if _PIN.match(entry)]
    bare = [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]
    moved = sorted(name for name in {*wanted, *hashed} if wanted.get(name) != hashed.get(name))
    return [f"{name}: {hashed.get(name)} is not {wanted.get(name)}" for name in moved] + [f"{b}: no hash" for b in bare]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="ask nobody, and fail if the two files differ")
    if not parser.parse_args().check:
        files.write_text(HASHES, renewed())
    found = problems()
    print(json.dumps(found, indent=1) if found else f"{HASHES.name} fits {PINS.name}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
