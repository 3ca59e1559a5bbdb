"""The benchmark of mask recipes: exact truth, fair counting, tables that say what was measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import mask_report, mask_truth, masks
from mask_generation import cli
from mask_generation.faces.detector import Box, Detection
from tests.helpers import drawn_faces
from tools import mask_fit

SIZE = 128


def clip(name, seed):
    frames = [drawn_faces.picture(SIZE, SIZE, seed) for _ in range(mask_truth.FRAMES)]
    box, points = Box(*drawn_faces.box(SIZE, SIZE)), drawn_faces.landmarks(SIZE, SIZE)
    return mask_truth.RealClip(name, frames, [box] * len(frames), [points] * len(frames))


@pytest.fixture(scope="module")
def cases():
    return {case.kind: case for case in mask_truth.cases(clip("a", 0), clip("b", 5), 0)}


def test_every_kind_is_made_and_differs_only_where_its_mask_says(cases):
    assert set(cases) == {*mask_report.KINDS, mask_truth.UNTOUCHED, mask_truth.RECODED}
    for kind in mask_report.KINDS:
        for original, fake, mask in zip(cases[kind].original, cases[kind].fake, cases[kind].masks):
            np.testing.assert_array_equal(original[mask == 0], fake[mask == 0])
            assert (original != fake).any()


def test_the_untouched_half_is_untouched_and_the_rest_makes_the_codec_differ(cases):
    case, half = cases[mask_truth.UNTOUCHED], mask_truth.FRAMES // 2
    for index in range(mask_truth.FRAMES):
        assert (case.original[index] != case.fake[index]).any() == (index >= half)
        assert (case.masks[index] is None) == (index < half)
    original, fake = mask_truth.encode(case, 35)
    assert any((a != b).any() for a, b in zip(original[:half], fake[:half]))


def test_rows_have_overlap_for_fakes_and_area_for_all(cases):
    rows = [row for kind in ("swap", mask_truth.UNTOUCHED) for row in masks.score_pair(cases[kind], 23)]
    assert {row["recipe"] for row in rows} == set(masks.RECIPES)
    for row in rows:
        assert tuple(row) == masks.FIELDS
        assert (row["iou"] == "") == (row["kind"] == mask_truth.UNTOUCHED)
        assert 0 <= row["area"] <= 1
    best = [row["iou"] for row in rows if row["recipe"] == "adaptive" and row["kind"] == "swap"]
    assert min(best) > 0.5


def test_overlap_of_known_masks():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert masks.overlap(a, b) == (pytest.approx(1 / 3), pytest.approx(0.5))


def test_a_clip_counts_once_and_kinds_are_averaged():
    rows = [
        {"clip": c, "kind": kind, "crf": crf, "recipe": "ssim", "frame": f, "iou": value, "dice": value, "area": 0.1}
        for crf in mask_truth.CRFS
        for kind in mask_report.KINDS
        for c, values in (("a", [1.0, 1.0, 1.0]), ("b", [0.0]))
        for f, value in enumerate(values)
    ]
    rows += [
        {"clip": "a", "kind": kind, "crf": crf, "recipe": "ssim", "frame": 0, "iou": "", "dice": "", "area": 0.02}
        for crf in mask_truth.CRFS
        for kind in (mask_truth.UNTOUCHED, mask_truth.RECODED)
    ]
    summary = mask_report.summarise(rows)
    assert summary["recipes"]["ssim"]["23"]["iou"]["mean"] == pytest.approx(0.5)
    assert summary["recipes"]["ssim"]["0"]["false_area"] == {"untouched": 0.02, "recoded": 0.02}
    text = mask_report.markdown(summary)
    assert "| ssim | 40 | 0.500 | 0.500 | 0.500 | 0.500 | **0.500** |" in text
    assert "| ssim | 0 | 2.00 | 2.00 |" in text


def test_inputs_are_searched_for_and_missing_ones_named(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b.mp4", "in/a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.split("/")[-1] for path in mask_truth.find_inputs([str(tmp_path)])] == ["b.mp4", "a.JPG"]
    with pytest.raises(cli.Failure, match="gone: no such file"):
        mask_truth.find_inputs([str(tmp_path / "gone")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(cli.Failure, match="no clips or photographs"):
        mask_truth.find_inputs([str(tmp_path / "empty")])


class One:
    def detect(self, rgb):
        height, width = rgb.shape[:2]
        return [Detection(Box(*drawn_faces.box(height, width)), 1.0, drawn_faces.landmarks(height, width))]


class Nothing:
    def detect(self, rgb):
        return []


def test_a_photograph_becomes_a_clip_whose_points_move_with_it(tmp_path):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, cv2.cvtColor(drawn_faces.picture(160, 160), cv2.COLOR_RGB2BGR))
    loaded = mask_truth.load(path, One())
    assert len(loaded.frames) == mask_truth.FRAMES
    for frame, points in zip(loaded.frames, loaded.points):
        x, y = np.round(points[0]).astype(int)
        assert frame[y - 1 : y + 2, x - 1 : x + 2].mean() < 80  # a dark pupil
    assert mask_truth.load(path, Nothing()) == "no face"
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    assert mask_truth.load(str(tmp_path / "b.jpg"), One()) == "not a readable picture"


def test_fitting_takes_one_frame_of_a_photograph(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_fit, "MtcnnDetector", One)
    cv2.imwrite(str(tmp_path / "a.webp"), drawn_faces.picture(160, 160))
    (source,) = mask_fit.sources_of([str(tmp_path)])
    assert len(source.frames) == len(source.boxes) == len(source.points) == 1


def test_samples_for_fitting_are_functions_of_their_number():
    person = mask_fit.Source("a", *(items[:1] for items in vars(clip("a", 0)).values() if isinstance(items, list)))
    other = mask_fit.Source("b", *(items[:1] for items in vars(clip("b", 5)).values() if isinstance(items, list)))
    kinds = set()
    for number in range(6):
        first, again = (mask_fit.sample([person, other], number) for _ in range(2))
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])
        kind = str(first["kind"])
        kinds.add(kind)
        assert first["o"].shape == first["f"].shape == (*first["m"].shape, 3)
        assert first["m"].any() == (kind not in (mask_truth.UNTOUCHED, mask_truth.RECODED))
    assert len(kinds) > 1
