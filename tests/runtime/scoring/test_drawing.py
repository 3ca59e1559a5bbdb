"""Pictures of frames: the mask where the face is, files whole or not there, and the video beside its original."""

from __future__ import annotations

import base64
import dataclasses

import cv2
import numpy as np
import pytest

from mask_generation.video.reader import read_frames
from mask_generation.video.types import VideoError
from mask_generation.video.writer import video_file
from runtime.model.saved_model import load_model
from runtime.scoring import drawing, overlay_video
from runtime.scoring.result import ScoreConfig
from runtime.scoring.scorer import Scorer
from tests.helpers import drawn_model, drawn_videos


def frame_picture(**changes):
    frame, crop = np.full((90, 160, 3), 100, np.uint8), np.full((64, 64, 3), 150, np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    item = drawing.FramePicture(7, 1.25, 0, 0.8, frame, (40.0, 10.0, 104.0, 74.0), crop, mask)
    return dataclasses.replace(item, **changes)


def redness(picture):
    return picture[..., 0].astype(int) - picture[..., 2]


def test_the_tint_is_where_the_mask_is():
    item = frame_picture()
    red = redness(drawing.tint(item.crop, item.mask))
    assert (red[20:44, 20:44] > 80).all()
    assert (red[:10] == 0).all()
    assert (drawing.tint(item.crop, np.zeros((64, 64), np.float32)) == item.crop).all()


def test_a_mask_goes_back_to_its_square_and_is_cut_at_the_edge():
    ones = np.ones((8, 8), np.float32)
    full = drawing.paste_mask((50, 60), (10, 20, 30, 40), ones)
    assert full.sum() == 400
    assert full[20:40, 10:30].all()
    assert drawing.paste_mask((50, 60), (-10, -10, 10, 10), ones).sum() == 100
    assert drawing.paste_mask((50, 60), (50, 40, 70, 60), ones, full).sum() == 500  # a second face is added
    assert drawing.paste_mask((50, 60), (200, 200, 220, 220), ones).sum() == 0


def test_an_overlay_picture_has_a_column_each_and_shows_the_mask():
    one, three = (drawing.overlay_picture([frame_picture()] * count, "clip.mp4: ok") for count in (1, 3))
    assert one.shape[1] == drawing.FRAME_WIDTH
    assert three.shape[1] == 3 * drawing.FRAME_WIDTH + 16
    assert three.shape[0] == one.shape[0]
    assert (redness(one) > 80).any()


@pytest.mark.parametrize("shape", [(400, 20, 3), (20, 400, 3), (9, 9, 3)])
def test_odd_shapes_of_frames_fit(shape):
    small, factor = drawing.reduce_frame(np.zeros(shape, np.uint8))
    item = frame_picture(frame=small, square_xyxy=(0.0, 0.0, 5.0, 5.0))
    assert small.shape[1] <= drawing.FRAME_WIDTH
    assert factor <= 1
    assert drawing.overlay_picture([item, frame_picture()], "x" * 500).shape[1] == 2 * drawing.FRAME_WIDTH + 8


def test_frames_are_reduced_to_fit_either_way_up():
    for shape in ((1080, 1920, 3), (1920, 1080, 3)):
        small, factor = drawing.reduce_frame(np.zeros(shape, np.uint8))
        assert max(small.shape[:2]) == 400
        assert factor == pytest.approx(400 / 1920)


def test_a_thumbnail_is_a_small_jpeg():
    head, data = drawing.thumbnail(frame_picture()).split(",")
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (drawing.THUMB_SIDE, drawing.THUMB_SIDE, 3)
    assert redness(picture[..., ::-1])[56, 56] > 60


def test_pictures_are_written_whole_and_right_way_round(tmp_path):
    drawing.write_png(tmp_path / "deep" / "p.png", np.full((4, 5, 3), (250, 10, 20), np.uint8))
    assert cv2.imread(str(tmp_path / "deep" / "p.png"))[0, 0].tolist() == [20, 10, 250]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.png"]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    model = load_model(drawn_model.save(tmp_path_factory.mktemp("model") / "green"), trust=True)
    return Scorer(model, ScoreConfig(detect_every_s=0.2), drawn_videos.OvalDetector())


def test_the_video_has_every_frame_at_its_time_and_the_mask_on_the_right(scorer, tmp_path):
    path = drawn_videos.clip(tmp_path / "fake.mp4", 20, fake={0: range(10, 20)})
    overlay_video.write_overlay_video(path, tmp_path / "masks" / "out.mp4", scorer)
    before, after = list(read_frames(path)), list(read_frames(tmp_path / "masks" / "out.mp4"))
    assert len(after) == len(before) == 20
    np.testing.assert_allclose([f.time_s for f in after], [f.time_s for f in before], atol=1e-3)
    height, width = before[0].rgb.shape[:2]
    assert after[0].rgb.shape == (height, 2 * width, 3)
    assert np.abs(after[15].rgb[:, :width].astype(int) - before[15].rgb).mean() < 6
    mouths = [(redness(f.rgb[98:110, width + 64 : width + 76]) - redness(f.rgb[98:110, 64:76])).mean() for f in after]
    assert max(np.abs(mouths[:9])) < 10 < 50 < min(mouths[11:])
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["out.mp4"]


def test_a_video_looked_at_turned_is_drawn_turned(scorer, tmp_path):
    upright = [drawn_videos.frame(1, [0]) for _ in range(3)]
    path = drawn_videos.write(tmp_path / "side.mp4", [np.rot90(picture, -1) for picture in upright])
    overlay_video.write_overlay_video(path, tmp_path / "out.mp4", scorer, turns=1)
    after = next(read_frames(tmp_path / "out.mp4")).rgb
    assert np.abs(after[:, :160].astype(int) - upright[0]).mean() < 6
    assert redness(after[98:110, 224:236]).mean() > 50 + redness(after[98:110, 64:76]).mean()


def test_time_stamps_that_stand_still_and_odd_sizes_are_encoded(scorer, tmp_path):
    with video_file(tmp_path / "out.mp4", 20) as writer:
        for index, time_s in enumerate((0.0, 0.1, 0.1, 0.05, 0.3)):
            picture = np.full((31, 45, 3), 50 * index, np.uint8)
            writer.write(overlay_video._pair(picture, np.zeros((31, 45), np.float32)), time_s)
    times = [frame.time_s for frame in read_frames(tmp_path / "out.mp4")]
    assert len(times) == 5
    assert (np.diff(times) > 0).all()


def test_a_file_that_is_no_video_leaves_nothing(scorer, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoError):
        overlay_video.write_overlay_video(tmp_path / "bad.mp4", tmp_path / "masks" / "out.mp4", scorer)
    assert list((tmp_path / "masks").iterdir()) == []


def test_pictures_are_suspicious_first_and_apart_in_time(scorer, tmp_path):
    short = scorer.score(drawn_videos.clip(tmp_path / "short.mp4", 32, fake={0: range(8, 14)}))
    assert all(item.score > 0.9 for item in short.pictures)  # not filled up with frames nobody suspects
    long = scorer.score(drawn_videos.clip(tmp_path / "long.mp4", 32, fake={0: range(32)}))
    assert np.diff([item.time_s for item in long.pictures]).min() >= 0.2
