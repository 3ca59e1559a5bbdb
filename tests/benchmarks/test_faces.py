"""The benchmarks of faces and of the synthesis count what they say they count."""

from __future__ import annotations

import json

import pytest

from benchmarks import faces, synthesis
from mask_generation.synthesis import face_bank
from tests.helpers import drawn_faces, drawn_videos


class Slow(drawn_videos.OvalDetector):
    """Finds the same faces after some work, and one more that nobody else sees."""

    def __init__(self, extra):
        self.extra = extra

    def detect(self, rgb):
        found = super().detect(rgb)
        sum(i * i for i in range(300_000))
        return found + [face for face in found[:1] for _ in range(self.extra)]


def test_boxes_are_counted_and_the_quicker_is_quicker(tmp_path):
    path = str(drawn_videos.clip(tmp_path / "two.mp4", frames=20, faces=2))
    row = faces.compare(path, 2, 12, Slow(0), drawn_videos.OvalDetector())
    assert (row["frames"], row["boxes"], row["kept"]) == (12, 24, 24)
    assert row["largest"] == row["largest_kept"] == 12
    assert row["detections"] + row["refinements"] == 12
    summary = faces.summarise([row])
    assert summary["speed_ratio"] > 1
    assert summary["kept"] == 1
    text = faces.markdown([row], summary)
    assert "| two.mp4 | 280x160 | 12 | 24 | 100.0% |" in text


def test_boxes_that_the_tracker_misses_lower_the_share(tmp_path):
    class Blind(drawn_videos.OvalDetector):
        def detect(self, rgb):
            return super().detect(rgb)[:1]

    path = str(drawn_videos.clip(tmp_path / "two.mp4", frames=8, faces=2))
    row = faces.compare(path, 0, 8, drawn_videos.OvalDetector(), Blind())
    assert row["kept"] == 8
    assert faces.summarise([row])["kept"] == pytest.approx(0.5)


def test_the_synthesis_benchmark_prints_its_rate(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "bank.npz")
    face_bank.save(
        path,
        (
            face_bank.Crop(
                drawn_faces.picture(160, 160, seed),
                drawn_faces.landmarks(160, 160),
                face_bank.MARGIN,
                f"p{seed}",
                "drawn",
            )
            for seed in range(3)
        ),
        validation_share=0,
    )
    monkeypatch.setattr("sys.argv", ["synthesis", "--face_bank", path, "--sizes", "64", "--pairs", "16"])
    assert synthesis.main() == 0
    row = json.loads(capsys.readouterr().out)
    assert row["size_px"] == 64
    assert row["images_per_cpu_s"] > 1
    monkeypatch.setattr("sys.argv", ["synthesis", "--face_bank", str(tmp_path / "none.npz")])
    assert synthesis.main() == 1
    assert "none.npz" in capsys.readouterr().err
