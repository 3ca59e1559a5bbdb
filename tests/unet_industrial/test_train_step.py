"""One update: precision, compilation, accumulation, clipping, and what workers do together; mostly on two layers."""

from __future__ import annotations

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from unet_industrial import metrics, train_step
from unet_industrial.config import ModelConfig, TrainConfig
from unet_industrial.dataset import SyntheticSource
from unet_industrial.train_step import TrainStep, make_network, make_optimizer

MODEL = ModelConfig(input_size=16)


@pytest.fixture(autouse=True)
def seeded():
    tf.keras.utils.set_random_seed(1)
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def batches(count, size=4, model=MODEL):
    """Noise, another for each batch, with a mask on the second half of each."""
    rng = np.random.default_rng(3)
    (first,) = SyntheticSource(model, 1).batches(0, size, 0, 1).take(1)
    side = model.input_size
    found = []
    for _ in range(count):
        mask = (rng.random((size, side, side, 1)) > 0.6).astype(np.float32)
        mask[: size // 2] = 0
        image = rng.uniform(-1, 1, (size, side, side, 3)).astype(np.float32)
        label = (mask.max(axis=(1, 2, 3)) > 0).astype(np.int32)
        found.append({**first, "image": tf.constant(image), "mask": tf.constant(mask), "label": tf.constant(label)})
    return found


def small_network():
    tf.keras.utils.set_random_seed(1)
    images = tf.keras.Input((None, None, 3))
    x = tf.keras.layers.Conv2D(8, 3, padding="same", activation="relu")(images)
    return tf.keras.Model(images, tf.keras.layers.Conv2D(1, 3, padding="same", dtype="float32")(x))


def stepper(network=None, workers=1, sums=tf.identity, averages=list, **settings):
    config = TrainConfig(**{"learning_rate": 1e-2, "loss": "x-entropy", **settings})
    network = network or small_network()
    return TrainStep(network, make_optimizer(config, workers), MODEL, config, workers, sums, averages)


def run(step, *micro):
    return {name: value.numpy() for name, value in step.run(micro, tf.constant(0.0), tf.constant(True)).items()}


def losses_of(step, data):
    return [run(step, batch)["loss"] for batch in data]


def weights(step):
    return [variable.numpy() for variable in step._variables]


def test_half_precision_trains_the_network_to_nearly_the_same_loss():
    found = {}
    for amp, policy in (("none", "float32"), ("fp16", "mixed_float16"), ("bf16", "mixed_bfloat16")):
        tf.keras.mixed_precision.set_global_policy(policy)
        tf.keras.utils.set_random_seed(1)
        step = stepper(make_network(MODEL), amp=amp, learning_rate=1e-3, loss="adaptive_loss")
        found[amp] = losses_of(step, batches(4))
        assert all(variable.dtype == tf.float32 for variable in step._variables)
    for amp in ("fp16", "bf16"):
        np.testing.assert_allclose(found[amp], found["none"], rtol=0, atol=1e-2)
        assert found[amp] != found["none"]  # it did compute otherwise


def test_xla_changes_nothing_but_rounding():
    plain, compiled = (losses_of(stepper(xla=xla), batches(3)) for xla in (False, True))
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-5)


def test_gradients_that_overflow_are_skipped_and_halve_the_scale(monkeypatch):
    monkeypatch.setattr(train_step, "FIXED_LOSS_SCALE", 2.0**30)
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    step = stepper(amp="fp16")
    before = weights(step)
    results = [run(step, batch) for batch in batches(2)]
    assert [result["loss_scale"] for result in results] == [2.0**29, 2.0**28]
    assert all(result["finite"] for result in results)  # the loss is fine, so training goes on
    for ours, start in zip(weights(step), before):
        np.testing.assert_array_equal(ours, start)
    for _ in range(25):
        if np.isfinite(run(step, *batches(1))["gradient_norm"]):
            break
    assert any((ours != start).any() for ours, start in zip(weights(step), before))


def test_a_fixed_loss_scale_stays(monkeypatch):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    step = stepper(amp="fp16", dynamic_loss_scale=False)
    assert [run(step, batch)["loss_scale"] for batch in batches(2)] == [train_step.FIXED_LOSS_SCALE] * 2


def test_without_loss_scaling_a_gradient_that_is_not_finite_stops_and_updates_nothing():
    step = stepper()
    before = weights(step)
    (batch,) = batches(1)
    bad = {**batch, "image": tf.where(tf.reduce_max(batch["mask"]) > 0, np.nan, 0.0) * batch["image"]}
    result = run(step, bad)
    assert not result["finite"]
    assert not result["own_finite"]
    for ours, start in zip(weights(step), before):
        np.testing.assert_array_equal(ours, start)


class Pair:
    """Two workers in two threads of this process that add up and average what they hand in."""

    def __init__(self):
        self._met, self._handed = threading.Barrier(2, timeout=60), [None, None]

    def _exchange(self, rank, *values):
        self._handed[rank] = values
        self._met.wait()
        total = [a + b for a, b in zip(*self._handed)]
        self._met.wait()
        return total

    def reductions(self, rank):
        """(sum over workers, average over workers) of one of them."""

        def reduce(tensors):
            types = [tensor.dtype for tensor in tensors]
            summed = tf.numpy_function(lambda *values: self._exchange(rank, *values), tensors, types)
            return [tf.ensure_shape(out, tensor.shape) for out, tensor in zip(summed, tensors)]

        return (lambda tensor: reduce([tensor])[0]), (lambda tensors: [out / 2 for out in reduce(tensors)])

    def run(self, steps, micro):
        """Each worker's step on its own batches, at once."""
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            return list(threads.map(lambda pair: run(pair[0], *pair[1]), zip(steps, micro)))


def part(batch, start, stop):
    return {name: value[start:stop] for name, value in batch.items()}


@pytest.mark.parametrize("loss", ["adaptive_loss", "dice_jaccard", "l2_loss"])
def test_two_workers_with_half_the_batch_each_do_what_one_does(loss):
    settings = {"loss": loss, "image_loss_weight": 0.3, "dice_loss_weight": 0.5, "weight_decay": 1e-3}
    data = batches(2, size=8)
    alone = stepper(**settings)
    pair = Pair()
    steps = [stepper(None, 2, *pair.reductions(rank), **settings) for rank in (0, 1)]
    for batch in data:
        one = run(alone, batch)
        both = pair.run(steps, [(part(batch, 0, 4),), (part(batch, 4, 8),)])  # one has the reals, one the fakes
        for name in ("loss", "mask_loss", "image_loss", "dice_loss", "l2", "gradient_norm", "dice"):
            np.testing.assert_allclose(both[0][name], one[name], rtol=1e-5, atol=1e-6, err_msg=name)
            np.testing.assert_array_equal(both[0][name], both[1][name])
    for first, second, whole in zip(weights(steps[0]), weights(steps[1]), weights(alone)):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, whole, rtol=0, atol=1e-6)


def test_the_term_of_pairs_is_one_ratio_over_all_workers():
    """One worker has two pairs, the other one: a mean of means would be another number."""
    settings = {"pair_loss_weight": 0.7}
    (data,) = batches(1, size=8)
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # real, fake, real, fake …
    data = {name: tf.gather(value, order) for name, value in data.items()}
    data["key"] = tf.constant(["a", "a", "b", "b", "c", "c", "d", "e"])
    alone, pair = stepper(**settings), Pair()
    steps = [stepper(None, 2, *pair.reductions(rank), **settings) for rank in (0, 1)]
    one = run(alone, data)
    both = pair.run(steps, [(part(data, 0, 4),), (part(data, 4, 8),)])
    assert one["pair_loss"] > 0
    assert one["loss"] == pytest.approx(one["mask_loss"] + 0.7 * one["pair_loss"] + one["l2"], rel=1e-6)
    for name in ("loss", "pair_loss", "gradient_norm"):
        np.testing.assert_allclose(both[0][name], one[name], rtol=1e-5, err_msg=name)
    for first, whole in zip(weights(steps[0]), weights(alone)):
        np.testing.assert_allclose(first, whole, rtol=0, atol=1e-6)


def test_training_on_pairs_makes_fakes_outscore_their_originals():
    step = stepper(pair_loss_weight=5.0)
    (data,) = batches(1)
    data = {**data, "key": tf.constant(["a", "b", "a", "b"])}
    found = [run(step, data)["pair_loss"] for _ in range(30)]
    assert found[-1] < 0.5 * found[0]


def test_the_loss_of_each_workers_own_batch_is_another_number():
    pair, (batch,) = Pair(), batches(1, size=8)
    found = {}
    for scope in ("global", "worker"):
        settings = {"loss": "dice_sorensen", "loss_scope": scope}
        steps = [stepper(None, 2, *pair.reductions(rank), **settings) for rank in (0, 1)]
        found[scope] = pair.run(steps, [(part(batch, 0, 4),), (part(batch, 4, 8),)])[0]["loss"]
    own = [run(stepper(loss="dice_sorensen"), part(batch, *cut))["loss"] for cut in ((0, 4), (4, 8))]
    assert found["worker"] == pytest.approx(np.mean(own), abs=1e-6)
    assert abs(found["worker"] - found["global"]) > 1e-3


def test_one_workers_overflow_makes_both_skip_the_step(monkeypatch):
    monkeypatch.setattr(train_step, "FIXED_LOSS_SCALE", 2.0**24)
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    pair, (batch,) = Pair(), batches(1)
    steps = [stepper(None, 2, *pair.reductions(rank), amp="fp16", loss_scope="worker") for rank in (0, 1)]
    quiet = {**batch, "image": tf.zeros_like(batch["image"]), "mask": tf.fill(batch["mask"].shape, 0.5)}
    alone = run(stepper(amp="fp16"), quiet)
    assert np.isfinite(alone["gradient_norm"])  # the first worker's own gradients would do
    before = weights(steps[0])
    results = pair.run(steps, [(quiet,), (batch,)])
    assert [result["loss_scale"] for result in results] == [2.0**23] * 2
    for step in steps:
        for ours, start in zip(weights(step), before):
            np.testing.assert_array_equal(ours, start)


def test_micro_batches_are_averaged_into_one_update():
    (batch,) = batches(1, size=8)
    whole, halved = stepper(), stepper(accumulate=2)
    one = run(whole, batch)
    two = run(halved, part(batch, 0, 4), part(batch, 4, 8))
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-6)
    for ours, theirs in zip(weights(halved), weights(whole)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    (batch,) = batches(1)
    settings = {"schedule": "constant", "learning_rate": 1.0, "rmsprop_momentum": 0.0}
    free, clipped = stepper(**settings), stepper(clip_norm=1e-3, **settings)
    start = weights(free)
    norm = run(free, batch)["gradient_norm"]
    assert run(clipped, batch)["gradient_norm"] == norm > 1e-3  # what is reported is before clipping
    moved = [np.sqrt(sum(np.sum((w - s) ** 2) for w, s in zip(weights(step), start))) for step in (free, clipped)]
    assert moved[1] == pytest.approx(1e-3 / np.sqrt(0.9), rel=1e-2)
    assert moved[0] > 2 * moved[1]


def test_l2_is_part_of_the_loss_and_of_its_gradient():
    (batch,) = batches(1)
    without, with_decay = run(stepper(weight_decay=0.0), batch), run(stepper(weight_decay=0.1), batch)
    assert with_decay["mask_loss"] == without["mask_loss"]
    assert with_decay["loss"] == pytest.approx(with_decay["mask_loss"] + with_decay["l2"])
    assert with_decay["l2"] > 0 == without["l2"]
    assert with_decay["gradient_norm"] != without["gradient_norm"]


def test_dice_in_the_graph_is_the_metrics_own():
    rng = np.random.default_rng(0)
    probability = rng.random((3, 8, 8, 1)).astype(np.float32)
    mask = (rng.random((3, 8, 8, 1)) > 0.7).astype(np.float32)
    mask[0] = 0
    np.testing.assert_allclose(
        train_step.mean_dice(probability, mask), metrics.dice_at_thresholds(probability, mask), rtol=1e-5
    )


@pytest.mark.parametrize("workers, expected", [(1, 0.1), (4, 0.4)])
def test_the_learning_rate_grows_with_the_workers_if_asked(workers, expected):
    config = TrainConfig(learning_rate=0.1, scale_lr=True, warmup_steps=10)
    schedule = train_step.make_schedule(config, workers)
    np.testing.assert_allclose([schedule(0), schedule(9), schedule(20)], [expected / 10, expected, expected], rtol=1e-6)
