"""Clips with random damage to their bytes neither crash nor hang: they give frames, or a state and a reason."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from mask_generation.video import types
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import Limits, VideoError
from tests.helpers import odd_videos

CLIPS = int(
    os.environ.get("FUZZ_CLIPS", "210")
)  # more of them: FUZZ_CLIPS=7000 python -m pytest tests/mask_generation/video/test_fuzz.py
LIMIT_S = 5.0
KINDS = {
    "mp4": {},
    "mkv": {},
    "ts": {},
    "avi": {"codec": "mpeg4"},
    "webm": {"codec": "libvpx-vp9"},
    "mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "mpg": {"codec": "mpeg1video", "rate": 25},
}
STATES = {types.UNREADABLE, types.UNSUPPORTED, types.TIMEOUT}


def outcome(path):
    """How reading colours and luma ends: "frames", or the state and the reason."""
    try:
        with VideoReader(path, Limits(timeout_s=LIMIT_S)) as reader:
            shapes = {frame.rgb.shape[2:] for frame in reader.frames()}
        with VideoReader(path, Limits(timeout_s=LIMIT_S)) as reader:
            shapes |= {grey.shape[2:] for grey in reader.greys()}
    except VideoError as error:
        return error.state, error.reason
    return "frames", shapes


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_bytes_end_in_frames_or_a_reason(tmp_path, kind):
    whole = odd_videos.write(tmp_path / f"whole.{kind}", odd_videos.pictures(12), **KINDS[kind]).read_bytes()
    path, ends = tmp_path / f"mutated.{kind}", set()
    for number in range(CLIPS // len(KINDS)):
        path.write_bytes(odd_videos.mutate(whole, np.random.default_rng([7, number])))
        start = time.monotonic()
        end, more = outcome(path)
        assert time.monotonic() - start < 2 * LIMIT_S + 5, number
        assert more <= {(3,), ()} if end == "frames" else end in STATES and more, number
        ends.add(end)
    assert "frames" in ends  # the damage is not such that nothing is ever read
    assert len(ends) > 1, "no mutation did any harm"
