"""Where the face is in pictures that are one each (--faces=given): as the user states it, or measured on a sample."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Optional

from mask_generation.datasets.base import ClipGroup
from mask_generation.pairs.outcome import GroupConfig
from mask_generation.parallel import processes
from mask_generation.parallel.processes import Work

SAMPLE, LEAST_SHARE = 48, 0.25  # pictures looked at, and the share of them in which a face must be found
LIMIT_S = 900.0  # for all of them


class GivenFaceError(Exception):
    """Where the face is cannot be said; the message says what to do."""


def place_face(
    config: GroupConfig, groups: Sequence[ClipGroup], build: Callable[[], Any], before: Optional[dict[str, Any]] = None
) -> tuple[GroupConfig, Optional[dict[str, Any]]]:
    """With `faces` of "given", the settings with margin and offset in them; others unchanged.

    Args:
        build: makes a process's face detector; importable.
        before: what was measured earlier, taken as it is if the sample is the same.
    Returns:
        the settings, and the fields of `faces.given.Measured` with the sample's digest, or None: nothing was measured.
    Raises:
        GivenFaceError: there are videos, or hardly a face is found.
    """
    if config.faces != "given":
        return config, None
    videos = [group.name for group in groups if group.original and not group.pictures]
    if videos:
        raise GivenFaceError(
            f"--faces=given is for pictures that are a face each; {videos[0]} is none: leave it out, or --faces=found"
        )
    measured = None
    margin, offset = config.given_margin, config.given_offset
    if margin is None and groups:
        originals = sorted((group for group in groups if group.original), key=lambda group: _order(group.name))
        sample = [str(group.original) for group in originals[:SAMPLE]]
        digest = hashlib.sha256(json.dumps([_size(path) for path in sample]).encode()).hexdigest()
        if before and before.get("sample_sha256") == digest:
            measured = before
        else:
            measured = {**_measured(sample, config, build), "sample_sha256": digest}
        margin, offset = float(measured["margin"]), tuple(measured["offset"])
    if margin is None:
        return config, None
    return dataclasses.replace(config, given_margin=margin, given_offset=offset, crop_margin=margin), measured


def _measured(sample: list[str], config: GroupConfig, build: Callable[[], Any]) -> dict[str, Any]:
    work = Work(build, functools.partial(look, config))
    try:
        _, answer = next(iter(processes.run([sample], work, 1, lambda job: LIMIT_S, lambda job, answer: None)))
    except processes.ParallelError as error:
        raise GivenFaceError(str(error)) from error
    if answer.kind != processes.DONE:
        reason = f"where the face is in the pictures could not be measured ({answer.content})"
        raise GivenFaceError(f"{reason}: state --given_margin")
    measured: dict[str, Any] = answer.content
    if measured["found"] < max(1, LEAST_SHARE * measured["looked_at"]):
        raise GivenFaceError(
            f"MTCNN finds a face in {measured['found']} of {measured['looked_at']} pictures looked at. If each is a "
            "face, state --given_margin (and --given_offset); if they hold more than a face, pass --faces=found"
        )
    return measured


def look(config: GroupConfig, detector: Any, sample: list[str]) -> dict[str, Any]:
    """In a process: fields of `faces.given.Measured` for a list of pictures, as JSON gives them back."""
    from mask_generation.faces.given import measure

    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(measure(sample, detector, config.limits))))
    return found


def _order(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _size(path: str) -> tuple[str, int]:
    try:
        return os.path.basename(path), os.stat(path).st_size
    except OSError:
        return os.path.basename(path), -1
