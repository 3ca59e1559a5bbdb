"""Random access to TFRecord files."""

from __future__ import annotations

import pytest
import tensorflow as tf

from benchmarks import record_flips
from tests.helpers import drawn_records
from unet_industrial.record_files import RecordFileError, RecordReader, index_files, read_all


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def test_every_record_is_found_where_it_lies(tmp_path):
    first = [b"a", b"", b"\x00" * 70_000]
    second = [bytes(range(256)) * n for n in range(1, 6)]
    files = [write(tmp_path / "b.tfrecord", second), write(tmp_path / "a.tfrecord", first)]
    index = index_files(files)
    reader = RecordReader(index)
    assert [reader.read(i) for i in range(len(index))] == first + second  # files in order of name


def test_order_does_not_depend_on_the_order_files_are_given_in(tmp_path):
    files = [write(tmp_path / f"{name}.tfrecord", [name.encode()]) for name in "cab"]
    assert index_files(files).files == index_files(files[::-1]).files


@pytest.mark.parametrize("cut", [1, 4, 5, 40])
def test_a_file_cut_short_is_named(tmp_path, cut):
    path = tmp_path / "short.tfrecord"
    write(path, [b"x" * 30, b"y" * 30])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RecordFileError, match="short.tfrecord"):
        index_files([str(path)])


def test_text_and_damaged_lengths_are_refused(tmp_path):
    text = tmp_path / "notes.tfrecord"
    text.write_text("this is no record file, whatever its name may say\n")
    with pytest.raises(RecordFileError, match="notes.tfrecord"):
        index_files([str(text)])
    damaged = tmp_path / "damaged.tfrecord"
    write(damaged, [b"x" * 30])
    raw = bytearray(damaged.read_bytes())
    raw[9] ^= 1  # the length's check sum
    damaged.write_bytes(bytes(raw))
    with pytest.raises(RecordFileError, match="check sum"):
        index_files([str(damaged)])


def test_no_records_and_missing_files_are_refused(tmp_path):
    with pytest.raises(RecordFileError, match="no records"):
        index_files([write(tmp_path / "empty.tfrecord", [])])
    with pytest.raises(RecordFileError, match="gone.tfrecord"):
        index_files([str(tmp_path / "gone.tfrecord")])


def test_a_file_that_shrinks_after_indexing_is_named(tmp_path):
    path = tmp_path / "a.tfrecord"
    index = index_files([write(path, [b"x" * 100])])
    path.write_bytes(b"")
    with pytest.raises(RecordFileError, match=r"a\.tfrecord.*cut short"):
        RecordReader(index).read(0)


def test_no_flipped_bit_is_read_in_silence(tmp_path):
    groups = [drawn_records.group(number, side=16) for number in range(2)]
    path = drawn_records.write(tmp_path / "flipped.tfrecord", groups)
    outcomes = record_flips.outcomes(path, lambda: list(read_all([path])), flips=300)
    assert outcomes == {record_flips.NAMED: 300}


def test_a_record_that_changes_after_indexing_is_named_with_its_byte(tmp_path):
    path = tmp_path / "a.tfrecord"
    index = index_files([write(path, [b"x" * 100, b"y" * 100])])
    reader = RecordReader(index)
    raw = bytearray(path.read_bytes())
    raw[150] ^= 1
    path.write_bytes(raw)
    assert reader.read(0) == b"x" * 100
    with pytest.raises(RecordFileError, match=r"a\.tfrecord, byte 128: damaged record .*check sum"):
        reader.read(1)


def test_names_that_are_not_utf8_are_read(tmp_path):
    path = tmp_path / "a.tfrecord"
    write(path, [b"x"])
    odd = path.rename(tmp_path / b"\xff.tfrecord".decode("utf-8", "surrogateescape"))
    assert list(read_all([str(odd)])) == [b"x"]
