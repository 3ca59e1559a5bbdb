"""CenteredRMSProp and the schedules; their numbers are held against the reference in test_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet_industrial.config import ConfigError, TrainConfig
from unet_industrial.optimizers import CenteredRMSProp, WarmUp
from unet_industrial.train_step import make_schedule


def expected(weight, gradients, rate=1e-2, rho=0.9, momentum=0.8, epsilon=1e-10):
    """The update rule in float64."""
    weight, square, mean, velocity = np.float64(weight), 1.0, 0.0, 0.0
    for number, gradient in enumerate(gradients):
        square = rho * square + (1 - rho) * gradient**2
        mean = rho * mean + (1 - rho) * gradient
        step = rate(number) if callable(rate) else rate
        velocity = momentum * velocity + step * gradient / np.sqrt(square - mean**2 + epsilon)
        weight = weight - velocity
    return weight


def apply(optimizer, variable, gradients, jit_compile=None):
    @tf.function(jit_compile=jit_compile)
    def update(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    optimizer.build([variable])
    for gradient in gradients:
        update(tf.constant([gradient], tf.float32))
    return variable.numpy()[0]


def staircase(rate, factor, decay_steps):
    config = TrainConfig(learning_rate=rate, learning_rate_decay_factor=factor, learning_rate_decay_steps=decay_steps)
    return make_schedule(config, workers=1)


def cosine(rate, steps):
    return make_schedule(TrainConfig(learning_rate=rate, schedule="cosine", total_steps=steps), workers=1)


GRADIENTS = [1.0, -0.5, 2.0, 0.25, 0.0, -3.0]


@pytest.mark.parametrize("jit_compile", [None, True])
def test_follows_the_rule_in_a_graph_and_compiled(jit_compile):
    weight = apply(CenteredRMSProp(1e-2), tf.Variable([1.0]), GRADIENTS, jit_compile)
    assert weight == pytest.approx(expected(1.0, GRADIENTS), abs=1e-6)


def test_follows_a_schedule():
    schedule = staircase(1e-2, 0.5, 2)
    weight = apply(CenteredRMSProp(schedule), tf.Variable([1.0]), GRADIENTS)
    assert weight == pytest.approx(expected(1.0, GRADIENTS, rate=lambda n: 1e-2 * 0.5 ** (n // 2)), abs=1e-6)


def test_first_step_is_small_where_keras_takes_a_large_one():
    ours = 1 - apply(CenteredRMSProp(1e-2), tf.Variable([1.0]), [0.01])
    assert ours == pytest.approx(1e-2 * 0.01 / np.sqrt(0.9), rel=1e-2)


@pytest.mark.parametrize("cut", [1, 3])
def test_checkpoint_holds_the_slots(tmp_path, cut):
    def fresh():
        variable, optimizer = tf.Variable([1.0]), CenteredRMSProp(staircase(1e-2, 0.5, 2))
        optimizer.build([variable])
        return variable, optimizer, tf.train.Checkpoint(variable=variable, optimizer=optimizer)

    variable, optimizer, checkpoint = fresh()
    whole = apply(optimizer, variable, GRADIENTS)
    variable, optimizer, checkpoint = fresh()
    apply(optimizer, variable, GRADIENTS[:cut])
    path = checkpoint.write(str(tmp_path / "half"))
    variable, optimizer, checkpoint = fresh()
    checkpoint.read(path).assert_consumed()
    assert int(optimizer.iterations) == cut
    assert apply(optimizer, variable, GRADIENTS[cut:]) == whole  # to the last bit


def test_loss_scaling_changes_nothing_and_skips_overflow():
    scaled = tf.keras.mixed_precision.LossScaleOptimizer(CenteredRMSProp(1e-2), dynamic=True, initial_scale=8.0)
    variable = tf.Variable([1.0])
    scaled.build([variable])
    for gradient in (1.0, np.inf, -0.5):
        (unscaled,) = scaled.get_unscaled_gradients([tf.constant([gradient * float(scaled.loss_scale)])])
        scaled.apply_gradients([(unscaled, variable)])
    assert variable.numpy()[0] == pytest.approx(expected(1.0, [1.0, -0.5]), abs=1e-6)
    assert float(scaled.loss_scale) == 4.0


@pytest.mark.parametrize("rate", [1e-3, staircase(1e-3, 0.5, 10)])
def test_configuration_survives_serialisation(rate):
    optimizer = CenteredRMSProp(rate, rho=0.8, momentum=0.1, epsilon=1e-6)
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
    assert isinstance(again, CenteredRMSProp)
    assert again.get_config() == optimizer.get_config()


def test_fits_a_keras_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(CenteredRMSProp(1e-1, momentum=0.0), "mse")
    inputs = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    losses = model.fit(inputs, 3 * inputs, batch_size=64, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_sparse_gradients_are_applied():
    variable = tf.Variable(tf.ones((3, 1)))
    gradient = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([1]), (3, 1))
    CenteredRMSProp(1e-2).apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(variable[:, 0], [1, expected(1.0, [1.0]), 1], atol=1e-6)


def test_staircase_keeps_the_first_rate_up_to_the_last_step_of_the_first_stair():
    schedule = staircase(1e-4, 0.8, 500)
    np.testing.assert_allclose(
        [schedule(s) for s in (0, 499, 500, 2500)], [1e-4, 1e-4, 0.8e-4, 0.8**5 * 1e-4], rtol=1e-6
    )


def test_cosine_starts_at_the_rate_and_stays_at_the_end():
    schedule = cosine(1e-3, 100)
    np.testing.assert_allclose([schedule(s) for s in (0, 50, 100, 500)], [1e-3, 0.5e-3, 0, 0], rtol=1e-5, atol=1e-10)


def test_warm_up_rises_linearly_and_then_leaves_the_schedule_alone():
    schedule = WarmUp(staircase(1.0, 0.5, 10), 4)
    np.testing.assert_allclose([schedule(s) for s in (0, 1, 3, 4, 10)], [0.25, 0.5, 1, 1, 0.5])
    np.testing.assert_allclose([WarmUp(2.0, 2)(s) for s in (0, 5)], [1.0, 2.0])
    assert float(WarmUp(2.0, 0)(0)) == 2.0


@pytest.mark.parametrize("schedule", [WarmUp(staircase(1.0, 0.5, 10), 4), WarmUp(0.5, 3), cosine(1e-3, 7)])
def test_schedules_survive_serialisation(schedule):
    again = tf.keras.optimizers.schedules.deserialize(tf.keras.optimizers.schedules.serialize(schedule))
    np.testing.assert_array_equal([again(s) for s in range(12)], [schedule(s) for s in range(12)])


@pytest.mark.parametrize("make", [lambda: staircase(1.0, 0.5, 0), lambda: cosine(1.0, 0), lambda: WarmUp(1.0, -1)])
def test_impossible_lengths_are_refused(make):
    with pytest.raises((ConfigError, ValueError), match="steps="):
        make()
