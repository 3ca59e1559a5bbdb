"""The benchmarks' baselines are what they are called, and their tables say what was measured."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from benchmarks import input_pipeline, plain_keras, speed
from mask_generation import shards
from tools import band_energies
from unet_industrial import build_unet, records


def test_the_plain_script_has_the_same_network():
    ours, plain = build_unet(), plain_keras.network()
    plain.set_weights(ours.get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(images), ours(images), rtol=0, atol=1e-5)


def test_contestants_take_turns_step_by_step(monkeypatch, tmp_path):
    code = "from turns import serve; import time; serve(lambda: time.sleep(0.01), warm_up=2)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=speed.ROOT / "benchmarks", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, _ = process.communicate("3\n1\n", timeout=60)
    ready, *answers = out.splitlines()
    assert ready == "ready"
    three, one = map(json.loads, answers)
    assert three["wall_s"] >= 0.03
    assert one["wall_s"] >= 0.01
    assert three["cpu_s"] < three["wall_s"]
    assert one["peak_gb"] > 0


def test_the_table_names_every_contestant_and_its_ratios(monkeypatch):
    class Fixed:
        def __init__(self, name, case):
            self._cost = {"product": 1.0, "plain": 2.0}[name]

        def wait_until_ready(self):
            pass

        def turn(self, steps):
            return {"wall_s": self._cost * steps, "cpu_s": 3 * self._cost * steps, "peak_gb": self._cost}

        def close(self):
            pass

    monkeypatch.setattr(speed, "Contestant", Fixed)
    found = speed.measure("training-256-8", 2, ["product", "plain"])
    assert found["plain"]["wall_s_ratio"] == found["plain"]["cpu_s_ratio"] == 2
    assert found["product"]["cpu_s"] == pytest.approx(3 / 8)
    (row,) = [line for line in speed.table({"training-256-8": found}).splitlines() if line.startswith("| training")]
    assert row == "| training 256², batch 8 | 0.375 | 8.00 | 2.00, 2.00 | 1.00; 2.00 |"


def test_a_result_goes_between_its_marks(monkeypatch, tmp_path):
    document = tmp_path / "training.md"
    marks = "<!-- benchmarks/speed.py speed: begin -->\n", "<!-- speed: end -->\nafter"
    document.write_text("before\n" + "old\n".join(marks))
    monkeypatch.setattr(speed, "DOCUMENT", document)
    speed.write("speed", "new")
    assert document.read_text() == "before\n" + "new\n".join(marks)


@pytest.mark.parametrize("cached", [True, False])
def test_the_references_pipeline_serves_defective_images_with_their_masks(tmp_path, monkeypatch, cached):
    monkeypatch.setattr(input_pipeline, "GROUPS", 3)
    csv = input_pipeline.write_pngs(tmp_path, 32)
    pipeline = input_pipeline.reference_pipeline(csv, 32, 2, cached)
    for images, masks in itertools.islice(pipeline, 4):
        assert images.shape == masks.shape == (2, 32, 32, 1)
        assert -1 <= images.numpy().min() < images.numpy().max() <= 1
        assert (masks.numpy().max(axis=(1, 2, 3)) == 1).all()  # no clean image


@pytest.mark.parametrize("grey", [True, False])
def test_the_benchmarks_records_are_the_same_pictures(tmp_path, grey):
    (path,) = input_pipeline.write_records(tmp_path / "a.tfrecord", 32, grey, groups=2)
    import tensorflow as tf

    groups = [records.decode_group(record.numpy()) for record in tf.data.TFRecordDataset(path)]
    for group, (original, fake, mask) in zip(groups, input_pipeline.faces(32, 2)):
        np.testing.assert_array_equal(group.images[1].mask, mask)
        if not grey:
            np.testing.assert_array_equal(group.images[0].image, original)
            np.testing.assert_array_equal(group.images[1].image, fake)
    assert len(groups) == 2


def test_band_energies_see_where_a_fake_is_softer_than_its_original(tmp_path, capsys):
    rng = np.random.default_rng(2)
    mask = np.zeros((128, 128), np.uint8)
    mask[40:90, 40:90] = 255
    groups = []
    for number in range(3):
        real = rng.integers(0, 256, (128, 128, 3), np.uint8)
        fake = np.where(mask[..., None] > 0, cv2.GaussianBlur(real, (0, 0), 1.0), real)
        pictures = tuple(
            records.FaceImage(picture, own, label, f"d/m/-/{number}{label}", "m", 0, "exact" if label else "")
            for label, (picture, own) in enumerate(((real, 0 * mask), (fake, mask)))
        )
        groups.append(records.FaceGroup(str(number), "d", "val", "p", 0, 0.0, 0, (0, 0, 9, 9), pictures))
    shards.write_part(tmp_path / "val-00000-of-00001", groups, [], {})
    found = dict(band_energies.differences(str(tmp_path), "val"))["m"]
    inside, ring, edge = found
    assert inside[0] < -1  # the finest band of luma
    assert inside[0] < inside[1] < inside[2] < 0.1
    assert abs(ring[0]) < 0.3
    assert inside[0] < edge[0] < ring[0]
    assert band_energies.main([f"{tmp_path}:val"]) == 0
    assert "| m | 3 |" in capsys.readouterr().out
    assert band_energies.main(["no split named"]) == 2
