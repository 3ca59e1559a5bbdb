"""One original and its manipulated copies → face groups with masks, and a row for every clip.

Faces are found on the original only, and the same squares are cut from every copy, so that the crops of a pair line up
pixel for pixel. Nothing of a clip is held but thumbnails, boxes and the crops of the sampled frames.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Callable, Optional

import numpy as np

from mask_generation import align, masks
from mask_generation.datasets import ClipGroup, FakeClip
from mask_generation.faces import CROP_MARGIN, CROP_SIZE_PX, Box, CropGeometry, FaceDetector, crop_geometry
from mask_generation.tracks import FaceTracker, Track
from mask_generation.video import Frame, Limits, VideoError, VideoReader, sample_indices
from unet_industrial.records import FaceGroup, FaceImage

WRITTEN = ("ok", "partial")
SKIPPED = (
    "original_missing",
    "original_failed",
    "missing",
    "split_leak",
    "identical",
    "no_face",
    "untouched",
    "no_mask",
)
FAILED = ("unreadable", "unsupported", "too_short", "timeout", "unaligned", "crashed")
UNTOUCHED_AREA = 0.003  # mean faked share of a person's crops below which that person was left alone
CONTEXT = 3.0  # side of the region that a recipe sees, over the face's; the codec's noise is measured around the face
PRESENCE = 0.2  # share of the sampled frames in which a person must be seen


@dataclasses.dataclass(frozen=True)
class GroupConfig:
    """What decides the examples of a group, and hence the content of the records.

    Attributes:
        frames: sampled frames a clip, evenly spread.
        recipe: name of a mask recipe of `masks.get_recipe`.
        max_faces: people a clip, the most often seen first.
        track_rate_hz: frames a second looked at for tracking, beside the sampled ones.
    """

    frames: int = 32
    crop_size: int = CROP_SIZE_PX
    crop_margin: float = CROP_MARGIN
    recipe: str = "adaptive"
    max_faces: int = 2
    min_frames: int = 1
    track_rate_hz: float = 6.0
    detect_every_s: float = 1.0
    limits: Limits = dataclasses.field(default_factory=Limits)


@dataclasses.dataclass
class ClipOutcome:
    """What became of one clip; `state` is of `WRITTEN`, `SKIPPED` or `FAILED`, `reason` is empty if all is well."""

    name: str
    path: str
    dataset: str
    method: str
    compression: str
    split: str
    identity: str
    group: str
    label: int
    state: str = "ok"
    reason: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    failed_frames: int = 0
    alignment: str = ""
    alignment_distance: float = 0.0
    examples: int = 0


@dataclasses.dataclass
class GroupResult:
    """Examples in order of person and time, a row for each clip, and seconds by station."""

    groups: list[FaceGroup]
    outcomes: list[ClipOutcome]
    seconds: dict[str, float]


@dataclasses.dataclass
class _Fake:
    clip: FakeClip
    outcome: ClipOutcome
    timeline: dict[int, int] = dataclasses.field(default_factory=dict)
    window: Optional[align.Window] = None
    same_frames: int = 0
    seen_frames: int = 0


@dataclasses.dataclass
class _Sample:
    """One face at one sampled frame."""

    frame_index: int
    time_s: float
    box: Box
    original: np.ndarray
    fakes: dict[int, FaceImage] = dataclasses.field(default_factory=dict)


class _Stations:
    """Seconds by station."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def new_outcome(group: ClipGroup, fake: Optional[FakeClip] = None) -> ClipOutcome:
    """An empty row for a group's original or one of its fakes."""
    clip = fake or group
    path = fake.path if fake else (group.original or "")
    return ClipOutcome(
        name=clip.name,
        path=path,
        dataset=group.dataset,
        method=clip.method,
        compression=clip.compression,
        split=group.split,
        identity=group.identity,
        group=group.name,
        label=int(fake is not None),
    )


def process_group(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    given_up: Optional[Mapping[str, tuple[str, str]]] = None,
    note: Callable[[str], None] = lambda name: None,
) -> GroupResult:
    """All stations for one group. Bad clips become rows; anything else that goes wrong is a bug and is raised.

    Args:
        given_up: {clip's name: (state, reason)} of clips not to be opened.
        note: told the name of the clip that is about to be decoded.
    """
    stations = _Stations()
    original = new_outcome(group)
    fakes = [_Fake(clip, new_outcome(group, clip)) for clip in group.fakes]
    outcomes = [original, *(fake.outcome for fake in fakes)]
    for outcome in outcomes:
        if given_up and outcome.name in given_up:
            outcome.state, outcome.reason = given_up[outcome.name]
    try:
        samples = _samples_of_group(group, config, detector, original, fakes, stations)
    except VideoError as error:  # only the original's: those of fakes end at the fake
        original.state, original.reason = error.state, error.reason
        samples = {}
    if original.state not in WRITTEN:
        for fake in fakes:
            if fake.outcome.state in WRITTEN:
                fake.outcome.state, fake.outcome.reason = "original_failed", f"original: {original.reason}"
                if original.state == "no_face":
                    fake.outcome.state = "no_face"
    return GroupResult(_face_groups(group, config, original, fakes, samples), outcomes, stations.seconds)


def _samples_of_group(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    original: ClipOutcome,
    fakes: list[_Fake],
    stations: _Stations,
) -> dict[int, list[_Sample]]:
    """{person: samples}."""
    assert group.original is not None
    with stations("align"):
        count, fps = _align(group.original, config, original, fakes)
    if count < config.min_frames:
        raise VideoError(group.original, "too_short", f"{count} frames, {config.min_frames} are needed (--min_frames)")
    usable = [fake for fake in fakes if fake.outcome.state in WRITTEN]
    indices = sample_indices(_common_length(count, usable), config.frames)
    with stations("faces"):
        tracks = _find_people(group.original, config, detector, indices, count, fps)
    if not tracks:
        original.state, original.reason = "no_face", f"no face in {len(indices)} sampled frames"
        return {}
    for fake in usable:
        with stations("align"):
            _align_picture(group.original, fake, indices, config.limits)
    return _collect(
        group.original,
        config,
        [fake for fake in fakes if fake.outcome.state in WRITTEN],
        fakes,
        indices,
        tracks,
        stations,
    )


def _common_length(count: int, fakes: list[_Fake]) -> int:
    """Frames to sample from: those that all fakes have, unless one of them is much shorter than the others."""
    lengths = [max(fake.timeline, default=-1) + 1 for fake in fakes]
    longest = max(lengths, default=count)
    return min([length for length in lengths if 2 * length >= longest], default=count) or count


def _note_stats(outcome: ClipOutcome, reader: VideoReader, frames: int) -> None:
    outcome.width, outcome.height, outcome.frames = reader.info.width, reader.info.height, frames
    outcome.failed_frames = reader.stats.failed + reader.stats.corrupt
    if reader.stats.partial:
        outcome.state = "partial"
        outcome.reason = reader.stats.problem or f"{outcome.failed_frames} frames could not be decoded"


def _align(path: str, config: GroupConfig, original: ClipOutcome, fakes: list[_Fake]) -> tuple[int, Optional[float]]:
    """Decode everything once as thumbnails and match the frames. Returns the original's frame count and rate."""
    thumbnails: dict[int, np.ndarray] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for number, fake in enumerate(fakes):
        try:
            with VideoReader(fake.clip.path, config.limits) as reader:
                rows = []
                for grey in reader.greys():
                    sizes[number] = grey.shape  # type: ignore[assignment]
                    rows.append(align.signature(grey))
                thumbnails[number] = np.stack(rows)
                _note_stats(fake.outcome, reader, len(rows))
        except VideoError as error:
            fake.outcome.state, fake.outcome.reason = error.state, error.reason
    wanted = sorted(set(sizes.values()))
    with VideoReader(path, config.limits) as reader:
        seen: dict[tuple[int, int], list[np.ndarray]] = {size: [] for size in wanted}
        count = 0
        for grey in reader.greys():
            count += 1
            for size in wanted:
                seen[size].append(align.signature(grey, size))
        _note_stats(original, reader, count)
        fps = reader.info.fps
    for number, rows_of_fake in thumbnails.items():
        fake = fakes[number]
        try:
            timeline = align.align_frames(np.stack(seen[sizes[number]]), rows_of_fake)
        except align.AlignmentError as error:
            fake.outcome.state, fake.outcome.reason = "unaligned", str(error)
            continue
        fake.timeline = timeline.fake_of()
        fake.outcome.alignment, fake.outcome.alignment_distance = timeline.kind, timeline.distance
    return count, fps


def _find_people(
    path: str, config: GroupConfig, detector: FaceDetector, indices: list[int], count: int, fps: Optional[float]
) -> list[Track]:
    """People of the original, tracked over the sampled frames and, where a clip is short, a grid between them."""
    stride = max(1, round((fps or 25.0) / config.track_rate_hz))
    last = max(indices, default=-1) + 1
    grid = range(0, last, stride)
    looked_at = sorted({*indices, *(grid if len(grid) <= 8 * config.frames else ())})
    tracker = FaceTracker(detector, config.detect_every_s)
    with VideoReader(path, config.limits) as reader:
        for frame in reader.frames(looked_at):
            tracker.update(frame)
    wanted = set(indices)
    present = [t for t in tracker.tracks() if len(wanted.intersection(t.indices)) >= max(1, PRESENCE * len(indices))]
    for track in present:
        track.boxes = track.smoothed()
    return present[: config.max_faces]


def _align_picture(path: str, fake: _Fake, indices: list[int], limits: Limits) -> None:
    original, outcome = None, fake.outcome
    pairs = [(o, fake.timeline[o]) for o in indices if o in fake.timeline][:3]
    try:
        with VideoReader(path, limits) as a, VideoReader(fake.clip.path, limits) as b:
            original = [frame.rgb for frame in a.frames([o for o, _ in pairs])]
            copy = [frame.rgb for frame in b.frames([f for _, f in pairs])]
        if not original or len(original) != len(copy):
            raise align.AlignmentError("no frames that both clips have")
        fake.window = align.align_picture(original, copy)
    except VideoError as error:
        outcome.state, outcome.reason = error.state, error.reason
    except align.AlignmentError as error:
        outcome.state, outcome.reason = "unaligned", str(error)


class _Follower:
    """Frames of a fake, asked for by rising index."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames, self._next = frames, next(frames, None)

    def at(self, index: int) -> Optional[Frame]:
        while self._next is not None and self._next.index < index:
            self._next = next(self._frames, None)
        return self._next if self._next is not None and self._next.index == index else None


def _collect(
    path: str,
    config: GroupConfig,
    usable: list[_Fake],
    fakes: list[_Fake],
    indices: list[int],
    tracks: list[Track],
    stations: _Stations,
) -> dict[int, list[_Sample]]:
    """Read the original and all its copies side by side; crop and mask every sampled face."""
    samples: dict[int, list[_Sample]] = {track.id: [] for track in tracks}
    sequences: dict[tuple[int, int], masks.MaskSequence] = {}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path, config.limits))
        followers: dict[int, _Follower] = {}
        official: dict[int, _Follower] = {}
        for fake in usable:
            number = fakes.index(fake)
            wanted = [fake.timeline[o] for o in indices if o in fake.timeline]
            try:
                if config.recipe == "official":
                    mask_reader = stack.enter_context(_official_reader(fake, config.limits))
                    official[number] = _Follower(mask_reader.frames(wanted))
                opened = stack.enter_context(VideoReader(fake.clip.path, config.limits))
                followers[number] = _Follower(opened.frames(wanted))
            except VideoError as error:
                fake.outcome.state, fake.outcome.reason = error.state, error.reason
        frames = reader.frames(indices)
        while True:
            with stations("decode"):
                frame = next(frames, None)
            if frame is None:
                return samples
            here = [(track, track.box_at(frame.index)) for track in tracks]
            faces = [(track, box) for track, box in here if box is not None]
            for track, box in faces:
                crop = crop_geometry(box, config.crop_margin).crop(frame.rgb, config.crop_size)
                samples[track.id].append(_Sample(frame.index, frame.time_s, box, crop))
            for number, follower in followers.items():
                fake = fakes[number]
                if frame.index not in fake.timeline:
                    continue
                with stations("decode"):
                    copy = follower.at(fake.timeline[frame.index])
                    mask_frame = official[number].at(fake.timeline[frame.index]) if number in official else None
                if copy is None or fake.window is None or (number in official and mask_frame is None):
                    continue
                fake.seen_frames += 1
                if align.identical(frame.rgb, copy.rgb, fake.window):
                    fake.same_frames += 1
                    continue
                with stations("masks"):
                    for track, box in faces:
                        sequence = sequences.get((number, track.id))
                        if sequence is None:
                            sequence = sequences[number, track.id] = masks.get_recipe(config.recipe).sequence()
                        image = _fake_image(frame, copy, mask_frame, fake, box, sequence, config)
                        if image is not None:
                            samples[track.id][-1].fakes[number] = image


def _official_reader(fake: _Fake, limits: Limits) -> VideoReader:
    if fake.clip.official_mask is None:
        raise VideoError(fake.clip.path, "no_mask", "the data set has no mask video for it (--recipe=official)")
    return VideoReader(fake.clip.official_mask, limits)


def _fake_image(
    frame: Frame,
    copy: Frame,
    mask_frame: Optional[Frame],
    fake: _Fake,
    box: Box,
    sequence: masks.MaskSequence,
    config: GroupConfig,
) -> Optional[FaceImage]:
    """Crop and mask of one face in a fake; None where the fake's part of the picture does not hold the face."""
    assert fake.window is not None
    window = fake.window
    moved = box.shifted(-window.x0, -window.y0)
    context = crop_geometry(moved, CONTEXT)
    x0, y0 = max(context.x0, 0), max(context.y0, 0)
    x1, y1 = min(context.x0 + context.side, window.width), min(context.y0 + context.side, window.height)
    local = moved.shifted(-x0, -y0)
    if min(local.x1, x1 - x0) - max(local.x0, 0) < 8 or min(local.y1, y1 - y0) - max(local.y0, 0) < 8:
        return None
    region = np.s_[y0:y1, x0:x1]
    given = mask_frame.rgb if mask_frame is not None else None
    if given is not None and given.shape[:2] != (window.height, window.width):
        return None
    result = sequence.push(
        np.ascontiguousarray(window.cut(frame.rgb)[region]),
        np.ascontiguousarray(copy.rgb[region]),
        local,
        frame.time_s,
        None if given is None else np.ascontiguousarray(given[region]),
    )
    geometry = crop_geometry(box, config.crop_margin).shifted(-window.x0, -window.y0)
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


def _face_groups(
    group: ClipGroup, config: GroupConfig, original: ClipOutcome, fakes: list[_Fake], samples: dict[int, list[_Sample]]
) -> list[FaceGroup]:
    """Decide which people each fake altered, and put the samples into groups."""
    altered: dict[int, set[int]] = {}
    for number, fake in enumerate(fakes):
        areas = {
            track: [s.fakes[number].fake_area for s in faces if number in s.fakes] for track, faces in samples.items()
        }
        altered[number] = {track for track, shares in areas.items() if shares and np.mean(shares) >= UNTOUCHED_AREA}
        if fake.outcome.state in WRITTEN and not altered[number]:
            if fake.seen_frames and fake.same_frames == fake.seen_frames:
                fake.outcome.state = "identical"
                fake.outcome.reason = "its pixels are the original's: nothing visible is faked"
            elif any(areas.values()):
                fake.outcome.state = "untouched"
                fake.outcome.reason = f"the recipe {config.recipe} finds no altered face in it"
            elif original.state in WRITTEN:
                fake.outcome.state, fake.outcome.reason = "no_face", "no sampled frame of it shows the original's face"
    results = []
    for track, faces in samples.items():
        for sample in faces:
            images = [
                FaceImage(
                    sample.original,
                    np.zeros(sample.original.shape[:2], np.uint8),
                    0,
                    group.name,
                    group.method,
                    sample.frame_index,
                )
            ]
            original.examples += 1
            for number, image in sorted(sample.fakes.items()):
                if track in altered[number] and fakes[number].outcome.state in WRITTEN:
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
                    box=tuple(sample.box),
                    images=tuple(images),
                )
            )
    return results
