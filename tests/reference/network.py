"""Weights, initialisers and forward passes against the reference."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tests.reference import original
from tests.reference.common import Check, Reference, recipe_variables, reference_network
from unet_industrial.config import ACTIVATIONS, WEIGHT_INITS
from unet_industrial.unet import build_unet, reference_variable_names

# Points of the reference's graph → layers of ours.
POINTS = {
    "input_block_skip": "input_block_act2",
    "input_block_pool": "input_block_pool",
    **{f"down{n}_skip": f"downsample_block_{n}_act2" for n in (1, 2, 3)},
    **{f"down{n}_pool": f"downsample_block_{n}_pool" for n in (1, 2, 3)},
    "bottleneck_out": "bottleneck_block_act3",
    **{f"up{n}_out": f"upsample_block_{n}_act3" for n in (1, 2, 3)},
    "output_features": "ouputs_block_act2",
}
VARIANTS = {
    "tiny_c1": {},
    "tiny_c3": {"in_channels": 3},
    "original_c1": {"variant": "original"},
    "tiny_c1_prelu_shared": {"activation": "prelu_shared"},
    "tiny_c1_prelu_not_shared": {"activation": "prelu_not_shared"},
    "tiny_c1_crelu": {"activation": "crelu"},
}


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return tf.sigmoid(logits).numpy()


def weights() -> list[Check]:
    """Names, order, shapes and number of parameters of our networks, and the recipe's own checksums."""
    arrays, checks = Reference("weights_recipe"), []
    for prefix, arguments in VARIANTS.items():
        model = build_unet(**{"in_channels": 1, **arguments})
        shapes = [(*variable.shape, 0, 0, 0, 0)[:4] for variable in model.trainable_variables]
        values = [value for _, value in recipe_variables(prefix)]
        first = [np.pad(value.ravel()[:8], (0, max(0, 8 - value.size))) for value in values]
        checks += [
            arrays.exact(f"{prefix}_var_names", reference_variable_names(model)),
            arrays.exact(f"{prefix}_var_shapes", shapes),
            arrays.exact(f"{prefix}_param_count", model.count_params()),
            arrays.exact(f"{prefix}_first8", np.stack(first)),
            arrays.relative(f"{prefix}_sum", [value.sum(dtype=np.float64) for value in values], 1e-9),
            arrays.relative(f"{prefix}_sumsq", [np.square(value, dtype=np.float64).sum() for value in values], 1e-9),
        ]
    return checks


def initialisers() -> list[Check]:
    """One draw of each kernel: size, standard deviation (of large ones), uniform bounds, zero biases."""
    arrays = Reference("initialisers")
    ours, deviation, outside = [], 0.0, 0.0
    theirs = arrays["size_mean_std_min_max"]
    for method in WEIGHT_INITS:
        tf.keras.utils.set_random_seed(7)
        model = build_unet(in_channels=1, weight_init=method)
        for name, variable in zip(reference_variable_names(model), model.trainable_variables):
            value = variable.numpy()
            if name.endswith("bias"):
                outside = max(outside, float(np.abs(value).max()))
                continue
            row = theirs[len(ours)]
            ours.append(f"{method}|{name}")
            if value.size != row[0]:
                outside = np.inf
            if value.size > 10_000:
                deviation = max(deviation, abs(value.std() / row[2] - 1))
            if method.endswith("uniform"):
                fan_in, fan_out = np.prod(value.shape[:3]), value.shape[0] * value.shape[1] * value.shape[3]
                limit = np.sqrt(6 / fan_in if method == "he_uniform" else 6 / (fan_in + fan_out))
                outside = max(outside, float(np.abs(value).max() - limit))
    if ours != list(arrays["names"]):
        outside = np.inf
    return [
        arrays.custom("size_mean_std_min_max", deviation, 0.02, "std within 2 % above 10,000 elements"),
        arrays.custom("size_mean_std_min_max (bounds, zero biases)", outside, 1e-7, "within the uniform bounds"),
    ]


def _forward(file: str, prefix: str) -> list[Check]:
    arrays = Reference(file)
    model = reference_network(prefix, **VARIANTS[prefix])
    probe = tf.keras.Model(model.input, [model.output, *(model.get_layer(name).output for name in POINTS.values())])
    logits, *points = (tensor.numpy() for tensor in probe(arrays["input"]))
    checks = [arrays.absolute("logits", logits, 2e-5), arrays.absolute("mask", _sigmoid(logits), 1e-5)]
    if "logits_float64_run" in arrays.names():
        checks.append(arrays.absolute("logits_float64_run", logits, 2e-5))
    for name, point in zip(POINTS, points):
        wide = point.astype(np.float64)
        checks += [
            arrays.exact(f"blk_{name}_shape", point.shape),
            arrays.relative(f"blk_{name}_stats", [wide.mean(), wide.std(), np.abs(wide).max()], 1e-4),
            arrays.absolute(f"blk_{name}_tl", point[0, :3, :3], 2e-5),
            arrays.absolute(f"blk_{name}_br", point[-1, -3:, -3:], 2e-5),
        ]
    return checks


def forward_tiny_c1() -> list[Check]:
    return _forward("forward_tiny_c1_128", "tiny_c1")


def forward_tiny_c3() -> list[Check]:
    return _forward("forward_tiny_c3_64x96", "tiny_c3")


def forward_original() -> list[Check]:
    return _forward("forward_original_c1_64", "original_c1")


def activations() -> list[Check]:
    """All seven; the self-normalising one magnifies rounding, so the reference allows it more."""
    arrays, checks = Reference("forward_activations_64"), []
    for name in ACTIVATIONS:
        prefix = f"tiny_c1_{name}" if f"tiny_c1_{name}" in VARIANTS else "tiny_c1"
        model = reference_network(prefix, activation=name)
        logits = model(arrays["input"]).numpy()
        checks += [
            arrays.absolute(f"{name}_logits", logits, 5e-4 if name == "selu" else 5e-5),
            arrays.absolute(f"{name}_mask", _sigmoid(logits), 1e-4 if name == "selu" else 1e-5),
            arrays.exact(f"{name}_param_count", model.count_params()),
        ]
    return checks


def crop_pad() -> list[Check]:
    """Images of other sizes through the reference's crop or pad to 512."""
    arrays, checks = Reference("forward_crop_pad_512"), []
    model = reference_network("tiny_c1")
    for tag in ("in480x500", "in600x540"):
        padded = original.crop_or_pad(original.zero_centered(arrays[f"{tag}_input_u8"])).numpy()
        logits = model(padded).numpy()
        mask = _sigmoid(logits).astype(np.float64)
        checks += [
            arrays.exact(f"{tag}_padded_shape", padded.shape),
            arrays.exact(f"{tag}_padded_stride16", padded[:, ::16, ::16]),
            arrays.absolute(f"{tag}_logits_stride8", logits[:, ::8, ::8], 2e-5),
            arrays.absolute(f"{tag}_logits_border_rows", logits[:, [0, 1, 510, 511]], 2e-5),
            arrays.absolute(f"{tag}_mask_mean_max", [mask.mean(), mask.max()], 1e-5),
        ]
    return checks


CHECKS = {
    "weights_recipe": weights,
    "initialisers": initialisers,
    "forward_tiny_c1_128": forward_tiny_c1,
    "forward_tiny_c3_64x96": forward_tiny_c3,
    "forward_original_c1_64": forward_original,
    "forward_activations_64": activations,
    "forward_crop_pad_512": crop_pad,
}
