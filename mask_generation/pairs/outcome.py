"""What is asked of a clip group, and what comes of it: settings, states, rows, seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional

from mask_generation.datasets.base import ClipGroup, FakeClip
from mask_generation.faces.detector import CROP_SIZE_PX
from mask_generation.masks.registry import DEFAULT_RECIPE, RECIPES
from mask_generation.video.types import Limits
from unet_industrial.config import FACE_MARGIN
from unet_industrial.setting import setting

if TYPE_CHECKING:  # it loads TensorFlow, which only the processes that do the work need
    from unet_industrial.records import FaceGroup

WRITTEN = ("ok", "partial")
SKIPPED = (
    "original_missing",
    "original_failed",
    "missing",
    "split_leak",
    "identical",
    "no_face",
    "too_dark",
    "untouched",
    "no_mask",
)
FACES = ("found", "given")
FAILED = ("unreadable", "unsupported", "too_short", "timeout", "unaligned", "crashed")

Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class GroupConfig:
    """What decides the examples of a group, and hence the content of the records.

    Attributes:
        track_rate_hz: frames a second looked at for tracking, beside the sampled ones.
        given_margin, given_offset: None and empty: to be measured, before the first picture is read.
    """

    frames: int = setting(32, "Frames taken of each video, evenly spread.", low=1)
    crop_size: int = setting(CROP_SIZE_PX, "Side of the crops, px.", low=16)
    crop_margin: float = setting(FACE_MARGIN, "Side of the crop over that of the face.", low=1.0)
    faces: str = setting(
        "found",
        "Of pictures. found: faces are looked for, as in videos; given: each picture is a face, cut out already, and "
        "is taken whole.",
        choices=FACES,
    )
    given_margin: Optional[float] = setting(
        None,
        "With --faces=given: side of the picture over that of the face (the longer sides; the face as MTCNN boxes it).",
        shown="measured by MTCNN on a sample",
    )
    given_offset: tuple[float, ...] = setting(
        (),
        "With --faces=given: from the picture's centre to the face's, right and down, as shares of the picture's side.",
        shown="measured with the margin; 0,0 where that is stated",
    )
    max_border_difference: float = setting(
        3.9,  # of 14,659 pairs cut at one place 98 % lie below, of 120 cut at two all above
        "Of pictures: mean difference between the borders of a fake and its original, in grey levels, above which the "
        "two were cut at different places.",
        low=0.0,
    )
    min_brightness: float = setting(
        20.0, "Of pictures: mean grey level of a face, 0 to 255, below which it is too dark.", low=0.0
    )
    recipe: str = setting(DEFAULT_RECIPE, "How a mask is made of a pair.", flag="mask_recipe", choices=RECIPES)
    max_faces: int = setting(2, "People at one moment, the most often seen first.", low=1)
    min_frames: int = setting(1, "Clips with fewer frames are too_short.", low=1)
    track_rate_hz: float = 6.0
    detect_every_s: float = 1.0
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.faces != "given" and (self.given_margin is not None or self.given_offset):
            raise ValueError("--given_margin and --given_offset say where the face is with --faces=given")
        if self.given_margin is not None and not 0.2 <= self.given_margin <= 10:
            raise ValueError(f"--given_margin={self.given_margin:g}: 0.2 to 10 is possible")
        try:
            offset = tuple(float(value) for value in self.given_offset)
        except ValueError:
            offset = (math.nan,)
        if offset and not (len(offset) == 2 and all(abs(value) <= 1 for value in offset)):
            given = ",".join(map(str, self.given_offset))
            raise ValueError(f"--given_offset={given}: two numbers from -1 to 1, such as 0,-0.08")
        if offset and self.given_margin is None:
            raise ValueError("--given_offset needs --given_margin beside it")
        object.__setattr__(self, "given_offset", offset)


@dataclasses.dataclass
class ClipOutcome:
    """What became of one clip; `state` is of `WRITTEN`, `SKIPPED` or `FAILED`, `reason` is empty if there is
    nothing to know of it.

    Attributes:
        frames: that the file holds; failed_frames: of those read, the ones that did not decode.
        alignment: how its frames were matched with its original's; alignment_distance: their mean difference as
            thumbnails, in grey levels.
        examples: crops of it in the records.
    """

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

    @property
    def usable(self) -> bool:
        return self.state in WRITTEN

    def fail(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason

    def note_partial(self, reason: str) -> None:
        """Something of it is missing; the first reason stays."""
        if self.state == "ok":
            self.fail("partial", f"{reason}; {self.reason}" if self.reason else reason)

    def remark(self, text: str) -> None:
        """Something to be known of it, whatever its state."""
        self.reason = f"{self.reason}; {text}" if self.reason else text


@dataclasses.dataclass
class GroupResult:
    """Examples in order of person and time, a row for each clip, and seconds by stage."""

    groups: list[FaceGroup]
    outcomes: list[ClipOutcome]
    seconds: dict[str, float]


class Stages:
    """Seconds of CPU by stage: a process has one thread, and what else the machine does should not show."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


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
