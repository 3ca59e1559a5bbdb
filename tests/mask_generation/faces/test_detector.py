"""Boxes, square crops, and MTCNN on a photograph: at a working size, small in a large picture, and refined."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_generation.faces.detector import Box, CropGeometry, MtcnnDetector, crop_geometry

numbers = st.floats(-500, 500)
sizes = st.floats(1, 400)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), numbers, numbers, sizes, sizes)


@pytest.fixture(scope="module")
def photograph():
    """(512, 512, 3) uint8: an astronaut's portrait, public domain, as scikit-image ships it."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector()


@given(boxes, boxes)
def test_iou_is_symmetric_and_a_share(first, second):
    assert first.iou(second) == pytest.approx(second.iou(first))
    assert 0 <= first.iou(second) <= 1 + 1e-9
    assert first.iou(first) == pytest.approx(1)


def test_iou_of_known_boxes():
    box = Box(0, 0, 10, 10)
    assert box.iou(Box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert box.iou(Box(10, 0, 20, 10)) == 0
    assert Box(3, 3, 3, 3).iou(Box(3, 3, 3, 3)) == 0


@given(boxes, st.floats(1, 3))
def test_the_square_is_centred_on_the_box_and_holds_it(box, margin):
    square = crop_geometry(box, margin)
    assert square.side == max(round(max(box.width, box.height) * margin), 1)
    x, y = box.centre
    assert abs(square.x0 + square.side / 2 - x) <= 1
    assert abs(square.y0 + square.side / 2 - y) <= 1


def numbered(height, width):
    return (np.arange(height * width) % 251).astype(np.uint8).reshape(height, width)


@given(st.integers(-15, 35), st.integers(-15, 25), st.integers(1, 40))
def test_a_crop_and_its_paste_are_inverse_inside_the_frame(x0, y0, side):
    frame = numbered(30, 40)
    square = CropGeometry(x0, y0, side)
    inside = np.zeros(frame.shape, bool)
    inside[max(y0, 0) : max(y0 + side, 0), max(x0, 0) : max(x0 + side, 0)] = True
    if not inside.any():
        with pytest.raises(ValueError, match="outside a frame of 40x30"):
            square.crop(frame, side)
        return
    crop = square.crop(frame, side)
    assert crop.shape == (side, side)
    pasted = square.paste(crop, np.zeros_like(frame))
    np.testing.assert_array_equal(pasted, np.where(inside, frame, 0))


def test_beyond_the_edge_pictures_repeat_it_and_masks_are_empty():
    frame = np.full((20, 20), 200, np.uint8)
    square = CropGeometry(-10, -10, 20)
    assert (square.crop(frame, 20) == 200).all()
    filled = square.crop(frame, 20, fill=0)
    assert (filled[:10] == 0).all()
    assert (filled[10:, 10:] == 200).all()


@pytest.mark.parametrize("size", [8, 16, 48])
def test_crops_keep_type_and_channels_at_every_size(size):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    crop = crop_geometry(Box(10, 5, 30, 29), 1.0).crop(rgb, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    mask = CropGeometry(10, 5, 24).crop(rgb[..., 0].astype(np.float32) / 255, size, fill=0)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1


def test_original_and_fake_are_cut_alike():
    frame = numbered(60, 80)
    square = crop_geometry(Box(20, 10, 50, 45))
    moved = np.roll(frame, (-4, -7), (0, 1))  # the fake shows a part of the picture that begins at column 7, row 4
    np.testing.assert_array_equal(square.crop(frame, 32), square.shifted(-7, -4).crop(moved, 32))


def test_a_face_is_found_where_it_is(detector, photograph):
    found = detector.detect(photograph)
    assert len(found) == 1
    assert found[0].score > 0.99
    assert found[0].box.iou(Box(180, 68, 266, 186)) > 0.6
    left_eye, right_eye, nose, mouth_left, mouth_right = found[0].landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert mouth_left[0] < mouth_right[0]


def test_a_face_is_certain_from_all_sides_and_a_plain_wall_is_not(detector, photograph):
    """What decides whether a track is a face: the last network's word on boxes moved, scaled, mirrored and blurred."""
    found = detector.detect(photograph)[0]
    assert found.certainty > 0.98
    shuttle = Box(300, 60, 390, 170)
    assert detector._certainties(photograph, [shuttle, found.box])[0] < 0.5
    assert detector._certainties(photograph, [shuttle, found.box])[1] == pytest.approx(found.certainty)


def test_a_small_face_in_1080p_is_found_at_the_second_try(photograph):
    detector = MtcnnDetector(working_size=320, retry_size=1280)
    frame = np.full((1080, 1920, 3), 120, np.uint8)
    frame[600:800, 1500:1700] = cv2.resize(photograph, (200, 200), interpolation=cv2.INTER_AREA)
    assert MtcnnDetector(working_size=320, retry_size=None).detect(frame) == []
    found = detector.detect(frame)
    assert len(found) == 1
    assert found[0].box.iou(Box(1500 + 70, 600 + 27, 1500 + 104, 600 + 73)) > 0.5


def test_a_dark_face_is_brightened_and_found(detector, photograph):
    dark = (photograph * 0.12).astype(np.uint8)
    assert dark.mean() < 20
    found = detector.detect(dark)
    assert found
    assert found[0].box.iou(detector.detect(photograph)[0].box) > 0.7


@pytest.mark.parametrize("shape", [(8, 8), (1, 300), (23, 23), (30, 40), (400, 24)])
def test_pictures_without_faces_of_any_shape_give_none(detector, shape):
    assert detector.detect(np.full((*shape, 3), 127, np.uint8)) == []


def test_refining_a_shifted_box_comes_back_to_the_face(detector, photograph):
    truth = detector.detect(photograph)[0].box
    shift = 0.12 * truth.width
    found = detector.refine(photograph, [truth.shifted(shift, -shift), Box(10, 300, 90, 380)])
    assert found[0].box.iou(truth) > 0.75
    assert found[1] is None
    assert detector.refine(photograph, []) == []


def test_boxes_end_at_the_edge_of_the_frame(detector, photograph):
    cut = np.ascontiguousarray(photograph[95:, 190:])  # through forehead and cheek
    for face in [*detector.detect(cut), *detector.refine(cut, [Box(-5, -10, 75, 90)])]:
        if face is not None:
            assert 0 <= face.box.x0 < face.box.x1 <= cut.shape[1]
            assert 0 <= face.box.y0 < face.box.y1 <= cut.shape[0]
