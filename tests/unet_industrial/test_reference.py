"""Every array of the reference, at its stated tolerance."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.checks import CHECKS, is_input
from tests.reference.common import NUMBERS, Check, Reference, reference_network
from tests.reference.network import VARIANTS


@functools.cache
def checks_of(file: str) -> list[Check]:
    return CHECKS[file]()


@pytest.mark.parametrize("file", sorted(CHECKS))
def test_within_the_reference_tolerances(file):
    failed = [str(check) for check in checks_of(file) if not check.ok]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("file", sorted(CHECKS))
def test_no_array_is_left_out(file):
    compared = {check.array for check in checks_of(file)}
    left_out = [name for name in Reference(file).names() if name not in compared and not is_input(file, name)]
    assert not left_out


def test_no_file_is_left_out():
    assert {path.stem for path in NUMBERS.glob("*.npz")} == set(CHECKS)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu_shared", "selu"])
def test_the_other_layout_and_a_graph_are_within_the_tolerances_too(activation):
    arrays = Reference("forward_activations_64")
    prefix = f"tiny_c1_{activation}" if f"tiny_c1_{activation}" in VARIANTS else "tiny_c1"
    model = reference_network(prefix, activation=activation, data_format="channels_first")
    for forward in (model, tf.function(model)):
        logits = forward(arrays["input"])
        np.testing.assert_allclose(
            logits, arrays[f"{activation}_logits"], rtol=0, atol=5e-4 if activation == "selu" else 5e-5
        )
