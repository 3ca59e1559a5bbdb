"""Regions of a face, steadiness in time, and a manipulation type that is named only where the regions are clear."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.scoring.manipulation_type import REGIONS, attribute, measure, region_map, stability
from tests.helpers.drawn_videos import box_points

SIDE = 128
POINTS = box_points((20, 14, 108, 114))


def paint(*regions, points=POINTS):
    """A mask that marks the named regions."""
    found = region_map(points, SIDE)
    return np.isin(found, [REGIONS.index(name) for name in regions]).astype(np.float32)


def frames(mask, count=10):
    return [measure(mask, POINTS) for _ in range(count)]


def test_regions_lie_where_the_points_say():
    regions = region_map(POINTS, SIDE)

    def name(point):
        return REGIONS[regions[round(point[1]), round(point[0])]]

    left, right, nose, mouth_left, mouth_right = POINTS
    assert [name(left), name(right), name((mouth_left + mouth_right) / 2)] == ["eyes", "eyes", "mouth"]
    assert name(nose) == "nose"
    assert name(((left + right) / 2) - (0, 25)) == "forehead"
    assert name((2, 2)) == "background"
    assert name((POINTS[0][0] + 2, POINTS[2][1] + 6)) == "cheeks"
    assert set(np.unique(regions)) == set(range(len(REGIONS)))


@pytest.mark.parametrize("degrees", [-60, 30, 180])
def test_regions_turn_with_the_face(degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (POINTS - SIDE / 2) @ turn.T + SIDE / 2
    regions = region_map(turned, SIDE)
    for point, expected in ((turned[0], "eyes"), (turned[2], "nose"), (turned[3:].mean(axis=0), "mouth")):
        assert REGIONS[regions[round(point[1]), round(point[0])]] == expected


def test_points_that_are_no_face_give_background():
    assert not (region_map(np.zeros((5, 2)), SIDE) != REGIONS.index("background")).any()


@pytest.mark.parametrize(
    "regions, kind",
    [
        (REGIONS[:5], "whole face swapped"),
        (("mouth",), "mouth re-rendered"),
        (("mouth", "eyes", "nose"), "expression driven"),
        (("forehead",), "unknown"),
        (("background",), "unknown"),
    ],
)
def test_manipulation_types(regions, kind):
    found = attribute([frames(paint(*regions))], True)
    assert found.family == kind
    assert (found.confidence == "none") == (kind == "unknown")
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.evidence
    for name in regions:
        assert found.coverage[name] > 0.6


def test_confidence_is_never_more_than_number_and_steadiness_of_frames_allow():
    mouth, elsewhere = paint("mouth"), np.roll(paint("mouth"), -20, axis=1)
    steady = attribute([frames(mouth)], True)
    assert (steady.confidence, steady.stability) == ("moderate", 1.0)
    assert attribute([frames(mouth, 4)], True).confidence == "weak"
    few = attribute([frames(mouth, 2)], True)
    assert (few.family, few.confidence) == ("unknown", "none")
    flickering = [measure(mask, POINTS) for _ in range(8) for mask in (mouth, elsewhere * 0 + np.rot90(mouth))]
    unsteady = attribute([flickering], True)
    assert unsteady.stability < 0.5
    assert unsteady.confidence in ("none", "weak")
    real = attribute([frames(mouth)], False)
    assert (real.family, real.confidence) == ("unknown", "none")


def test_nothing_marked():
    found = attribute([frames(np.zeros((SIDE, SIDE), np.float32))], True)
    assert (found.shares, found.stability, found.family, found.frames) == ({}, None, "unknown", 0)


def test_stability_compares_within_a_face_only():
    left, right = frames(paint("mouth"), 3), frames(paint("forehead"), 3)
    assert stability([left, right]) == 1.0
    assert stability([left[:1], right[:1]]) is None
