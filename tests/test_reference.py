"""Every array of the reference, at its stated tolerance."""

from __future__ import annotations

import functools

import pytest

from tests.reference.checks import CHECKS, is_input
from tests.reference.common import NUMBERS, Check, Reference


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
