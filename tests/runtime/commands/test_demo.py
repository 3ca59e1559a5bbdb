"""The demo's clips and its verdict; the whole demo takes minutes: run `./launch.sh demo`."""

import zlib
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from mask_generation.faces.detector import Box, Detection
from mask_generation.video.reader import read_frames
from runtime.commands import demo, demo_clips


class KnownFaces:
    """Stands in for MTCNN: where the faces are in the two portraits."""

    FIVE: ClassVar = {
        512: [(206, 112), (244, 110), (226, 134), (210, 152), (244, 150)],
        600: [(206, 220), (292, 222), (248, 272), (214, 316), (286, 318)],
    }

    def detect(self, rgb):
        return [Detection(Box(170, 60, 280, 190), 1.0, np.array(self.FIVE[rgb.shape[0]], np.float32))]


def test_a_drawn_copy_differs_from_its_original_in_the_face_only():
    photo = demo_clips.portraits()["collins"]
    five = np.array(KnownFaces.FIVE[512], np.float64)
    real, fake = demo_clips.draw_clip(photo, five, np.random.default_rng(3), frames=7)
    assert len(real) == len(fake) == 7
    for a, b in zip(real, fake):
        changed = (a != b).any(axis=-1)
        assert 0.02 < changed.mean() < 0.6
        assert not changed[:, :20].any()
        assert not changed[:, -20:].any()


def test_clips_are_drawn_alike_every_time(tmp_path):
    pairs = [demo_clips.draw_pairs(tmp_path / name, KnownFaces()) for name in ("a", "b")]
    assert [pair.split for pair in pairs[0]] == ["train"] * 32 + ["test"] * 3
    for first, second in zip(*pairs):
        # sums, as pytest takes minutes to show where two files differ
        assert zlib.crc32(first.fake.read_bytes()) == zlib.crc32(second.fake.read_bytes())
    table = pd.read_csv(tmp_path / "a" / "pairs.csv")
    assert list(table) == ["fake", "original", "method", "split"]
    assert all((tmp_path / "a" / path).is_file() for path in [*table["fake"], *table["original"]])
    assert sum(1 for _ in read_frames(pairs[0][0].original)) == demo_clips.PARTS["collins"].frames


@pytest.mark.parametrize(
    "scores, separated",
    [
        ([0.1, 0.2, 0.8, 0.9], True),
        ([0.1, 0.85, 0.8, 0.9], False),
        ([0.1, 0.8, 0.8, 0.9], False),
        ([0.1, None, 0.8, 0.9], False),
    ],
)
def test_the_verdict_follows_the_scores(tmp_path, capsys, scores, separated):
    paths = ["a.mp4", "b.mp4", "a_fake.mp4", "b_fake.mp4"]
    pd.DataFrame({"path": paths, "score": scores, "state": "ok"}).to_csv(tmp_path / "videos.csv")
    assert demo.print_ranking(tmp_path / "videos.csv", tmp_path / "none.json") is separated
    assert ("NOT all ranked" in capsys.readouterr().out) is not separated


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(demo.UsageError, match="not empty"):
        demo._prepare(tmp_path)
    assert (tmp_path / "mine.txt").exists()
