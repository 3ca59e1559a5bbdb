"""A still image with the label of its defects → the same records as a frame of a video, at its own size and in grey."""

from __future__ import annotations

import cv2
import numpy as np

from mask_generation.clip_result import GroupResult, Stations, new_outcome
from mask_generation.datasets import ClipGroup
from mask_generation.video import VideoError
from unet_industrial.records import FaceGroup, FaceImage

RECIPE = "label"


def process_still(group: ClipGroup) -> GroupResult:
    """One image; a bad one becomes a row."""
    stations = Stations()
    fake = group.fakes[0] if group.fakes else None
    outcome = new_outcome(group, fake)
    try:
        with stations("decode"):
            image = _read(outcome.path)
            mask = np.zeros(image.shape, np.uint8)
            if fake is not None and fake.official_mask is not None:
                mask = _read(fake.official_mask)
                if mask.shape != image.shape:
                    (height, width), (h, w) = image.shape, mask.shape
                    raise VideoError(outcome.path, "unreadable", f"its label is {w}x{h}, itself {width}x{height}")
    except VideoError as error:
        outcome.fail(error.state, error.reason)
        return GroupResult([], [outcome], stations.seconds)
    outcome.height, outcome.width = image.shape
    outcome.frames = outcome.examples = 1
    if fake is not None and not mask.any():
        outcome.fail("no_mask", "its label is empty")
        outcome.examples = 0
        return GroupResult([], [outcome], stations.seconds)
    item = FaceImage(
        image=image[..., None],
        mask=mask,
        label=int(fake is not None),
        clip=outcome.name,
        method=outcome.method,
        frame_index=0,
        recipe=RECIPE if fake is not None else "",
    )
    height, width = image.shape
    face = FaceGroup(
        group.name, group.dataset, group.split, group.identity, 0, 0.0, 0, (0.0, 0.0, width, height), (item,)
    )
    return GroupResult([face], [outcome], stations.seconds)


def _read(path: str) -> np.ndarray:
    """(H, W) uint8."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise VideoError(path, "unreadable", error.strerror or "cannot be read") from error
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    if image is None:
        raise VideoError(path, "unreadable", "no image, or a damaged one")
    return image
