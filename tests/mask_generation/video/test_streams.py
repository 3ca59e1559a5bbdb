"""Of several video streams the one that a player would show, and the choice is said."""

from __future__ import annotations

import numpy as np
import pytest

from mask_generation.video.reader import VideoReader
from tests.helpers import odd_videos

SMALL, LARGE = odd_videos.pictures(8, 32, 48), odd_videos.pictures(8, 64, 96)


def read(path):
    with VideoReader(path) as reader:
        return [frame.rgb.shape[:2] for frame in reader.frames()], reader.stats.notes


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ([(SMALL, "libx264", False), (LARGE, "libx264", False)], (64, 96)),
        ([(LARGE, "libx264", False), (SMALL, "libx264", True)], (32, 48)),
        ([(LARGE, "libx264", True), (SMALL, "libx264", True)], (64, 96)),
        ([(LARGE[:1], "mjpeg", True), (SMALL, "libx264", False)], (32, 48)),  # a still
        ([([np.zeros((16, 16, 3), np.uint8)] * 8, "libx264", False), (SMALL, "libx264", False)], (32, 48)),
    ],
)
def test_default_then_largest_and_no_still(tmp_path, parts, shape):
    path = odd_videos.two_streams(tmp_path / "a.mkv", parts)
    shapes, notes = read(path)
    assert shapes == [shape] * 8
    assert notes[0].startswith("2 video streams: number ")
    assert f"({shape[1]}x{shape[0]}" in notes[0].split(" is read")[0]


def test_programmes_of_a_transport_stream(tmp_path):
    path = odd_videos.two_streams(tmp_path / "a.ts", [(SMALL, "libx264", False), (LARGE, "libx264", False)])
    assert read(path)[0] == [(64, 96)] * 8


def test_one_stream_is_no_choice(tmp_path):
    assert read(odd_videos.write(tmp_path / "a.mkv", SMALL)) == ([(32, 48)] * 8, [])
