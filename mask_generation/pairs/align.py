"""Which frame of the original a frame of the fake belongs to, and where in it.

Fakes are not simply their original with other pixels: FaceForensics++ holds centre crops (Face2Face and NeuralTextures
of clips whose width is no multiple of the network's stride), fakes shorter or longer than their original, and copies
at another frame rate; DeepFakeDetection loses frames throughout. Pairs go by frame index, never by time; what cannot be
aligned is reported, not guessed.

First the clips of a group against each other (how long each is, where a crop was cut), then frames (which belong
together, from thumbnails; `frame_order`). Decoding is what this stage spends its time on, so nothing is decoded that
need not be: of clips of equal length, whether equal indices fit is seen on the sampled frames when they are read
anyway, and only a fake that is shorter than its original, or as long in time with other frames, is read in full.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import cv2
import numpy as np

from mask_generation.datasets.base import FakeClip
from mask_generation.pairs.frame_order import (
    LENGTH_TOLERANCE,
    MAX_DISTANCE,
    WORTH_LEVEL,
    AlignmentError,
    Timeline,
    align_frames,
    by_time,
    signature,
)
from mask_generation.pairs.outcome import ClipOutcome, Note
from mask_generation.video.picture_folder import PictureFolder
from mask_generation.video.reader import VideoReader, sample_indices
from mask_generation.video.types import Limits, VideoError

IDENTICAL_LEVEL = 0.05  # mean difference in grey levels below which two frames count as the same
SHORT_SHARE = 2 / 3  # a fake of which less has a frame of the original is reported as partial


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of the original's picture that the fake shows: columns x0 … x0+width, rows y0 … y0+height."""

    x0: int
    y0: int
    width: int
    height: int

    def cut(self, frame: np.ndarray) -> np.ndarray:
        return frame[self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]


@dataclasses.dataclass
class FakeWork:
    """A fake while its group is being worked on.

    Attributes:
        timeline: {original's frame: its frame}; None: the same index.
        ordered: whether that was weighed on all frames, before the sampled ones were read.
        window: the part of the original's picture that it shows.
        distances: of the sampled frames' thumbnails from the original's.
        same_frames, seen_frames: sampled frames equal to the original's, and all; no_mask_frames: without an
            official mask.
    """

    clip: FakeClip
    outcome: ClipOutcome
    timeline: Optional[dict[int, int]] = None
    ordered: bool = False
    window: Optional[Window] = None
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
    with VideoReader(path, limits) as reader:
        info, outcome.frames = reader.info, reader.timeline.count
        first = next(iter(reader.greys()), None)  # it has the size as shown, not as coded
        outcome.height, outcome.width = (0, 0) if first is None else first.shape[:2]
        note_stats(outcome, reader)
    if info.codec == "gif":  # packets that are no frames
        with VideoReader(path, limits) as reader:
            outcome.frames = sum(1 for _ in reader.greys())
            note_stats(outcome, reader)
    return info.fps


def note_stats(outcome: ClipOutcome, reader: VideoReader | PictureFolder) -> None:
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
            fake.window = Window(0, 0, width, height)
            continue
        indices = sample_indices(min(original.frames, fake.outcome.frames), 64)[:3]
        note(fake.clip.name)
        try:
            with (
                VideoReader(original.path, limits, one_size=True) as a,
                VideoReader(fake.clip.path, limits, one_size=True) as b,
            ):
                frames = [frame.rgb for frame in a.frames(indices)]
                copies = [frame.rgb for frame in b.frames(indices)]
            if not frames or len(frames) != len(copies):
                raise AlignmentError("no frames that both clips have")
            fake.window = align_picture(frames, copies)
        except VideoError as error:
            fake.outcome.fail(error.state, error.reason)
        except AlignmentError as error:
            fake.outcome.fail("unaligned", str(error))
    return [fake for fake in fakes if fake.outcome.usable]


def thumbnail_distance(original: np.ndarray, copy: np.ndarray) -> float:
    """Mean difference of two RGB frames as thumbnails, in grey levels; a smaller copy is taken for the centre."""
    grey = cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY)
    own = signature(grey)
    other = signature(cv2.cvtColor(original, cv2.COLOR_RGB2GRAY), grey.shape)  # type: ignore[arg-type]
    return float(cv2.absdiff(own, other).mean())


def order_frames(original: ClipOutcome, fakes: list[FakeWork], limits: Limits, note: Note) -> list[FakeWork]:
    """Weigh which frames of its original those of each fake of another length are; returns the usable fakes.

    A fake that is shorter, or as long in time with other frames, is read in full for that; its row says what came of
    it.
    """
    seen: dict[tuple[int, ...], np.ndarray] = {}
    original_s: Optional[np.ndarray] = None
    for fake in fakes:
        outcome = fake.outcome
        if abs(outcome.frames - original.frames) <= LENGTH_TOLERANCE:
            continue
        try:
            note(fake.clip.name)
            fake_s = _shown_s(outcome, limits)
            note(original.name)
            original_s = _shown_s(original, limits) if original_s is None else original_s
            timed = by_time(original.frames, outcome.frames, original_s, fake_s)
            if outcome.frames < original.frames or timed is not None:
                _take(_full_timeline(original, fake, limits, note, seen, original_s, fake_s), fake)
                fake.ordered = True
            else:
                note_longer(original, outcome)
        except VideoError as error:
            outcome.fail(error.state, error.reason)
        except AlignmentError as error:
            outcome.fail("unaligned", str(error))
    return [fake for fake in fakes if fake.outcome.usable]


def note_longer(original: ClipOutcome, fake: ClipOutcome) -> None:
    """Say in a fake's row that its original ends before it."""
    if original.frames < SHORT_SHARE * fake.frames:
        fake.note_partial(
            f"its original has only {original.frames} frames, so {original.frames} of its {fake.frames} can be used"
        )
    elif fake.frames > original.frames + LENGTH_TOLERANCE:
        more = fake.frames - original.frames
        fake.remark(f"{more} frames longer than its original's {original.frames}, which are not used")


def _take(timeline: Timeline, fake: FakeWork) -> None:
    outcome = fake.outcome
    outcome.alignment, outcome.alignment_distance = timeline.kind, timeline.distance
    fake.timeline = None if timeline.kind == "same_index" else timeline.fake_of()
    if timeline.note:
        outcome.remark(timeline.note)


def _shown_s(outcome: ClipOutcome, limits: Limits) -> np.ndarray:
    """(N,) when each frame of a clip is shown, in seconds."""
    with VideoReader(outcome.path, limits) as reader:
        return reader.timeline.times_s


def realign(original: ClipOutcome, fakes: list[FakeWork], limits: Limits, note: Note) -> list[FakeWork]:
    """Judge the alignment at equal indices by the sampled frames, and look for dropped frames where it does not fit.

    Returns:
        fakes that have lost frames: their timeline is set, and what was made of them before is to be made anew.
    """
    again = []
    for fake in fakes:
        if not fake.outcome.usable or not fake.distances or fake.ordered:
            continue
        outcome, distance = fake.outcome, float(np.mean(fake.distances))
        outcome.alignment, outcome.alignment_distance = "same_index", distance
        try:
            if distance >= WORTH_LEVEL and outcome.frames < original.frames:
                _take(_full_timeline(original, fake, limits, note, {}), fake)
                if fake.timeline is not None:
                    again.append(fake)
            elif distance > MAX_DISTANCE:
                raise AlignmentError(
                    f"does not show what its original shows (mean difference {distance:.0f} grey levels at thumbnail "
                    "size)"
                )
        except VideoError as error:
            outcome.fail(error.state, error.reason)
        except AlignmentError as error:
            outcome.fail("unaligned", str(error))
    return again


def _full_timeline(
    original: ClipOutcome,
    fake: FakeWork,
    limits: Limits,
    note: Note,
    seen: dict[tuple[int, ...], np.ndarray],
    original_s: Optional[np.ndarray] = None,
    fake_s: Optional[np.ndarray] = None,
) -> Timeline:
    """All frames of a fake against all of its original.

    Args:
        seen: {size of a fake's picture: the original's thumbnails}, filled as it goes.
    """
    note(fake.clip.name)
    with VideoReader(fake.clip.path, limits, one_size=True) as reader:
        rows, shape = [], (0, 0)
        for grey in reader.greys():
            shape = grey.shape[:2]
            rows.append(signature(grey, fine=True))
    note(original.name)
    if rows and shape not in seen:
        with VideoReader(original.path, limits, one_size=True) as reader:
            seen[shape] = np.stack([signature(grey, shape, fine=True) for grey in reader.greys()])
    return align_frames(seen.get(shape, np.zeros(0)), np.stack(rows), original_s, fake_s)


def larger_than(original_hw: tuple[int, int], fake_hw: tuple[int, int]) -> str:
    """What is wrong with a fake whose picture is larger than its original's; empty where it is not."""
    (height, width), (h, w) = original_hw, fake_hw
    if h <= height and w <= width:
        return ""
    return f"{w}x{h} pixels, but its original has {width}x{height}; larger fakes cannot be aligned"


def align_picture(originals: list[np.ndarray], fakes: list[np.ndarray]) -> Window:
    """Where in the original's picture the fake's lies, from a few aligned frames.

    A smaller fake is looked for as a crop, by least difference over all offsets, and compared with the original
    scaled to its size.

    Args:
        originals: (H,W,3) uint8 frames; fakes: (h,w,3), the same moments.
    Raises:
        AlignmentError: the fake is larger, a scaled copy, or at offsets that differ between frames.
    """
    height, width = originals[0].shape[:2]
    h, w = fakes[0].shape[:2]
    if (h, w) == (height, width):
        return Window(0, 0, width, height)
    larger = larger_than((height, width), (h, w))
    if larger:
        raise AlignmentError(larger)
    found = [_offset(a, b) for a, b in zip(originals, fakes)]
    offset = found[len(found) // 2][0]
    if any(max(abs(x - offset[0]), abs(y - offset[1])) > 1 for (x, y), _ in found):
        raise AlignmentError(f"{w}x{h} pixels in {width}x{height}, at offsets that change: {[o for o, _ in found]}")
    window = Window(*offset, w, h)
    cropped = float(np.mean([_difference(window.cut(a), b) for a, b in zip(originals, fakes)]))
    scaled = float(
        np.mean([_difference(cv2.resize(a, (w, h), interpolation=cv2.INTER_AREA), b) for a, b in zip(originals, fakes)])
    )
    if scaled < cropped:
        raise AlignmentError(f"a scaled copy ({w}x{h} of {width}x{height}); its pixels are not the original's")
    return window


def _offset(original: np.ndarray, fake: np.ndarray) -> tuple[tuple[int, int], float]:
    result = cv2.matchTemplate(
        cv2.cvtColor(original, cv2.COLOR_RGB2GRAY), cv2.cvtColor(fake, cv2.COLOR_RGB2GRAY), cv2.TM_SQDIFF
    )
    value, _, (x, y), _ = cv2.minMaxLoc(result)
    return (int(x), int(y)), float(value)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).mean())


def identical(original: np.ndarray, fake: np.ndarray, window: Optional[Window] = None) -> bool:
    """Whether two frames are the same but for rounding: DFDC calls clips fake whose sound alone is."""
    part = window.cut(original) if window is not None else original
    return part.shape == fake.shape and _difference(part, fake) < IDENTICAL_LEVEL
