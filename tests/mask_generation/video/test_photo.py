"""Reading pictures: whole ones as they look, bad ones with a reason."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from mask_generation.video.photo import read_picture
from mask_generation.video.types import Limits, VideoError


@pytest.fixture(scope="module")
def rgb():
    return cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8), (90, 60))


def coded(rgb, suffix):
    return cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()


@pytest.mark.parametrize("suffix, within", [(".png", 0), (".bmp", 0), (".jpg", 4), (".webp", 6), (".tiff", 0)])
def test_pictures_come_as_rgb(rgb, tmp_path, suffix, within):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(coded(rgb, suffix))
    read = read_picture(path)
    assert (read.shape, read.dtype) == (rgb.shape, np.uint8)
    assert np.abs(read.astype(int) - rgb).mean() <= within


def test_grey_and_transparent_pictures_become_rgb(rgb, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), rgb[..., 0])
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 7, np.uint8)]))
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.repeat(rgb[..., :1], 3, 2))
    np.testing.assert_array_equal(read_picture(tmp_path / "clear.png"), rgb)


def test_a_camera_s_rotation_is_applied(rgb, tmp_path):
    """EXIF orientation 6: the top of what the camera saw is the right side of the stored rows."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = coded(rgb, ".jpg")
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert read_picture(tmp_path / "a.jpg").shape == (90, 60, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_picture_that_is_cut_short_is_not_filled_up_with_grey(rgb, tmp_path, suffix, share):
    data = coded(rgb, suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(VideoError, match="cut short|no picture") as caught:
        read_picture(path)
    assert caught.value.state == "unreadable"


def test_a_cut_picture_with_a_whole_thumbnail_is_cut(rgb, tmp_path):
    thumbnail, data = coded(rgb[:8, :8], ".jpg"), coded(rgb, ".jpg")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    (tmp_path / "whole.jpg").write_bytes(data)
    assert read_picture(tmp_path / "whole.jpg").shape == rgb.shape
    (tmp_path / "cut.jpg").write_bytes(data[: -len(data) // 4])
    with pytest.raises(VideoError, match="cut short"):
        read_picture(tmp_path / "cut.jpg")


def test_what_follows_a_picture_does_not_matter(rgb, tmp_path):
    (tmp_path / "a.jpg").write_bytes(coded(rgb, ".jpg") + b"\0" * 100)
    assert read_picture(tmp_path / "a.jpg").shape == rgb.shape


@pytest.mark.parametrize("name", ["missing.jpg", "folder.jpg", "text.png", "empty.jpg"])
def test_what_is_no_picture_is_unreadable(tmp_path, name):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(VideoError) as caught:
        read_picture(tmp_path / name)
    assert caught.value.state == "unreadable"


def test_a_bomb_is_turned_away_by_its_header(tmp_path):
    """60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    with pytest.raises(VideoError, match="60000x60000 pixels, over the limit") as caught:
        read_picture(tmp_path / "a.png")
    assert caught.value.state == "unsupported"


def test_the_limits_hold(rgb, tmp_path):
    (tmp_path / "a.bmp").write_bytes(coded(rgb, ".bmp"))
    with pytest.raises(VideoError, match="--max_width"):
        read_picture(tmp_path / "a.bmp", Limits(max_width=64))
    with pytest.raises(VideoError, match="max_bytes"):
        read_picture(tmp_path / "a.bmp", Limits(max_bytes=100))
