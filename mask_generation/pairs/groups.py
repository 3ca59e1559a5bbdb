"""A clip group, whatever it is made of → examples: videos, pictures, or a still with the label of its defects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from mask_generation.datasets.base import ClipGroup
from mask_generation.faces.detector import FaceDetector
from mask_generation.pairs.examples import process_group, process_still
from mask_generation.pairs.outcome import GroupConfig, GroupResult, Note
from mask_generation.pairs.pictures import process_pictures


def process(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    given_up: Optional[Mapping[str, tuple[str, str]]] = None,
    note: Note = lambda name: None,
) -> GroupResult:
    """See `examples.process_group`."""
    if group.still:
        return process_still(group)
    if group.pictures:
        return process_pictures(group, config, detector, given_up, note)
    return process_group(group, config, detector, given_up, note)
