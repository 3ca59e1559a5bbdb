"""Record files → batches: paired, balanced, disjoint over workers, and a function of the position alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.drawn_records import group, write
from unet_industrial.config import DataConfig, ModelConfig
from unet_industrial.dataset import RecordSource, SyntheticSource, eval_dataset, find_files, fit
from unet_industrial.record_files import RecordFileError
from unet_industrial.records import encode_group

MODEL = ModelConfig(input_size=32)
PLAIN = DataConfig(augment=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """5 groups in 2 files; group 3 has two copies."""
    folder = tmp_path_factory.mktemp("records")
    groups = [group(i, copies=2 if i == 3 else 1) for i in range(5)]
    return [write(folder / "train-0.tfrecord", groups[:3]), write(folder / "train-1.tfrecord", groups[3:])]


def take(source, count, position=0, batch_size=4, rank=0, workers=1):
    batches = source.batches(position, batch_size, rank, workers)
    return [{name: value.numpy() for name, value in batch.items()} for batch in itertools.islice(batches, count)]


def joined(batches, name):
    return np.concatenate([batch[name] for batch in batches])


def test_batches_have_the_promised_shapes_types_and_ranges(files):
    for config in (PLAIN, DataConfig()):
        (batch,) = take(RecordSource(files, MODEL, config, seed=1), 1)
        assert batch["image"].shape == (4, 32, 32, 3)
        assert batch["mask"].shape == (4, 32, 32, 1)
        assert batch["image"].dtype == batch["mask"].dtype == np.float32
        assert -1 <= batch["image"].min() < -0.2 < 0.2 < batch["image"].max() <= 1
        assert batch["mask"].min() == 0
        assert batch["mask"].max() == 1
        assert batch["label"].dtype == np.int32


def test_real_and_fake_of_one_group_lie_side_by_side(files):
    for batch in take(RecordSource(files, MODEL, PLAIN, seed=1), 5):
        np.testing.assert_array_equal(batch["label"], [0, 1, 0, 1])
        assert batch["key"][0] == batch["key"][1] != batch["key"][2] == batch["key"][3]
        masked = batch["mask"].max(axis=(1, 2, 3))
        np.testing.assert_array_equal(masked, batch["label"])
        for real, fake in ((0, 1), (2, 3)):  # the pair differs inside the mask only
            outside = batch["mask"][fake] == 0
            np.testing.assert_array_equal(batch["image"][real] * outside, batch["image"][fake] * outside)


def test_an_epoch_shows_every_group_once_and_the_next_in_another_order(files):
    source = RecordSource(files, MODEL, PLAIN, seed=1)
    assert source.epoch_examples() == 10
    keys = joined(take(source, 10, batch_size=2), "key")[::2]
    first, second = keys[:5].tolist(), keys[5:].tolist()
    assert sorted(first) == sorted(second) == [f"drawn/{i:05d}".encode() for i in range(5)]
    assert first != second


def test_every_copy_of_a_group_gets_its_turn(files):
    batches = take(RecordSource(files, MODEL, PLAIN, seed=1), 40, batch_size=2)
    clips = {clip for batch in batches for clip in batch["clip"] if b"noise" in clip and b"000" in clip}
    assert clips == {b"drawn/noise0/c0/000", b"drawn/noise1/c0/000"}


def test_dropping_clean_images_leaves_manipulated_ones_only(files):
    source = RecordSource(files, MODEL, DataConfig(drop_clean=True, augment=False), seed=1)
    assert source.epoch_examples() == 5
    assert joined(take(source, 3), "label").tolist() == [1] * 12


def test_any_position_gives_what_a_run_from_the_start_gives_there(files):
    source = RecordSource(files, MODEL, DataConfig(), seed=1)
    whole = take(source, 6)
    again = take(RecordSource(files[::-1], MODEL, DataConfig(), seed=1), 2, position=16)
    for there, here in zip(whole[4:], again):
        for name, values in there.items():
            np.testing.assert_array_equal(values, here[name])
    other = take(RecordSource(files, MODEL, DataConfig(), seed=2), 6)
    assert not np.array_equal(joined(other, "image"), joined(whole, "image"))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_together_see_what_one_sees_and_share_nothing(files, workers):
    source = RecordSource(files, MODEL, DataConfig(), seed=1)
    alone = take(source, 4, batch_size=6)
    parts = [take(source, 4, batch_size=6 // workers, rank=rank, workers=workers) for rank in range(workers)]
    for step, batch in enumerate(alone):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, np.concatenate([part[step][name] for part in parts]))


def test_groups_without_a_partner_borrow_one_so_batches_stay_half_real(tmp_path):
    whole, lone_real = group(0), group(1, copies=0)
    lone_fake = group(2, original=False)
    path = write(tmp_path / "train.tfrecord", [whole, lone_real, lone_fake])
    batches = take(RecordSource([path], MODEL, PLAIN, seed=1), 9, batch_size=2)
    assert joined(batches, "label").tolist() == [0, 1] * 9
    reals, fakes = joined(batches, "key")[::2], joined(batches, "key")[1::2]
    assert set(reals) == {b"drawn/00000", b"drawn/00001"}
    assert set(fakes) == {b"drawn/00000", b"drawn/00002"}


def test_nothing_to_learn_from_is_an_error_at_once(tmp_path):
    reals = write(tmp_path / "reals.tfrecord", [group(0, copies=0)])
    with pytest.raises(RecordFileError, match="no manipulated image"):
        RecordSource([reals], MODEL, PLAIN, seed=1)
    fakes = write(tmp_path / "fakes.tfrecord", [group(0, original=False)])
    with pytest.raises(RecordFileError, match="--drop_clean"):
        RecordSource([fakes], MODEL, PLAIN, seed=1)
    foreign = tmp_path / "foreign.tfrecord"
    with tf.io.TFRecordWriter(str(foreign)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(RecordFileError, match=r"foreign\.tfrecord.*not a record of face groups"):
        RecordSource([str(foreign)], MODEL, PLAIN, seed=1)


def test_splits_are_found_by_name_or_by_folder(tmp_path):
    flat = write(tmp_path / "train-00000.tfrecord", [group(0)])
    nested = write(tmp_path / "val" / "a.tfrecord", [group(1)])
    assert find_files(str(tmp_path), "train") == [flat]
    assert find_files(str(tmp_path), "val") == [nested]
    with pytest.raises(RecordFileError, match="split 'test'"):
        find_files(str(tmp_path), "test")


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_evaluation_shows_every_image_once_over_all_workers(files, workers):
    seen = []
    for rank in range(workers):
        for batch in eval_dataset(files, MODEL, PLAIN, 4, rank, workers):
            assert 1 <= len(batch["label"]) <= 4  # the last batch is kept, however short
            seen += list(zip(batch["key"].numpy(), batch["clip"].numpy(), batch["label"].numpy()))
    assert len(seen) == len(set(seen)) == 11
    assert sum(label for *_, label in seen) == 6


def test_evaluation_names_a_damaged_record(tmp_path):
    path = write(tmp_path / "val.tfrecord", [group(i) for i in range(4)])
    content = bytearray(Path(path).read_bytes())
    place = content.index(b"IDAT", len(content) // 2) + 8
    content[place : place + 16] = bytes(16)
    Path(path).write_bytes(content)
    with pytest.raises(RecordFileError, match=r"val\.tfrecord, byte \d+: damaged record"):
        list(eval_dataset([path], MODEL, PLAIN, 2))


def stored_with(path, name, kind, values):
    """One group whose record, check sums and all, holds other values in one field."""
    example = tf.train.Example.FromString(encode_group(group(1)))
    field = getattr(example.features.feature[name], f"{kind}_list").value
    del field[:]
    field.extend(values)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(encode_group(group(0)))
        writer.write(example.SerializeToString())
    return str(path)


def test_lists_of_unequal_lengths_stop_training_before_it_starts(tmp_path):
    path = stored_with(tmp_path / "short.tfrecord", "clip", "bytes", [b"one"])
    with pytest.raises(RecordFileError, match=r"short\.tfrecord, byte \d+: .*'clip' has 1 values for 2 labels"):
        RecordSource([path], MODEL, PLAIN, seed=0)


def test_a_mask_that_disagrees_with_its_label_is_named_in_training_and_evaluation(tmp_path):
    path = stored_with(tmp_path / "area.tfrecord", "fake_area", "float", [0.0, 0.9])
    named = r"area\.tfrecord, byte \d+: .*fake_area and mask disagree"
    source = RecordSource([path], MODEL, PLAIN, seed=0)
    with pytest.raises(tf.errors.OpError):
        take(source, 1)
    assert re.search(named, source.find_damage(range(4)))
    with pytest.raises(RecordFileError, match=named):
        list(eval_dataset([path], MODEL, DataConfig(), 4))


def test_evaluation_tells_where_each_crop_is_from(files):
    batch = next(iter(eval_dataset(files, MODEL, PLAIN, 16)))
    rows = {name: batch[name].numpy().tolist() for name in ("clip", "original", "method", "identity", "face_px")}
    place = rows["clip"].index(b"drawn/noise1/c0/000")
    assert rows["original"][place] == b"drawn/real/c0/000"
    assert rows["method"][place] == b"noise1"
    assert rows["identity"][place] == b"person0"
    assert rows["face_px"][place] == 24


def test_grey_input_is_the_grey_of_the_colours(files):
    colour = next(iter(eval_dataset(files, MODEL, PLAIN, 4)))
    grey = next(iter(eval_dataset(files, ModelConfig(input_size=32, in_channels=1), PLAIN, 4)))
    assert grey["image"].shape == (4, 32, 32, 1)
    expected = tf.image.rgb_to_grayscale(colour["image"])
    np.testing.assert_allclose(grey["image"], expected, atol=1.01 / 127.5)


def test_resizing_keeps_masks_soft_and_in_range(files):
    batch = next(iter(eval_dataset(files, ModelConfig(input_size=16), PLAIN, 16)))
    mask = batch["mask"].numpy()
    assert mask.shape[1:] == (16, 16, 1)
    assert mask.min() == 0
    assert mask.max() <= 1
    assert ((mask > 0.01) & (mask < 0.99)).any()


def test_an_image_of_the_right_size_is_left_alone():
    image = tf.random.stateless_uniform((16, 16, 3), (1, 2)) * 255
    np.testing.assert_array_equal(fit(image, 16, 3), image)


def test_noise_for_benchmarks_comes_in_the_same_shape():
    (batch,) = take(SyntheticSource(MODEL, seed=1), 1)
    assert batch["image"].shape == (4, 32, 32, 3)
    assert abs(batch["image"]).max() <= 1
    assert batch["mask"].min() >= 0
    assert batch["label"].tolist() == [0, 1, 0, 1]
