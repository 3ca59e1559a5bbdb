"""Which frame and which part of the original a fake's frame belongs to; pairs that do not fit are refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

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
