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
        (replaced(1, threshold=float("nan")), "threshold must be finite"),
        (dataclasses.replace(draw_group(), box=(1.0, 2.0, float("inf"), 3.0)), "box must be finite"),
        (dataclasses.replace(draw_group(), box=(9.0, 2.0, 8.0, 3.0)), "x0 <= x1"),
    ],
)
def test_groups_that_break_the_schema_are_refused(group, message):
    with pytest.raises(records.RecordError, match=message):
        records.encode_group(group)


@pytest.mark.parametrize("data", [b"", b"nonsense", tf.train.Example().SerializeToString()])
def test_foreign_bytes_are_refused(data):
    with pytest.raises(records.RecordError, match="not a record"):
        records.decode_group(data)


def png(shape, value=0, dtype=np.uint8):
    return tf.io.encode_png(np.full(shape, value, dtype)).numpy()


def bomb(side):
    """A PNG whose head declares `side` by `side` pixels, whatever lies behind it."""
    picture = bytearray(png((1, 1, 3)))
    picture[16:24] = side.to_bytes(4, "big") * 2
    return bytes(picture)


def altered(**changes):
    """A record of other programs: every check sum would be right, but a field is not what the schema has."""
    example = tf.train.Example.FromString(records.encode_group(draw_group()))
    for name, (kind, change) in changes.items():
        values = getattr(example.features.feature[name], f"{kind}_list").value
        kept = change(list(values))
        del values[:]
        values.extend(kept)
    return example.SerializeToString()


def at(number, value):
    return lambda values: [*values[:number], value, *values[number + 1 :]]


BROKEN = {  # record → what the message names
    "clips_short": (altered(clip=("bytes", lambda v: v[:2])), "'clip' has 2 values for 3 labels"),
    "masks_gone": (altered(mask=("bytes", lambda v: [])), "'mask' has 0 values for 3 labels"),
    "labels_gone": (altered(label=("int64", lambda v: [])), "'label' is empty"),
    "label_2": (altered(label=("int64", at(1, 2))), "label must be 0 or 1"),
    "label_0_later": (altered(label=("int64", at(1, 0))), "only come first"),
    "label_0_with_mask": (altered(label=("int64", lambda v: [0]), **{
        name: (kind, lambda v: v[1:2]) for name, kind in (
            ("image", "bytes"), ("mask", "bytes"), ("clip", "bytes"), ("method", "bytes"), ("recipe", "bytes"),
            ("image_frame_index", "int64"), ("noise_level", "float"), ("threshold", "float"), ("fake_area", "float"))
    }), "label and mask disagree"),
    "area": (altered(fake_area=("float", at(2, 0.001))), "fake_area and mask disagree"),
    "box_short": (altered(box=("float", lambda v: v[:3])), "box"),
    "box_nan": (altered(box=("float", at(0, float("nan")))), "box must be finite"),
    "threshold_inf": (altered(threshold=("float", at(1, float("inf")))), "threshold must be finite"),
    "mask_size": (altered(mask=("bytes", at(1, png((32, 16, 1))))), "mask must be"),
    "mask_colour": (altered(mask=("bytes", at(1, png((32, 32, 3))))), "'mask' of image 1 must be 8-bit grey"),
    "image_size": (altered(image=("bytes", at(2, png((16, 16, 3))))), "share one shape"),
    "image_16_bit": (altered(image=("bytes", at(0, png((32, 32, 3), 0, np.uint16)))), "image 0 must be 8-bit"),
    "image_alpha": (altered(image=("bytes", at(0, png((32, 32, 4))))), "image 0 must be 8-bit grey or RGB"),
    "image_bomb": (altered(image=("bytes", lambda v: [bomb(30_000)] * 3)), "'image' of image 0 must have sides of"),
    "image_text": (altered(image=("bytes", at(1, b"no picture, though it is long enough"))), "image 1 is no PNG"),
    "image_empty": (altered(image=("bytes", at(1, b""))), "'image' of image 1 is no PNG"),
    "mask_cut": (altered(mask=("bytes", lambda v: [v[0], v[1][:60], v[2]])), "'mask' of image 1 cannot be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("serialised, message", BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_schema_is_not_read_and_its_field_is_named(serialised, message):
    with pytest.raises(records.RecordError, match=message):
        records.decode_group(serialised)


@pytest.fixture(scope="module")
def in_graph():
    """`parse_member` as `tf.data` runs it."""
    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
    return tf.function(lambda serialised, member: records.parse_member(serialised, member, 3), signature)


@pytest.mark.parametrize("serialised", [case[0] for case in BROKEN.values()], ids=BROKEN)
def test_what_breaks_the_schema_is_not_read_in_a_graph_either(in_graph, serialised):
    with pytest.raises(tf.errors.OpError):
        [in_graph(serialised, member) for member in range(3)]


@pytest.mark.parametrize("serialised", [b"\xff\xfe" * 40, BROKEN["masks_gone"][0]], ids=["no_example", "masks_gone"])
def test_fields_alone_are_checked_too(serialised):
    with pytest.raises(records.RecordError):
        records.fields_of(serialised)
