"""Tracks → people: what is no face is left out, one person's tracks are joined, two people's never."""

from __future__ import annotations

import numpy as np
import pytest

from mask_generation.faces import appearance
from mask_generation.faces.detector import Box, Detection
from mask_generation.faces.people import MIN_CERTAINTY, is_face, people
from mask_generation.faces.tracker import MOST_LOOKS, FaceTracker, Track
from mask_generation.video.types import Frame

POINTS = np.zeros((5, 2), np.float32)
BLACK = np.zeros((1, 1, 3), np.uint8)
RED, BLUE, GREY = (200, 60, 50), (50, 60, 200), (120, 120, 120)
BOX = Box(80, 40, 120, 90)


def picture(shirt, skin=(190, 150, 120), wall=GREY, at=100):
    """(160, 200, 3) uint8: a face at `BOX` (or with its middle at the column `at`), clothes below, a wall around."""
    rgb = np.full((160, 200, 3), wall, np.uint8)
    rgb[95:, max(at - 40, 0) : at + 40] = shirt
    rgb[30:95, max(at - 25, 0) : at + 25] = skin
    return rgb


def track_of(identity, indices, shirt=RED, certainty=0.99, score=0.95):
    track = Track(identity)
    for index in indices:
        look = appearance.colours(picture(shirt, wall=(90 + 5 * (index % 7),) * 3), BOX)
        track.append(Frame(index, index / 5, BLACK), Detection(BOX, score, POINTS, certainty), True, look)
    return track


def numbers(tracks):
    return [[track.id for track in person] for person in people(tracks)]


@pytest.mark.parametrize("certainties, face", [((0.99,) * 5, True), ((0.6, 0.99, 0.99), True), ((0.9,) * 30, False)])
def test_a_face_is_what_the_detector_is_sure_of_over_the_whole_track(certainties, face):
    track = Track(0)
    for index, certainty in enumerate(certainties):
        track.append(Frame(index, index, BLACK), Detection(BOX, 0.999, POINTS, certainty), True)
    assert is_face(track) is face


def test_without_certainties_the_detectors_scores_decide():
    sure, unsure = (Track(at) for at in range(2))
    for index in range(3):
        sure.append(Frame(index, index, BLACK), Detection(BOX, MIN_CERTAINTY + 0.01, POINTS), True)
        unsure.append(Frame(index, index, BLACK), Detection(BOX, MIN_CERTAINTY - 0.01, POINTS), True)
    assert numbers([sure, unsure]) == [[0]]


def test_two_people_who_leave_and_come_back_together_are_two_people_whatever_their_order():
    pieces = [
        track_of(0, range(0, 9), RED), track_of(1, range(0, 9), BLUE), track_of(2, range(12, 20), BLUE),
        track_of(3, range(12, 20), RED), track_of(4, [25], RED), track_of(5, [25], BLUE),
    ]  # fmt: skip
    assert numbers(pieces) == numbers(pieces[::-1]) == [[0, 3, 4], [1, 2, 5]]


def test_people_who_look_alike_stay_apart_while_both_are_in_sight():
    assert numbers([track_of(0, range(9)), track_of(1, range(5, 14))]) == [[0], [1]]
    assert numbers([track_of(0, range(5)), track_of(1, range(3, 9)), track_of(2, range(9, 14))]) == [[0, 2], [1]]


def test_other_clothes_are_another_person_and_what_cannot_be_compared_stays():
    unseen = track_of(2, range(20, 25))
    unseen.looks = []
    assert numbers([track_of(0, range(9), RED), track_of(1, range(10, 19), BLUE), unseen]) == [[0], [1], [2]]
    assert numbers([]) == []


def test_doubtful_findings_join_nobody():
    assert numbers([track_of(0, range(9)), track_of(1, range(10, 19), certainty=0.7)]) == [[0]]


class OneFace:
    """A face wherever the script says, of the full certainty of a detector that has it."""

    def __init__(self, where):
        self.where, self.calls = where, -1

    def detect(self, rgb):
        self.calls += 1
        x = self.where[self.calls]
        return [Detection(Box(x - 20, 40, x + 20, 90), 0.99, POINTS, 0.99)]

    def refine(self, rgb, boxes):
        return [None] * len(boxes)


def test_a_pan_between_samples_breaks_the_track_but_not_the_person():
    """Before, 32 samples of a walk through a hall gave ten people instead of two."""
    where = [60, 64, 150, 146, 50, 54]
    walls = [(60,) * 3, (60,) * 3, (170,) * 3, (170,) * 3, (60,) * 3, (60,) * 3]
    tracker = FaceTracker(OneFace(where), detect_every_s=0.4, max_gap_s=5)
    for index, (x, wall) in enumerate(zip(where, walls)):
        tracker.update(Frame(30 * index, 1.0 * index, picture(RED, wall=wall, at=x)))
    assert len(tracker.tracks()) == 3
    assert numbers(tracker.tracks()) == [[0, 1, 2]]


def test_another_person_at_the_same_place_a_second_later_does_not_continue_the_track():
    tracker = FaceTracker(OneFace([100] * 4), detect_every_s=0.4, max_gap_s=5)
    people_seen = [
        picture(RED),
        picture(RED),
        picture((20, 130, 40), skin=(90, 60, 50)),
        picture((20, 130, 40), (90, 60, 50)),
    ]
    for index, rgb in enumerate(people_seen):
        tracker.update(Frame(30 * index, 1.0 * index, rgb))
    assert sorted(map(len, tracker.tracks())) == [2, 2]
    assert numbers(tracker.tracks()) == [[0], [1]]


def test_what_a_track_remembers_of_looks_is_bounded_and_covers_all_of_it():
    track = Track(0)
    for index in range(1000):
        look = np.full(appearance.LENGTH, index, np.float32)
        track.append(Frame(index, index, BLACK), Detection(BOX, 0.99, POINTS), True, look)
    kept = [look[0] for look in track.looks]
    assert len(kept) <= MOST_LOOKS
    assert kept[0] == 0
    assert kept[-1] > 900
    assert len(set(np.diff(kept))) == 1
