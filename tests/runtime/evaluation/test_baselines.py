"""Blur, the painted face, and the recorder that turns batches of crops into tables."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from runtime.evaluation import baselines, measure, recorder
from tests.helpers.score_tables import SIDE, batch_of, right

FAST = measure.Settings(resamples=20)


def textured(seed=0, side=256):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_blur_score_by_hand():
    crop = np.zeros((256, 256, 3), np.uint8)
    crop[:, ::2] = 100  # columns 0, 100, 0, …: the Laplacian is ±200 everywhere
    assert baselines.blur_score(crop) == pytest.approx(-np.log(200.0**2))


def test_softer_crops_score_higher_and_flat_ones_stay_finite():
    crop = textured()
    scores = [baselines.blur_score(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2)]
    assert baselines.blur_score(crop) < scores[0] < scores[1] < scores[2]
    assert np.isfinite(baselines.blur_score(np.full((256, 256, 3), 9, np.uint8)))


def test_blur_looks_at_the_centre_only():
    crop = textured()
    framed = crop.copy()
    framed[:50] = 0
    assert baselines.blur_score(framed) == baselines.blur_score(crop)


def test_blur_takes_other_sizes_and_grey():
    assert np.isfinite(baselines.blur_score(textured(side=128)))
    assert np.isfinite(baselines.blur_score(textured(side=512)[..., :1]))


def test_face_hull_is_a_symmetric_face_of_plausible_size():
    hull = baselines.face_hull(256)
    assert 0.2 < hull.mean() < 0.4
    assert hull[140, 128] == 1
    assert hull[20, 128] == hull[140, 10] == 0
    assert np.mean(hull != hull[:, ::-1]) < 0.02


def test_uint8_round_trip_of_normalised_images():
    crop = textured(side=16)[None]
    np.testing.assert_array_equal(baselines.to_uint8(crop.astype(np.float32) / 127.5 - 1), crop)


def record(answer, people=4, split=None):
    mask = baselines.face_hull(SIDE)
    taken = recorder.Recorder()
    for person in range(people):
        for frame in range(2):
            batch = batch_of(person, frame, mask)
            scores, probability = answer(batch)
            for part in np.array_split(np.arange(3), split or 1):  # groups may straddle batches
                taken.update({k: v[part] for k, v in batch.items()}, scores[part], probability[part])
    return taken


def hull_everywhere(batch):
    return np.full(len(batch["label"]), 0.5), np.stack([baselines.face_hull(SIDE)[..., None]] * len(batch["label"]))


@pytest.mark.parametrize("split", [None, 3])
def test_a_right_detector_is_recorded_as_right(split):
    numbers = measure.evaluate(record(right, split=split).detector(), FAST)["frame"]["all"]
    assert numbers["dropped"]["auc"]["value"] == 1.0
    assert numbers["counts"]["pairs"] == 16  # paired by group although the frame numbers differ
    assert {name: numbers["pixels"][name]["value"] for name in ("iou", "dice", "region_auc", "area_real")} == {
        "iou": 1.0,
        "dice": 1.0,
        "region_auc": 1.0,
        "area_real": 0.0,
    }


def test_the_painted_face_is_unmasked_by_area_and_region_auc():
    numbers = measure.evaluate(record(hull_everywhere).detector(), FAST)["frame"]["all"]["pixels"]
    assert numbers["iou"]["value"] == 1.0
    assert numbers["area_real"]["value"] == pytest.approx(float(baselines.face_hull(SIDE).mean()), abs=1e-6)
    assert numbers["region_auc"]["value"] == pytest.approx(0.5)


def test_workers_add_up():
    whole = record(right, people=4).detector()
    first, second = recorder.Recorder(), recorder.Recorder()
    mask = baselines.face_hull(SIDE)
    for person in range(4):
        for frame in range(2):
            batch = batch_of(person, frame, mask)
            (first if person % 2 else second).update(batch, *right(batch))
    first.merge(second.state())
    merged = first.detector()
    assert merged.frames.equals(whole.frames)
    assert measure.evaluate(merged, FAST) == measure.evaluate(whole, FAST)


def test_an_original_of_another_group_is_not_compared():
    taken = recorder.Recorder()
    mask = baselines.face_hull(SIDE)
    first, second = batch_of(0, 0, mask), batch_of(1, 0, mask)
    taken.update({k: v[:1] for k, v in first.items()}, np.array([0.1]), np.zeros((1, SIDE, SIDE, 1)))
    taken.update({k: v[1:] for k, v in second.items()}, np.array([0.9, 0.9]), second["mask"][1:])
    numbers = measure.evaluate(taken.detector(), FAST)["frame"]["all"]["pixels"]
    assert numbers["region_auc"]["value"] is None
    assert numbers["pixel_auc"]["value"] == 1.0


def test_nothing_recorded_is_an_error():
    with pytest.raises(ValueError, match="no crops"):
        recorder.Recorder().detector()
