"""People kept apart over time, with few full detections; smoothing that keeps movement and drops jitter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_generation.faces.detector import Box, Detection
from mask_generation.faces.tracker import FaceTracker, Track
from mask_generation.video.types import Frame
from tests.helpers.drawn_videos import OvalDetector, frame

FPS = 25.0
POINTS = np.zeros((5, 2), np.float32)


class Scripted:
    """A detector that knows where each person is at each frame, whatever the picture; jitters, misses, counts calls."""

    def __init__(self, people, jitter=0.0, refinable=True):
        self.people, self.refinable, self.now = people, refinable, 0
        self._noise, self._jitter = np.random.default_rng(0), jitter
        self.detections = 0

    def _faces(self):
        where = [person(self.now) for person in self.people]
        return [
            Detection(Box(*(np.array(box) + self._noise.normal(0, self._jitter, 4))), 0.99, POINTS)
            for box in where
            if box is not None
        ]

    def detect(self, rgb):
        self.detections += 1
        return self._faces()

    def refine(self, rgb, boxes):
        faces = self._faces() if self.refinable else []
        best = [max(faces, key=lambda face: face.box.iou(box), default=None) for box in boxes]
        return [face if face is not None and face.box.iou(box) > 0.3 else None for face, box in zip(best, boxes)]

    def frames(self, count, shade=lambda index: 100):
        for index in range(count):
            self.now = index
            yield Frame(index, index / FPS, np.full((200, 400, 3), shade(index), np.uint8))


def walking(start, step, side=50):
    return lambda index: Box(start + step * index, 60, start + step * index + side, 60 + side)


def track_faces(frames, detector, detect_every_s=0.4, min_detections=1):
    tracker = FaceTracker(detector, detect_every_s)
    for each in frames:
        tracker.update(each)
    return tracker.tracks(min_detections)


def test_one_person_is_one_track_with_a_box_for_each_frame():
    detector = Scripted([walking(20, 2)], jitter=1.0)
    tracks = track_faces(detector.frames(100), detector)
    assert len(tracks) == 1
    assert tracks[0].indices == list(range(100))
    for index, box in zip(tracks[0].indices, tracks[0].boxes):
        assert box.iou(walking(20, 2)(index)) > 0.8


def test_full_detections_are_few_while_refining_works():
    detector = Scripted([walking(20, 2)])
    track_faces(detector.frames(100), detector, detect_every_s=0.4)
    assert detector.detections == 10  # 4 s


def test_detections_come_at_once_where_refining_fails():
    detector = Scripted([walking(20, 2)], refinable=False)
    tracks = track_faces(detector.frames(50), detector)
    assert detector.detections > 12
    assert len(tracks) == 1


def test_people_who_cross_keep_their_numbers():
    people = [walking(20, 3), lambda index: Box(320 - 3 * index, 130, 370 - 3 * index, 180)]  # one behind the other
    detector = Scripted(people)
    tracks = track_faces(detector.frames(100), detector)
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff([box.x0 for box in track.boxes])
        assert (steps > 0).all() or (steps < 0).all()


def test_two_people_side_by_side_are_two_tracks_the_longer_seen_first():
    people = [walking(250, 0), lambda index: walking(30, 0)(index) if index < 40 else None]
    tracks = track_faces((detector := Scripted(people)).frames(80), detector)
    assert [len(track) for track in tracks] == [80, pytest.approx(40, abs=3)]


def test_a_person_gone_for_long_gets_a_new_number_and_a_short_gap_does_not():
    def away(first, last):
        return lambda index: None if first <= index < last else Box(100, 60, 160, 120)

    for first, last, count in ((20, 40, 1), (20, 80, 2)):  # 0.8 s and 2.4 s; a track is kept for 1.5 s
        detector = Scripted([away(first, last)])
        assert len(track_faces(detector.frames(120), detector)) == count


def test_a_cut_starts_new_tracks_at_once():
    detector = Scripted([lambda index: Box(100, 60, 160, 120) if index < 31 else Box(110, 60, 170, 120)])
    tracks = track_faces(detector.frames(60, shade=lambda index: 40 if index < 31 else 190), detector)
    assert sorted(track.indices[0] for track in tracks) == [0, 31]


def test_chance_findings_can_be_left_out():
    detector = Scripted([walking(20, 1), lambda index: Box(300, 100, 340, 140) if index == 0 else None])
    assert len(track_faces(detector.frames(60), detector)) == 2
    detector = Scripted([walking(20, 1), lambda index: Box(300, 100, 340, 140) if index == 0 else None])
    assert len(track_faces(detector.frames(60), detector, min_detections=2)) == 1


def test_frames_without_faces_give_no_tracks():
    detector = Scripted([lambda index: None])
    assert track_faces(detector.frames(30), detector) == []


def test_sampled_frames_far_apart_are_each_detected():
    detector = Scripted([walking(100, 0.5)])
    sparse = (frame for frame in detector.frames(200) if frame.index % 20 == 0)
    tracks = track_faces(sparse, detector)
    assert detector.detections == 10
    assert len(tracks) == 1


def test_drawn_faces_larger_ones_first():
    tracker = FaceTracker(OvalDetector())
    faces = tracker.update(Frame(0, 0.0, frame(2)))
    assert len(faces) == 2
    assert faces[0].box.area >= faces[1].box.area
    assert {face.track for face in faces} == {0, 1}


def track_of(boxes, step_s=1 / FPS):
    track = Track(0)
    for index, box in enumerate(boxes):
        track.append(Frame(index, index * step_s, np.zeros((1, 1, 3), np.uint8)), Detection(box, 1.0, POINTS), True)
    return track


def test_smoothing_lowers_jitter_and_keeps_a_steady_movement():
    rng = np.random.default_rng(0)
    steady = [Box(2 * i, 10, 2 * i + 50, 60) for i in range(60)]
    jittery = track_of([Box(*(np.array(box) + rng.normal(0, 2, 4))) for box in steady])
    truth = np.array(steady)
    before = np.abs(np.array(jittery.boxes) - truth).mean()
    after = np.abs(np.array(jittery.smoothed()) - truth)[5:-5].mean()
    assert after < 0.5 * before
    np.testing.assert_allclose(np.array(track_of(steady).smoothed())[12:-12], truth[12:-12], atol=0.01)


def test_no_smoothing_and_one_box_change_nothing():
    box = Box(1, 2, 3, 4)
    assert track_of([box]).smoothed() == [box]
    assert track_of([box, box.shifted(9, 9)]).smoothed(sigma_s=0) == [box, box.shifted(9, 9)]


@given(st.integers(-5, 40))
def test_boxes_between_sightings_are_interpolated_and_nowhere_else(index):
    track = Track(0)
    for seen in (0, 10, 30):
        box = Box(seen, 0, seen + 10.0, 10)
        track.append(Frame(seen, seen / FPS, np.zeros((1, 1, 3), np.uint8)), Detection(box, 1.0, POINTS), True)
    found = track.box_at(index)
    if not 0 <= index <= 30:
        assert found is None
        return
    assert found.x0 == pytest.approx(index)
    in_long_gap = 10 < index < 30
    assert (track.box_at(index, max_gap=10) is None) == in_long_gap
