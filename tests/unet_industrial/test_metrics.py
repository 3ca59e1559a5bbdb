"""Counts that add up, and what they amount to; the reference's numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unet_industrial.metrics import (
    THRESHOLDS,
    SegmentationCounts,
    dice_at_thresholds,
    image_confusion,
    image_dice,
    image_iou,
    image_scores,
    pixel_counts,
)

SHAPE = (4, 6, 6, 1)
maps = arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


def mask_of(*filled: int) -> np.ndarray:
    """One 4x4 map an argument, its first so many pixels 1."""
    return np.stack([(np.arange(16) < count).astype(np.float32).reshape(4, 4, 1) for count in filled])


def iou_at_thresholds(prob, mask, thresholds, **options):
    return image_iou(*pixel_counts(prob, mask, thresholds, **options)).mean(axis=0)


def test_dice_and_iou_of_a_half_overlap():
    prob, mask = mask_of(8), mask_of(4)
    assert dice_at_thresholds(prob, mask, [0.5])[0] == pytest.approx(2 * 4 / 12, abs=1e-5)
    assert iou_at_thresholds(prob, mask, [0.5])[0] == pytest.approx(0.5)


def test_empty_rule():
    empty, marked = mask_of(0), mask_of(1)
    assert dice_at_thresholds(empty, empty, [0.5])[0] == 1
    assert iou_at_thresholds(empty, empty, [0.5])[0] == 1
    assert dice_at_thresholds(marked, empty, [0.5])[0] == pytest.approx(1e-5, rel=1e-3)
    assert iou_at_thresholds(marked, empty, [0.5])[0] == 0


def test_a_value_equal_to_the_threshold_in_float32_is_not_above_it():
    prob = np.full((1, 2, 2, 1), 0.95, np.float32)  # as float64, larger than 0.95
    assert np.float64(prob[0, 0, 0, 0]) != 0.95
    for counts in pixel_counts(prob, np.ones_like(prob), [0.95])[:2]:
        assert counts.sum() == 0


def test_dice_binarises_the_mask_at_the_same_threshold_and_iou_does_not():
    prob, soft = np.full((1, 2, 2, 1), 0.9, np.float32), np.full((1, 2, 2, 1), 0.6, np.float32)
    assert dice_at_thresholds(prob, soft, [0.75])[0] == pytest.approx(0, abs=1e-5)
    assert iou_at_thresholds(prob, soft, [0.75])[0] == 1
    assert iou_at_thresholds(prob, soft, [0.75], target_threshold=None)[0] == 0


def test_image_confusion_counts_each_image_once():
    counts = image_confusion([0.9, 0.2, 0.9, 0.2], [1, 1, 0, 0], [0.5])
    assert {name: count[0] for name, count in counts.items()} == {"tp": 1, "fn": 1, "fp": 1, "tn": 1}


def test_image_score_is_the_largest_value():
    assert image_scores(mask_of(0, 1) * 0.7).tolist() == pytest.approx([0, 0.7])


def test_result_keeps_real_and_fake_images_apart():
    counts = SegmentationCounts([0.5])
    counts.update(mask_of(8, 4), mask_of(4, 0))  # a fake half right, a real with a quarter marked
    result = counts.result()
    assert (result.images, result.fake_images) == (2, 1)
    assert result.dice_fake[0] == pytest.approx(2 / 3, abs=1e-5)
    assert result.dice[0] == pytest.approx(1 / 3, abs=1e-5)
    assert result.iou_fake[0] == pytest.approx(0.5)
    assert result.iou[0] == pytest.approx(4 / 12)
    assert result.precision[0] == pytest.approx(4 / 12)
    assert result.recall[0] == 1
    assert result.marked_real[0] == pytest.approx(0.25)
    assert (result.tpr[0], result.tnr[0]) == (1, 0)
    assert result.at(0.5)["recall"] == 1
    assert result.flat()["dice_fake@0.5"] == result.dice_fake[0]


def test_labels_outrank_an_empty_mask():
    counts = SegmentationCounts([0.5])
    counts.update(mask_of(1), mask_of(0), labels=[1])
    assert (counts.result().fake_images, counts.result().tp[0]) == (1, 1)


def test_ratios_over_nothing_are_nan():
    counts = SegmentationCounts([0.5])
    assert np.isnan(counts.result().dice[0])
    assert np.isnan(counts.result().iou[0])
    counts.update(mask_of(0), mask_of(0))
    result = counts.result()
    assert result.dice[0] == result.iou[0] == result.tnr[0] == 1
    assert all(np.isnan(value[0]) for value in (result.precision, result.recall, result.tpr, result.dice_fake))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(prob=maps, mask=maps, cut=st.integers(1, 3))
def test_counts_of_two_parts_add_up_to_the_whole(prob, mask, cut):
    whole, first, second = SegmentationCounts(), SegmentationCounts(), SegmentationCounts()
    whole.update(prob, mask)
    first.update(prob[:cut], mask[:cut])
    second.update(prob[cut:], mask[cut:])
    summed = SegmentationCounts.from_vector(first.as_vector() + second.as_vector())
    first.merge(second)
    for parts in (summed, first):
        np.testing.assert_allclose(parts.as_vector(), whole.as_vector(), rtol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(prob=maps, mask=maps)
def test_everything_stays_within_its_bounds(prob, mask):
    counts = SegmentationCounts()
    counts.update(prob, mask)
    result = counts.result()
    for name in ("dice", "iou", "iou_fake", "precision", "recall", "marked_real", "tpr", "tnr"):
        values = getattr(result, name)
        assert np.all(np.isnan(values) | ((values >= 0) & (values <= 1))), name
    tp, fp, fn = pixel_counts(prob, mask)
    assert min(tp.min(), fp.min(), fn.min()) >= 0
    assert np.all(result.tp + result.tn + result.fp + result.fn == len(prob))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(prob=maps, mask=maps)
def test_dice_is_symmetric_and_one_with_itself(prob, mask):
    np.testing.assert_array_equal(image_dice(prob, mask), image_dice(mask, prob))
    np.testing.assert_array_equal(dice_at_thresholds(prob, prob), np.ones(len(THRESHOLDS)))


def test_impossible_input_is_refused():
    good = mask_of(1)
    with pytest.raises(ValueError, match="NaN"):
        dice_at_thresholds(good * np.nan, good)
    with pytest.raises(ValueError, match="alike"):
        dice_at_thresholds(good, mask_of(1, 2))
    with pytest.raises(ValueError, match="non-empty"):
        dice_at_thresholds(good[:0], good[:0])
    with pytest.raises(ValueError, match="different thresholds"):
        SegmentationCounts([0.5]).merge(SegmentationCounts([0.6]))
    with pytest.raises(ValueError, match="no counts"):
        SegmentationCounts.from_vector(np.zeros(3))
    with pytest.raises(ValueError, match=r"counted were 0\.5"):
        SegmentationCounts([0.5]).result().at(0.7)
    with pytest.raises(ValueError, match="scores"):
        image_confusion([0.5], [1, 0])
