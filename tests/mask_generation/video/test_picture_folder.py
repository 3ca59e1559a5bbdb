"""Numbered pictures → frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mask_generation.video.picture_folder import PictureFolder
from mask_generation.video.types import VideoError


@pytest.mark.parametrize(
    "names, frames",
    [
        (["0000.png", "0001.png", "0002.png"], [0, 1, 2]),
        (["1.png", "2.png", "10.png"], [1, 2, 10]),
        (["001.png", "002.png", "003.png"], [0, 1, 2]),
        (["frame_012.jpg", "frame_024.jpg"], [12, 24]),
        (["b.png", "a.png"], [0, 1]),
    ],
)
def test_a_pictures_number_is_its_frame(tmp_path, names, frames):
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), (0, 0, 200), np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    with PictureFolder(str(tmp_path)) as folder:
        found = list(folder.frames(range(100)))
        assert [frame.index for frame in found] == frames
        assert found[0].rgb.shape == (8, 8, 3)
        assert found[0].rgb[..., 0].min() > 150
        assert [frame.index for frame in folder.frames(frames[1:])] == frames[1:]


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(VideoError, match="without pictures"):
        PictureFolder(str(tmp_path))
