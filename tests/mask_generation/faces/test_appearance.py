"""Colours of a person: the same in other places and before other walls, different in other clothes."""

from __future__ import annotations

import numpy as np

from mask_generation.faces import appearance
from mask_generation.faces.detector import Box

BOX = Box(80, 40, 120, 90)


def person(shirt, wall=(120, 120, 120), right=0):
    rgb = np.full((160, 300, 3), wall, np.uint8)
    rgb[95:, 60 + right : 140 + right] = shirt
    rgb[30:95, 75 + right : 125 + right] = (190, 150, 120)
    return rgb


def test_a_person_looks_the_same_elsewhere_and_another_does_not():
    red = appearance.colours(person((200, 60, 50)), BOX)
    moved = appearance.colours(person((200, 60, 50), right=70), BOX.shifted(70, 0))
    walls = appearance.colours(person((200, 60, 50), wall=(30, 60, 30)), BOX)
    blue = appearance.colours(person((50, 60, 200)), BOX)
    apart = appearance.distance(red, np.stack([red, moved, walls, blue]))
    assert apart[:2].max() < 0.05
    assert apart[2] < 0.43 < apart[3] <= 1


def test_distances_of_many_are_a_table():
    rng = np.random.default_rng(0)
    shares = rng.random((5, appearance.LENGTH))
    looks = np.sqrt(shares / shares.sum(axis=1, keepdims=True))
    table = appearance.distance(looks, looks)
    assert table.shape == (5, 5)
    np.testing.assert_allclose(table, table.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(table), 0, atol=1e-6)


def test_a_box_beside_the_picture_has_no_colours():
    assert appearance.colours(person((0, 0, 0)), Box(900, 900, 950, 950)) is None
