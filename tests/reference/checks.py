"""Every comparison with the reference, by the file it reads: used by the tests and by `benchmarks/fidelity.py`."""

from __future__ import annotations

import fnmatch
from typing import Callable

from tests.reference import data, network, training
from tests.reference.common import INPUTS, Check

CHECKS: dict[str, Callable[[], list[Check]]] = {**network.CHECKS, **training.CHECKS, **data.CHECKS}


def is_input(file: str, array: str) -> bool:
    """Whether an array of the reference feeds comparisons rather than being compared."""
    for pattern, names in INPUTS.items():
        if fnmatch.fnmatch(file, pattern):
            return any(fnmatch.fnmatch(array, name) for name in names)
    return False
