"""Frames, their times and places; odd but sound formats give the pictures a viewer would see."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.video import types
from mask_generation.video.reader import VideoReader, count_frames, indices_at_rate, read_frames, sample_indices
from mask_generation.video.types import Limits, VideoError
from tests.helpers import odd_videos

CORNER = np.array(odd_videos.CORNER)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return odd_videos.write(tmp_path_factory.mktemp("clip") / "clip.mp4", odd_videos.pictures(24), options={"g": "8"})


def corner_of(rgb):
    """Which corner is red: "top left" and so on."""
    places = {
        "top left": rgb[:4, :4],
        "top right": rgb[:4, -4:],
        "bottom left": rgb[-4:, :4],
        "bottom right": rgb[-4:, -4:],
    }
    return min(places, key=lambda name: np.abs(places[name].reshape(-1, 3).mean(0) - CORNER).sum())


def test_frames_come_in_order_with_their_times_and_the_pictures_that_were_drawn(clip):
    frames = list(read_frames(clip))
    assert [frame.index for frame in frames] == list(range(24))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(24) / 10, atol=1e-3)
    for frame, drawn in zip(frames, odd_videos.pictures(24)):
        assert frame.rgb.dtype == np.uint8
        assert np.abs(frame.rgb.astype(int) - drawn).mean() < 4  # of 255: a bright frame for a dark one differs by more


def test_only_the_frames_asked_for_are_given_and_reading_ends_after_the_last(clip):
    with VideoReader(clip) as reader:
        assert [frame.index for frame in reader.frames([9, 3])] == [3, 9]
        assert reader.stats.decoded == 10
    assert [frame.index for frame in read_frames(clip, stride=10)] == [0, 10, 20]
    assert list(read_frames(clip, [])) == []


def test_chosen_frames_equal_those_of_a_full_reading(clip):
    every = {frame.index: frame.rgb for frame in read_frames(clip)}
    for frame in read_frames(clip, [5, 17]):
        np.testing.assert_array_equal(frame.rgb, every[frame.index])


def test_what_the_container_declares(clip):
    with VideoReader(clip) as reader:
        info = reader.info
    assert (info.width, info.height, info.frames, info.codec, info.has_audio) == (64, 48, 24, "h264", False)
    assert info.fps == pytest.approx(10)
    assert info.duration_s == pytest.approx(2.4)
    assert count_frames(clip) == 24


def test_frames_are_counted_by_packets_where_none_are_declared(tmp_path):
    path = odd_videos.write(tmp_path / "a.mkv", odd_videos.pictures(7))
    with VideoReader(path) as reader:
        assert reader.info.frames is None
    assert count_frames(path) == 7


def test_luma_of_every_frame_agrees_with_its_colours(clip):
    with VideoReader(clip) as reader:
        greys = [grey.copy() for grey in reader.greys()]
    colours = list(read_frames(clip))
    assert len(greys) == len(colours)
    for grey, frame in zip(greys, colours):
        luma = 16 + frame.rgb @ np.array([0.257, 0.504, 0.098])  # BT.601, limited range
        assert np.abs(grey - luma).mean() < 3


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    peaks = []
    for count in (20, 200):
        path = odd_videos.write(tmp_path / f"{count}.mp4", odd_videos.pictures(1) * count, options={"threads": "1"})
        tracemalloc.start()
        for _ in read_frames(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 20_000


@pytest.mark.parametrize(
    ("matrix", "corner", "shape"),
    [
        ((1, 0, 0, 1), "top left", (48, 64)),
        ((0, 1, -1, 0), "top right", (64, 48)),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), "bottom right", (48, 64)),
        ((0, -1, 1, 0), "bottom left", (64, 48)),
        ((-1, 0, 0, 1), "top right", (48, 64)),  # a mirrored front camera
    ],
)
def test_rotation_and_mirroring_in_the_header_are_applied(tmp_path, matrix, corner, shape):
    path = odd_videos.turn(odd_videos.write(tmp_path / "a.mp4", odd_videos.pictures(2)), matrix)
    for frame in read_frames(path):
        assert frame.rgb.shape[:2] == shape
        assert corner_of(frame.rgb) == corner
    with VideoReader(path) as reader:
        assert all(grey.shape == shape for grey in reader.greys())


WITH_ALPHA = {
    "frames": [np.dstack([p, np.full(p.shape[:2], 128, np.uint8)]) for p in odd_videos.pictures()],
    "source_format": "rgba",
}


FORMATS = {
    "odd dimensions": ("a.mkv", {"frames": odd_videos.pictures(6, 45, 63), "codec": "ffv1"}),
    "odd dimensions, 4:4:4": ("a.mkv", {"frames": odd_videos.pictures(6, 45, 63), "pixel_format": "yuv444p"}),
    "alpha, packed": ("a.mov", {**WITH_ALPHA, "codec": "qtrle", "pixel_format": "argb"}),
    "alpha, planar": ("a.mkv", {**WITH_ALPHA, "codec": "ffv1", "pixel_format": "yuva420p"}),
    "10 bit": ("a.mp4", {"pixel_format": "yuv420p10le"}),
    "interlaced": ("a.mp4", {"options": {"x264-params": "interlaced=1:tff=1"}}),
    "full range": ("a.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    "MPEG-1": ("a.mpg", {"codec": "mpeg1video", "rate": 25}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9"}),
    "GIF": ("a.gif", {"codec": "gif", "pixel_format": "rgb8"}),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_unusual_formats_give_the_drawn_pictures(tmp_path, kind):
    name, options = FORMATS[kind]
    drawn = options.setdefault("frames", odd_videos.pictures())
    path = odd_videos.write(tmp_path / name, **options)
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        assert not reader.stats.partial
    assert len(frames) == len(drawn)
    level = 25 if kind == "GIF" else 6  # 8 levels of red and green, 4 of blue
    for frame, picture in zip(frames, drawn):
        assert frame.rgb.shape == (*picture.shape[:2], 3)
        assert np.abs(frame.rgb.astype(int) - picture[..., :3]).mean() < level
    with VideoReader(path) as reader:
        assert [grey.shape for grey in reader.greys()] == [picture.shape[:2] for picture in drawn]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_times_are_those_in_the_file(tmp_path, name):
    times = [0, 40, 400, 440, 1000, 1900]
    path = odd_videos.write(tmp_path / name, odd_videos.pictures(6), times=times)
    np.testing.assert_allclose([frame.time_s for frame in read_frames(path)], np.array(times) / 1000, atol=2e-3)


def test_a_rate_of_zero_gives_finite_rising_times(tmp_path):
    path = odd_videos.no_rate(odd_videos.write(tmp_path / "a.avi", odd_videos.pictures(), codec="mpeg4"))
    times = [frame.time_s for frame in read_frames(path)]
    assert len(times) == 6
    assert np.isfinite(times).all()
    assert (np.diff(times) >= 0).all()


def test_one_frame(tmp_path):
    path = odd_videos.write(tmp_path / "a.mp4", odd_videos.pictures(1))
    with VideoReader(path) as reader:
        assert [frame.index for frame in reader.frames()] == [0]
        assert not reader.stats.partial


def test_8k_is_read_within_the_default_limits(tmp_path):
    big = np.full((4320, 7680, 3), 90, np.uint8)
    path = odd_videos.write(tmp_path / "a.mp4", [big], options={"preset": "ultrafast"})
    assert next(read_frames(path)).rgb.shape == big.shape


def test_a_wrong_extension_does_not_matter(tmp_path, clip):
    path = odd_videos.write(tmp_path / "a.mkv", odd_videos.pictures())
    renamed = path.rename(tmp_path / "a.mp4")
    assert len(list(read_frames(renamed))) == 6


def test_names_like_options_and_addresses_are_only_names(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-i", "pipe:0", "concat:a|b", 'file name\'s "quotes".mp4', "https:example.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert len(list(read_frames(name))) == 24


@given(count=st.integers(-2, 2000), samples=st.integers(-2, 60))
def test_samples_are_spread_evenly_from_end_to_end(count, samples):
    chosen = sample_indices(count, samples)
    if count < 1 or samples < 1:
        assert chosen == []
        return
    assert len(chosen) == min(samples, count)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    if samples > 1:
        assert chosen[-1] == count - 1
        steps = np.diff(chosen)
        assert not len(steps) or steps.max() - steps.min() <= 1


@given(count=st.integers(0, 500), fps=st.floats(1, 240), wanted=st.floats(0.1, 300))
def test_frames_at_a_rate_lie_in_the_clip_and_are_about_as_many(count, fps, wanted):
    chosen = indices_at_rate(np.arange(count) / fps, wanted)
    assert chosen == sorted(set(chosen))
    if wanted >= fps:
        assert chosen == list(range(count))
    elif count:
        assert chosen[0] == 0
        assert chosen[-1] < count
        assert abs(len(chosen) - count * wanted / fps) <= 1.001


def test_frames_at_a_rate_are_those_on_screen_at_that_moment_where_the_rate_varies():
    times = [*np.arange(25) / 25, 1.0, 2.0, 3.0, 4.0]  # 25 a second, then one a second
    chosen = indices_at_rate(times, 4)
    assert [times[index] for index in chosen] == pytest.approx([0, 0.24, 0.48, 0.72, 1, 2, 3, 4])
    assert indices_at_rate(times, 1e6) == list(range(len(times)))


@settings(max_examples=60)
@given(st.text(max_size=20), st.binary(max_size=20))
def test_any_name_can_be_printed_on_one_line(text, raw):
    for name in (text, raw):
        shown = types.printable(name)
        shown.encode("utf-8")
        assert "\n" not in shown
        assert "\x1b" not in shown


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", types.TIMEOUT, "slow")))  # noqa: S301  our own bytes
    assert (error.path, error.state, error.reason, str(error)) == ("a.mp4", "timeout", "slow", "a.mp4: slow")


def test_default_limits_are_finite():
    assert all(value is not None and value < float("inf") for value in vars(Limits()).values())
