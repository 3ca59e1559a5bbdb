"""Losses: stable, additive, bounded; their values are held against the reference in test_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unet_industrial.config import LOSSES
from unet_industrial.losses import get_loss, image_logits, l2_regularisation, pair_ranking_sums

SHAPE = (2, 4, 4, 1)
some_logits = arrays.arrays(np.float32, SHAPE, elements=st.floats(-80, 80, width=32))
some_masks = arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


def value_and_gradient(name, logits, mask):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = get_loss(name)(logits, mask)
    return value, tape.gradient(value, logits)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(logits=some_logits, mask=some_masks)
def test_finite_and_within_bounds(name, logits, mask):
    value, gradient = value_and_gradient(name, logits, mask)
    assert np.isfinite(gradient).all()
    assert 0 <= value < (1 if name.startswith("dice") else np.inf)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(logits=some_logits, mask=some_masks)
def test_sums_of_two_halves_give_the_loss_of_the_whole(name, logits, mask):
    loss = get_loss(name)
    halves = loss.sums(logits[:1], mask[:1]) + loss.sums(logits[1:], mask[1:])
    np.testing.assert_allclose(loss.from_sums(halves), loss(logits, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_give_a_float32_loss_without_overflow(name):
    logits = tf.fill((4, 128, 128, 1), tf.constant(30.0, tf.float16))  # 65,536 pixels: their sum exceeds float16
    value, gradient = value_and_gradient(name, logits, np.zeros((4, 128, 128, 1), np.float32))
    assert value.dtype == tf.float32
    assert gradient.dtype == tf.float16
    assert np.isfinite(value)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_matches_finite_differences(name):
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1, SHAPE).astype(np.float32)
    mask = (rng.random(SHAPE) > 0.5).astype(np.float32)
    gradient = value_and_gradient(name, logits, mask)[1].numpy()
    loss, offset = get_loss(name), 1e-2
    for place in [(0, 0, 0, 0), (1, 3, 2, 0)]:
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += offset
        moved[1][place] -= offset
        slope = (float(loss(moved[0], mask)) - float(loss(moved[1], mask))) / (2 * offset)
        assert slope == pytest.approx(gradient[place], rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_pushes_every_logit_down(name, graph):
    call = tf.function(value_and_gradient) if graph else value_and_gradient
    for level in (-5.0, 0.0, 15.0):
        value, gradient = call(name, tf.fill(SHAPE, level), tf.zeros(SHAPE))
        assert np.isfinite(value)
        assert value > 0
        assert (gradient.numpy() >= 0).all()
        assert (gradient.numpy() > 0).any() or level == 15.0  # where a sigmoid is saturated nothing moves


def test_adaptive_loss_is_dice_below_the_switch_and_cross_entropy_above():
    mask = np.ones(SHAPE, np.float32)
    for logit, chosen in [(2.0, "dice_sorensen"), (-2.0, "x-entropy")]:
        logits = np.full(SHAPE, logit, np.float32)
        assert get_loss("adaptive_loss")(logits, mask) == get_loss(chosen)(logits, mask)


def test_a_confident_mistake_costs_its_logit_rather_than_a_clipped_one():
    assert float(get_loss("x-entropy")(tf.fill((1, 1, 1, 1), -20.0), tf.ones((1, 1, 1, 1)))) == pytest.approx(20.0)


def test_l2_loss_is_a_sum():
    mask = tf.ones((1, 2, 2, 1))
    once = get_loss("l2_loss")(tf.zeros((1, 2, 2, 1)), mask)
    assert float(once) == pytest.approx(0.5 * 4 * 0.25)


def test_masks_of_another_shape_are_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match="compatible"):
        get_loss("x-entropy")(tf.zeros((2, 4, 4, 1)), tf.zeros((2, 4, 4)))


def test_unknown_names_say_what_is_allowed():
    with pytest.raises(ValueError, match=r"'focal'.*adaptive_loss"):
        get_loss("focal")


@pytest.mark.parametrize("traced_without_size", [False, True])
def test_image_logit_is_the_mean_of_the_largest_share(traced_without_size):
    logits = np.arange(200, dtype=np.float32).reshape(2, 10, 10, 1)
    of_images = image_logits
    if traced_without_size:
        of_images = tf.function(image_logits, input_signature=[tf.TensorSpec((None, None, None, 1))])
    np.testing.assert_allclose(of_images(logits), [98, 198])  # mean of the three largest of each hundred
    np.testing.assert_allclose(of_images(logits[:, :2, :2]), [11, 111])  # at least one pixel


def test_a_pair_is_a_fake_and_its_own_original():
    logits = np.array([1.0, 3.0, 0.0, -1.0, 5.0, 2.0], np.float32)
    labels = np.array([0, 1, 0, 1, 1, 1], np.int32)
    keys = np.array(["a", "a", "b", "b", "alone", "a"])  # two fakes of "a", and a fake whose original is not here
    total, count = pair_ranking_sums(tf.constant(logits), tf.constant(labels), tf.constant(keys)).numpy()
    expected = [np.log1p(np.exp(real - fake)) for real, fake in ((1, 3), (1, 2), (0, -1))]
    assert count == 3
    assert total == pytest.approx(sum(expected), rel=1e-6)
    nobody = pair_ranking_sums(tf.constant(logits), tf.constant(labels), tf.constant(list("uvwxyz"))).numpy()
    np.testing.assert_array_equal(nobody, [0, 0])


def test_l2_regularisation_counts_every_variable_and_only_if_asked():
    variables = [tf.Variable([3.0]), tf.Variable([[1.0, 2.0]])]
    assert float(l2_regularisation(variables, 0.1)) == pytest.approx(0.1 * 14 / 2)
    assert float(l2_regularisation(variables, 0.0)) == 0
    assert float(l2_regularisation([], 0.1)) == 0
