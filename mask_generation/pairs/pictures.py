"""A photograph and its manipulated copies → face groups with masks, and a row for every picture.

The rules of videos hold: faces are found on the original only, one square for all, a row with a reason for what cannot
be used. Where the pictures are faces already, each is taken whole. There is one moment instead of many, so nothing
evens out a pair that was cut at two places or is no pair at all: borders are compared before a mask is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import cv2
import numpy as np

from mask_generation.datasets.base import ClipGroup, is_picture
from mask_generation.faces.detector import Box, CropGeometry, FaceDetector, crop_geometry
from mask_generation.faces.given import GivenFace, whole_picture
from mask_generation.faces.tracker import FaceTracker
from mask_generation.masks.registry import get_recipe
from mask_generation.pairs.align import AlignmentError, FakeWork, align_picture, identical
from mask_generation.pairs.examples import Sample, choose_people, face_groups, fake_image
from mask_generation.pairs.outcome import ClipOutcome, GroupConfig, GroupResult, Note, Stages, new_outcome
from mask_generation.video.photo import read_picture
from mask_generation.video.types import Frame, VideoError

COMPARED_PX = 112  # longer side at which two pictures are compared: half of a usual crop, so that the codec counts less
BORDER = 12 / 112  # of the longer side: width of the border
SAME_LEVEL, SAME_SPOT_LEVEL = 1.0, 6.0  # grey levels of difference inside, on average and at the worst spot, below
# which nothing was changed but by the codec
SPOT_PX = 8  # side of a spot, at COMPARED_PX
ALIGNED = "border"


def process_pictures(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    given_up: Optional[Mapping[str, tuple[str, str]]] = None,
    note: Note = lambda name: None,
) -> GroupResult:
    """Every stage for one group of pictures; arguments as of `examples.process_group`.

    With `config.faces` of "given" the margin and the offset must be known by now.
    """
    stages = Stages()
    original = new_outcome(group)
    fakes = [FakeWork(clip, new_outcome(group, clip)) for clip in group.fakes]
    for outcome in (original, *(fake.outcome for fake in fakes)):
        if given_up and outcome.name in given_up:
            outcome.fail(*given_up[outcome.name])
    samples: dict[int, list[Sample]] = {}
    try:
        if original.usable:
            samples = _samples(original, fakes, config, detector, stages, note)
    except VideoError as error:  # only the original's: those of fakes end at the fake
        original.fail(error.state, error.reason)
    if not original.usable:
        samples = {}
        for fake in fakes:
            if fake.outcome.usable:
                state = original.state if original.state in ("no_face", "too_dark") else "original_failed"
                fake.outcome.fail(state, f"original: {original.reason}")
    return GroupResult(face_groups(group, config, original, fakes, samples), [original, *_rows(fakes)], stages.seconds)


def _rows(fakes: list[FakeWork]) -> list[ClipOutcome]:
    return [fake.outcome for fake in fakes]


def _samples(
    original: ClipOutcome,
    fakes: list[FakeWork],
    config: GroupConfig,
    detector: FaceDetector,
    stages: Stages,
    note: Note,
) -> dict[int, list[Sample]]:
    note(original.name)
    with stages("decode"):
        frame = _read(original, config)
    with stages("faces"):
        faces = _faces(frame, config, detector)
    if not faces:
        original.fail("no_face", "no face in the picture")
        return {}
    lit = {track: face for track, face in faces.items() if _brightness(frame.rgb, face[0]) >= config.min_brightness}
    if not lit:
        level = max(_brightness(frame.rgb, box) for box, _ in faces.values())
        reason = f"its face has a mean grey level of {level:.0f}, {config.min_brightness:g} are needed"
        original.fail("too_dark", f"{reason} (--min_brightness)")
        return {}
    samples = {
        track: [Sample(0, 0.0, box, geometry.crop(frame.rgb, config.crop_size))]
        for track, (box, geometry) in lit.items()
    }
    recipe = get_recipe(config.recipe)
    for number, fake in enumerate(fakes):
        if not fake.outcome.usable:
            continue
        note(fake.clip.name)
        try:
            with stages("decode"):
                copy = _read(fake.outcome, config)
                mask = _mask_picture(fake, copy) if recipe.uses_official else None
            with stages("align"):
                _align(fake, original, frame.rgb, copy.rgb, config)
        except VideoError as error:
            fake.outcome.fail(error.state, error.reason)
            continue
        with stages("masks"):
            for track, (box, geometry) in lit.items():
                image = fake_image(frame, copy, mask, fake, box, geometry, recipe.sequence(), config)
                if image is not None:
                    samples[track][0].fakes[number] = image
    return samples


def _read(outcome: ClipOutcome, config: GroupConfig) -> Frame:
    if not is_picture(outcome.path):
        raise VideoError(outcome.path, "unaligned", "a video, and its original a picture; a pair is two of a kind")
    rgb = read_picture(outcome.path, config.limits)
    outcome.height, outcome.width = rgb.shape[:2]
    outcome.frames = 1
    return Frame(0, 0.0, rgb)


def _mask_picture(fake: FakeWork, copy: Frame) -> Frame:
    if fake.clip.official_mask is None:
        raise VideoError(fake.clip.path, "no_mask", "the list has no mask for it (--mask_recipe=official)")
    try:
        mask = read_picture(fake.clip.official_mask)
    except VideoError as error:
        raise VideoError(fake.clip.path, "no_mask", f"its mask: {error.reason}") from error
    if mask.shape != copy.rgb.shape:
        sizes = "{1}x{0} pixels, itself {3}x{2}".format(*mask.shape[:2], *copy.rgb.shape[:2])
        raise VideoError(fake.clip.path, "no_mask", f"its mask has {sizes}")
    return Frame(0, 0.0, mask)


def _faces(frame: Frame, config: GroupConfig, detector: FaceDetector) -> dict[int, tuple[Box, CropGeometry]]:
    """{person: box, square to cut out}."""
    height, width = frame.rgb.shape[:2]
    if config.faces == "given":
        assert config.given_margin is not None
        right, down = config.given_offset or (0.0, 0.0)
        return {0: (GivenFace(config.given_margin, (right, down)).box(height, width), whole_picture(height, width))}
    tracker = FaceTracker(detector, config.detect_every_s)
    tracker.update(frame)
    tracks = choose_people(tracker, {0}, config.max_faces)
    boxes = {track.id: track.box_at(0) for track in tracks}
    return {track: (box, crop_geometry(box, config.crop_margin)) for track, box in boxes.items() if box is not None}


def _brightness(rgb: np.ndarray, box: Box) -> float:
    height, width = rgb.shape[:2]
    part = rgb[max(int(box.y0), 0) : min(round(box.y1), height), max(int(box.x0), 0) : min(round(box.x1), width)]
    return float(part.mean()) if part.size else 0.0


def _align(fake: FakeWork, original: ClipOutcome, own: np.ndarray, copy: np.ndarray, config: GroupConfig) -> None:
    """Find the part of the original that a fake shows, and see that it shows it.

    Raises:
        VideoError: it does not, or it is the original over again.
    """
    outcome = fake.outcome
    (height, width), (h, w) = own.shape[:2], copy.shape[:2]
    try:
        if config.faces == "given" and (h, w) != (height, width):
            raise AlignmentError(f"{w}x{h} pixels, but its original has {width}x{height}: cut at different places")
        fake.window = align_picture([own], [copy])
    except AlignmentError as error:
        raise VideoError(outcome.path, "unaligned", str(error)) from error
    part = fake.window.cut(own)
    if identical(part, copy):
        raise VideoError(outcome.path, "identical", "its pixels are the original's: nothing visible is faked")
    border, inside, spot = differences(part, copy)
    outcome.alignment, outcome.alignment_distance = ALIGNED, border
    if border > config.max_border_difference:
        reason = f"not aligned: its border differs from the original's by {border:.1f} grey levels on average"
        limit = f"{config.max_border_difference:g} are allowed (--max_border_difference)"
        raise VideoError(outcome.path, "unaligned", f"{reason}, {limit}; cut at different places, or no pair")
    if inside < SAME_LEVEL and spot < SAME_SPOT_LEVEL:
        reason = f"it differs from its original by {inside:.1f} grey levels, as a codec alone may: wrongly labelled?"
        raise VideoError(outcome.path, "identical", reason)


def differences(original: np.ndarray, copy: np.ndarray) -> tuple[float, float, float]:
    """Mean difference of two uint8 RGB pictures of one size in grey levels: along the border, inside it, and at the
    worst spot of SPOT_PX inside."""
    height, width = original.shape[:2]
    scale = COMPARED_PX / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    greys = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (original, copy)]
    if scale < 1:
        greys = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys]
    difference = cv2.absdiff(*greys).astype(np.float32)
    wide = max(1, round(BORDER * max(difference.shape)))
    inner = np.zeros(difference.shape, bool)
    inner[wide:-wide, wide:-wide] = True
    if inner.all() or not inner.any():
        mean = float(difference.mean())
        return mean, mean, float(difference.max())
    inside = difference[wide:-wide, wide:-wide]
    spots = cv2.blur(inside, (SPOT_PX, SPOT_PX), borderType=cv2.BORDER_REFLECT)
    return float(difference[~inner].mean()), float(inside.mean()), float(spots.max())
