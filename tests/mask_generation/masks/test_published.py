"""The recipes' common interface, and what each one marks on pictures whose difference is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.masks.base import clip_box, large_components
from mask_generation.masks.published import ssim_map
from mask_generation.masks.registry import RECIPES, get_recipe
from tests.helpers import drawn_faces

PAIR_RECIPES = tuple(name for name in RECIPES if name != "official")
BOX = (30, 20, 90, 96)


@pytest.fixture(scope="module")
def face():
    return drawn_faces.picture(140, 120)


def changed(face, level, place=np.s_[40:70, 45:75]):
    fake = face.astype(int)
    fake[place] += level
    return np.clip(fake, 0, 255).astype(np.uint8)


def ask(name, original, fake, box=BOX):
    official = None if name != "official" else np.zeros(original.shape, np.uint8)
    return get_recipe(name).explain(original, fake, box, official)


@pytest.mark.parametrize("name", RECIPES)
def test_a_mask_has_the_frames_size_is_soft_and_repeatable(face, name):
    fake = changed(face, 60)
    given_mask = np.zeros(face.shape, np.uint8)
    given_mask[40:70, 45:75] = 255
    mask = get_recipe(name)(face, fake, BOX, given_mask)
    assert mask.shape == face.shape[:2]
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask.max() > 0.5
    np.testing.assert_array_equal(mask, get_recipe(name)(face, fake, BOX, given_mask))


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_picture_twice_has_an_empty_mask(face, name):
    result = ask(name, face, face)
    assert not result.mask.any()
    assert result.area == 0


@pytest.mark.parametrize("name", PAIR_RECIPES)
def test_inputs_are_left_alone(face, name):
    original, fake = face.copy(), changed(face, 60)
    before = fake.copy()
    ask(name, original, fake)
    np.testing.assert_array_equal(original, face)
    np.testing.assert_array_equal(fake, before)


@pytest.mark.parametrize("name", RECIPES)
def test_unfit_frames_are_refused_with_what_is_wrong(face, name):
    recipe = get_recipe(name)
    with pytest.raises(ValueError, match="frames differ in size"):
        recipe(face, face[:-2], BOX)
    with pytest.raises(ValueError, match="float32"):
        recipe(face.astype(np.float32), face, BOX)
    with pytest.raises(ValueError, match="uint8 RGB"):
        recipe(face, face[..., 0], BOX)


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 40),
        (40, 40, 20, 60),
        (500, 500, 600, 600),
        (-90, -90, -1, -1),
        (math.nan, 0, 10, 10),
        (0, 0, math.inf, 10),
    ],
)
def test_boxes_without_area_in_the_frame_are_refused(face, box):
    with pytest.raises(ValueError, match="no area inside"):
        get_recipe("adaptive")(face, face, box)


def test_unknown_recipes_are_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no mask recipe 'best': there are adaptive, article, official, ssim, threshold"
    ):
        get_recipe("best")


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    corner=st.tuples(st.integers(-20, 40), st.integers(-20, 40)),
    size=st.tuples(st.integers(6, 60), st.integers(6, 60)),
    seed=st.integers(0, 1000),
)
def test_any_frames_and_any_box_that_meet_give_a_sound_mask(name, shape, corner, size, seed):
    rng = np.random.default_rng(seed)
    original, fake = (rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    box = (*corner, corner[0] + size[0], corner[1] + size[1])
    x0, y0, x1, y1 = clip_box(box, shape)
    if x1 <= x0 or y1 <= y0:
        with pytest.raises(ValueError, match="no area"):
            ask(name, original, fake, box)
        return
    result = ask(name, original, fake, box)
    assert result.mask.shape == shape
    assert np.isfinite(result.mask).all()
    assert 0 <= result.area <= 1
    assert result.area == pytest.approx(float(result.binary[y0:y1, x0:x1].mean()))


def test_article_takes_colour_distance_of_blurred_frames_and_large_components(face):
    grey = np.full((80, 80, 3), 100, np.uint8)
    fake = grey.copy()
    fake[20:40, 20:40, 0] += 60  # distance 60, as Euclid counts three channels
    fake[60:65, 60:65] += 90  # 25 pixels: under 100
    mask = get_recipe("article")(grey, fake, (0, 0, 80, 80)) > 0
    assert mask[22:38, 22:38].all()
    assert not mask[50:].any()
    faint = grey.copy()
    faint[20:40, 20:40] += 17  # distance 29.4
    assert not get_recipe("article")(grey, faint, (0, 0, 80, 80)).any()


def test_threshold_marks_grey_differences_above_a_tenth():
    grey = np.full((20, 20, 3), 100, np.uint8)
    fake = grey.copy()
    fake[:, :5] += 25  # 25 / 255 < 0.1
    fake[:, 5:10] += 26
    mask = get_recipe("threshold")(grey, fake, (0, 0, 20, 20))
    np.testing.assert_array_equal(np.flatnonzero(mask[0]), np.arange(5, 10))


def test_ssim_is_what_it_was_before_scikit_image_did_it():
    """Numbers of 0.9, which did it with box filters; the first two rows of windows hold equal pixels."""
    rng = np.random.default_rng(5)
    first = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    second = np.clip(first.astype(int) + rng.integers(-40, 41, first.shape), 0, 255).astype(np.uint8)
    second[:6] = first[:6]
    first[12:18, 4:12] = second[12:18, 4:12] = 200
    before = [
        *(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.97730095786, 0.977312027863, 0.98676325755, 0.965987249335),
        *(0.972296580433, 0.966787094995, 0.968732147641, 0.971221317894, 0.980557270591, 0.968251812783),
        *(0.968992463242, 0.977860135547, 0.96266919629, 0.953765868281, 0.932984415357, 0.968597053513),
        *(0.961663692736, 0.961893350703, 0.969411874275, 0.954157243225, 0.97391521152, 0.959417132226),
        *(0.970041695243, 0.952550211493, 0.962234905942, 0.944045836133, 0.948295337721, 0.973991338672),
        *(0.957567010785, 0.960990533017, 0.954030881206, 0.92836909077, 0.951310740485, 0.955629475839),
        *(0.945795702181, 0.964195193397),
    ]
    found = ssim_map(first, second)
    np.testing.assert_allclose(found[::6, ::6].ravel(), before, rtol=0, atol=1e-11)
    assert found.mean() == pytest.approx(0.9660039126814206, abs=1e-12)


def test_ssim_is_soft_and_counts_from_20_of_255(face):
    result = ask("ssim", face, changed(face, 60))
    assert result.binary_at == pytest.approx(20 / 255)
    assert len(np.unique(result.mask)) > 100
    np.testing.assert_array_equal(result.binary, result.mask > np.float32(20 / 255))


def test_a_recipe_says_itself_whether_it_uses_the_mask_video():
    assert [name for name in RECIPES if get_recipe(name).uses_official] == ["official"]


def test_official_takes_the_mask_videos_frame_and_nothing_else(face):
    given_mask = np.zeros(face.shape[:2], np.uint8)
    given_mask[10:20, 10:20], given_mask[30:40, 30:40] = 15, 16
    mask = get_recipe("official")(face, 255 - face, BOX, given_mask)
    assert set(zip(*np.nonzero(mask))) == {(y, x) for y in range(30, 40) for x in range(30, 40)}
    coloured = np.repeat(given_mask[..., None], 3, axis=2)
    coloured[..., :2] = 0  # FaceSwap's masks are coloured
    np.testing.assert_array_equal(get_recipe("official")(face, face, BOX, coloured), mask)


def test_official_without_its_mask_is_refused(face):
    with pytest.raises(ValueError, match="needs the frame of the mask video"):
        get_recipe("official")(face, face, BOX)
    with pytest.raises(ValueError, match="mask frame is"):
        get_recipe("official")(face, face, BOX, np.zeros((5, 5), np.uint8))


def test_area_is_the_faked_share_of_the_box_inside_the_frame():
    grey = np.full((60, 60, 3), 100, np.uint8)
    fake = grey.copy()
    fake[:30, :30] += 100
    result = get_recipe("threshold").explain(grey, fake, (-20, 0, 30, 60))
    assert result.area == pytest.approx(0.5)


@pytest.mark.parametrize("name", [n for n in PAIR_RECIPES if n != "adaptive"])
def test_recipes_without_memory_go_frame_by_frame(face, name):
    sequence, fake = get_recipe(name).sequence(), changed(face, 60)
    sequence.push(face, face, BOX, 0.0)
    np.testing.assert_array_equal(sequence.push(face, fake, BOX, 0.04).mask, ask(name, face, fake).mask)


@given(
    st.tuples(st.floats(-50, 150), st.floats(-50, 150), st.floats(1, 120), st.floats(1, 120)),
    st.floats(1, 3),
)
def test_a_clipped_box_stays_inside_and_grows_with_the_scale(box, scale):
    x, y, w, h = box
    plain = clip_box((x, y, x + w, y + h), (100, 120))
    grown = clip_box((x, y, x + w, y + h), (100, 120), scale)
    for x0, y0, x1, y1 in (plain, grown):
        assert x0 >= 0
        assert x1 <= 120
        assert y0 >= 0
        assert y1 <= 100
    assert grown[0] <= plain[0]
    assert grown[3] >= plain[3]


def test_small_components_go_and_corners_connect():
    binary = np.zeros((20, 20), bool)
    binary[2:5, 2:5] = True
    binary[5, 5] = True  # touches the square at a corner
    binary[10, 10] = True
    kept = large_components(binary, 10)
    assert kept.sum() == 10
    assert kept[5, 5]
    assert not kept[10, 10]
    assert not large_components(np.zeros((4, 4), bool), 1).any()
