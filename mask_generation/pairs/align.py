"""Which frame of the original a frame of the fake belongs to, and where in it.

Fakes are not simply their original with other pixels: FaceForensics++ holds centre crops (Face2Face and NeuralTextures
of clips whose width is no multiple of the network's stride), fakes shorter or longer than their original, and copies
at another frame rate; DeepFakeDetection loses frames throughout. Pairs go by frame index, never by time; what cannot be
aligned is reported, not guessed.

First the clips of a group against each other (how long each is, where a crop was cut), then frames (which belong
together, from thumbnails). Decoding is what this stage spends its time on, so nothing is decoded that need not be:
whether equal indices fit is seen on the sampled frames when they are read anyway, and only a fake that is shorter than
its original and does not fit is read in full, to find out which frames were dropped.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import cv2
import numpy as np

from mask_generation.datasets.base import FakeClip
from mask_generation.pairs.outcome import ClipOutcome, Note
from mask_generation.video.picture_folder import PictureFolder
from mask_generation.video.reader import VideoReader, sample_indices
from mask_generation.video.types import Limits, VideoError

SIGNATURE_HW = (18, 32)  # a frame as a grey thumbnail, for comparing whole clips
MAX_DISTANCE = 24.0  # mean grey difference of thumbnails above which two clips do not show the same
CLEAR_GAIN = 0.75  # another frame order must lower the distance to this share before it is believed
WORTH_LEVEL = 1.0  # and the distance at equal indices must be at least this many grey levels
IDENTICAL_LEVEL = 0.05  # mean difference in grey levels below which two frames count as the same
SHORT_SHARE = 2 / 3  # a fake of which less has a frame of the original is reported as partial


class AlignmentError(Exception):
    """The pair does not fit together; the message says how."""


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Frames of a fake in the original.

    Attributes:
        original_of: (N,) index of the original's frame for each frame of the fake; -1 where there is none.
        kind: `same_index`, `dropped_frames`.
        distance: mean grey difference of the aligned thumbnails, a check on the whole.
    """

    original_of: np.ndarray
    kind: str
    distance: float

    def fake_of(self) -> dict[int, int]:
        """{original's index: fake's index}."""
        return {int(o): f for f, o in enumerate(self.original_of) if o >= 0}


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
        window: the part of the original's picture that it shows.
        distances: of the sampled frames' thumbnails from the original's.
        same_frames, seen_frames: sampled frames equal to the original's, and all; no_mask_frames: without an
            official mask.
    """

    clip: FakeClip
    outcome: ClipOutcome
    timeline: Optional[dict[int, int]] = None
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
    with VideoReader(path, limits) as reader:  # the first picture has the size as shown, not as coded
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
            if distance >= WORTH_LEVEL and outcome.frames < original.frames:
                timeline = _full_timeline(original, fake, limits, note)
                outcome.alignment, outcome.alignment_distance = timeline.kind, timeline.distance
                if timeline.kind != "same_index":
                    fake.timeline = timeline.fake_of()
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


def _full_timeline(original: ClipOutcome, fake: FakeWork, limits: Limits, note: Note) -> Timeline:
    note(fake.clip.name)
    with VideoReader(fake.clip.path, limits, one_size=True) as reader:
        rows, shape = [], (0, 0)
        for grey in reader.greys():
            shape = grey.shape[:2]
            rows.append(signature(grey))
    note(original.name)
    with VideoReader(original.path, limits, one_size=True) as reader:
        seen = [signature(grey, shape) for grey in reader.greys()]
    return align_frames(np.stack(seen), np.stack(rows))


def signature(grey: np.ndarray, centre_hw: Optional[tuple[int, int]] = None) -> np.ndarray:
    """(H,W) uint8 → `SIGNATURE_HW` uint8 thumbnail, of the central `centre_hw` pixels where the frame is larger."""
    height, width = grey.shape
    h, w = centre_hw or (height, width)
    top, left = max(height - h, 0) // 2, max(width - w, 0) // 2
    return cv2.resize(grey[top : top + h, left : left + w], SIGNATURE_HW[::-1], interpolation=cv2.INTER_AREA)


def align_frames(original: np.ndarray, fake: np.ndarray) -> Timeline:
    """Match a fake's frames to its original's, in order.

    Same index unless an assignment that skips frames of the original is clearly closer; then that one, found by
    dynamic programming over strictly increasing indices.

    Args:
        original: (N,h,w) uint8 signatures of all frames; fake: (M,h,w).
    Raises:
        AlignmentError: no frames, or the clips do not show the same.
    """
    n, m = len(original), len(fake)
    if not n or not m:
        raise AlignmentError("no frames to align")
    flat_o = original.reshape(n, -1).astype(np.float32)
    flat_f = fake.reshape(m, -1).astype(np.float32)
    common = min(n, m)
    direct = np.abs(flat_f[:common] - flat_o[:common]).mean(1)
    same = Timeline(np.where(np.arange(m) < n, np.arange(m), -1), "same_index", float(direct.mean()))
    best = same
    if same.distance >= WORTH_LEVEL and m < n:
        path = _monotone_path(flat_o, flat_f)
        distance = float(np.abs(flat_f - flat_o[path]).mean())
        if distance < CLEAR_GAIN * same.distance:
            best = Timeline(path, "dropped_frames", distance)
    if best.distance > MAX_DISTANCE:
        raise AlignmentError(
            f"does not show what its original shows (mean difference {best.distance:.0f} grey levels at thumbnail size)"
        )
    return best


def _monotone_path(original: np.ndarray, fake: np.ndarray, max_band: int = 600) -> np.ndarray:
    """(M,) strictly increasing indices into `original` (N,D) with the least summed distance to `fake` (M,D), M < N.

    Frame i lies in i … i + N - M, since each frame skipped moves it on by one; the band is capped for long clips.
    """
    n, m = len(original), len(fake)
    band = min(n - m + 1, max_band)
    cost = np.full(band, 0.0, np.float32)
    choice = np.empty((m, band), np.int32)
    for i in range(m):
        # State d = index - i: the next frame keeps d or raises it, so the best predecessor is a running minimum.
        lowest = np.minimum.accumulate(cost)
        is_new = cost <= lowest
        choice[i] = np.maximum.accumulate(np.where(is_new, np.arange(band), 0))
        window = original[i : i + band]
        distance = np.abs(window - fake[i]).mean(1)
        cost = lowest + np.pad(distance, (0, band - len(distance)), constant_values=1e6)
    path = np.empty(m, np.int64)
    d = int(np.argmin(cost))
    for i in range(m - 1, -1, -1):
        path[i] = i + d
        d = int(choice[i, d])
    return path


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
    if h > height or w > width:
        raise AlignmentError(f"{w}x{h} pixels, but its original has {width}x{height}; larger fakes cannot be aligned")
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
