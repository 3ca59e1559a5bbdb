"""One original and its manipulated copies → face groups with masks, and a row for every clip.

Faces are found on the original only, and the same squares are cut from every copy, so that the crops of a pair line up
pixel for pixel. The original and all its copies are read side by side, so that nothing of a clip is held but boxes and
the crops of the sampled frames. A still image with the label of its defects becomes the same kind of record, at its own
size and in grey.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Optional

import cv2
import numpy as np

from mask_generation.datasets.base import ClipGroup
from mask_generation.faces import turn
from mask_generation.faces.detector import Box, CropGeometry, FaceDetector, crop_geometry
from mask_generation.faces.people import is_face
from mask_generation.faces.tracker import FaceTracker, Track
from mask_generation.masks.base import MaskSequence
from mask_generation.masks.registry import get_recipe
from mask_generation.pairs import align
from mask_generation.pairs.align import (
    FakeWork,
    common_length,
    find_windows,
    measure_all,
    note_stats,
    order_frames,
    realign,
    thumbnail_distance,
)
from mask_generation.pairs.outcome import ClipOutcome, GroupConfig, GroupResult, Note, Stages, new_outcome
from mask_generation.video.picture_folder import PictureFolder
from mask_generation.video.reader import VideoReader, sample_indices
from mask_generation.video.types import Frame, Limits, VideoError
from unet_industrial.records import FaceGroup, FaceImage

CONTEXT = 3.0  # side of the region that a recipe sees, over the face's; the codec's noise is measured around the face
PRESENCE = 0.2  # share of the sampled frames in which a person must be seen,
SURE_SCORE = 0.98  # unless the detector gives this score; faces in focus get 0.99 and more
GRID_PER_SAMPLE = 8  # frames looked at for tracking, at most, for each sampled one
MAX_GAP_S = 1.5  # a person unseen for longer is another one; more where the grid is coarser
MIN_VISIBLE_PX = 8  # of a face's box in a fake that shows a part of the picture only
UNTOUCHED_AREA = 0.003  # mean faked share of a person's crops below which that person was left alone
_TURN_IT = "ffmpeg -display_rotation writes it without a new coding"
STILL_RECIPE = "label"  # stands where records name a mask recipe


@dataclasses.dataclass
class Sample:
    """One face at one sampled frame; `fakes` is by the fake's number in its group."""

    frame_index: int
    time_s: float
    box: Box
    original: np.ndarray
    fakes: dict[int, FaceImage] = dataclasses.field(default_factory=dict)


Samples = dict[int, list[Sample]]  # {person: samples}


def process_group(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    given_up: Optional[Mapping[str, tuple[str, str]]] = None,
    note: Note = lambda name: None,
) -> GroupResult:
    """Every stage for one group. Bad clips become rows; anything else that goes wrong is a bug and is raised.

    Args:
        given_up: {clip's name: (state, reason)} of clips not to be opened.
        note: called with the name of the clip that is about to be decoded.
    """
    stages = Stages()
    original = new_outcome(group)
    fakes = [FakeWork(clip, new_outcome(group, clip)) for clip in group.fakes]
    outcomes = [original, *(fake.outcome for fake in fakes)]
    for outcome in outcomes:
        if given_up and outcome.name in given_up:
            outcome.fail(*given_up[outcome.name])
    samples: Samples = {}
    if original.usable:
        try:
            samples = _samples(original, fakes, config, detector, stages, note)
        except VideoError as error:  # only the original's: those of fakes end at the fake
            original.fail(error.state, error.reason)
    if not original.usable:
        samples = {}
        for fake in fakes:
            if fake.outcome.usable:
                state = "no_face" if original.state == "no_face" else "original_failed"
                fake.outcome.fail(state, f"original: {original.reason}")
    return GroupResult(face_groups(group, config, original, fakes, samples), outcomes, stages.seconds)


def _samples(
    original: ClipOutcome,
    fakes: list[FakeWork],
    config: GroupConfig,
    detector: FaceDetector,
    stages: Stages,
    note: Note,
) -> Samples:
    with stages("align"):
        usable, fps = measure_all(original, fakes, config.limits, note)
        if original.frames < config.min_frames:
            reason = f"{original.frames} frames, {config.min_frames} are needed (--min_frames)"
            raise VideoError(original.path, "too_short", reason)
        usable = find_windows(original, usable, config.limits, note)
        usable = order_frames(original, usable, config.limits, note)
    indices = sample_indices(common_length(original.frames, usable), config.frames)
    note(original.name)
    tracks = find_people(original, config, detector, indices, fps, stages)
    with stages("faces"):
        turns = _turn_of(original, config, detector, indices, tracks)
    if turns:
        original.fail(
            "no_face", f"no face upright: {turn.WORDS[turns]} there are; its header does not say so ({_TURN_IT})"
        )
        return {}
    if not tracks:
        original.fail("no_face", f"no face in {len(indices)} sampled frames")
        return {}
    numbers = {id(fake): number for number, fake in enumerate(fakes)}
    samples = collect(original, config, {numbers[id(f)]: f for f in usable}, indices, tracks, stages, note)
    with stages("align"):
        moved = {numbers[id(fake)]: fake for fake in realign(original, usable, config.limits, note)}
    if moved:
        for number, fake in moved.items():
            fake.same_frames = fake.seen_frames = fake.no_mask_frames = 0
            for faces in samples.values():
                for sample in faces:
                    sample.fakes.pop(number, None)
        _merge(samples, collect(original, config, moved, indices, tracks, stages, note))
    return samples


def _merge(samples: Samples, more: Samples) -> None:
    """Add the fakes of other samples of the same faces and frames."""
    for track, faces in more.items():
        known = {sample.frame_index: sample for sample in samples[track]}
        for sample in faces:
            if sample.frame_index in known:
                known[sample.frame_index].fakes.update(sample.fakes)


def find_people(
    original: ClipOutcome,
    config: GroupConfig,
    detector: FaceDetector,
    indices: Sequence[int],
    fps: Optional[float],
    stages: Stages,
) -> list[Track]:
    """People of the original, tracked over the sampled frames and a grid between them, coarser in long clips."""
    rate, length = fps or 25.0, max(indices, default=-1) + 1
    stride = max(1, round(rate / config.track_rate_hz), math.ceil(length / (GRID_PER_SAMPLE * config.frames)))
    looked_at = sorted({*indices, *range(0, length, stride)})
    tracker = FaceTracker(detector, config.detect_every_s, max_gap_s=max(MAX_GAP_S, 2.5 * stride / rate))
    with VideoReader(original.path, config.limits, one_size=True) as reader:
        frames = reader.frames(looked_at)
        while True:
            with stages("decode"):
                frame = next(frames, None)
            if frame is None:
                break
            with stages("faces"):
                tracker.update(frame)
        note_stats(original, reader)
    return choose_people(tracker, set(indices), config.max_faces)


def choose_people(tracker: FaceTracker, wanted: set[int], max_faces: int) -> list[Track]:
    """Tracks worth examples, the most often seen first, with smoothed boxes.

    Args:
        wanted: indices of the sampled frames.
        max_faces: people at one moment.
    """
    present = [track for track in tracker.tracks() if _is_person(track, wanted)]
    kept: list[Track] = []
    crowd = collections.Counter[int]()
    for track in present:  # after a cut people count anew, so the limit is on those seen at one moment
        if all(crowd[index] < max_faces for index in track.indices):
            crowd.update(track.indices)
            track.boxes = track.smoothed()
            kept.append(track)
    return kept


def _turn_of(
    original: ClipOutcome,
    config: GroupConfig,
    detector: FaceDetector,
    indices: Sequence[int],
    tracks: Sequence[Track],
) -> int:
    """Quarter turns to the left without which the original's faces lie on their side or head; 0: they do not."""
    best = dict.fromkeys(indices, 0.0)
    for track in tracks:
        for index, score in zip(track.indices, track.scores):
            if index in best:
                best[index] = max(best[index], score)
    if not best or not turn.is_few(list(best.values())):
        return 0
    with VideoReader(original.path, config.limits) as reader:
        return turn.find_turn((frame.rgb for frame in reader.frames(turn.tried(list(indices)))), detector)


def _is_person(track: Track, wanted: set[int]) -> bool:
    """Whether a track is a face and worth examples. In a long clip a person's track breaks at cuts and between samples
    far apart, so a short one counts if the detector is sure of it."""
    seen = len(wanted.intersection(track.indices))
    often = seen >= PRESENCE * len(wanted) or float(np.mean(track.scores)) >= SURE_SCORE
    return seen > 0 and often and is_face(track)


class _Follower:
    """Frames of a fake, asked for by rising index of the original; each is read when it is asked for, not before."""

    def __init__(self, fake: FakeWork, path: str, limits: Limits, indices: Sequence[int]) -> None:
        wanted = [frame for frame in map(fake.frame_of, indices) if frame is not None]
        self.reader: VideoReader | PictureFolder = (
            PictureFolder(path) if os.path.isdir(path) else VideoReader(path, limits, one_size=True)
        )
        self._frames = self.reader.frames(wanted)
        self._last: Optional[Frame] = None

    def at(self, index: int) -> Optional[Frame]:
        while self._last is None or self._last.index < index:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._last = frame
        return self._last if self._last.index == index else None


def collect(
    original: ClipOutcome,
    config: GroupConfig,
    fakes: dict[int, FakeWork],
    indices: Sequence[int],
    tracks: Sequence[Track],
    stages: Stages,
    note: Note,
) -> Samples:
    """Crop and mask every sampled face. Fakes that go wrong on the way become rows.

    Args:
        fakes: usable ones, by their number in the group.
    Raises:
        VideoError: the original goes wrong.
    """
    samples: Samples = {track.id: [] for track in tracks}
    recipe = get_recipe(config.recipe)
    sequences: dict[tuple[int, int], MaskSequence] = {}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(VideoReader(original.path, config.limits, one_size=True))
        followers = _open(fakes, config, indices, stack)
        frames = reader.frames(indices)
        while True:
            note(original.name)
            with stages("decode"):
                frame = next(frames, None)
            if frame is None:
                break
            faces = [(track, box) for track in tracks if (box := track.box_at(frame.index)) is not None]
            for track, box in faces:
                crop = crop_geometry(box, config.crop_margin).crop(frame.rgb, config.crop_size)
                samples[track.id].append(Sample(frame.index, frame.time_s, box, crop))
            for number in list(followers):
                fake = fakes[number]
                note(fake.clip.name)
                pair = _next_pair(fake, frame, followers, number, stages)
                if pair is None:
                    continue
                copy, mask_frame = pair
                with stages("masks"):
                    for track, box in faces:
                        if (number, track.id) not in sequences:
                            sequences[number, track.id] = recipe.sequence()
                        sequence = sequences[number, track.id]
                        geometry = crop_geometry(box, config.crop_margin)
                        image = fake_image(frame, copy, mask_frame, fake, box, geometry, sequence, config)
                        if image is not None:
                            samples[track.id][-1].fakes[number] = image
        note_stats(original, reader)
        for number, readers in followers.items():
            note_stats(fakes[number].outcome, readers[0].reader)
    return samples


def _open(
    fakes: dict[int, FakeWork], config: GroupConfig, indices: Sequence[int], stack: contextlib.ExitStack
) -> dict[int, list[_Follower]]:
    """For each fake its own follower and, where the recipe uses it, its mask video's."""
    followers: dict[int, list[_Follower]] = {}
    for number, fake in fakes.items():
        try:
            paths = [fake.clip.path]
            if get_recipe(config.recipe).uses_official:
                if fake.clip.official_mask is None:
                    reason = f"the data set has no mask video for it (--mask_recipe={config.recipe})"
                    fake.outcome.fail("no_mask", reason)
                    continue
                paths.append(fake.clip.official_mask)
            followers[number] = []
            for path in paths:
                follower = _Follower(fake, path, config.limits, indices)
                stack.enter_context(follower.reader)
                followers[number].append(follower)
        except VideoError as error:
            _give_up(fake, error, followers, number)
    return followers


def _give_up(fake: FakeWork, error: VideoError, followers: dict[int, list[_Follower]], number: int) -> None:
    if error.path == fake.clip.path:
        fake.outcome.fail(error.state, error.reason)
    else:
        fake.outcome.fail("no_mask", f"its mask video: {error.reason}")
    followers.pop(number, None)


def _next_pair(
    fake: FakeWork, frame: Frame, followers: dict[int, list[_Follower]], number: int, stages: Stages
) -> Optional[tuple[Frame, Optional[Frame]]]:
    """The fake's frame for the original's, with the mask's; None where there is none, or nothing in it is faked."""
    index = fake.frame_of(frame.index)
    if index is None:
        return None
    try:
        with stages("decode"):
            found = [follower.at(index) for follower in followers[number]]
    except VideoError as error:
        _give_up(fake, error, followers, number)
        return None
    copy = found[0]
    if copy is None:
        return None
    assert fake.window is not None
    if copy.rgb.shape[:2] != (fake.window.height, fake.window.width):
        height, width = copy.rgb.shape[:2]
        shown = f"{width}x{height} pixels as shown, {fake.window.width}x{fake.window.height} expected"
        fake.outcome.fail("unaligned", f"{shown}: turned otherwise than its original?")
        followers.pop(number)
        return None
    with stages("align"):
        fake.seen_frames += 1
        fake.distances.append(thumbnail_distance(frame.rgb, copy.rgb))
        if align.identical(frame.rgb, copy.rgb, fake.window):
            fake.same_frames += 1
            return None
    if len(found) > 1 and found[1] is None:
        fake.no_mask_frames += 1
        return None
    return copy, found[1] if len(found) > 1 else None


def fake_image(
    frame: Frame,
    copy: Frame,
    mask_frame: Optional[Frame],
    fake: FakeWork,
    box: Box,
    geometry: CropGeometry,
    sequence: MaskSequence,
    config: GroupConfig,
) -> Optional[FaceImage]:
    """Crop and mask of one face in a fake; None where the fake's part of the picture does not hold the face.

    Args:
        box, geometry: the face and the square to cut out, in the original's picture.
    """
    assert fake.window is not None
    window = fake.window
    moved = box.shifted(-window.x0, -window.y0)
    context = crop_geometry(moved, CONTEXT)
    x0, y0 = max(context.x0, 0), max(context.y0, 0)
    x1, y1 = min(context.x0 + context.side, window.width), min(context.y0 + context.side, window.height)
    local = moved.shifted(-x0, -y0)
    if (
        min(local.x1, x1 - x0) - max(local.x0, 0) < MIN_VISIBLE_PX
        or min(local.y1, y1 - y0) - max(local.y0, 0) < MIN_VISIBLE_PX
    ):
        return None
    region = np.s_[y0:y1, x0:x1]
    given = mask_frame.rgb if mask_frame is not None else None
    if given is not None and given.shape[:2] != (window.height, window.width):
        fake.no_mask_frames += 1
        return None
    result = sequence.push(
        np.ascontiguousarray(window.cut(frame.rgb)[region]),
        np.ascontiguousarray(copy.rgb[region]),
        local,
        frame.time_s,
        None if given is None else np.ascontiguousarray(given[region]),
    )
    geometry = geometry.shifted(-window.x0, -window.y0)
    soft = CropGeometry(geometry.x0 - x0, geometry.y0 - y0, geometry.side).crop(
        _half_at(result.mask, result.binary_at), config.crop_size, fill=0
    )
    return FaceImage(
        image=geometry.crop(copy.rgb, config.crop_size),
        mask=(soft * 255).round().clip(0, 255).astype(np.uint8),
        label=1,
        clip=fake.clip.name,
        method=fake.clip.method,
        frame_index=copy.index,
        recipe=config.recipe,
        noise_level=0.0 if math.isnan(result.noise) else result.noise,
        threshold=result.level,
    )


def _half_at(mask: np.ndarray, binary_at: float) -> np.ndarray:
    """Stretch a recipe's values so that its own boundary lies at 0.5, which is what records mean by faked."""
    if binary_at == 0.5:
        return mask
    return np.interp(mask, [0.0, binary_at, 1.0], [0.0, 0.5, 1.0]).astype(np.float32)


def _altered_people(fake: FakeWork, number: int, original: ClipOutcome, samples: Samples, recipe: str) -> set[int]:
    """People whose faces the fake changes; where there are none, its row gets the reason."""
    areas = {track: [s.fakes[number].fake_area for s in faces if number in s.fakes] for track, faces in samples.items()}
    altered = {track for track, shares in areas.items() if shares and np.mean(shares) >= UNTOUCHED_AREA}
    outcome = fake.outcome
    if altered or not outcome.usable or not original.usable:
        return altered
    if fake.seen_frames and fake.same_frames == fake.seen_frames:
        outcome.fail("identical", "its pixels are the original's: nothing visible is faked")
    elif any(areas.values()):
        outcome.fail("untouched", f"the recipe {recipe} finds no altered face in it")
    elif fake.no_mask_frames:
        outcome.fail("no_mask", "its mask video is shorter, or of another size, than itself")
    else:
        outcome.fail("no_face", "no sampled frame of it shows the original's face")
    return altered


def face_groups(
    group: ClipGroup, config: GroupConfig, original: ClipOutcome, fakes: list[FakeWork], samples: Samples
) -> list[FaceGroup]:
    """Put the samples into groups, each with the fakes that altered this person."""
    altered = [_altered_people(fake, number, original, samples, config.recipe) for number, fake in enumerate(fakes)]
    results = []
    for track, faces in samples.items():
        for sample in faces:
            images = [_untouched(group, sample)]
            original.examples += 1
            for number, image in sorted(sample.fakes.items()):
                if track in altered[number] and fakes[number].outcome.usable:
                    images.append(image)
                    fakes[number].outcome.examples += 1
            results.append(
                FaceGroup(
                    key=f"{group.name}/{sample.frame_index:06d}/{track}",
                    dataset=group.dataset,
                    split=group.split,
                    identity=group.identity,
                    frame_index=sample.frame_index,
                    time_s=sample.time_s,
                    track=track,
                    box=(sample.box.x0, sample.box.y0, sample.box.x1, sample.box.y1),
                    images=tuple(images),
                )
            )
    return results


def _untouched(group: ClipGroup, sample: Sample) -> FaceImage:
    blank = np.zeros(sample.original.shape[:2], np.uint8)
    return FaceImage(sample.original, blank, 0, group.name, group.method, sample.frame_index)


def process_still(group: ClipGroup) -> GroupResult:
    """One image; a bad one becomes a row."""
    stages = Stages()
    fake = group.fakes[0] if group.fakes else None
    outcome = new_outcome(group, fake)
    try:
        with stages("decode"):
            image = _read(outcome.path)
            mask = np.zeros(image.shape, np.uint8)
            if fake is not None and fake.official_mask is not None:
                mask = _read(fake.official_mask)
                if mask.shape != image.shape:
                    (height, width), (h, w) = image.shape, mask.shape
                    raise VideoError(outcome.path, "unreadable", f"its label is {w}x{h}, itself {width}x{height}")
    except VideoError as error:
        outcome.fail(error.state, error.reason)
        return GroupResult([], [outcome], stages.seconds)
    outcome.height, outcome.width = image.shape
    outcome.frames = outcome.examples = 1
    if fake is not None and not mask.any():
        outcome.fail("no_mask", "its label is empty")
        outcome.examples = 0
        return GroupResult([], [outcome], stages.seconds)
    item = FaceImage(
        image=image[..., None],
        mask=mask,
        label=int(fake is not None),
        clip=outcome.name,
        method=outcome.method,
        frame_index=0,
        recipe=STILL_RECIPE if fake is not None else "",
    )
    height, width = image.shape
    face = FaceGroup(
        group.name, group.dataset, group.split, group.identity, 0, 0.0, 0, (0.0, 0.0, width, height), (item,)
    )
    return GroupResult([face], [outcome], stages.seconds)


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
