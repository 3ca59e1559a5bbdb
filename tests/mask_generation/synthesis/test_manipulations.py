"""Manipulations: exact masks, untouched pixels equal to the bit, the same seed the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.synthesis import jitter, manipulations, regions
from tests.helpers import drawn_faces

SIZE = 128
KINDS = ("self_blend", "swap", "swap, Poisson", "mouth", "mouth of another frame", "expression")


def face(seed=0, size=SIZE):
    return drawn_faces.picture(size, size, seed), drawn_faces.landmarks(size, size)


def make(kind, seed, difficulty, rgb=None, points=None):
    if rgb is None:
        rgb, points = face()
    other, other_points = face(5, 150)
    rng = np.random.default_rng(seed)
    if kind == "self_blend":
        return manipulations.self_blend(rgb, points, rng, difficulty)
    if kind.startswith("swap"):
        chance = float(kind != "swap")
        return manipulations.face_swap(rgb, points, other, other_points, rng, difficulty, poisson_chance=chance)
    if kind == "mouth":
        return manipulations.mouth_rerender(rgb, points, rng, difficulty)
    if kind.startswith("mouth"):
        return manipulations.mouth_rerender(rgb, points, rng, difficulty, other, other_points)
    return manipulations.expression_warp(rgb, points, rng, difficulty)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), difficulty=st.sampled_from([0.0, 0.5, 1.0]))
def test_where_the_mask_is_zero_the_pictures_are_equal_to_the_bit(kind, seed, difficulty):
    made = make(kind, seed, difficulty)
    assert made.real.dtype == made.fake.dtype == np.uint8
    assert made.real.shape == made.fake.shape == (SIZE, SIZE, 3)
    assert made.mask.dtype == np.float32
    assert made.mask.shape == (SIZE, SIZE)
    assert 0 <= made.mask.min() <= made.mask.max() <= 1
    outside = made.mask == 0
    np.testing.assert_array_equal(made.real[outside], made.fake[outside])
    assert 0.001 < (made.mask >= 0.5).mean() < 0.7  # something, and not everything


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_really_changes_where_the_mask_says(kind):
    changes = []
    for seed in range(6):
        made = make(kind, seed, 0.0)
        changes.append(np.abs(made.real.astype(int) - made.fake)[made.mask >= 0.5].mean())
    assert np.mean(changes) > 2
    assert min(changes) > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_pair_and_another_seed_another(kind):
    first, again, other = (make(kind, seed, 1.0) for seed in (3, 3, 4))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_left_alone(kind):
    rgb, points = face()
    make(kind, 1, 1.0, rgb, points)
    np.testing.assert_array_equal(rgb, face()[0])
    np.testing.assert_array_equal(points, face()[1])


def test_the_mask_lies_on_the_face_and_the_mouths_on_the_mouth():
    points = face()[1]
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    for kind, middle, reach in (("expression", points.mean(0), 0.2), ("mouth", points[3:].mean(0), 0.3)):
        for seed in range(5):
            mask = make(kind, seed, 1.0).mask
            centre = np.array([(xs * mask).sum(), (ys * mask).sum()]) / mask.sum()
            unit = np.linalg.norm(points[1] - points[0])
            assert np.linalg.norm(centre - middle) < (reach + 0.35) * unit


def test_a_swap_carries_the_other_face():
    rgb, points = face()
    red = np.clip(face(5, 150)[0].astype(int) + np.array([60, -40, -40]), 0, 255).astype(np.uint8)
    rng = np.random.default_rng(0)
    made = manipulations.face_swap(rgb, points, red, face(5, 150)[1], rng, 0.0, poisson_chance=0.0)
    inside = made.mask > 0.9
    before, after = made.real[inside].astype(float).mean(0), made.fake[inside].astype(float).mean(0)
    assert after[0] - after[1] > before[0] - before[1]


def test_poisson_keeps_its_border_and_refuses_what_has_none():
    rgb, _ = face()
    inside = np.zeros((SIZE, SIZE), bool)
    inside[40:90, 40:90] = True
    result, changed = manipulations.poisson(rgb, 255 - rgb, inside)
    assert changed[:2].sum() == 0
    np.testing.assert_array_equal(result[~changed], rgb[~changed])
    tiny = np.zeros((SIZE, SIZE), bool)
    tiny[40:44, 40:44] = True
    assert manipulations.poisson(rgb, 255 - rgb, tiny) is None


@pytest.mark.parametrize("shape", [(4, 2), (5, 3), (188, 2), (5,)])
def test_wrong_landmarks_are_refused(shape):
    with pytest.raises(ValueError, match="landmarks are"):
        manipulations.as_landmarks(np.ones(shape))


def test_the_template_goes_through_the_five_points():
    points = drawn_faces.landmarks(200, 200) + np.random.default_rng(0).normal(0, 1, (5, 2))
    placed = regions.place(points)
    assert placed.shape == (189, 2)
    unit = np.linalg.norm(points[1] - points[0])
    for five, groups in ((points[0], [0]), (points[1], [1]), (points[3], [87]), (points[4], [93])):
        assert np.linalg.norm(placed[groups].mean(0) - five) < 0.12 * unit


@given(st.floats(-180, 180), st.floats(0.2, 5), st.floats(-500, 500), st.floats(-500, 500))
def test_a_similarity_is_found_again(angle, scale, dx, dy):
    turn = np.radians(angle)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = regions.FIVE @ matrix.T + (dx, dy)
    found = regions.fit_similarity(regions.FIVE, moved)
    np.testing.assert_allclose(found[:, :2], matrix, atol=1e-3)
    np.testing.assert_allclose(found[:, 2], (dx, dy), atol=1e-2)


def test_points_in_one_place_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        regions.fit_similarity(np.ones((5, 2)), regions.FIVE)
    with pytest.raises(ValueError, match="five finite points"):
        regions.place(np.full((5, 2), np.nan))


def test_a_profile_does_not_flatten_the_face():
    points = drawn_faces.landmarks(200, 200)
    points[:, 0] = 100 + 0.05 * (points[:, 0] - 100)  # nearly on a line
    placed = regions.place(points)
    width, height = np.ptp(placed, axis=0)
    assert width > 0.2 * height


@pytest.mark.parametrize("region", regions.REGIONS)
def test_every_region_is_a_convex_outline_about_its_landmarks(region):
    placed = regions.place(drawn_faces.landmarks(200, 200))
    outline = regions.region_polygon(placed, region)
    assert cv2.isContourConvex(outline.reshape(-1, 1, 2).astype(np.float32))
    mask = regions.fill(outline, (200, 200))
    assert mask.max() == 1
    assert cv2.contourArea(outline) == pytest.approx(float(mask.sum()), rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(regions.REGIONS)), st.integers(0, 10**6), st.booleans())
def test_region_masks_are_soft_bounded_and_end_sharply_at_zero(region, seed, soft):
    points = regions.place(drawn_faces.landmarks(120, 120))
    mask = regions.region_mask((120, 120), points, region, np.random.default_rng(seed), soft)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert not ((mask > 0) & (mask < 1 / 255)).any()
    assert mask.max() > 0.3


def test_easy_regions_are_large():
    rng = np.random.default_rng(0)
    assert {regions.draw_region(rng, 0.0) for _ in range(60)} == set(regions.LARGE_REGIONS)
    assert {regions.draw_region(rng, 1.0) for _ in range(300)} == set(regions.CHANCES)
    assert sum(regions.CHANCES.values()) == pytest.approx(1)


def test_no_displacement_moves_nothing_and_a_shift_moves_the_picture():
    rgb = face()[0].astype(np.float32)
    field = np.zeros((SIZE, SIZE, 2), np.float32)
    np.testing.assert_allclose(manipulations.warp(rgb, field), rgb, atol=1e-3)
    field[..., 0] = 3
    np.testing.assert_allclose(manipulations.warp(rgb, field)[:, 20:-20], np.roll(rgb, 3, 1)[:, 20:-20], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1))
def test_a_change_of_colour_always_changes(seed, strength):
    rgb = face(0, 48)[0].astype(np.float32)
    changed = jitter.colour(rgb, np.random.default_rng(seed), strength)
    assert changed.shape == rgb.shape
    assert np.isfinite(changed).all()
    assert np.abs(changed - rgb).max() > 0.01


@pytest.mark.parametrize("seed", range(8))
def test_softening_loses_detail_and_sharpening_gains_it(seed):
    rgb = face()[0].astype(np.float32)

    def detail(picture):
        return np.abs(np.diff(picture, axis=1)).mean()

    rng = np.random.default_rng(seed)
    assert detail(jitter.soften(rgb, rng, 31.0)) < detail(rgb)
    assert detail(jitter.sharpen(rgb, rng, 31.0)) > detail(rgb)


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_new_part_is_no_sharper_than_its_share_of_the_old(share):
    rng = np.random.default_rng(4)
    base = cv2.GaussianBlur(rng.normal(128, 40, (120, 120, 3)).astype(np.float32), (0, 0), 1.0)
    sharp = rng.normal(128, 40, (120, 120, 3)).astype(np.float32)
    alpha = np.zeros((120, 120), np.float32)
    alpha[30:90, 30:90] = 1

    def grain(picture):
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return (luma - cv2.GaussianBlur(luma, (0, 0), 1.5))[30:90, 30:90].std()

    found = jitter.no_sharper(sharp, base, alpha, 50.0, share)
    assert grain(sharp) > 2 * grain(base)
    assert share * grain(base) * 0.8 < grain(found) <= share * grain(base)
    soft = cv2.GaussianBlur(base, (0, 0), 2.0)
    np.testing.assert_array_equal(jitter.no_sharper(soft, base, alpha, 50.0, share), soft)  # soft enough: as it is
    np.testing.assert_array_equal(jitter.no_sharper(sharp, base, 0 * alpha, 50.0, share), sharp)


def test_matched_colours_have_the_targets_mean_and_spread():
    rng = np.random.default_rng(0)
    source, target = rng.normal(100, 10, (30, 30, 3)), rng.normal(140, 14, (30, 30, 3))
    weight = np.ones((30, 30))
    matched = jitter.match_colour(source, target, weight, 1.0)
    np.testing.assert_allclose(matched.mean((0, 1)), target.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std((0, 1)), target.std((0, 1)), atol=0.5)
    np.testing.assert_allclose(jitter.match_colour(source, target, weight, 0.0), source, atol=1e-3)


def test_to_uint8_rounds_and_cuts():
    np.testing.assert_array_equal(jitter.to_uint8(np.array([-5.0, 0.4, 0.6, 254.6, 300.0])), [0, 0, 1, 255, 255])


def test_grain_has_the_strength_asked_for():
    flat = np.full((80, 80, 3), 128, np.float32)
    levels = [np.std(jitter.grain(flat, np.random.default_rng(seed), 5.0) - flat) for seed in range(6)]
    assert 2 < min(levels) <= max(levels) < 8


def test_a_reshaped_face_takes_its_landmarks_along():
    points = np.array([[44, 60], [84, 60], [64, 78], [52, 96], [78, 96]], np.float32)
    for seed in range(10):
        rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
        cv2.circle(rgb, (64, 78), 4, (255, 255, 255), -1)
        bent, moved = jitter.reshape(rgb, points, np.random.default_rng(seed))
        y, x = np.nonzero(bent[..., 0] > 128)
        assert np.hypot(x.mean() - moved[2, 0], y.mean() - moved[2, 1]) < 1.5
        assert 0 < np.abs(moved - points).max() < 0.4 * 40  # of the distance of the eyes


def test_other_light_has_no_edges_and_keeps_the_range():
    for seed in range(20):
        lit = jitter.relight(np.full((SIZE, SIZE, 3), 120, np.float32), np.random.default_rng(seed))
        assert lit.min() > 0
        assert max(np.abs(np.diff(np.log(lit), axis=axis)).max() for axis in (0, 1)) < 0.12
        assert 120 * np.exp(-3) < lit.mean() < 120 * np.exp(1)
