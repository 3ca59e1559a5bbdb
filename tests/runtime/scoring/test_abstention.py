"""When a video gets no answer: the measures of a face, the thresholds, the validated domain."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from runtime.scoring import abstention
from runtime.scoring.abstention import Thresholds, reason_to_abstain

GOOD = {"face_px": 100.0, "sharpness": 80.0, "brightness": 120.0}


def abstain(domain=None, with_face=8, frames=8, count=8, **changes):
    return reason_to_abstain([{**GOOD, **changes}] * count, with_face, frames, Thresholds(), domain or {})


def test_good_faces_are_judged():
    assert abstain() is None
    assert abstain({"face_px": (50, 200), "brightness": (60, 200)}) is None


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"with_face": 2}, "a face in only 2 of the frames"),
        ({"with_face": 6, "frames": 32}, "a face in 6 of 32 frames looked at (19 %); at least 20 % are needed"),
        ({"face_px": 20.0}, "faces too small: 20 px (median), 32 are needed"),
        ({"sharpness": 0.5}, "faces too blurred: sharpness 0.5"),
        ({"domain": {"face_px": (200, 400)}}, "outside what the model was validated on: face_px 100"),
        ({"domain": {"brightness": (0, 60)}}, "brightness 120 (median), validated 0 to 60"),
    ],
)
def test_reasons(changes, reason):
    assert reason in abstain(**changes)


def test_half_of_the_faces_outside_the_domain_is_still_an_answer():
    faces = [GOOD] * 5 + [{**GOOD, "face_px": 900.0}] * 5
    assert reason_to_abstain(faces, 10, 10, Thresholds(), {"face_px": (50, 200)}) is None
    assert reason_to_abstain(faces[4:], 6, 10, Thresholds(), {"face_px": (50, 200)})


def test_sharpness_falls_with_blur_and_with_enlargement():
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    blurred = cv2.GaussianBlur(crop, (0, 0), 3)
    small = cv2.resize(cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA), (64, 64))
    values = [abstention.sharpness(picture) for picture in (crop, small, blurred, np.zeros_like(crop))]
    assert values[0] > 10 * values[1]
    assert values[0] > 100 * values[2]
    assert values[3] == 0
    assert abstention.brightness(np.full((8, 8, 3), 77, np.uint8)) == 77


def test_the_domain_of_validation_faces_holds_them_and_comes_back():
    rng = np.random.default_rng(0)
    faces = {"face_px": rng.uniform(80, 160, 500), "sharpness": rng.uniform(20, 60, 500)}
    faces["brightness"] = rng.uniform(90, 140, 500)
    domain = abstention.domain_of({abstention.DOMAIN_KEY: abstention.fit_domain(faces)})
    for measure, (low, high) in domain.items():
        inside = (faces[measure] >= low) & (faces[measure] <= high)
        assert inside.all()
    assert domain["face_px"][0] == pytest.approx(40, abs=2)
    assert domain["face_px"][1] == pytest.approx(320, abs=10)


@pytest.mark.parametrize("stored", [{"face_px": [2, 1]}, {"face_px": [1]}, {"face_px": "ab"}, {"face_px": [None, 1]}])
def test_a_damaged_domain_is_refused(stored):
    with pytest.raises(ValueError, match="domain of face_px is damaged"):
        abstention.domain_of({abstention.DOMAIN_KEY: stored})


@pytest.mark.parametrize("bad", [{"min_frames": 0}, {"min_face_px": -1}, {"max_outside": 0}])
def test_bad_thresholds_fail_at_once(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Thresholds(**bad)
