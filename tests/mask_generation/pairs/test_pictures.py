"""Pairs of pictures: crops and masks as of videos, and an outcome for every pair that can have no mask."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from mask_generation.datasets.base import ClipGroup
from mask_generation.pairs.groups import process
from tests.helpers import drawn_pairs, drawn_pictures, drawn_videos
from tests.helpers.drawn_pictures import CONFIG, crop, write
from tests.helpers.drawn_videos import OvalDetector

FOUND = dataclasses.replace(drawn_pairs.CONFIG, crop_size=80)


def run(folder, fakes, original=None, config=CONFIG, **options):
    """(face groups, {file: row}) of an original and its copies, both given as {name: pixels}."""
    paths = {name: write(folder / name, rgb) if isinstance(rgb, np.ndarray) else rgb for name, rgb in fakes.items()}
    real = write(folder / "real.png", crop() if original is None else original)
    clips = drawn_pairs.group(folder, real, paths)
    result = process(clips, config, OvalDetector(), **options)
    return result.groups, {outcome.name.split("/")[1]: outcome for outcome in result.outcomes}


def green(image):
    red, blue = image[..., 0].astype(int), image[..., 2].astype(int)
    return (image[..., 1] > red + 50) & (image[..., 1] > blue + 50)


def assert_masks_are_the_mouths(images):
    for image in images:
        mouth, mask = green(image.image), image.mask >= 128
        assert mouth.sum() > 50
        assert (mouth & mask).sum() / mouth.sum() > 0.85
        assert mask.mean() < 0.35


def test_a_given_face_is_taken_whole_with_its_copies_in_one_group(tmp_path):
    groups, rows = run(tmp_path, {"a.png": crop(fake=True), "b.jpg": crop(fake=True, light=0.99)})
    (group,) = groups
    real, *fakes = group.images
    np.testing.assert_array_equal(real.image, crop())
    assert (real.label, real.mask.any()) == (0, False)
    assert [fake.label for fake in fakes] == [1, 1]
    assert_masks_are_the_mouths(fakes)
    x0, y0, x1, y1 = group.box
    assert (x0 + x1) / 2 == (y0 + y1) / 2 == 56
    assert drawn_pictures.SIZE / max(x1 - x0, y1 - y0) == pytest.approx(CONFIG.crop_margin)
    assert {row.state for row in rows.values()} == {"ok"}
    assert (rows["a.png"].width, rows["a.png"].height, rows["a.png"].frames, rows["a.png"].examples) == (112, 112, 1, 1)


def test_the_face_of_a_photograph_is_found_as_in_a_video(tmp_path):
    (real,), (fake,) = drawn_pairs.pictures(1), drawn_pairs.pictures(1, fake=True)
    (group,), rows = run(tmp_path, {"a.png": fake}, real, FOUND)
    assert rows["a.png"].state == "ok"
    assert group.images[0].image.shape == (80, 80, 3)
    assert_masks_are_the_mouths(group.images[1:])
    (x0, y0, x1, y1), (x, y) = group.box, drawn_pairs.FACE
    assert x0 < x < x1
    assert y0 < y < y1


def test_a_photograph_without_a_face_says_so(tmp_path):
    (blank,) = drawn_pairs.pictures(1, faces=0)
    groups, rows = run(tmp_path, {"a.png": blank + 9}, blank, FOUND)
    assert groups == []
    assert {row.state for row in rows.values()} == {"no_face"}


def noisy(rgb, seed, level):
    rng = np.random.default_rng(seed)
    return np.clip(rgb + rng.normal(0, level, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "fake, state, reason",
    [
        (crop(fake=True, shift=12), "unaligned", "border differs from the original's by"),
        (crop(seed=1, fake=True), "unaligned", "--max_border_difference"),
        (crop(fake=True)[8:104, 8:104], "unaligned", "96x96 pixels, but its original has 112x112"),
        (crop(), "identical", "its pixels are the original's"),
        (noisy(crop(), 1, 0.8), "identical", "wrongly labelled?"),
        (b"not a picture", "unreadable", "no picture"),
        (b"", "unreadable", "empty"),
    ],
)
def test_a_pair_that_can_have_no_mask_gets_an_outcome(tmp_path, fake, state, reason):
    if isinstance(fake, bytes):
        (tmp_path / "a.png").write_bytes(fake)
        fake = tmp_path / "a.png"
    (group,), rows = run(tmp_path, {"a.png": fake, "good.png": crop(fake=True)})
    assert rows["a.png"].state == state
    assert reason in rows["a.png"].reason
    assert rows["a.png"].examples == 0
    assert rows["good.png"].state == rows["real"].state == "ok"  # the others are not held up
    assert len(group.images) == 2


def test_a_small_change_of_a_copy_with_the_same_pixels_elsewhere_is_no_wrong_label(tmp_path):
    """Its mean difference is that of a codec; the mouth is not."""
    fake = crop()
    cv2.circle(fake, (56, 80), 7, drawn_videos.GREEN, -1)
    _, rows = run(tmp_path, {"a.png": fake})
    assert rows["a.png"].state == "ok"


def test_a_difference_that_the_recipe_takes_for_none_is_untouched(tmp_path):
    faint = crop()
    faint[40:70, 40:70] += 9  # the recipe `article` cuts at 30
    _, rows = run(tmp_path, {"a.png": faint})
    assert rows["a.png"].state == "untouched"
    assert "no altered face" in rows["a.png"].reason


def test_a_face_in_the_dark_is_left_out_with_its_copies(tmp_path):
    groups, rows = run(tmp_path, {"a.png": crop(fake=True, light=0.1)}, crop(light=0.1))
    assert groups == []
    assert {row.state for row in rows.values()} == {"too_dark"}
    assert "20 are needed (--min_brightness)" in rows["a.png"].reason
    _, rows = run(
        tmp_path,
        {"a.png": crop(fake=True, light=0.1)},
        crop(light=0.1),
        dataclasses.replace(CONFIG, min_brightness=0, max_border_difference=9),
    )
    assert rows["real"].state == "ok"


def test_copies_of_an_original_that_cannot_be_read_say_so(tmp_path):
    write(tmp_path / "a.png", crop(fake=True))
    (tmp_path / "real.png").write_bytes(b"x")
    clips = drawn_pairs.group(tmp_path, tmp_path / "real.png", {"a.png": tmp_path / "a.png"})
    rows = [outcome.state for outcome in process(clips, CONFIG, OvalDetector()).outcomes]
    assert rows == ["unreadable", "original_failed"]


def test_a_video_is_no_copy_of_a_picture(tmp_path):
    video = drawn_videos.write(tmp_path / "a.mp4", [crop(fake=True)] * 2)
    _, rows = run(tmp_path, {"a.mp4": video})
    assert rows["a.mp4"].state == "unaligned"
    assert "a pair is two of a kind" in rows["a.mp4"].reason


def test_pictures_that_are_not_square_are_laid_into_a_square(tmp_path):
    (group,), _ = run(tmp_path, {"a.png": crop(fake=True)[:, 10:102]}, crop()[:, 10:102])
    assert group.images[0].image.shape == (112, 112, 3)
    np.testing.assert_array_equal(group.images[0].image[:, 10:102], crop()[:, 10:102])
    assert_masks_are_the_mouths(group.images[1:])


def test_a_mask_that_the_list_has_is_used(tmp_path):
    mask = np.zeros((112, 112, 3), np.uint8)
    mask[70:90, 40:72] = 255
    fake, real = write(tmp_path / "a.png", crop(fake=True)), write(tmp_path / "real.png", crop())
    config = dataclasses.replace(CONFIG, recipe="official")
    clips = drawn_pairs.group(tmp_path, real, {"a": fake}, {"a": write(tmp_path / "m.png", mask)})
    (group,) = process(clips, config, OvalDetector()).groups
    np.testing.assert_array_equal(group.images[1].mask >= 128, mask[..., 0] > 0)
    write(tmp_path / "m.png", mask[:50])
    rows = process(clips, config, OvalDetector()).outcomes
    assert (rows[1].state, "112x50" in rows[1].reason) == ("no_mask", True)


def test_a_given_up_picture_is_not_opened(tmp_path):
    name = "drawn/a.png/native/a"
    groups, rows = run(tmp_path, {"a.png": crop(fake=True)}, given_up={name: ("crashed", "three times")})
    assert rows["a.png"].state == "crashed"
    assert len(groups[0].images) == 1


def test_what_a_picture_is_goes_by_the_original():
    clips = ClipGroup("n", "d", "m", "native", "/x/A.JPEG", (), frozenset())
    assert clips.pictures
    assert not dataclasses.replace(clips, original="/x/a.mp4").pictures
    assert not dataclasses.replace(clips, still=True).pictures
