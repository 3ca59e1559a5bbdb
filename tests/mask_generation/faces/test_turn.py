"""Which way up: turns are tried where upright finds little, and taken only on evidence."""

from __future__ import annotations

import numpy as np
import pytest

from mask_generation.faces import turn
from mask_generation.faces.detector import Box, Detection
from mask_generation.video.types import Frame


class CornerDetector:
    """Sees a face wherever the top left corner is bright; with the corner's level, in hundredths, as its score."""

    def detect(self, rgb):
        level = float(rgb[0, 0, 0]) / 100
        return [Detection(Box(0, 0, 4, 4), level, np.zeros((5, 2), np.float32))] if level > 0.5 else []


def corner(turns, level=99, side=(8, 12)):
    """A picture whose bright corner comes to the top left when it is turned by quarters to the left."""
    upright = np.zeros((*side, 3), np.uint8)
    upright[0, 0] = level
    return np.rot90(upright, -turns)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_turn_that_brings_faces_upright(turns):
    assert turn.find_turn([corner(turns)] * 5, CornerDetector(), 640) == turns


def test_little_evidence_turns_nothing():
    detector, empty = CornerDetector(), np.zeros((8, 12, 3), np.uint8)
    assert turn.find_turn([corner(1, level=95)] * 5, detector, 640) == 0  # found, not sure
    assert turn.find_turn([corner(1)] * 2 + [empty] * 3, detector, 640) == 0
    assert turn.find_turn([corner(1)] * 3 + [corner(0)] * 2, detector, 640) == 0
    assert turn.find_turn([corner(1)] * 3 + [empty] * 2, detector, 640) == 1
    assert turn.find_turn([corner(1)], detector, 640) == 1


def test_few_is_less_than_half_of_the_frames_with_a_sure_face():
    assert not turn.is_few([0.99, 1.0, 0.0, 0.0])
    assert turn.is_few([0.99, 0.97, 0.97, 0.95])
    assert turn.is_few([0.0])


def test_frames_tried_are_spread_over_those_looked_at():
    assert turn.tried(range(0, 320, 10)) == [0, 80, 160, 230, 310]
    assert turn.tried([3, 7]) == [3, 7]


def test_a_turned_frame_keeps_its_place_and_time():
    frame = turn.turned(Frame(4, 0.5, corner(3)), 3)
    assert (frame.index, frame.time_s, frame.rgb.shape) == (4, 0.5, (8, 12, 3))
    assert frame.rgb[0, 0, 0] == 99
