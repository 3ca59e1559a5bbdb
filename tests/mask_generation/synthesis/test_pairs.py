"""From a face bank to pairs without end: resumable, balanced, degraded as videos are, and apart by people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.synthesis import degrade, face_bank, hard_negatives, regions
from mask_generation.synthesis.face_bank import FaceBankError
from mask_generation.synthesis.pairs import Mix, Schedule, face_groups, make_pair
from tests.helpers import drawn_faces

SIZE = 64


def crops(people=4, each=3, source="drawn", side=160):
    for person in range(people):
        for number in range(each):
            rgb = drawn_faces.picture(side, side, seed=10 * person + number)
            yield face_bank.Crop(
                rgb, drawn_faces.landmarks(side, side), face_bank.MARGIN, f"{source}/{person}", source, "a.mp4", number
            )


@pytest.fixture(scope="module")
def bank_path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("bank") / "bank.npz")
    face_bank.save(path, [*crops(6), *crops(4, source="other")], validation_share=0.25)
    return path


@pytest.fixture(scope="module")
def faces(bank_path):
    return face_bank.load(bank_path, "all")


def test_a_bank_comes_back_as_it_was_written(faces):
    written = [*crops(6), *crops(4, source="other")]
    assert len(faces) == len(written)
    for index, crop in enumerate(written):
        assert faces.identities[index] == crop.identity
        np.testing.assert_allclose(faces.points[index], crop.points)
        assert np.abs(faces.rgb(index).astype(int) - crop.rgb).mean() < 3  # JPEG 93


def test_no_person_is_in_both_splits(bank_path, faces):
    train, held_out = (set(face_bank.load(bank_path, split).identities) for split in ("train", "val"))
    assert not train & held_out
    assert train | held_out == set(faces.identities)
    assert {name.split("/")[0] for name in held_out} == {"drawn", "other"}


@given(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=30), st.floats(0, 0.9))
def test_splits_hold_out_about_the_share_and_a_new_person_moves_few(names, share):
    people = sorted(names)
    split = face_bank.assign_splits(people, ["s"] * len(people), share)
    held_out = {name for name in people if split[name] == "val"}
    assert len(held_out) == (round(share * len(people)) if len(people) > 1 else 0)
    more = face_bank.assign_splits([*people, "new"], ["s"] * (len(people) + 1), share)
    assert sum(split[name] != more[name] for name in people) <= 2


def test_draws_follow_the_weights_and_the_generator(bank_path):
    faces = face_bank.load(bank_path, "all", {"drawn": 3.0, "other": 1.0})
    rng = np.random.default_rng(0)
    drawn = [faces.sources[faces.draw(rng)] for _ in range(800)]
    assert drawn.count("drawn") / 800 == pytest.approx(0.75, abs=0.06)
    assert [faces.draw(np.random.default_rng(7)) for _ in range(3)] == [faces.draw(np.random.default_rng(7))] * 3


def test_another_is_another_person_and_same_is_another_crop_of_the_person(faces):
    rng = np.random.default_rng(0)
    for _ in range(50):
        index = faces.draw(rng)
        other, same = faces.draw_other(index, rng), faces.draw_same(index, rng)
        assert faces.identities[other] != faces.identities[index]
        assert faces.identities[same] == faces.identities[index]
        assert same != index


def test_a_bank_of_one_crop_has_no_other_and_no_same(tmp_path):
    face_bank.save(str(tmp_path / "one.npz"), crops(1, 1))
    alone = face_bank.load(str(tmp_path / "one.npz"), "train")
    rng = np.random.default_rng(0)
    assert alone.draw_other(0, rng) is None
    assert alone.draw_same(0, rng) is None
    assert make_pair(alone, 0, 0, SIZE, 1.0, Mix(self_blend=0, swap=1, mouth=0, expression=0)).kind == "self_blend"


def test_unusable_banks_are_refused_with_their_name(tmp_path, bank_path):
    with pytest.raises(FaceBankError, match="no usable face was found"):
        face_bank.save(str(tmp_path / "none.npz"), [])
    assert not list(tmp_path.iterdir())
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(FaceBankError, match=r"bad\.npz: no face bank"):
        face_bank.load(str(tmp_path / "bad.npz"), "train")
    with pytest.raises(FaceBankError, match=r"gone\.npz"):
        face_bank.load(str(tmp_path / "gone.npz"), "train")
    with pytest.raises(FaceBankError, match="split 'test': allowed are train, val, all"):
        face_bank.load(bank_path, "test")
    with pytest.raises(FaceBankError, match="no crops of source webcam; there are drawn, other"):
        face_bank.load(bank_path, "all", {"webcam": 1.0})
    with pytest.raises(FaceBankError, match="every source has weight 0"):
        face_bank.load(bank_path, "all", {"drawn": 0.0})


def test_a_crop_for_the_bank_holds_the_face_where_its_points_say():
    rgb = drawn_faces.picture(400, 400)
    cut, points, margin = face_bank.crop_face(rgb, drawn_faces.box(400, 400), drawn_faces.landmarks(400, 400))
    assert cut.shape[0] == cut.shape[1] <= face_bank.SIDE_PX
    unit = np.linalg.norm(points[1] - points[0])
    pupil = cut[round(float(points[0][1])), round(float(points[0][0]))]
    assert pupil.mean() < 60  # dark, in a bright eye
    assert 0.15 * cut.shape[0] < unit < 0.5 * cut.shape[0]
    assert margin == face_bank.MARGIN


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (-60, 10, 60, 120), (300, 300, 420, 420)])
def test_small_faces_and_those_half_outside_are_left_out(box):
    assert face_bank.crop_face(drawn_faces.picture(320, 320), box, drawn_faces.landmarks(320, 320)) is None


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), index=st.integers(0, 10**6), difficulty=st.floats(0, 1))
def test_a_pair_depends_on_seed_and_index_alone(faces, seed, index, difficulty):
    first, again = (make_pair(faces, seed, index, SIZE, difficulty) for _ in range(2))
    for a, b in zip(first[:3], again[:3]):
        np.testing.assert_array_equal(a, b)
    assert first.kind == again.kind
    assert first.real.shape == first.fake.shape == (SIZE, SIZE, 3)
    assert first.mask.shape == (SIZE, SIZE)
    assert first.real.dtype == first.fake.dtype == first.mask.dtype == np.uint8


def test_what_a_seed_gives_is_fixed(faces):
    """Resuming a run relies on it: change these numbers only together with a note in the change log."""
    plain = Mix(recorded=0, before=0, cover=0, compress=0)
    pairs = [make_pair(faces, 5, index, SIZE, 1.0, plain) for index in range(4)]
    assert [pair.kind for pair in pairs] == ["swap", "swap", "self_blend", "swap"]
    assert [float(pair.mask.mean()) for pair in pairs] == pytest.approx([48.8, 38.0, 81.2, 63.9], abs=1.0)


def test_undegraded_pairs_are_equal_outside_the_mask(faces):
    plain = Mix(recorded=0, before=0, cover=0, compress=0)
    for index in range(6):
        pair = make_pair(faces, 1, index, 128, 1.0, plain)
        outside = np.pad(pair.mask, 2, mode="edge")
        outside = np.max([outside[y : y + 128, x : x + 128] for y in range(5) for x in range(5)], axis=0) == 0
        assert np.abs(pair.real.astype(int) - pair.fake)[outside].max(initial=0) <= 1
        assert pair.mask.max() > 30


def test_each_manipulation_can_be_chosen_alone(faces):
    for kind in ("self_blend", "swap", "mouth", "expression"):
        only = Mix(**{name: float(name == kind) for name in ("self_blend", "swap", "mouth", "expression")})
        assert {make_pair(faces, 0, index, SIZE, 0.5, only).kind for index in range(3)} == {kind}


def test_settings_of_the_mix_change_what_they_say(faces):
    bare = {"relight": 0, "reshape": 0, "recorded": 0, "before": 0, "cover": 0, "compress": 0, "alike": 1}

    def detail(picture):
        return float(np.abs(np.diff(picture.astype(int), 2, axis=1)).mean())

    def pairs(**changes):
        return [make_pair(faces, 1, index, 128, 1.0, Mix(**{**bare, **changes})) for index in range(8)]

    def mean_detail(made):
        return np.mean([detail(pair.real) for pair in made])

    plain = pairs()
    assert mean_detail(pairs(softened=1.0)) < 0.9 * mean_detail(plain)
    uploaded = pairs(video=1.0)
    assert mean_detail(uploaded) < mean_detail(plain)
    for pair in uploaded:  # one chain for both: where nothing was manipulated they stay near each other
        assert np.abs(pair.real.astype(int) - pair.fake)[pair.mask == 0].mean() < 4
    softer = pairs(self_blend=1, swap=0, mouth=0, expression=0, soft=1.0)
    lost = [detail(pair.real) - detail(pair.fake) for pair in softer]
    assert np.mean(lost) > 0
    easy = pairs(hardness=0.0)
    assert np.mean([pair.mask > 127 for pair in easy]) > np.mean([pair.mask > 127 for pair in plain])


@pytest.mark.parametrize("wrong", [{"self_blend": -0.1}, {"cover": 1.5}, {"compress": -1.0}, {"video": 2.0}])
def test_impossible_mixes_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Mix(**wrong)


def test_groups_hold_real_then_fake_of_each_pair_and_begin_anywhere(faces):
    first, later = (list(face_groups(faces, "train", 3, range(start, 4), SIZE)) for start in (0, 2))
    assert [image.label for group in first for image in group.images] == [0, 1] * 4
    assert [group.key for group in first] == [f"synthesis/3/{pair}" for pair in range(4)]
    for ours, theirs in zip(first[2:], later):
        for a, b in zip(ours.images, theirs.images):
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.mask, b.mask)
    for group in first:
        assert [image.mask.any() for image in group.images] == [False, True]


def test_difficulty_rises_from_easy_to_hard_and_stays():
    schedule = Schedule(ramp_pairs=10)
    assert [schedule.difficulty(index) for index in (0, 5, 10, 99)] == [0, 0.5, 1, 1]
    assert Schedule().difficulty(0) == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([100, 150, 260]), st.floats(0, 1))
def test_a_drawn_degradation_keeps_the_picture_usable(seed, side, strength):
    rng = np.random.default_rng(seed)
    chain = degrade.draw(rng, side, strength)
    rgb = drawn_faces.picture(side, side)
    out = degrade.apply(rgb, chain)
    assert out.dtype == np.uint8
    assert min(degrade.LEAST_SIDE_PX, side) <= out.shape[0] <= side
    np.testing.assert_array_equal(out, degrade.apply(rgb, chain))
    assert np.abs(out.mean() - rgb.mean()) < 12


def test_no_degradation_is_the_picture_itself():
    rgb = drawn_faces.picture(96, 96)
    np.testing.assert_array_equal(degrade.apply(rgb, degrade.Degradation()), rgb)


@pytest.mark.parametrize("shape", [(96, 96), (97, 131), (64, 99)])
def test_x264_at_0_keeps_the_picture_and_loses_more_with_crf(shape):
    rgb = drawn_faces.picture(*shape)
    lost = [np.abs(degrade.h264([rgb] * 3, crf)[1].astype(int) - rgb).mean() for crf in (0, 20, 40)]
    assert lost[0] < 4  # 4:2:0 and limited range
    assert lost == sorted(lost)
    assert lost[2] > lost[0] + 1
    assert degrade.h264([rgb], 20)[0].shape == rgb.shape


def test_x264_is_the_same_from_run_to_run():
    for side in (130, 150):  # widths at which its vector code reads what it never wrote
        frames = [drawn_faces.picture(side, side, seed) for seed in range(3)]
        first = degrade.h264(frames, 25)
        for run in range(12):
            _ = [np.random.default_rng(run).bytes(50_000 + 7919 * run) for _ in range(5)]  # something else in memory
            for a, b in zip(first, degrade.h264(frames, 25)):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no frames"):
        degrade.h264([], 30)


def test_a_still_in_a_run_stays_in_its_place():
    rgb = drawn_faces.picture(128, 128)
    for kept in range(degrade.RUN_FRAMES):
        out = degrade.h264_still(rgb, 18, kept, (2.0, -1.0)).astype(int)
        here, moved = np.abs(out - rgb).mean(), np.abs(out - np.roll(rgb, 2, 1)).mean()
        assert here < 0.6 * moved


def test_jpeg_loses_more_at_lower_quality():
    rgb = drawn_faces.picture(96, 96)
    lost = [np.abs(degrade.jpeg(rgb, quality).astype(int) - rgb).mean() for quality in (95, 60, 20)]
    assert lost == sorted(lost)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_covers_and_make_up_fit_any_picture(seed):
    rng = np.random.default_rng(seed)
    rgb, points = drawn_faces.picture(120, 120), regions.place(drawn_faces.landmarks(120, 120))
    overlay, alpha = hard_negatives.cover(rgb, points, rng)
    assert overlay.shape == rgb.shape
    assert alpha.shape == rgb.shape[:2]
    assert 0 <= alpha.min() <= alpha.max() <= 1
    covered = hard_negatives.lay_over(rgb, overlay, alpha)
    np.testing.assert_array_equal(covered[alpha == 0], rgb[alpha == 0])
    assert hard_negatives.before(rgb, points, rng).shape == rgb.shape


def test_what_covers_a_fake_is_no_part_of_its_mask(faces):
    bare = Mix(recorded=0, before=0, cover=0, compress=0)
    covered = Mix(recorded=0, before=0, cover=1, compress=0)
    smaller = 0
    for index in range(12):
        mask, under = (make_pair(faces, 2, index, SIZE, 1.0, mix).mask.astype(int) for mix in (bare, covered))
        assert (under <= mask + 1).all()
        smaller += under.sum() < mask.sum()
    assert smaller > 2
