"""Parts and shards: whole or not there, joined byte by byte, and with a table of what is in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mask_generation import manifest, shards
from mask_generation.shards import COLUMNS
from tests.helpers import drawn_records
from unet_industrial.record_files import read_all
from unet_industrial.records import RecordError, decode_group

CLIP = {"name": "drawn/real/c0/000", "state": "ok"}


def write(path, numbers, **options):
    groups = [drawn_records.group(number, **options) for number in numbers]
    return shards.write_part(path, groups, [CLIP], {"decode": 1.5}), groups


def keys(path):
    return [decode_group(data).key for data in read_all([str(shards.record_path(path))])]


def test_a_part_holds_its_groups_in_order_and_says_what_it_holds(tmp_path):
    contents, groups = write(tmp_path / "a" / "00000", [3, 1, 2])
    assert keys(tmp_path / "a" / "00000") == [each.key for each in groups]
    assert contents == shards.read_contents(tmp_path / "a" / "00000")
    assert (contents.records, len(contents.examples)) == (3, 6)
    assert contents.clips == [CLIP]
    assert set(contents.seconds) == {"decode", "encode"}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["00000.json", "00000.tfrecord"]


def test_the_same_groups_give_the_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, range(3))[0] for name in "ab")
    assert first.sha256 == second.sha256
    assert (tmp_path / "a.tfrecord").read_bytes() == (tmp_path / "b.tfrecord").read_bytes()


def test_rows_of_examples_follow_the_records(tmp_path):
    contents, groups = write(tmp_path / "a", [5, 6], copies=2)
    rows = [dict(zip(COLUMNS, row)) for row in contents.examples]
    assert [(row["record"], row["member"]) for row in rows] == [(r, m) for r in range(2) for m in range(3)]
    for row in rows:
        each = groups[row["record"]]
        image = each.images[row["member"]]
        assert (row["key"], row["identity"], row["track"]) == (each.key, each.identity, each.track)
        assert (row["clip"], row["method"], row["label"], row["recipe"]) == (
            image.clip,
            image.method,
            image.label,
            image.recipe,
        )
        assert row["fake_area"] == pytest.approx(image.fake_area)
        np.testing.assert_allclose([row[name] for name in ("x0", "y0", "x1", "y1")], each.box)


def test_parts_are_joined_in_the_order_given(tmp_path):
    write(tmp_path / "0", [7, 8])
    write(tmp_path / "1", [])
    write(tmp_path / "2", [4])
    whole = shards.join_parts(tmp_path / "train-0", [tmp_path / name for name in "210"])
    assert keys(tmp_path / "train-0") == ["drawn/00004", "drawn/00007", "drawn/00008"]
    assert whole == shards.read_contents(tmp_path / "train-0")
    assert [row[0] for row in whole.examples] == [0, 0, 1, 1, 2, 2]
    assert whole.seconds["decode"] == 4.5
    assert len(whole.clips) == 3
    assert shards.check_shard(tmp_path / "train-0") is None


def test_without_records_there_is_no_record_file_but_still_an_account(tmp_path):
    contents, _ = write(tmp_path / "0", [])
    assert not (tmp_path / "0.tfrecord").exists()
    assert shards.read_contents(tmp_path / "0") == contents
    whole = shards.join_parts(tmp_path / "test-0", [tmp_path / "0"])
    assert whole.records == 0
    assert not (tmp_path / "test-0.tfrecord").exists()
    assert shards.check_shard(tmp_path / "test-0") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.with_suffix(".tfrecord").unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text('{"format": 1, "rec'),
        lambda path: path.with_suffix(".json").write_text('{"format": 99}'),
        lambda path: path.with_suffix(".tfrecord").write_bytes(path.with_suffix(".tfrecord").read_bytes()[:-5]),
    ],
    ids=["no records", "no account", "half an account", "another format", "cut short"],
)
def test_what_is_not_whole_counts_as_not_there(tmp_path, damage):
    write(tmp_path / "0", [1])
    damage(tmp_path / "0")
    assert shards.read_contents(tmp_path / "0") is None
    with pytest.raises(shards.DamagedPart, match="0.tfrecord"):
        shards.join_parts(tmp_path / "train-0", [tmp_path / "0"])
    assert not list(tmp_path.glob("*train*"))


def test_a_flipped_bit_is_found_by_its_check_sum(tmp_path):
    write(tmp_path / "0", [1])
    content = bytearray((tmp_path / "0.tfrecord").read_bytes())
    content[50] ^= 4
    (tmp_path / "0.tfrecord").write_bytes(content)
    with pytest.raises(shards.DamagedPart, match="SHA-256") as caught:
        shards.join_parts(tmp_path / "train-0", [tmp_path / "0"])
    assert caught.value.path == tmp_path / "0"
    assert "SHA-256" in shards.check_shard(tmp_path / "0")


def test_a_group_that_breaks_the_schema_leaves_nothing_behind(tmp_path):
    good, bad = drawn_records.group(1), dataclasses.replace(drawn_records.group(2), images=())
    with pytest.raises(RecordError):
        shards.write_part(tmp_path / "0", [good, bad], [], {})
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_an_error_of_the_system(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "x").write_text("a file where a folder is needed")
    with pytest.raises(OSError, match="x"):
        write(tmp_path / "0" / "x" / "00000", [1])


def test_the_account_of_a_shard_can_be_made_from_its_records(tmp_path):
    contents, _ = write(tmp_path / "train-0", range(8), copies=2)
    rebuilt = manifest.rebuild(tmp_path / "train-0")
    assert rebuilt.examples == contents.examples
    assert (rebuilt.records, rebuilt.bytes, rebuilt.sha256) == (8, contents.bytes, contents.sha256)
    examples = {clip["name"]: clip["examples"] for clip in rebuilt.clips}
    assert examples == {f"drawn/{m}/c0/00{c}": 4 for m in ("real", "noise0", "noise1") for c in (0, 1)}
    assert {clip["compression"] for clip in rebuilt.clips} == {"c0"}


def test_the_json_is_replaced_at_once_and_keeps_names_that_are_not_utf8(tmp_path):
    for name in ("a", "é\udce9"):
        shards.write_part(tmp_path / "0", [], [{**CLIP, "name": name}], {})
    assert shards.read_contents(tmp_path / "0").clips == [{**CLIP, "name": "é\udce9"}]
    assert [path.name for path in tmp_path.iterdir()] == ["0.json"]
