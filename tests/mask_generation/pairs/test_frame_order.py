"""Which frame of its original each frame of a fake is, by pictures, lengths and times."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.pairs import frame_order


def moving(count, seed=0, height=90, width=160):
    """(N,H,W) uint8: a smooth random picture that slides, so that neighbouring frames are alike but not the same."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.uniform(0, 255, (12, 60)).astype(np.float32), (width * 4, height), cv2.INTER_CUBIC)
    return np.stack([np.clip(field[:, 3 * i : 3 * i + width], 0, 255).astype(np.uint8) for i in range(count)])


def signatures(frames):
    return np.stack([frame_order.signature(frame) for frame in frames])


def coloured(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def noisy(frames, level=3.0):
    rng = np.random.default_rng(1)
    return np.clip(frames + rng.normal(0, level, frames.shape), 0, 255).astype(np.uint8)


def test_equal_clips_go_by_index():
    frames = signatures(moving(40))
    timeline = frame_order.align_frames(frames, frames)
    assert timeline.kind == "same_index"
    assert timeline.distance == 0
    np.testing.assert_array_equal(timeline.original_of, np.arange(40))


@pytest.mark.parametrize(("originals", "fakes"), [(40, 25), (25, 40), (1, 9), (9, 1)])
def test_unequal_counts_use_the_common_frames(originals, fakes):
    frames = moving(40)
    timeline = frame_order.align_frames(signatures(frames[:originals]), signatures(noisy(frames[:fakes])))
    assert timeline.kind == "same_index"
    common = min(originals, fakes)
    assert timeline.original_of.tolist() == [*range(common), *[-1] * (fakes - common)]
    assert timeline.fake_of() == {i: i for i in range(common)}


@settings(max_examples=12, deadline=None)
@given(st.sets(st.integers(2, 58), min_size=3, max_size=20))
def test_dropped_frames_are_found(dropped):
    frames = moving(60)
    kept = [index for index in range(60) if index not in dropped]
    timeline = frame_order.align_frames(signatures(frames), signatures(noisy(frames[kept])))
    off = np.abs(timeline.original_of - np.array(kept))
    if timeline.kind == "dropped_frames":
        assert (np.diff(timeline.original_of) > 0).all()
        assert off.max() == 0
    else:  # so few were lost so late that going by index is about as good
        assert timeline.distance < frame_order.WORTH_LEVEL or off.mean() < 3


def test_half_of_the_frames_lost_throughout_is_found():
    frames = moving(80)
    kept = sorted(np.random.default_rng(3).permutation(80)[:40].tolist())
    timeline = frame_order.align_frames(signatures(frames), signatures(noisy(frames[kept])))
    assert timeline.kind == "dropped_frames"
    np.testing.assert_array_equal(timeline.original_of, kept)


def test_other_clips_are_refused_not_guessed():
    first, second = moving(30), 255 - moving(30, seed=9)
    with pytest.raises(frame_order.AlignmentError, match="does not show what its original shows"):
        frame_order.align_frames(signatures(first), signatures(second))


def test_no_frames_are_refused():
    frames = signatures(moving(3))
    with pytest.raises(frame_order.AlignmentError, match="no frames"):
        frame_order.align_frames(frames, frames[:0])


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_the_path_is_the_best_of_all_rising_ones(m, extra, seed):
    rng = np.random.default_rng(seed)
    n = m + extra if m + extra <= 10 else 10
    m = min(m, n - 1)
    original, fake = (rng.uniform(0, 100, (count, 3)).astype(np.float32) for count in (n, m))
    path = frame_order._monotone_path(original, fake)
    assert (np.diff(path) > 0).all()

    def cost(indices):
        return float(np.abs(fake - original[list(indices)]).mean(1).sum())

    best = min(cost(indices) for indices in itertools.combinations(range(n), m))
    assert cost(path) == pytest.approx(best, rel=1e-4)


def nearly_still(count, speed):
    """(N,H,W) float32: an oval that sways by a few pixels at most before a still background."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.uniform(60, 180, (120, 160)).astype(np.float32), (0, 0), 3)
    frames = []
    for i in range(count):
        frame = ground.copy()
        centre = (80 + speed * (10 * np.sin(i / 17) + 0.03 * i), 60 + speed * 3 * np.sin(i / 11))
        cv2.ellipse(frame, (centre, (45, 65), 0), 170, -1)
        frames.append(frame)
    return np.stack(frames)


def coded(frames, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 2, frames.shape)
    return np.stack([frame_order.signature(f, fine=True) for f in np.clip(frames + noise, 0, 255).astype(np.uint8)])


def altered(frames):
    copies = frames.copy()
    copies[:, 50:80, 70:95] += 12  # a face's part, brighter throughout
    return copies


LOST = {"every eighth": [i for i in range(300) if i % 8 != 3], "a piece": [i for i in range(300) if not 80 <= i < 119]}


@pytest.mark.parametrize("kept", LOST.values(), ids=LOST.keys())
def test_lost_frames_are_found_where_little_moves(kept):
    """Before, pictures that hardly differ were taken for the same index, 13 frames off and more."""
    frames = nearly_still(300, speed=0.2)
    timeline = frame_order.align_frames(coded(frames, 1), coded(altered(frames)[kept], 2))
    assert timeline.kind == "dropped_frames"
    assert f"{300 - len(kept)} of its original's 300 frames are not in it" in timeline.note
    assert (np.diff(timeline.original_of) > 0).all()
    off = np.abs(timeline.original_of - np.array(kept))
    assert off.mean() < 1.5
    assert np.quantile(off, 0.95) <= 4


def test_a_fake_that_ends_early_is_told_from_one_that_lost_frames():
    frames = nearly_still(300, speed=0.2)
    timeline = frame_order.align_frames(coded(frames, 1), coded(altered(frames)[:260], 2))
    assert timeline.kind == "same_index"
    assert "40 frames shorter than its original's 300: it ends before its original" in timeline.note


def test_what_pictures_cannot_tell_is_said():
    still = nearly_still(300, speed=0)
    timeline = frame_order.align_frames(coded(still, 1), coded(altered(still)[:260], 2))
    assert timeline.kind == "same_index"
    assert "too little moves to tell" in timeline.note


@pytest.mark.parametrize("speed, how", [(0, "too little moves"), (0.2, "confirm"), (2, "confirm")])
def test_a_fake_as_long_in_time_is_paired_by_time(speed, how):
    """Frames lost at the camera or in editing, the others shown when they were."""
    frames, kept = nearly_still(300, speed), np.array(LOST["every eighth"])
    timeline = frame_order.align_frames(
        coded(frames, 1), coded(altered(frames)[kept], 2), np.arange(300) / 30, kept / 30
    )
    assert timeline.kind == "same_time"
    assert how in timeline.note
    np.testing.assert_array_equal(timeline.original_of, kept)


def test_the_pictures_overrule_times_that_agree_by_chance():
    """FaceForensics++ writes a fake at the rate of its source: the same frames, and by chance as long."""
    frames = nearly_still(300, speed=2)
    timeline = frame_order.align_frames(
        coded(frames, 1), coded(altered(frames)[:250], 2), np.arange(300) / 30, np.arange(250) / 25
    )
    assert timeline.kind == "same_index"
    np.testing.assert_array_equal(timeline.original_of, np.arange(250))


def test_a_longer_fake_is_paired_by_time_only_if_it_lasts_as_long():
    frames = nearly_still(250, speed=2)
    doubled = altered(frames)[np.repeat(np.arange(250), 2)]
    timeline = frame_order.align_frames(coded(frames, 1), coded(doubled, 2), np.arange(250) / 25, np.arange(500) / 50)
    assert timeline.kind == "same_time"
    assert np.abs(timeline.original_of - np.repeat(np.arange(250), 2)).max() <= 1
    assert sorted(timeline.fake_of()) == list(range(250))
    longer = frame_order.align_frames(coded(frames[:200], 1), coded(altered(frames), 2))
    assert longer.kind == "same_index"
    assert "50 frames longer" in longer.note
