"""Augmentations: image and mask move together, ranges hold, draws depend on nothing but the seeds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet_industrial import augment as augmentations
from unet_industrial.augment import GEOMETRIC, augment
from unet_industrial.config import AUGMENTATIONS

SIDE = 32


def lopsided_mask():
    """(32,32,1) of {0,1}: no flip, turn or transposition of it equals it."""
    mask = np.zeros((SIDE, SIDE, 1), np.float32)
    mask[3:9, 5:27], mask[3:25, 5:10] = 1, 1
    return mask


def picture(channels=3):
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(SIDE, SIDE, channels)), 0), 1)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.float32)


def run(image, mask, seed, names, mode):
    def apply(image, mask):
        return augment(image, mask, tf.constant([seed, 1]), tf.constant([seed, 2]), names)

    if mode == "eager":
        return [part.numpy() for part in apply(tf.constant(image), tf.constant(mask))]
    data = tf.data.Dataset.from_tensors((image, mask)).map(apply)
    return [part.numpy() for part in next(iter(data))]


@pytest.mark.parametrize("mode", ["eager", "tf.data"])
@pytest.mark.parametrize("name", ["flip", "rot90", "rotate"])
def test_image_and_mask_move_together(name, mode):
    mask = lopsided_mask()  # it is the image too, so any disagreement shows
    for seed in range(8):
        image, moved = run(np.repeat(mask * 255, 3, -1), mask, seed, (name,), mode)
        np.testing.assert_allclose(image[..., :1] / 255, moved, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_does_something_on_some_draws_and_keeps_shape_and_range(name):
    mask, changed = lopsided_mask(), 0
    for channels in (1, 3):
        image = picture(channels)
        for seed in range(12):
            out, moved = run(image, mask, seed, (name,), "tf.data" if seed % 2 else "eager")
            assert out.shape == image.shape
            assert moved.shape == mask.shape
            assert out.dtype == moved.dtype == np.float32
            assert out.min() >= -1e-3
            assert out.max() <= 255 + 1e-3
            assert moved.min() >= 0
            assert moved.max() <= 1
            changed += not np.array_equal(out, image)
            if name not in GEOMETRIC:
                np.testing.assert_array_equal(moved, mask)
    assert 2 <= changed <= 23  # neither never nor always


def test_rot90_draws_all_four_turns():
    mask = lopsided_mask()
    seen = {run(np.repeat(mask, 3, -1), mask, seed, ("rot90",), "eager")[1].tobytes() for seed in range(40)}
    assert seen == {np.rot90(mask, turns).tobytes() for turns in range(4)}


def test_cutout_hides_the_same_square_in_image_and_mask():
    image, mask = np.full((SIDE, SIDE, 3), 10, np.float32), np.ones((SIDE, SIDE, 1), np.float32)
    hidden = 0
    for seed in range(20):
        out, moved = run(image, mask, seed, ("cutout",), "eager")
        np.testing.assert_array_equal(out[..., :1] == 127.5, moved == 0)
        hidden += (moved == 0).any()
    assert hidden > 0


def test_draws_repeat_with_the_seed_and_differ_between_seeds():
    image, mask = picture(), lopsided_mask()
    outs = [run(image, mask, seed, AUGMENTATIONS, "eager")[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


def test_the_halves_of_a_pair_share_geometry_but_not_compression():
    image, mask = picture(), lopsided_mask()
    pair, own = tf.constant([5, 1]), [tf.constant([5, 2]), tf.constant([5, 3])]
    geometry = [augment(image, mask, pair, seed, GEOMETRIC)[0].numpy() for seed in own]
    np.testing.assert_array_equal(*geometry)
    names, differ = ("photometric", "noise", "jpeg", "downscale"), 0
    for draw in range(6):
        pair, own = tf.constant([draw, 1]), [tf.constant([draw, 2]), tf.constant([draw, 3])]
        differ += not np.array_equal(*[augment(image, mask, pair, seed, names)[0].numpy() for seed in own])
    assert differ >= 4


def test_without_tensorflow_addons_the_message_names_the_package(monkeypatch):
    import sys

    from unet_industrial import tfa_ops

    tfa_ops._tfa_image.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow_addons.image", None)
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(ImportError, match="tensorflow-addons"):
        tfa_ops.gaussian_blur(tf.zeros((SIDE, SIDE, 3)), tf.constant(0))
    tfa_ops._tfa_image.cache_clear()


def test_jpeg_loses_detail_as_a_jpeg_does():
    image, mask = picture(), lopsided_mask()
    losses = [
        np.abs(augmentations.jpeg(tf.constant(image), mask, tf.constant([s, 0]))[0] - image).mean() for s in range(12)
    ]
    assert max(losses) > 0.5
    assert min(losses) == 0
