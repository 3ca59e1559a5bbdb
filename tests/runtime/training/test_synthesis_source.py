"""`train --preset=sbi`: what the synthesis hands to training, and the flags that shape it."""

import dataclasses

import numpy as np
import pytest

from mask_generation.synthesis import face_bank
from runtime.training import synthesis_source
from unet_industrial.config import FAKE_ABOVE_UINT8


def config(path, **changes):
    plain = synthesis_source.SynthesisConfig(
        path, size=64, seed=3, mix={"compress": 0.0, "recorded": 0.0}, ramp_images=0, processes=0
    )
    return dataclasses.replace(plain, **changes)


def batches(source, position, count, rank=0, workers=1, batch_size=4):
    data = iter(source.batches(position, batch_size, rank, workers))
    return [{name: value.numpy() for name, value in next(data).items()} for _ in range(count)]


def test_real_and_fake_of_a_picture_lie_side_by_side(face_bank_file):
    (batch,) = batches(synthesis_source.SynthesisSource(config(face_bank_file)), 0, 1)
    assert batch["image"].shape == (4, 64, 64, 3)
    assert batch["mask"].shape == (4, 64, 64, 1)
    assert batch["label"].tolist() == [0, 1, 0, 1]
    assert batch["key"][0] == batch["key"][1] != batch["key"][2]
    assert np.abs(batch["image"]).max() <= 1
    assert batch["mask"][[0, 2]].max() == 0
    assert batch["mask"][[1, 3]].max() > 0.5
    untouched = batch["mask"][1, ..., 0] == 0
    np.testing.assert_array_equal(batch["image"][0][untouched], batch["image"][1][untouched])


def test_a_run_that_goes_on_sees_what_it_would_have_seen(face_bank_file):
    source = synthesis_source.SynthesisSource(config(face_bank_file))
    whole = batches(source, 0, 3)
    (rest,) = batches(source, 8, 1)
    np.testing.assert_array_equal(whole[2]["image"], rest["image"])


def test_two_workers_share_what_one_would_see(face_bank_file):
    source = synthesis_source.SynthesisSource(config(face_bank_file))
    alone = batches(source, 0, 2)
    first, second = (batches(source, 0, 1, rank, 2)[0] for rank in range(2))
    np.testing.assert_array_equal(first["image"], alone[0]["image"])
    np.testing.assert_array_equal(second["image"], alone[1]["image"])


def test_processes_make_the_same_pictures(face_bank_file):
    here = batches(synthesis_source.SynthesisSource(config(face_bank_file)), 0, 2)
    there = batches(synthesis_source.SynthesisSource(config(face_bank_file, processes=1)), 0, 2)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_windows_are_cut_alike_and_labelled_by_what_they_show(face_bank_file):
    source = synthesis_source.SynthesisSource(config(face_bank_file, picture_size=128))
    found = batches(source, 0, 6)
    labels = np.concatenate([batch["label"] for batch in found])
    masks = np.concatenate([batch["mask"] for batch in found])
    shown = (masks * 255 > FAKE_ABOVE_UINT8 + 0.5).mean(axis=(1, 2, 3)) >= synthesis_source.LEAST_SHARE
    np.testing.assert_array_equal(labels == 1, shown)
    assert labels[::2].max() == 0
    assert labels[1::2].mean() > 0.5  # windows look for the manipulation


def test_a_window_finds_a_small_manipulation():
    mask = np.zeros((128, 128), np.uint8)
    mask[90:128, 90:128] = 255
    hits = sum(
        bool(mask[y : y + 64, x : x + 64].any())
        for y, x in (synthesis_source.cut_window(mask, 64, np.random.default_rng(seed)) for seed in range(200))
    )
    alone = sum(
        bool(mask[y : y + 64, x : x + 64].any())
        for y, x in (np.random.default_rng(seed).integers(65, size=2) for seed in range(200))
    )
    assert hits > alone


def test_validation_shows_people_held_out_at_full_size(face_bank_file, tmp_path):
    from unet_industrial.record_files import read_all
    from unet_industrial.records import decode_group

    made = config(face_bank_file, picture_size=96)
    path = synthesis_source.write_validation(made, tmp_path, 3)
    groups = list(map(decode_group, read_all([str(path)])))
    assert len(groups) == 3
    assert all(group.images[0].image.shape == (96, 96, 3) for group in groups)
    assert [image.label for image in groups[0].images] == [0, 1]
    assert groups[0].images[1].recipe == "exact"
    before = path.stat().st_mtime_ns
    assert synthesis_source.write_validation(made, tmp_path, 3) == path
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_no_face_bank_is_named(tmp_path):
    path = tmp_path / "bank.npz"
    path.write_bytes(b"no face bank")
    with pytest.raises(face_bank.FaceBankError, match=r"bank\.npz.*`mask face_bank`"):
        synthesis_source.SynthesisSource(config(str(path)))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--preset=sbi"], "needs --face_bank"),
        (["--face_bank=x.npz", "--data_dir=d"], "does not go with --preset=reference"),
        (["--preset=sbi", "--face_bank=x", "--mix=swap=lots"], "NAME=NUMBER"),
        (["--preset=sbi", "--face_bank=x", "--mix=moon=1"], "allowed are self_blend"),
        (["--preset=sbi", "--face_bank=x", "--picture_size=100"], "multiple of 16"),
        (["--preset=sbi", "--face_bank=x", "--picture_size=64"], "at least --input_size"),
    ],
)
def test_wrong_flags_of_the_synthesis_fail_before_any_work(tmp_path, capsys, words, message):
    from runtime.__main__ import main

    assert main(["train", f"--output={tmp_path}", "--num_iter=1", *words]) == 2
    assert message in capsys.readouterr().err
