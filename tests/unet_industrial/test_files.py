"""Files are whole or not there, whatever interrupts their writing; hashes are those of the standard library."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from unet_industrial import files


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old\n")

    def fail_half_way():
        with files.atomic_path(path) as temporary:
            temporary.write_text("new, half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_the_temporary_name_is_hidden_beside_the_file_and_keeps_the_suffix(tmp_path):
    with files.atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"frames")
    assert (tmp_path / "clip.mp4").read_bytes() == b"frames"


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.json"
    files.write_json(path, {"step": 1})
    code = (
        "import os, signal, sys; from unet_industrial import files\n"
        "with files.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('{\"step\": ')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert json.loads(path.read_text()) == {"step": 1}


def test_json_that_other_readers_refuse_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "numbers.json", {"auc": float("nan")})
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    files.write_text(tmp_path / "list.txt", "caf\udce9.mp4\n")
    assert (tmp_path / "list.txt").read_bytes() == b"caf\xe9.mp4\n"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_file_sha256_is_the_standard_librarys(tmp_path, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "data").write_bytes(data)
    assert files.file_sha256(tmp_path / "data") == hashlib.sha256(data).hexdigest()


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    killed = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import os, sys; from unet_industrial import files\n"
            "with files.atomic_path(sys.argv[1]) as path: path.write_text('half'); os._exit(9)",
            str(tmp_path / "table.csv"),
        ],
        check=False,
    )
    assert killed.returncode == 9
    (tmp_path / ".table.partial.csv").write_text("not ours")
    (tmp_path / "table.csv").write_text("whole")
    assert len(list(tmp_path.iterdir())) == 3
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".table.partial.csv", "table.csv"]


def test_a_folder_has_one_writer_who_sweeps_what_killed_ones_left(tmp_path):
    leftover = tmp_path / ".table.99999.partial.csv"
    with files.sole_writer(tmp_path):
        leftover.touch()  # as if another process, let through by a file system without locks, were writing
        with pytest.raises(files.FolderBusy, match="another run is writing there"), files.sole_writer(tmp_path):
            pass
        assert leftover.exists()
    with files.sole_writer(tmp_path):
        assert not leftover.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_file_system_without_locks_lets_the_writer_through_and_nothing_is_swept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    (tmp_path / ".table.99999.partial.csv").touch()
    with files.sole_writer(tmp_path):
        assert (tmp_path / ".table.99999.partial.csv").exists()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-rf", "@SUM(A1)", "\t=1", "  =1", "\uff1d1", "\r\n=1", "a;=1", "a; \t@x"]
)
def test_a_cell_is_never_a_formula_wherever_cells_end(text):
    """Before, only names and reasons of `score` were guarded, and not where ; separates cells."""
    cell = files.csv_cell(text)
    assert "\n" not in cell
    for part in cell.split(";"):
        assert part.strip()[:1] not in ("=", "+", "-", "@", "\uff1d")


def test_tables_are_guarded_in_text_and_header_and_numbers_stay(tmp_path):
    table = pd.DataFrame({"=clip": ["=HYPERLINK(1)", "fine, really"], "score": [-1.5, 2.0], "odd": [None, "@a"]})
    files.write_csv(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_text() == (
        './=clip,score,odd\n./=HYPERLINK(1),-1.5,\n"fine, really",2.0,./@a\n'
    )
    assert list(table) == ["=clip", "score", "odd"]


def test_every_csv_is_written_by_one_writer():
    root = Path(files.__file__).resolve().parents[1]
    found = [
        path.relative_to(root).as_posix()
        for package in ("unet_industrial", "mask_generation", "runtime", "tools")
        for path in sorted((root / package).rglob("*.py"))
        if re.search(r"\.to_csv\(|csv\.writer\(|DictWriter\(", path.read_text("utf-8"))
        and "csv_cell(" not in path.read_text("utf-8")
    ]
    assert found == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000, b"nul"])
def test_json_that_is_none_is_named(tmp_path, content):
    """Before, deeply nested JSON ended in a RecursionError."""
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.json: damaged"):
        files.read_json(path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "[[]]"])
def test_json_of_another_shape_is_named(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"state\.json: a JSON object is needed"):
        files.read_json_object(path)
