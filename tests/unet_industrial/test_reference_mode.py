"""The reference's quirks beyond the numbers of test_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import original
from unet_industrial import build_unet, reference_mode
from unet_industrial.unet import reference_variable_names


def test_resize_samples_without_half_pixel_centres():
    ramp = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(reference_mode.resize_bilinear(ramp, (2, 1))[0, :, 0, 0], [0, 2])
    np.testing.assert_array_equal(
        reference_mode.resize_bilinear(ramp, (8, 1))[0, :, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    )


@pytest.mark.parametrize("side", [480, 600])
def test_crop_or_pad_keeps_the_centre(side):
    image = np.zeros((1, side, side, 1), np.float32)
    image[0, side // 2, side // 2] = 1
    out = original.crop_or_pad(image).numpy()
    assert out.shape == (1, 512, 512, 1)
    assert out[0, 256, 256, 0] == 1


@pytest.mark.parametrize("mode", ["eager", "tf.data"])
def test_augment_moves_image_and_mask_together_and_repeats_with_its_seed(mode):
    mask = np.arange(36, dtype=np.float32).reshape(6, 6, 1)  # lopsided, so any disagreement shows
    seeds = np.array([[n, 7] for n in range(20)], np.int32)

    def one(seed):
        return reference_mode.augment(np.repeat(mask, 3, axis=-1), mask, seed)

    if mode == "eager":
        pairs = [one(seed) for seed in seeds]
    else:
        pairs = list(tf.data.Dataset.from_tensor_slices(seeds).map(one))
    for image, moved in pairs:
        np.testing.assert_array_equal(image[..., :1], moved)
    again = [one(seed)[1].numpy() for seed in seeds]
    assert all((first[1].numpy() == second).all() for first, second in zip(pairs, again))
    assert len({moved.tobytes() for moved in again}) == 6  # two flips by three turns


def test_count_steps_refuses_what_cannot_be_counted():
    with pytest.raises(ValueError, match="batch, epoch"):
        original.count_steps("step", 100, 1, 1)
    with pytest.raises(ValueError, match="do not fill"):
        original.count_steps("epoch", 3, 1, 4)


def test_seeds_are_doubled_twice_and_differ_by_rank():
    assert [original.base_seed(5, rank) for rank in (0, 1)] == [10, 12]
    assert [original.graph_seed(5, rank) for rank in (0, 1)] == [20, 26]


def write_tf1_checkpoint(prefix, model, skip=0):
    names = reference_variable_names(model)[skip:]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[variable.value() for variable in model.trainable_variables[skip:]],
    )


@pytest.mark.parametrize("activation", ["relu", "prelu_not_shared"])
def test_a_tf1_checkpoint_of_the_reference_can_be_read(tmp_path, activation):
    theirs, ours = (build_unet(in_channels=1, activation=activation) for _ in range(2))
    prefix = str(tmp_path / "model.ckpt-2500")
    write_tf1_checkpoint(prefix, theirs)
    reference_mode.load_checkpoint(ours, prefix)
    assert all((a == b).all() for a, b in zip(ours.get_weights(), theirs.get_weights()))


def test_checkpoints_that_do_not_fit_are_named_and_change_nothing(tmp_path):
    theirs, ours = build_unet(in_channels=1), build_unet(in_channels=3)
    before = ours.get_weights()
    prefix = str(tmp_path / "model.ckpt-1")
    with pytest.raises(ValueError, match=r"model\.ckpt-1: not a TensorFlow checkpoint"):
        reference_mode.load_checkpoint(ours, prefix)
    write_tf1_checkpoint(prefix, theirs)
    with pytest.raises(ValueError, match=r"input_block/conv2d/kernel has shape \[3, 3, 1, 32\]"):
        reference_mode.load_checkpoint(ours, prefix)
    write_tf1_checkpoint(prefix, theirs, skip=1)
    with pytest.raises(ValueError, match="input_block/conv2d/kernel is missing"):
        reference_mode.load_checkpoint(theirs, prefix)
    assert all((a == b).all() for a, b in zip(ours.get_weights(), before))
