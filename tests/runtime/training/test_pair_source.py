"""`train --preset=sbi`: what the synthesis hands to training, and the flags that shape it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mask_generation.synthesis import face_bank
from runtime.training import pair_source
from tests.helpers import drawn_records
from unet_industrial.config import FAKE_ABOVE_UINT8


def config(path, **changes):
    plain = pair_source.PairConfig(
        path, size=64, seed=3, mix={"compress": 0.0, "recorded": 0.0}, ramp_images=0, processes=0
    )
    return dataclasses.replace(plain, **changes)


def batches(source, position, count, rank=0, workers=1, batch_size=4):
    data = iter(source.batches(position, batch_size, rank, workers))
    return [{name: value.numpy() for name, value in next(data).items()} for _ in range(count)]


def test_real_and_fake_of_a_picture_lie_side_by_side(face_bank_file):
    (batch,) = batches(pair_source.PairSource(config(face_bank_file)), 0, 1)
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
    source = pair_source.PairSource(config(face_bank_file))
    whole = batches(source, 0, 3)
    (rest,) = batches(source, 8, 1)
    np.testing.assert_array_equal(whole[2]["image"], rest["image"])


def test_two_workers_share_what_one_would_see(face_bank_file):
    source = pair_source.PairSource(config(face_bank_file))
    alone = batches(source, 0, 2)
    first, second = (batches(source, 0, 1, rank, 2)[0] for rank in range(2))
    np.testing.assert_array_equal(first["image"], alone[0]["image"])
    np.testing.assert_array_equal(second["image"], alone[1]["image"])


def test_processes_make_the_same_pictures(face_bank_file):
    here = batches(pair_source.PairSource(config(face_bank_file)), 0, 2)
    there = batches(pair_source.PairSource(config(face_bank_file, processes=1)), 0, 2)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_windows_are_cut_alike_and_labelled_by_what_they_show(face_bank_file):
    source = pair_source.PairSource(config(face_bank_file, picture_size=128))
    found = batches(source, 0, 6)
    labels = np.concatenate([batch["label"] for batch in found])
    masks = np.concatenate([batch["mask"] for batch in found])
    shown = (masks * 255 > FAKE_ABOVE_UINT8 + 0.5).mean(axis=(1, 2, 3)) >= pair_source.LEAST_SHARE
    np.testing.assert_array_equal(labels == 1, shown)
    assert labels[::2].max() == 0
    assert labels[1::2].mean() > 0.5  # windows look for the manipulation


def test_a_window_finds_a_small_manipulation():
    mask = np.zeros((128, 128), np.uint8)
    mask[90:128, 90:128] = 255
    hits = sum(
        bool(mask[y : y + 64, x : x + 64].any())
        for y, x in (pair_source.cut_window(mask, 64, np.random.default_rng(seed)) for seed in range(200))
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
    path = pair_source.write_validation(made, tmp_path, 3)
    groups = list(map(decode_group, read_all([str(path)])))
    assert len(groups) == 3
    assert all(group.images[0].image.shape == (96, 96, 3) for group in groups)
    assert [image.label for image in groups[0].images] == [0, 1]
    assert groups[0].images[1].recipe == "exact"
    before = path.stat().st_mtime_ns
    assert pair_source.write_validation(made, tmp_path, 3) == path
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_no_face_bank_is_named(tmp_path):
    path = tmp_path / "bank.npz"
    path.write_bytes(b"no face bank")
    with pytest.raises(face_bank.FaceBankError, match=r"bank\.npz.*`mask face_bank`"):
        pair_source.PairSource(config(str(path)))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--preset=sbi"], "needs --face_bank"),
        (["--preset=pairs", "--record_sources=dfdc"], "NAME=DIR"),
        (["--preset=pairs", "--record_sources=dfdc=/no/such/folder"], "there is no folder /no/such/folder"),
        (["--preset=pairs", "--face_bank=x", "--source_shares=moon=1"], "share of moon"),
        (["--record_sources=a=."], "does not go with --preset=reference"),
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


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two sources of drawn records: one whose pictures are red alone, one whose are blue."""
    folders = {}
    for name, channel in (("red", 0), ("blue", 2)):
        folder = tmp_path_factory.mktemp(name)
        groups = []
        for number in range(5):
            drawn = drawn_records.group(number, side=64, copies=2)
            only = np.eye(3, dtype=np.uint8)[channel]
            images = tuple(dataclasses.replace(item, image=item.image * only) for item in drawn.images)
            groups.append(dataclasses.replace(drawn, key=f"{name}/{number}", images=images))
        drawn_records.write(folder / "train-0.tfrecord", groups)
        folders[name] = str(folder)
    return folders


PLAIN = {"compress": 0.0, "recorded": 0.0, "relight": 0.0, "video": 0.0, "alike": 1.0}


def mixed(face_bank_file, records, **changes):
    shares = {"red": 0.5, "blue": 0.2, "synthesis": 0.3}
    return config(face_bank_file, **{"records": records, "shares": shares, "mix": PLAIN, **changes})


def test_each_source_gets_its_share_and_is_gone_through_in_order(face_bank_file, records):
    turns = pair_source.Turns(mixed(face_bank_file, records).sources(), 7)
    drawn = [turns.turn(pair) for pair in range(3 * pair_source.TURNS)]
    for name, share in (("red", 0.5), ("blue", 0.2), ("synthesis", 0.3)):
        own = [index for source, index in drawn if source == name]
        assert own == list(range(round(share * len(drawn))))
    assert [name for name, _ in drawn[:20]] != [name for name, _ in drawn[pair_source.TURNS :][:20]]
    again = pair_source.Turns(mixed(face_bank_file, records).sources(), 7)
    assert [again.turn(pair) for pair in (599, 3, 250)] == [drawn[599], drawn[3], drawn[250]]


def test_records_and_synthesis_come_in_one_stream(face_bank_file, records):
    source = pair_source.PairSource(mixed(face_bank_file, records))
    found = batches(source, 0, 20)
    keys = np.concatenate([batch["key"] for batch in found])
    assert {key.split(b"/")[0] for key in keys} == {b"red", b"blue", b"synthesis"}
    np.testing.assert_array_equal(keys[::2], keys[1::2])
    for batch in found:
        for row, key in enumerate(batch["key"]):
            if key.startswith(b"red"):  # nothing of another source got into its picture; colours are changed alike
                assert batch["image"][row, ..., 0].std() > batch["image"][row, ..., 2].std()
    crops = sum(part["crops"] for part in source.describe()["sources"].values())
    assert source.epoch_examples() == 2 * (5 + 5 + crops)


def test_real_and_fake_of_a_record_differ_where_the_mask_says_only(records):
    source = pair_source.PairSource(config(None, records=records, mix=PLAIN))
    for batch in batches(source, 0, 5):
        for row in range(0, 4, 2):
            difference = np.abs(batch["image"][row] - batch["image"][row + 1]).max(-1)
            mask = batch["mask"][row + 1, ..., 0]
            assert difference[mask == 0].max() <= 2.5 / 127.5  # rounding
            assert difference[mask > 0.9].mean() > 0.05
            assert batch["label"][row : row + 2].tolist() == [0, 1]
            assert batch["clip"][row].startswith(b"drawn/real")


def test_records_show_the_face_at_changing_margins(records, tmp_path):
    from mask_generation.synthesis.pairs import draw_window

    spans = [
        window.side / window.scale / 256 * 1.5
        for window in (draw_window(256, 1.5, np.random.default_rng(seed), 0.8) for seed in range(300))
    ]
    assert 0.79 < min(spans) < 0.84
    assert 1.41 < max(spans) < 1.46
    tight = [
        window.side / window.scale / 224 * 0.85
        for window in (draw_window(224, 0.85, np.random.default_rng(seed), 0.8) for seed in range(50))
    ]
    assert max(tight) <= 0.86  # there is nothing beyond the crop


def test_a_mixed_run_goes_on_where_it_was_on_any_number_of_workers(face_bank_file, records):
    source = pair_source.PairSource(mixed(face_bank_file, records, processes=1))
    whole = batches(source, 0, 3)
    (rest,) = batches(source, 8, 1)
    for name in whole[2]:
        np.testing.assert_array_equal(whole[2][name], rest[name])
    here = pair_source.PairSource(mixed(face_bank_file, records))
    for rank in range(2):
        (share,) = batches(here, 4, 1, rank, 2)
        np.testing.assert_array_equal(share["image"], whole[1 + rank]["image"])


@pytest.mark.parametrize("mix", [{"video": 1.0}, {"alike": 1.0}])
def test_both_halves_go_through_the_same_compression(mix):
    from mask_generation.synthesis.pairs import Mix, degrade_pair

    picture = drawn_records.picture(np.random.default_rng(0), 160)
    changed = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        real, fake = degrade_pair(picture, picture.copy(), rng, 1.0, Mix(**{"compress": 1.0, "alike": 0.0, **mix}))
        np.testing.assert_array_equal(real, fake)
        changed += real.shape != picture.shape or bool((real != picture).any())
    assert changed >= 6


@pytest.mark.parametrize(
    "shares, message",
    [({"moon": 1.0}, "share of moon: there are blue, red"), ({"red": -1.0}, "negative"), ({"red": 0.0}, "above 0")],
)
def test_impossible_shares_are_refused(records, shares, message):
    with pytest.raises(ValueError, match=message):
        pair_source.PairSource(config(None, records=records, shares=shares))


def test_a_record_damaged_meanwhile_is_named(records, tmp_path):
    from unet_industrial.record_files import RecordFileError, index_files

    name = drawn_records.write(tmp_path / "bad" / "train-0.tfrecord", [drawn_records.group(1, side=64)])
    source = pair_source.PairSource(config(None, records={"bad": str(tmp_path / "bad")}, mix=PLAIN))
    index = index_files([name])
    with open(name, "r+b") as stream:
        stream.seek(int(index.offset[0]) + int(index.length[0]) // 2)
        stream.write(b"\0" * 64)
    with pytest.raises((tf.errors.OpError, RecordFileError)):
        batches(source, 0, 1)
    assert name in source.find_damage(range(4))
    with pytest.raises(RecordFileError, match="train-0"):
        pair_source.PairSource(config(None, records={"bad": str(tmp_path / "bad")}, mix=PLAIN))
    good = pair_source.PairSource(config(None, records=records, mix=PLAIN))
    assert good.find_damage(range(40)) is None
