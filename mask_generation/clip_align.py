"""The clips of a group against each other: how long each is, which frames belong together, where a crop was cut.

Decoding is what this stage spends its time on, so nothing is decoded here that need not be. Frames pair by index;
whether that holds is seen on the sampled frames when they are read anyway. Only for a fake that is shorter than its
original and does not fit at equal indices are both read in full, to find out which frames were dropped.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import cv2
import numpy as np

from mask_generation import align
from mask_generation.clip_result import ClipOutcome, Note
from mask_generation.datasets import FakeClip
from mask_generation.video import Limits, VideoError, VideoReader, sample_indices

SHORT_SHARE = 2 / 3  # a fake of which less has a frame of the original is reported as partial


@dataclasses.dataclass
class FakeWork:
    """A fake while its group is being worked on.

    Attributes:
        timeline: {original's frame: its frame}; None: the same index.
        window: the part of the original's picture that it shows.
        distances: of the sampled frames' thumbnails from the original's.
        same_frames, seen_frames: sampled frames equal to the original's, and all; no_mask_frames: without an
            official mask.
    """

    clip: FakeClip
    outcome: ClipOutcome
    timeline: Optional[dict[int, int]] = None
    window: Optional[align.Window] = None
    distances: list[float] = dataclasses.field(default_factory=list)
    same_frames: int = 0
    seen_frames: int = 0
    no_mask_frames: int = 0

    def frame_of(self, original_index: int) -> Optional[int]:
        """Its frame for one of the original's; None where it has none."""
        if self.timeline is not None:
            return self.timeline.get(original_index)
        return original_index if original_index < self.outcome.frames else None


def measure(path: str, outcome: ClipOutcome, limits: Limits) -> Optional[float]:
    """Fill in a clip's size and number of frames, mostly without decoding. Returns its frame rate.

    Raises:
        VideoError: it cannot be opened or holds no frame.
    """
    with VideoReader(path, limits) as reader:  # the first picture tells the size as shown, not as coded
        first = next(iter(reader.greys()), None)
        outcome.height, outcome.width = (0, 0) if first is None else first.shape[:2]
    with VideoReader(path, limits) as reader:
        info = reader.info
        try:
            packets = reader.count_packets()
        except VideoError:
            packets = 0
    if info.codec == "gif" or not packets:  # packets that are no frames, or a demuxer that stops at damage
        with VideoReader(path, limits) as reader:
            outcome.frames = sum(1 for _ in reader.greys())
            note_stats(outcome, reader)
        return info.fps
    outcome.frames = min(packets, info.frames or packets)
    missing = (info.frames or packets) - packets
    if missing > max(2, 0.02 * packets):
        outcome.note_partial(f"{packets} of {info.frames} declared frames are there; the file is cut short or damaged")
    return info.fps


def note_stats(outcome: ClipOutcome, reader: VideoReader) -> None:
    """Put what went wrong while reading into a clip's row."""
    outcome.failed_frames = max(outcome.failed_frames, reader.stats.failed + reader.stats.corrupt)
    if reader.stats.partial:
        outcome.note_partial(reader.stats.problem or f"{outcome.failed_frames} frames could not be decoded")


def measure_all(
    original: ClipOutcome, fakes: list[FakeWork], limits: Limits, note: Note
) -> tuple[list[FakeWork], Optional[float]]:
    """Size and length of all clips; returns the usable fakes and the original's frame rate. Bad fakes become rows.

    Raises:
        VideoError: the original is bad.
    """
    note(original.name)
    fps = measure(original.path, original, limits)
    for fake in fakes:
        if not fake.outcome.usable:
            continue
        note(fake.clip.name)
        try:
            measure(fake.clip.path, fake.outcome, limits)
        except VideoError as error:
            fake.outcome.fail(error.state, error.reason)
            continue
        common = min(original.frames, fake.outcome.frames)
        if common < SHORT_SHARE * fake.outcome.frames:
            fake.outcome.note_partial(
                f"its original has only {original.frames} frames, so {common} of its {fake.outcome.frames} can be used"
            )
    return [fake for fake in fakes if fake.outcome.usable], fps


def common_length(count: int, fakes: list[FakeWork]) -> int:
    """Frames to sample from: those that all fakes have, unless one of them is much shorter than the others."""
    lengths = [min(fake.outcome.frames, count) for fake in fakes]
    longest = max(lengths, default=count)
    return min([length for length in lengths if 2 * length >= longest], default=count) or count


def find_windows(original: ClipOutcome, fakes: list[FakeWork], limits: Limits, note: Note) -> list[FakeWork]:
    """Where each fake's picture lies in the original's, from three frames if sizes differ; returns the usable."""
    height, width = original.height, original.width
    for fake in fakes:
        if (fake.outcome.height, fake.outcome.width) == (height, width):
            fake.window = align.Window(0, 0, width, height)
            continue
        indices = sample_indices(min(original.frames, fake.outcome.frames), 64)[:3]
        note(fake.clip.name)
        try:
            with VideoReader(original.path, limits) as a, VideoReader(fake.clip.path, limits) as b:
                frames = [frame.rgb for frame in a.frames(indices)]
                copies = [frame.rgb for frame in b.frames(indices)]
            if not frames or len(frames) != len(copies):
                raise align.AlignmentError("no frames that both clips have")
            fake.window = align.align_picture(frames, copies)
        except VideoError as error:
            fake.outcome.fail(error.state, error.reason)
        except align.AlignmentError as error:
            fake.outcome.fail("unaligned", str(error))
    return [fake for fake in fakes if fake.outcome.usable]


def thumbnail_distance(original: np.ndarray, copy: np.ndarray) -> float:
    """Mean difference of two RGB frames as thumbnails, in grey levels; a smaller copy is taken for the centre."""
    grey = cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY)
    own = align.signature(grey)
    other = align.signature(cv2.cvtColor(original, cv2.COLOR_RGB2GRAY), grey.shape)  # type: ignore[arg-type]
    return float(cv2.absdiff(own, other).mean())


def realign(original: ClipOutcome, fakes: list[FakeWork], limits: Limits, note: Note) -> list[FakeWork]:
    """Judge the alignment at equal indices by the sampled frames, and look for dropped frames where it does not fit.

    Returns:
        fakes that have lost frames: their timeline is set, and what was made of them before is to be made anew.
    """
    again = []
    for fake in fakes:
        if not fake.outcome.usable or not fake.distances:
            continue
        outcome, distance = fake.outcome, float(np.mean(fake.distances))
        outcome.alignment, outcome.alignment_distance = "same_index", distance
        try:
            if distance >= align.WORTH_LEVEL and outcome.frames < original.frames:
                timeline = _full_timeline(original, fake, limits, note)
                outcome.alignment, outcome.alignment_distance = timeline.kind, timeline.distance
                if timeline.kind != "same_index":
                    fake.timeline = timeline.fake_of()
                    again.append(fake)
            elif distance > align.MAX_DISTANCE:
                raise align.AlignmentError(
                    f"does not show what its original shows (mean difference {distance:.0f} grey levels at thumbnail "
                    "size)"
                )
        except VideoError as error:
            outcome.fail(error.state, error.reason)
        except align.AlignmentError as error:
            outcome.fail("unaligned", str(error))
    return again


def _full_timeline(original: ClipOutcome, fake: FakeWork, limits: Limits, note: Note) -> align.Timeline:
    note(fake.clip.name)
    with VideoReader(fake.clip.path, limits) as reader:
        rows, shape = [], (0, 0)
        for grey in reader.greys():
            shape = grey.shape[:2]
            rows.append(align.signature(grey))
    note(original.name)
    with VideoReader(original.path, limits) as reader:
        seen = [align.signature(grey, shape) for grey in reader.greys()]
    return align.align_frames(np.stack(seen), np.stack(rows))
