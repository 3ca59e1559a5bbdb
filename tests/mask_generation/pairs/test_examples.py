"""One original and its copies: crops line up, masks lie where a copy differs, every clip gets a row with a reason."""

from __future__ import annotations

import dataclasses
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest

from mask_generation.pairs.examples import process_group
from tests.helpers import drawn_pairs, drawn_videos, odd_videos
from tests.helpers.drawn_pairs import CONFIG, clip, group, pictures
from tests.helpers.drawn_videos import OvalDetector

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def run(clips, config=CONFIG, **options):
    result = process_group(clips, config, OvalDetector(), **options)
    return result, {outcome.name.split("/")[1]: outcome for outcome in result.outcomes}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Encoding takes longest, so all tests share these."""
    folder = tmp_path_factory.mktemp("clips")
    clip(folder / "real.mp4")
    clip(folder / "fake.mp4", fake=True)
    return folder


def green(image):
    red, blue = image[..., 0].astype(int), image[..., 2].astype(int)
    return (image[..., 1] > red + 50) & (image[..., 1] > blue + 50)


def assert_masks_are_the_mouths(groups, count):
    fakes = [image for each in groups for image in each.images if image.label]
    assert len(fakes) == count
    for image in fakes:
        mouth, mask = green(image.image), image.mask >= 128
        assert mouth.sum() > 50
        assert (mouth & mask).sum() / mouth.sum() > 0.85
        assert mask.mean() < 0.35


def test_a_pair_becomes_groups_whose_masks_cover_the_altered_mouth(clips):
    result, rows = run(group(clips, clips / "real.mp4", {"mouth": clips / "fake.mp4"}))
    assert len(result.groups) == CONFIG.frames
    assert_masks_are_the_mouths(result.groups, CONFIG.frames)
    for each in result.groups:
        real, fake = each.images
        assert real.label == 0
        assert real.frame_index == fake.frame_index == each.frame_index
        assert not real.mask.any()
        outside = ~green(fake.image) & (fake.mask < 128)
        assert np.abs(real.image.astype(int) - fake.image)[outside].mean() < 6  # the same square of the same frame
    assert (rows["real"].state, rows["mouth"].state) == ("ok", "ok")
    assert rows["mouth"].alignment == "same_index"
    assert (rows["real"].width, rows["real"].height, rows["real"].frames) == (224, 160, 12)
    assert rows["real"].examples == rows["mouth"].examples == CONFIG.frames
    assert set(result.seconds) == {"align", "decode", "faces", "masks"}


def test_squeezed_pixels_and_a_growing_picture_are_paired_with_a_plain_copy(clips, tmp_path):
    real, fake = pictures(12), pictures(12, fake=True)
    narrow = [cv2.resize(picture, (168, 160), interpolation=cv2.INTER_AREA) for picture in real]
    odd_videos.write(
        tmp_path / "narrow.mp4", narrow, tags={"sample_aspect_ratio": Fraction(4, 3)}, options={"crf": "12"}
    )
    parts = [real[:6], [np.kron(picture, np.ones((2, 2, 1), np.uint8)) for picture in real[6:]]]
    coded = [drawn_videos.write(tmp_path / f"{n}.ts", part).read_bytes() for n, part in enumerate(parts)]
    (tmp_path / "growing.ts").write_bytes(b"".join(coded))
    drawn_videos.write(tmp_path / "fake.mp4", fake)
    for name in ("narrow.mp4", "growing.ts"):
        result, rows = run(group(tmp_path, tmp_path / name, {"mouth": tmp_path / "fake.mp4"}))
        assert (rows["real"].width, rows["real"].height) == (224, 160)
        assert (rows["mouth"].state, rows["mouth"].alignment) == ("ok", "same_index")
        assert_masks_are_the_mouths(result.groups, CONFIG.frames)


def test_an_original_on_its_side_is_refused_with_the_turn(tmp_path):
    class Upright(OvalDetector):
        def detect(self, rgb):
            return [face for face in super().detect(rgb) if face.box.height > face.box.width]

    for name, fake in (("real.mp4", False), ("fake.mp4", True)):
        drawn_videos.write(tmp_path / name, [np.rot90(picture) for picture in pictures(8, fake=fake)])
    clips = group(tmp_path, tmp_path / "real.mp4", {"mouth": tmp_path / "fake.mp4"})
    result = process_group(clips, CONFIG, Upright())
    assert not result.groups
    assert {outcome.state for outcome in result.outcomes} == {"no_face"}
    assert "turned by 90°" in result.outcomes[0].reason
    assert "display_rotation" in result.outcomes[0].reason


def test_frames_are_spread_over_the_whole_clip(clips):
    result, _ = run(group(clips, clips / "real.mp4", {"mouth": clips / "fake.mp4"}))
    assert [each.frame_index for each in result.groups] == [0, 4, 7, 11]


def test_a_centre_crop_is_laid_onto_its_place(clips, tmp_path):
    cut = [np.ascontiguousarray(picture[:, 12:-12]) for picture in pictures(12, fake=True)]
    drawn_videos.write(tmp_path / "cut.mp4", cut)
    result, rows = run(group(tmp_path, clips / "real.mp4", {"mouth": tmp_path / "cut.mp4"}))
    assert rows["mouth"].state == "ok"
    assert_masks_are_the_mouths(result.groups, CONFIG.frames)
    real, fake = result.groups[0].images
    assert np.abs(real.image.astype(int) - fake.image)[fake.mask < 128].mean() < 6


def test_a_scaled_copy_is_reported_and_not_guessed_at(clips, tmp_path):
    import cv2

    small = [cv2.resize(picture, (112, 80), interpolation=cv2.INTER_AREA) for picture in pictures(12, fake=True)]
    drawn_videos.write(tmp_path / "small.mp4", small)
    _, rows = run(group(tmp_path, clips / "real.mp4", {"mouth": tmp_path / "small.mp4"}))
    assert rows["mouth"].state == "unaligned"
    assert "112x80" in rows["mouth"].reason


@pytest.mark.parametrize("frames, state", [(10, "ok"), (14, "ok"), (30, "partial")])
def test_only_frames_that_both_have_are_used(clips, tmp_path, frames, state):
    """Half as long an original is worth a remark: more than half of the fake cannot be used."""
    clip(tmp_path / "other.mp4", frames, fake=True)
    result, rows = run(group(tmp_path, clips / "real.mp4", {"mouth": tmp_path / "other.mp4"}))
    assert rows["mouth"].state == state
    assert ("only 12 frames" in rows["mouth"].reason) is (state == "partial")
    assert max(each.frame_index for each in result.groups) == min(frames, 12) - 1
    assert_masks_are_the_mouths(result.groups, CONFIG.frames)


def test_a_fake_that_lost_frames_throughout_is_matched_to_the_right_ones(tmp_path):
    lost = {3, 4, 9, 15, 16, 17}
    clip(tmp_path / "real.mp4", 24)
    kept = [index for index in range(24) if index not in lost]
    drawn_videos.write(tmp_path / "fake.mp4", [pictures(24, fake=True)[index] for index in kept])
    config = dataclasses.replace(CONFIG, frames=18)
    result, rows = run(group(tmp_path, tmp_path / "real.mp4", {"mouth": tmp_path / "fake.mp4"}), config)
    assert rows["mouth"].alignment == "dropped_frames"
    assert rows["mouth"].alignment_distance < 2
    seen = [(each.frame_index, each.images[1].frame_index) for each in result.groups if len(each.images) > 1]
    assert seen == [(index, kept.index(index)) for index in range(18) if index not in lost]
    assert_masks_are_the_mouths(result.groups, len(seen))
    assert rows["mouth"].examples == len(seen)
    assert rows["real"].examples == 18


def test_a_shorter_fake_has_a_remark_and_stays_usable(tmp_path):
    """Before, a fake 13 % shorter than its original was the same index without a word."""
    clip(tmp_path / "real.mp4", 46)
    clip(tmp_path / "fake.mp4", 40, fake=True)
    _, rows = run(group(tmp_path, tmp_path / "real.mp4", {"mouth": tmp_path / "fake.mp4"}))
    row = rows["mouth"]
    assert (row.state, row.alignment) == ("ok", "same_index")
    assert "6 frames shorter than its original's 46" in row.reason


def test_a_fake_of_another_scene_is_unaligned(clips, tmp_path):
    white = [np.full((160, 224, 3), 250, np.uint8)] * 12
    drawn_videos.write(tmp_path / "other.mp4", white)
    result, rows = run(group(tmp_path, clips / "real.mp4", {"mouth": tmp_path / "other.mp4"}))
    assert rows["mouth"].state == "unaligned"
    assert "does not show" in rows["mouth"].reason
    assert all(len(each.images) == 1 for each in result.groups)


def test_a_fake_of_which_only_the_sound_is_faked_is_flagged(clips, tmp_path):
    shutil.copy(clips / "real.mp4", tmp_path / "copy.mp4")
    result, rows = run(group(tmp_path, clips / "real.mp4", {"voice": tmp_path / "copy.mp4"}))
    assert rows["voice"].state == "identical"
    assert rows["voice"].examples == 0
    assert rows["real"].examples == len(result.groups) == CONFIG.frames


def test_one_bad_fake_costs_its_own_row_only(clips, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    whole = (clips / "fake.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    fakes = {
        "empty": tmp_path / "empty.mp4",
        "text": tmp_path / "text.mp4",
        "cut": tmp_path / "cut.mp4",
        "gone": tmp_path / "gone.mp4",
        "mouth": clips / "fake.mp4",
    }
    result, rows = run(group(tmp_path, clips / "real.mp4", fakes))
    assert {name: rows[name].state for name in fakes} == {
        **dict.fromkeys(["empty", "text", "cut", "gone"], "unreadable"),
        "mouth": "ok",
    }
    assert all(rows[name].reason for name in ("empty", "text", "cut", "gone"))
    assert_masks_are_the_mouths(result.groups, CONFIG.frames)


def test_without_a_readable_original_there_is_nothing(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 1000)
    result, rows = run(group(tmp_path, tmp_path / "bad.mp4", {"mouth": clips / "fake.mp4"}))
    assert not result.groups
    assert rows["real"].state == "unreadable"
    assert rows["mouth"].state == "original_failed"
    assert rows["real"].reason in rows["mouth"].reason


def test_a_clip_without_a_face_is_no_failure(tmp_path):
    clip(tmp_path / "real.mp4", 6, faces=0)
    clip(tmp_path / "fake.mp4", 6, faces=0)
    result, rows = run(group(tmp_path, tmp_path / "real.mp4", {"none": tmp_path / "fake.mp4"}))
    assert not result.groups
    assert rows["real"].state == rows["none"].state == "no_face"


def test_a_person_whom_the_fake_leaves_alone_gets_no_fake(tmp_path):
    for name, fake in (("real", ()), ("fake", (1,))):
        drawn_videos.clip(tmp_path / f"{name}.mp4", 8, faces=2, fake={face: range(8) for face in fake})
    result, rows = run(group(tmp_path, tmp_path / "real.mp4", {"second": tmp_path / "fake.mp4"}))
    assert {each.track: len(each.images) for each in result.groups} == {0: 1, 1: 2}
    assert rows["real"].examples == 2 * CONFIG.frames
    assert rows["second"].examples == CONFIG.frames


def test_an_original_alone_gives_untouched_examples(clips):
    result, rows = run(group(clips, clips / "real.mp4", {}))
    assert [len(each.images) for each in result.groups] == [1] * CONFIG.frames
    assert rows["real"].state == "ok"


def test_a_clip_that_was_given_up_is_not_opened(clips):
    noted = []
    given_up = {"drawn/worse/native/fake": ("crashed", "the process that read it ended")}
    fakes = {"worse": clips / "fake.mp4", "mouth": clips / "real.mp4"}
    _, rows = run(group(clips, clips / "real.mp4", fakes), given_up=given_up, note=noted.append)
    assert (rows["worse"].state, rows["worse"].reason) == given_up["drawn/worse/native/fake"]
    assert set(noted) == {"drawn/real/native/real", "drawn/mouth/native/real"}


def test_a_long_clip_with_samples_far_apart_still_holds_one_person(tmp_path):
    """Sampled every 4 s, with no more frames looked at in between than 8 a sample."""
    still = pictures(1)[0]
    drawn_videos.write(tmp_path / "real.mp4", [still] * 200, rate=10)
    config = dataclasses.replace(CONFIG, frames=3, track_rate_hz=0.01)
    result, _ = run(group(tmp_path, tmp_path / "real.mp4", {}), config)
    assert [(each.frame_index, each.track) for each in result.groups] == [(0, 0), (100, 0), (199, 0)]


def test_official_masks_are_taken_where_they_are_and_missed_where_not(clips, tmp_path):
    mask = np.zeros((160, 224, 3), np.uint8)
    mask[90:120, 95:130] = 255
    drawn_videos.write(tmp_path / "mask.mp4", [mask] * 12)
    drawn_videos.write(tmp_path / "short.mp4", [mask[:80, :112]] * 12)
    fakes = {"with": clips / "fake.mp4", "without": clips / "fake.mp4", "small": clips / "fake.mp4"}
    masks = {"with": tmp_path / "mask.mp4", "small": tmp_path / "short.mp4"}
    config = dataclasses.replace(CONFIG, recipe="official")
    result, rows = run(group(tmp_path, clips / "real.mp4", fakes, masks), config)
    assert {name: rows[name].state for name in fakes} == {"with": "ok", "without": "no_mask", "small": "no_mask"}
    image = result.groups[0].images[1]
    box = drawn_pairs.FACE[0] - result.groups[0].box[0]
    assert image.recipe == "official"
    assert box > 0
    assert 0.03 < image.fake_area < 0.25


@pytest.mark.parametrize("first", [0, 1])
def test_official_masks_may_be_folders_of_numbered_pictures(clips, tmp_path, first):
    """Before, they were no mask. FFmpeg counts pictures from 1, OpenCV's users from 0."""
    for index in range(12):
        mask = np.zeros((160, 224, 3), np.uint8)
        mask[90:120, 95 : 100 + 3 * index] = 255  # wider with every frame
        folder = tmp_path / "masks" / "fake"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index + first:04d}.png"), mask)
    (folder / f"{11 + first:04d}.png").write_bytes(b"no picture")
    config = dataclasses.replace(CONFIG, recipe="official", frames=12)
    result, rows = run(group(tmp_path, clips / "real.mp4", {"with": clips / "fake.mp4"}, {"with": folder}), config)
    assert rows["with"].state == "ok"
    areas = {each.frame_index: image.fake_area for each in result.groups for image in each.images if image.label}
    assert sorted(areas) == list(range(11))
    shares = np.array([areas[index] / (5 + 3 * index) for index in range(11)])
    np.testing.assert_allclose(shares, shares.mean(), rtol=0.2)


def test_results_do_not_depend_on_chance(clips):
    clips_group = group(clips, clips / "real.mp4", {"mouth": clips / "fake.mp4"})
    first, second = (run(clips_group)[0].groups for _ in range(2))
    for a, b in zip(first, second):
        for x, y in zip(a.images, b.images):
            np.testing.assert_array_equal(x.image, y.image)
            np.testing.assert_array_equal(x.mask, y.mask)


def test_after_a_cut_the_limit_on_people_counts_anew(tmp_path):
    shots = [pictures(4), [np.roll(255 - p, 60, axis=1) for p in pictures(4, faces=0)], pictures(4, seed=3)]
    drawn_videos.write(tmp_path / "real.mp4", [picture for shot in shots for picture in shot])
    config = dataclasses.replace(CONFIG, frames=12, max_faces=1)
    result, _ = run(group(tmp_path, tmp_path / "real.mp4", {}), config)
    assert sorted({each.track for each in result.groups}) == [0, 1]
    assert sorted(each.frame_index for each in result.groups) == [0, 1, 2, 3, 8, 9, 10, 11]


@pytest.mark.parametrize("score, people", [(0.99, 1), (0.92, 0)])
def test_a_short_appearance_counts_if_the_detector_is_sure_of_it(tmp_path, score, people):
    class Unsure(OvalDetector):
        def detect(self, rgb):
            return [dataclasses.replace(face, score=score) for face in super().detect(rgb)]

    shots = [*pictures(2), *[255 - picture for picture in pictures(18, faces=0)]]
    drawn_videos.write(tmp_path / "real.mp4", shots)
    config = dataclasses.replace(CONFIG, frames=20)
    result = process_group(group(tmp_path, tmp_path / "real.mp4", {}), config, Unsure())
    assert len({each.track for each in result.groups}) == people
