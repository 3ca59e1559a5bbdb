"""What plays and when, whatever the header says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mask_generation.video.reader import VideoReader, count_frames, indices_at_rate
from mask_generation.video.types import VideoError
from tests.helpers import odd_videos

KEYS = {"g": "10", "bf": "2"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return odd_videos.write(tmp_path_factory.mktemp("clip") / "clip.mp4", odd_videos.noise(40), options=KEYS)


def read(path):
    """Frames, and the reader after them."""
    with VideoReader(path) as reader:
        return list(reader.frames()), reader


def same(frames, others):
    return len(frames) == len(others) and all((a.rgb == b.rgb).all() for a, b in zip(frames, others))


def times_of(frames):
    return [frame.time_s for frame in frames]


@pytest.mark.parametrize("flags", ["frag_keyframe", "frag_keyframe+empty_moov+default_base_moof", "frag_every_frame"])
def test_fragments_are_one_video(tmp_path, clip, flags):
    path = odd_videos.copied(clip, tmp_path / "frag.mp4", {"movflags": flags})
    frames, reader = read(path)
    assert not reader.info.frames or reader.info.frames < 40  # its header counts the first fragment, or nothing
    assert reader.stats.problem is None
    assert same(frames, read(clip)[0])
    assert count_frames(path) == 40


def test_an_edit_list_shows_a_part_and_nothing_is_missing(tmp_path, clip):
    path = odd_videos.copied(clip, tmp_path / "trimmed.mp4", earlier_s=2.5)
    frames, reader = read(path)
    assert reader.info.frames == 40
    assert [frame.index for frame in frames] == list(range(15))
    assert frames[0].time_s == 0
    assert reader.stats.problem is None
    assert same(frames, read(clip)[0][25:])


def test_times_are_the_floats_next_to_the_true_ones(tmp_path):
    path = odd_videos.write(tmp_path / "a.mp4", odd_videos.pictures(60), rate=30)
    with VideoReader(path) as reader:
        assert reader.timeline.times_s.tolist() == [index / 30 for index in range(60)]


def test_a_clock_that_starts_again_goes_on(tmp_path, clip):
    once = odd_videos.copied(clip, tmp_path / "once.ts")
    (tmp_path / "twice.ts").write_bytes(2 * once.read_bytes())
    single, _ = read(once)
    frames, reader = read(tmp_path / "twice.ts")
    np.testing.assert_allclose(times_of(frames), np.arange(80) / 10, atol=1e-3)
    assert same(frames, single + single)
    assert "time stamps start again (at 4.0 s)" in reader.stats.notes[0]
    assert reader.stats.problem is None
    with VideoReader(tmp_path / "twice.ts") as reader:
        chosen = list(reader.frames([3, 43, 79]))
    assert same(chosen, [single[3], single[3], single[39]])


def test_pictures_coded_out_of_order_in_avi_have_steady_times(tmp_path, clip):
    frames, reader = read(odd_videos.write(tmp_path / "a.avi", odd_videos.noise(40), options=KEYS))
    np.testing.assert_allclose(times_of(frames), np.arange(40) / 10, atol=1e-6)
    assert same(frames, read(clip)[0])
    assert any("AVI" in note for note in reader.stats.notes)


def test_a_stream_without_times_has_those_of_its_rate(tmp_path, clip):
    frames, _ = read(odd_videos.copied(clip, tmp_path / "a.h264"))
    assert len(frames) == 40
    assert (np.diff(times_of(frames)) > 0).all()


def test_invisible_pictures_of_vp8_are_not_counted(tmp_path):
    options = {"auto-alt-ref": "1", "lag-in-frames": "10", "g": "20", "b": "100k"}
    path = odd_videos.write(tmp_path / "a.webm", odd_videos.pictures(40), codec="libvpx", options=options)
    frames, reader = read(path)
    assert len(frames) == reader.timeline.count == 40
    assert not reader.stats.partial


def test_a_rate_without_a_declared_duration(tmp_path, clip):
    path = tmp_path / "live.mkv"
    with path.open("wb") as file:  # a pipe: nothing can be filled in at the end
        file.seekable = lambda: False
        odd_videos.copied(clip, tmp_path / "whole.mkv")
        data = bytearray((tmp_path / "whole.mkv").read_bytes())
        at = data.index(b"\x44\x89")  # Duration
        data[at : at + 2] = b"\xec\x89"  # a void element
        file.write(bytes(data))
    with VideoReader(path) as reader:
        assert reader.info.frames is None
        assert len(indices_at_rate(reader.timeline.times_s, 2)) == 8


def test_a_hole_in_an_mp4_ends_at_the_next_key_frame(tmp_path, clip):
    path = odd_videos.emptied(clip, tmp_path / "hole.mp4", 0.3, 0.6)
    whole, _ = read(clip)
    frames, reader = read(path)
    places = [frame.index for frame in frames]
    assert places[0] == 0
    assert set(range(30, 40)) <= set(places)
    assert same([frame for frame in frames if frame.index >= 30], whole[30:])
    assert reader.stats.lost_s == pytest.approx((40 - len(frames)) / 10, abs=0.05)
    assert "of 4.0 s are damaged and left out between" in reader.stats.problem
    with VideoReader(path) as reader:
        assert [frame.index for frame in reader.frames([2, 19, 38])] == [2, 38]


def test_greys_stay_at_their_places_beside_a_hole(tmp_path, clip):
    path = odd_videos.emptied(clip, tmp_path / "hole.mp4", 0.3, 0.6)
    with VideoReader(clip) as reader:
        whole = [grey.copy() for grey in reader.greys()]
    with VideoReader(path) as reader:
        greys = [grey.copy() for grey in reader.greys()]
    assert len(greys) == 40
    np.testing.assert_array_equal(greys[35], whole[35])


def test_a_hole_at_the_start_of_an_mp4(tmp_path):
    whole = odd_videos.write(tmp_path / "whole.mp4", odd_videos.noise(40), options=KEYS)
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big")
    data[start : start + length // 3] = bytes(length // 3)
    (tmp_path / "hole.mp4").write_bytes(bytes(data))
    frames, reader = read(tmp_path / "hole.mp4")
    assert frames[-1].index == 39
    assert frames[-1].time_s == pytest.approx(3.9, abs=1e-3)
    assert 1.0 <= reader.stats.lost_s <= 2.0
    assert "between 0.0 and" in reader.stats.problem


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_zeros_that_stop_the_demuxer_do_not_end_the_video(tmp_path, suffix):
    coding = {"g": "10", "bf": "0", "crf": "4", "preset": "ultrafast"}
    whole = odd_videos.write(tmp_path / f"whole.{suffix}", odd_videos.noise(60), options=coding)
    assert whole.stat().st_size * 0.3 > 66_000
    path = odd_videos.emptied(whole, tmp_path / f"hole.{suffix}", 0.3, 0.6)
    frames, reader = read(path)
    assert frames[-1].time_s > 5.5
    assert any(2.0 < frame.time_s < 5.9 for frame in frames[-20:])
    assert 1.5 < reader.stats.lost_s < 3.5
    assert "damaged and left out" in reader.stats.problem
    clean = {round(frame.time_s, 2): frame.rgb for frame in read(whole)[0]}
    np.testing.assert_array_equal(frames[-1].rgb, clean[round(frames[-1].time_s, 2)])


def test_zeros_up_to_the_end_of_a_transport_stream(tmp_path):
    coding = {"g": "10", "bf": "0", "crf": "4", "preset": "ultrafast"}
    whole = odd_videos.write(tmp_path / "whole.ts", odd_videos.noise(60), options=coding)
    packets = whole.stat().st_size // 188
    path = odd_videos.emptied(whole, tmp_path / "hole.ts", packets // 2 / packets, 1.0)
    frames, reader = read(path)
    assert 20 < len(frames) < 40
    assert "nothing can be read behind" in reader.stats.problem


def test_an_animated_webp_is_named(tmp_path):
    pictures = [Image.fromarray(picture) for picture in odd_videos.pictures(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match="animated WebP") as caught:
        read(tmp_path / "a.webp")
    assert caught.value.state == "unsupported"
