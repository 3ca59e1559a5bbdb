"""Loading the reference's numbers, its weights, and the one way of comparing with them."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from unet_industrial.unet import build_unet, reference_variable_names

NUMBERS = pathlib.Path(__file__).parent / "numbers"

# Arrays that feed a comparison rather than being compared; "*" stands for any prefix.
INPUTS = {
    "eval_mode_tiny_c1_32": {"thresholds", "input", "target", "labels", "last_kernel", "last_bias"},
    "forward_activations_64": {"input"},
    "forward_crop_pad_512": {"*_input_u8"},
    "forward_original_c1_64": {"input"},
    "forward_tiny_c1_128": {"input"},
    "forward_tiny_c3_64x96": {"input"},
    "image_confusion": {"thresholds", "scores", "labels"},
    "initialisers": {"names"},
    "learning_rate": {"steps", "config_lr0_factor_decaysteps"},
    "losses": {"case_names", "logits", "labels", "l2_regularisation_weight_decay"},
    "metrics": {"thresholds", "case_names", "pred", "target"},
    "preprocessing": {
        "*_source_images",
        "*_source_masks",
        "*_source_labels",
        "aug_input",
        "aug_flip_k",
        "rgb_png_pixels",
        "grey_png_pixels",
        "binarise_input",
    },
    "rmsprop_vector": {"w0", "grads", "settings"},
    "train_*": {"input", "target", "settings", "loss_name", "last_kernel", "last_bias"},
    "weights_recipe": {"seed"},
}


@dataclasses.dataclass(frozen=True)
class Check:
    """One array held against the reference: its worst error, and what the reference's authors allow."""

    file: str
    array: str
    error: float
    limit: float
    tolerance: str
    note: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.error <= self.limit)  # NaN is not

    def __str__(self) -> str:
        return f"{self.file}/{self.array}: worst error {self.error:.3g}, tolerance {self.tolerance}"


def _differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return np.array([np.inf])
    return np.abs(ours.astype(np.float64) - theirs.astype(np.float64))


class Reference:
    """The arrays of one file, and comparisons with them by name.

    Args:
        file: name without ".npz".
    """

    def __init__(self, file: str) -> None:
        self.file = file
        with np.load(NUMBERS / f"{file}.npz") as arrays:
            self._arrays = {name: arrays[name] for name in arrays.files}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def names(self) -> list[str]:
        return list(self._arrays)

    def absolute(self, name: str, ours: np.ndarray, limit: float) -> Check:
        error = _differences(ours, self[name]).max(initial=0.0)
        return Check(self.file, name, float(error), limit, f"abs {limit:g}")

    def relative(self, name: str, ours: np.ndarray, limit: float) -> Check:
        """Relative to the largest magnitude in the reference's array."""
        error = _differences(ours, self[name]).max(initial=0.0) / max(
            np.abs(self[name]).max(), np.finfo(np.float64).tiny
        )
        return Check(self.file, name, float(error), limit, f"rel {limit:g}")

    def exact(self, name: str, ours: np.ndarray) -> Check:
        """Numbers or names; the error is how many differ."""
        ours, theirs = np.asarray(ours), self[name]
        error = float(np.count_nonzero(ours != theirs)) if ours.shape == theirs.shape else np.inf
        return Check(self.file, name, error, 0.0, "exact")

    def custom(self, name: str, error: float, limit: float, tolerance: str) -> Check:
        return Check(self.file, name, float(error), limit, tolerance)


@functools.cache
def recipe() -> Reference:
    return Reference("weights_recipe")


def recipe_variables(prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 value) of each variable of a network, in the reference's order of creation."""
    arrays = recipe()
    for index, (name, padded) in enumerate(zip(arrays[f"{prefix}_var_names"], arrays[f"{prefix}_var_shapes"])):
        shape = tuple(int(size) for size in padded if size)
        draw = np.random.RandomState(int(arrays["seed"]) * 1000 + index).uniform
        if name.endswith("kernel"):
            limit = np.sqrt(6.0 / np.prod(shape[:3]))
            value = draw(-limit, limit, shape)
        elif name.endswith("bias"):
            value = draw(-0.05, 0.05, shape)
        else:  # the PReLU's alpha
            value = draw(-2.0, 0.0, shape)
        yield str(name), value.astype(np.float32)


def reference_network(prefix: str, moved: int = 0, **arguments: object) -> tf.keras.Model:
    """`build_unet` with the recipe's weights; fails where names or shapes are not the reference's, in its order.

    Args:
        moved: 0, or a seed with which every weight is moved up or down by one float32 rounding unit.
    """
    model = build_unet(**{"in_channels": 1, **arguments})
    values = list(recipe_variables(prefix))
    if moved:
        up = np.random.RandomState(moved)
        ends = np.array([-np.inf, np.inf], np.float32)
        values = [(name, np.nextafter(value, ends[up.randint(0, 2, value.shape)])) for name, value in values]
    if reference_variable_names(model) != [name for name, _ in values]:
        raise AssertionError(f"{prefix}: variables are not in the reference's order")
    for variable, (_, value) in zip(model.trainable_variables, values):
        variable.assign(value)  # refuses another shape
    return model


def replace_head(model: tf.keras.Model, arrays: Reference) -> None:
    """Put `last_kernel` and `last_bias` in place of the recipe's last two weights."""
    model.trainable_variables[-2].assign(arrays["last_kernel"])
    model.trainable_variables[-1].assign(arrays["last_bias"])
