"""The record schema: what goes in comes out, and what breaks the rules does not go in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from unet_industrial import records


def draw_group(size=32, channels=3, original=True, copies=2):
    rng = np.random.default_rng(7)
    images = []
    for number in range(copies + original):
        label = int(number > 0 or not original)
        mask = rng.integers(0, 256, (size, size), dtype=np.uint8) * label
        images.append(
            records.FaceImage(
                image=rng.integers(0, 256, (size, size, channels), dtype=np.uint8),
                mask=mask.astype(np.uint8),
                label=label,
                clip=f"drawn/m{number}/c23/vidéo",
                method=f"m{number}",
                frame_index=40 + number,
                recipe="adaptive" if label else "",
                noise_level=1.5 * label,
                threshold=9.25 * label,
            )
        )
    return records.FaceGroup(
        key="drawn/1/40/0",
        dataset="drawn",
        split="train",
        identity="1",
        frame_index=40,
        time_s=1.5,
        track=2,
        box=(1.5, 2.0, 30.25, 31.0),
        images=tuple(images),
    )


def assert_same_image(a, b):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.mask, b.mask)
    for field in dataclasses.fields(a):
        if field.name not in ("image", "mask"):
            assert getattr(a, field.name) == getattr(b, field.name), field.name


@pytest.mark.parametrize("channels, original, copies", [(3, True, 2), (3, True, 0), (3, False, 2), (1, False, 1)])
def test_decode_undoes_encode(channels, original, copies):
    group = draw_group(channels=channels, original=original, copies=copies)
    back = records.decode_group(records.encode_group(group))
    assert len(back.images) == len(group.images)
    for a, b in zip(group.images, back.images):
        assert_same_image(a, b)
    for field in dataclasses.fields(group):
        if field.name != "images":
            assert getattr(back, field.name) == getattr(group, field.name), field.name


def test_same_group_gives_same_bytes():
    assert records.encode_group(draw_group()) == records.encode_group(draw_group())


@pytest.mark.parametrize("original", [True, False])
def test_parse_member_inside_tf_data_names_copies_from_one(original):
    group = draw_group(original=original)
    serialised = records.encode_group(group)
    members = [0, 1, 2] if original else [1, 2]
    data = tf.data.Dataset.from_tensor_slices(members)
    data = data.map(lambda member: records.parse_member(tf.constant(serialised), member, 3))
    assert data.element_spec["image"].shape.as_list() == [None, None, 3]
    for stored, example in zip(group.images, data.as_numpy_iterator()):
        np.testing.assert_array_equal(example["image"], stored.image)
        np.testing.assert_array_equal(example["mask"][..., 0], stored.mask)
        assert example["label"] == stored.label
        assert example["frame_index"] == stored.frame_index
        assert example["clip"].decode() == stored.clip
        assert example["fake_area"] == pytest.approx(stored.fake_area)


def test_surrogates_of_odd_file_names_survive():
    group = draw_group(copies=0)
    odd = dataclasses.replace(group.images[0], clip=b"drawn/\xff\xfe.mp4".decode("utf-8", "surrogateescape"))
    back = records.decode_group(records.encode_group(dataclasses.replace(group, images=(odd,))))
    assert back.images[0].clip == odd.clip


def replaced(number, **changes):
    group = draw_group()
    images = list(group.images)
    images[number] = dataclasses.replace(images[number], **changes)
    return dataclasses.replace(group, images=tuple(images))


@pytest.mark.parametrize(
    "group, message",
    [
        (dataclasses.replace(draw_group(), images=()), "at least one image"),
        (replaced(1, image=np.zeros((32, 32, 3), np.float32)), "uint8"),
        (replaced(1, image=np.zeros((16, 16, 3), np.uint8)), "share one shape"),
        (replaced(1, mask=np.zeros((32, 16), np.uint8)), "mask must be"),
        (replaced(1, label=2), "label must be"),
        (replaced(1, label=0, mask=np.zeros((32, 32), np.uint8)), "can only come first"),
        (replaced(0, mask=np.ones((32, 32), np.uint8)), "has faked pixels"),
    ],
)
def test_groups_that_break_the_schema_are_refused(group, message):
    with pytest.raises(records.RecordError, match=message):
        records.encode_group(group)


@pytest.mark.parametrize("data", [b"", b"nonsense", tf.train.Example().SerializeToString()])
def test_foreign_bytes_are_refused(data):
    with pytest.raises(records.RecordError, match="not a record"):
        records.decode_group(data)
