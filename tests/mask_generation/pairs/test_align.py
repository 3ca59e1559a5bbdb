"""Which frame and which part of the original a fake's frame belongs to; pairs that do not fit are refused."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.pairs import align


def moving(count, seed=0, height=90, width=160):
    """(N,H,W) uint8: a smooth random picture that slides, so that neighbouring frames are alike but not the same."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(rng.uniform(0, 255, (12, 60)).astype(np.float32), (width * 4, height), cv2.INTER_CUBIC)
    return np.stack([np.clip(field[:, 3 * i : 3 * i + width], 0, 255).astype(np.uint8) for i in range(count)])


def signatures(frames):
    return np.stack([align.signature(frame) for frame in frames])


def coloured(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def noisy(frames, level=3.0):
    rng = np.random.default_rng(1)
    return np.clip(frames + rng.normal(0, level, frames.shape), 0, 255).astype(np.uint8)


def test_equal_clips_go_by_index():
    frames = signatures(moving(40))
    timeline = align.align_frames(frames, frames)
    assert timeline.kind == "same_index"
    assert timeline.distance == 0
    np.testing.assert_array_equal(timeline.original_of, np.arange(40))


@pytest.mark.parametrize(("originals", "fakes"), [(40, 25), (25, 40), (1, 9), (9, 1)])
def test_unequal_counts_use_the_common_frames(originals, fakes):
    frames = moving(40)
    timeline = align.align_frames(signatures(frames[:originals]), signatures(noisy(frames[:fakes])))
    assert timeline.kind == "same_index"
    common = min(originals, fakes)
    assert timeline.original_of.tolist() == [*range(common), *[-1] * (fakes - common)]
    assert timeline.fake_of() == {i: i for i in range(common)}


@settings(max_examples=12, deadline=None)
@given(st.sets(st.integers(2, 58), min_size=3, max_size=20))
def test_dropped_frames_are_found(dropped):
    frames = moving(60)
    kept = [index for index in range(60) if index not in dropped]
    timeline = align.align_frames(signatures(frames), signatures(noisy(frames[kept])))
    off = np.abs(timeline.original_of - np.array(kept))
    if timeline.kind == "dropped_frames":
        assert (np.diff(timeline.original_of) > 0).all()
        assert off.max() == 0
    else:  # so few were lost so late that going by index is about as good
        assert timeline.distance < align.WORTH_LEVEL or off.mean() < 3


def test_half_of_the_frames_lost_throughout_is_found():
    frames = moving(80)
    kept = sorted(np.random.default_rng(3).permutation(80)[:40].tolist())
    timeline = align.align_frames(signatures(frames), signatures(noisy(frames[kept])))
    assert timeline.kind == "dropped_frames"
    np.testing.assert_array_equal(timeline.original_of, kept)


def test_other_clips_are_refused_not_guessed():
    first, second = moving(30), 255 - moving(30, seed=9)
    with pytest.raises(align.AlignmentError, match="does not show what its original shows"):
        align.align_frames(signatures(first), signatures(second))


def test_no_frames_are_refused():
    frames = signatures(moving(3))
    with pytest.raises(align.AlignmentError, match="no frames"):
        align.align_frames(frames, frames[:0])


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_the_path_is_the_best_of_all_rising_ones(m, extra, seed):
    rng = np.random.default_rng(seed)
    n = m + extra if m + extra <= 10 else 10
    m = min(m, n - 1)
    original, fake = (rng.uniform(0, 100, (count, 3)).astype(np.float32) for count in (n, m))
    path = align._monotone_path(original, fake)
    assert (np.diff(path) > 0).all()

    def cost(indices):
        return float(np.abs(fake - original[list(indices)]).mean(1).sum())

    best = min(cost(indices) for indices in itertools.combinations(range(n), m))
    assert cost(path) == pytest.approx(best, rel=1e-4)


def test_signature_of_the_centre_matches_a_centre_crop():
    frame = moving(1, width=200)[0]
    cut = frame[:, 22:-22]
    np.testing.assert_array_equal(align.signature(frame, cut.shape), align.signature(cut))


@pytest.mark.parametrize(("x0", "y0", "width", "height"), [(11, 0, 138, 90), (8, 3, 144, 80), (0, 0, 150, 90)])
def test_a_crop_is_found_at_its_offset(x0, y0, width, height):
    frames = [coloured(frame) for frame in moving(3)]
    cuts = [noisy(frame[y0 : y0 + height, x0 : x0 + width]) for frame in frames]
    window = align.align_picture(frames, cuts)
    assert window == align.Window(x0, y0, width, height)
    np.testing.assert_array_equal(window.cut(frames[0]).shape, cuts[0].shape)


def test_equal_sizes_are_taken_whole():
    frames = [coloured(frame) for frame in moving(2)]
    assert align.align_picture(frames, frames) == align.Window(0, 0, 160, 90)


def test_a_scaled_copy_is_refused():
    frames = [coloured(frame) for frame in moving(3)]
    small = [cv2.resize(frame, (144, 81), interpolation=cv2.INTER_AREA) for frame in frames]
    with pytest.raises(align.AlignmentError, match="scaled copy"):
        align.align_picture(frames, small)


def test_a_larger_fake_is_refused():
    frames = [coloured(frame) for frame in moving(1)]
    large = [np.pad(frame, ((0, 0), (0, 10), (0, 0))) for frame in frames]
    with pytest.raises(align.AlignmentError, match="larger fakes"):
        align.align_picture(frames, large)


def test_a_wandering_crop_is_refused():
    frames = [coloured(frame) for frame in moving(3)]
    cuts = [np.ascontiguousarray(frame[:80, 10 * i : 10 * i + 120]) for i, frame in enumerate(frames)]
    with pytest.raises(align.AlignmentError, match="offsets that change"):
        align.align_picture(frames, cuts)


def test_identical_means_the_same_pixels_but_for_rounding():
    frame = coloured(moving(1)[0])
    assert align.identical(frame, frame)
    dot = frame.copy()
    dot[:4, :4] ^= 1
    assert align.identical(frame, dot)
    patch = frame.copy()
    patch[:30, :30] ^= 16
    assert not align.identical(frame, patch)
    assert not align.identical(frame, frame[:, :-2])
    assert align.identical(frame, frame[:, 5:-5], align.Window(5, 0, 150, 90))
