"""`synthesize`: records of manipulations, the same bytes whoever makes them and whenever a run was cut off."""

import json

import numpy as np
import pytest

from mask_generation import shards
from mask_generation.__main__ import main
from mask_generation.commands import synthesize as synthesize_command
from mask_generation.synthesis import face_bank
from unet_industrial.dataset import find_files
from unet_industrial.record_files import read_all
from unet_industrial.records import decode_group


@pytest.fixture
def synthesize(face_bank_file, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesize_command, "SHARD_PAIRS", 3)

    def call(*words):
        flags = [f"--face_bank={face_bank_file}", f"--output={tmp_path / 'out'}", "--num_pairs=5", "--size=64"]
        return main(["synthesize", *flags, "--processes=1", *words])

    return call, tmp_path / "out", face_bank_file


def groups(folder, split="val"):
    return list(map(decode_group, read_all(find_files(str(folder), split))))


def test_pairs_of_the_people_held_out_with_their_masks(synthesize):
    call, folder, bank_path = synthesize
    assert call() == 0
    made = groups(folder)
    assert [group.key for group in made] == [f"synthesis/0/{i}" for i in range(5)]
    held_out = set(face_bank.load(bank_path, "val", None).identities)
    assert {group.identity for group in made} <= held_out
    for group in made:
        real, fake = group.images
        assert (real.label, fake.label, fake.recipe) == (0, 1, "exact")
        assert real.image.shape == fake.image.shape == (64, 64, 3)
        assert not real.mask.any()
        assert fake.mask.any()
    names = {path.name for path in folder.iterdir()}
    assert {"val-00000-of-00002.tfrecord", "val-00001-of-00002.tfrecord", "val.settings.json"} <= names


def test_a_run_cut_off_is_finished_with_the_same_bytes(synthesize):
    call, folder, _ = synthesize
    assert call() == 0
    paths = sorted(folder.glob("*.tfrecord"))
    before = [path.read_bytes() for path in paths]
    shards.contents_path(paths[1].with_suffix("")).unlink()
    paths[1].write_bytes(b"half")
    kept = paths[0].stat().st_mtime_ns
    assert call() == 0
    assert [path.read_bytes() for path in paths] == before
    assert paths[0].stat().st_mtime_ns == kept


def test_the_training_split_another_seed_and_difficulty_give_other_pictures(synthesize):
    call, folder, _ = synthesize
    assert call() == 0
    assert call("--split=train", "--seed=1", "--difficulty=0.2") == 0
    seen, held_out = groups(folder, "train"), groups(folder)
    assert not {group.identity for group in seen} & {group.identity for group in held_out}
    assert not any(np.array_equal(a.images[1].image, b.images[1].image) for a, b in zip(seen, held_out))
    assert json.loads((folder / "train.settings.json").read_text())["difficulty"] == 0.2


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seed=1"], "made with another bank, difficulty, mix, pairs, seed"),
        (["--mix=moon=1"], "allowed are self_blend"),
        (["--mix=swap=lots"], "NAME=NUMBER"),
        (["--num_pairs=0"], "num_pairs"),
    ],
)
def test_what_cannot_be_made_is_a_usage_error(synthesize, capsys, words, message):
    call, folder, _ = synthesize
    folder.mkdir()
    (folder / "val.settings.json").write_text(json.dumps({"seed": 0}))
    assert call(*words) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("*.tfrecord"))


def test_a_file_that_is_no_face_bank_is_named(tmp_path, capsys):
    (tmp_path / "bank.npz").write_bytes(b"no face bank")
    assert main(["synthesize", f"--face_bank={tmp_path / 'bank.npz'}", f"--output={tmp_path / 'out'}"]) == 1
    assert "bank.npz" in capsys.readouterr().err
