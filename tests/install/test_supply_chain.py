"""Pins have hashes, and what is installed can be listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools import hash_constraints

ROOT = Path(__file__).resolve().parents[2]


def test_every_pin_has_hashes_of_the_same_version():
    assert hash_constraints.problems() == []
    assert len(hash_constraints.pins(hash_constraints.HASHES.read_text("utf-8"))) > 100


def test_a_pin_that_moved_or_lost_its_hash_is_named(tmp_path, monkeypatch):
    text = hash_constraints.HASHES.read_text("utf-8")
    spoilt = text.replace("absl-py==2.1.0", "absl-py==2.0.0").replace("sha256:526a", "sha256:x")
    monkeypatch.setattr(hash_constraints, "HASHES", tmp_path / "hashes.txt")
    hash_constraints.HASHES.write_text(spoilt, "utf-8")
    assert hash_constraints.problems() == ["absl-py: 2.0.0 is not 2.1.0", "absl-py==2.0.0: no hash"]


def test_the_bill_of_materials_has_what_is_installed():
    made = subprocess.run([sys.executable, ROOT / "tools" / "sbom.py"], check=True, capture_output=True, text=True)
    content = json.loads(made.stdout)
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.5")
    versions = {entry["name"]: entry["version"] for entry in content["components"]}
    assert versions["tensorflow"].startswith("2.15.")
    assert all(entry["purl"].startswith("pkg:") for entry in content["components"])
