"""Manipulations with exact masks, made from real pictures: training data without fakes, and truth for mask recipes."""

from __future__ import annotations

from mask_generation.synthesis.manipulations import (
    Manipulated,
    expression_warp,
    face_swap,
    mouth_rerender,
    self_blend,
)
from mask_generation.synthesis.pool import Pool, PoolError
from mask_generation.synthesis.stream import Example, Mix, Pair, Schedule, make_pair, stream

__all__ = [
    "Example",
    "Manipulated",
    "Mix",
    "Pair",
    "Pool",
    "PoolError",
    "Schedule",
    "expression_warp",
    "face_swap",
    "make_pair",
    "mouth_rerender",
    "self_blend",
    "stream",
]
