"""Each kind of bad file ends in a state and a reason that names what is wrong, never in another exception."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mask_generation.video import guard, types
from mask_generation.video.guard import GuardedFile
from mask_generation.video.reader import VideoReader, count_frames, read_frames
from mask_generation.video.types import Limits, VideoError
from tests.helpers import drawn_videos, odd_videos


def read_all(path, limits=None):
    """Number of frames; reads colours and luma, as the pipeline does."""
    with VideoReader(path, limits) as reader:
        count = sum(1 for _ in reader.frames())
    with VideoReader(path, limits) as reader:
        for _ in reader.greys():
            pass
    return count


def failure(path, limits=None):
    with pytest.raises(VideoError) as caught:
        read_all(path, limits)
    assert Path(os.fsdecode(path)).name in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.state, caught.value.reason


def ending(look):
    """ "frames" if `look` finds some, or the state of its error."""
    try:
        return "frames" if look() > 0 else "none"
    except VideoError as error:
        return error.state


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Its index lies in front, so that the beginning of the file alone is of use."""
    return drawn_videos.write(tmp_path_factory.mktemp("clip") / "clip.mp4", odd_videos.pictures(60), faststart=True)


def missing(folder, clip):
    return folder / "none.mp4"


def empty(folder, clip):
    path = folder / "empty.mp4"
    path.touch()
    return path


def directory(folder, clip):
    (folder / "folder.mp4").mkdir()
    return folder / "folder.mp4"


def dangling(folder, clip):
    (folder / "link.mp4").symlink_to(folder / "gone.mp4")
    return folder / "link.mp4"


def pipe(folder, clip):
    os.mkfifo(folder / "pipe.mp4")  # opening it would wait for ever
    return folder / "pipe.mp4"


def text(folder, clip):
    (folder / "text.mp4").write_text("<html>Sign in to watch this video</html>")
    return folder / "text.mp4"


def play_list(folder, clip):
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{clip}\n")
    return folder / "list.mp4"


def hidden_play_list(folder, clip):
    (folder / "list.mp4").write_bytes(f"ffconcat version 1.0\nfile {clip}\n".encode() + bytes(40))
    return folder / "list.mp4"


def tagged(folder, words):
    """Words behind an ID3 tag, which FFmpeg skips before it looks what a file is; 5 KB are no beginning to look at."""
    size = 5000
    head = b"ID3\x04\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + bytes(size)
    (folder / "list.mp4").write_bytes(head + words.encode())
    return folder / "list.mp4"


def tagged_play_list(folder, clip):
    return tagged(folder, f"ffconcat version 1.0\nfile '{clip}'\n")


def session_description(folder, clip):
    return tagged(folder, "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 39017 RTP/AVP 96\n")


def noise(folder, clip):
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "noise.mp4"


def no_index(folder, clip):
    data = odd_videos.write(folder / "whole.mp4", odd_videos.pictures(20)).read_bytes()  # its index lies at the end
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    return folder / "cut.mp4"


def header_only(folder, clip):
    data = clip.read_bytes()
    (folder / "head.mp4").write_bytes(data[: data.index(b"mdat") + 8])
    return folder / "head.mp4"


def sound(folder, clip):
    return odd_videos.audio_only(folder / "sound.mp4")


def huge_claim(folder, clip):
    return odd_videos.claim_size(folder / "huge.mp4", 12000, 9000)


def absurd_claim(folder, clip):
    return odd_videos.claim_size(folder / "huge.mp4", 2**31 - 1, 2**31 - 1)


def bomb(folder, clip):
    return odd_videos.claim_png(folder / "bomb.mp4", 16000, 16000)


def wide_bomb(folder, clip):
    return odd_videos.claim_png(folder / "bomb.mp4", 8000, 8000)


def crowd(folder, clip):
    return odd_videos.streams(folder / "crowd.mkv", 17)


def empty_8k(folder, clip):
    return odd_videos.claim_size(folder / "8k.mp4", 7680, 4320)


@pytest.mark.parametrize(
    ("make", "state", "reason"),
    [
        (missing, types.UNREADABLE, "no such file"),
        (empty, types.UNREADABLE, "empty file"),
        (directory, types.UNREADABLE, "a directory"),
        (dangling, types.UNREADABLE, "gone.mp4, which does not exist"),
        (pipe, types.UNREADABLE, "no regular file"),
        (text, types.UNREADABLE, "a text file or a play list"),
        (play_list, types.UNREADABLE, "a text file or a play list"),
        (hidden_play_list, types.UNREADABLE, "a text file or a play list"),
        (tagged_play_list, types.UNREADABLE, "a text file or a play list"),
        (session_description, types.UNREADABLE, "a text file or a play list"),
        (noise, types.UNREADABLE, "no video that FFmpeg knows"),
        (no_index, types.UNREADABLE, "damaged at its start"),
        (header_only, types.UNREADABLE, "not one frame can be decoded"),
        (sound, types.UNSUPPORTED, "no video stream (audio only)"),
        (huge_claim, types.UNSUPPORTED, "12000x9000 pixels, over the limit of 8192x8192"),
        (absurd_claim, types.UNREADABLE, "no video that FFmpeg knows"),
        (bomb, types.UNSUPPORTED, "16000x16000 pixels, over the limit of 8192x8192"),
        (wide_bomb, types.UNSUPPORTED, "64000000 pixels (8000x8000), over the limit of 48000000 (--max_pixels)"),
        (crowd, types.UNSUPPORTED, "17 video streams, over the limit of 16 (--max_streams)"),
        (empty_8k, types.UNREADABLE, "not one frame can be decoded"),
    ],
)
def test_state_and_reason(tmp_path, clip, make, state, reason):
    found_state, found_reason = failure(make(tmp_path, clip))
    assert found_state == state
    assert reason in found_reason


@pytest.mark.parametrize("words", ["<?xml version='1.0'?><smil>", "#EXTM3U", "ffconcat", "c=IN IP4 1.2.3.4", "<MPD"])
def test_words_of_play_lists_in_its_metadata_leave_a_video_a_video(tmp_path, words):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:  # the metadata lie in front
        container.metadata["comment"] = words
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in odd_videos.pictures(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    assert words.encode() in path.read_bytes()[:4096]
    assert read_all(path) == 5


def test_an_index_that_points_outside_the_file_is_no_error_of_the_system(tmp_path, clip):
    with GuardedFile(clip) as file:
        assert file.seek(-5) < 0
        assert file.seek(3) == 3


def test_no_permission():
    # Not under tmp_path, whose parents only their owner may enter; and not as root, whom no permission stops.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        path = odd_videos.write(folder / "secret.mp4", odd_videos.pictures(1))
        path.chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            assert failure(path) == (types.UNREADABLE, "no permission to read it")
        finally:
            if root:
                os.seteuid(0)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("limits", "state", "reason"),
    [
        (
            Limits(max_width=63),
            types.UNSUPPORTED,
            "64x48 pixels, over the limit of 63x8192 (--max_width, --max_height)",
        ),
        (Limits(max_height=47), types.UNSUPPORTED, "over the limit of 8192x47"),
        (Limits(max_duration_s=3), types.UNSUPPORTED, "4 s long, over the limit of 3 s (--max_duration_s)"),
        (Limits(max_bytes=1000), types.UNSUPPORTED, "over the limit of 1000 (--max_bytes)"),
        (Limits(timeout_s=0), types.TIMEOUT, "decoding took longer than 0 s (--decode_limit_s)"),
    ],
)
def test_limits_are_kept_and_named(clip, limits, state, reason):
    found_state, found_reason = failure(clip, limits)
    assert found_state == state
    assert reason in found_reason


def test_the_pictures_of_all_streams_count_together(tmp_path):
    path = odd_videos.streams(tmp_path / "two.mkv", 2)
    assert read_all(path, Limits(max_pixels=2 * 48 * 64)) > 0
    state, reason = failure(path, Limits(max_pixels=2 * 48 * 64 - 1))
    assert (state, reason) == (
        types.UNSUPPORTED,
        "6144 pixels in all video streams together, over the limit of 6143 (--max_pixels)",
    )


def test_memory_is_not_set_aside_by_what_a_header_claims(tmp_path):
    """2 GB, which were there for a moment, and full of zeros for half a minute where the picture was whole."""
    path = odd_videos.claim_png(tmp_path / "a.png", 16000, 16000)
    state, reason = failure(path, Limits(None, None, None, None, None, None))
    assert state == types.UNSUPPORTED
    assert "more memory than there is" in reason


def test_a_pipe_that_takes_a_files_place_after_the_check_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.mp4").symlink_to("pipe")
    with pytest.raises(OSError, match="no regular file"):
        GuardedFile(tmp_path / "link.mp4")


def test_without_limits_everything_passes(clip):
    assert read_all(clip, Limits(None, None, None, None, None)) == 60


def test_time_spent_by_the_user_of_the_frames_does_not_count(clip, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(VideoReader._Clock.__init__.__globals__["time"], "monotonic", lambda: now[0])
    with VideoReader(clip, Limits(timeout_s=5)) as reader:
        for _ in reader.frames():
            now[0] += 100.0
        assert reader.stats.seconds == 0


def test_a_file_cut_short_gives_its_frames_and_says_so(tmp_path, clip):
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    with VideoReader(tmp_path / "cut.mp4") as reader:
        count = sum(1 for _ in reader.frames())
        assert 5 < count < 60
        assert reader.stats.partial
        assert "of 60 declared frames are there" in reader.stats.problem


def test_a_matroska_file_cut_short_says_so_too(tmp_path):
    path = odd_videos.write(tmp_path / "whole.mkv", odd_videos.pictures(60), options={"g": "10"})
    with VideoReader(path) as reader:  # it declares no number of frames, only how long they last
        assert sum(1 for _ in reader.frames()) == 60
        assert not reader.stats.partial
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(tmp_path / "cut.mkv") as reader:
        assert sum(1 for _ in reader.frames()) < 60
        assert "of 6.0 s are there" in reader.stats.problem


def test_damage_in_the_middle_is_counted_and_the_rest_is_read(tmp_path, clip):
    data = bytearray(clip.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 120] = bytes(120)
    (tmp_path / "hurt.mp4").write_bytes(bytes(data))
    with VideoReader(tmp_path / "hurt.mp4") as reader:
        indices = [frame.index for frame in reader.frames()]
        assert reader.stats.failed + reader.stats.corrupt > 0
        assert reader.stats.partial
    assert indices[0] == 0
    assert max(indices) >= 50


def test_a_photograph_named_as_a_video_is_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), odd_videos.pictures(1)[0])
    (tmp_path / "a.jpg").rename(tmp_path / "a.mp4")
    assert read_all(tmp_path / "a.mp4") == 1


@pytest.mark.parametrize(
    "name, codec, damage",
    [
        ("index.nut", "libx264", lambda data: data[:-50]),  # the places in its index are counted from its end
        ("header.wmv", "wmv2", lambda data: odd_videos.mutate(data, np.random.default_rng(2))),
        ("object.wmv", "wmv2", lambda data: odd_videos.mutate(data, np.random.default_rng(5))),
    ],
)
def test_a_place_outside_the_file_that_an_index_names_is_no_exception(tmp_path, name, codec, damage):
    path = odd_videos.write(tmp_path / name, odd_videos.pictures(40), codec=codec)
    path.write_bytes(damage(path.read_bytes()))
    assert ending(lambda: read_all(path)) in ("frames", types.UNREADABLE)
    assert ending(lambda: count_frames(path)) in ("frames", types.UNREADABLE)


@pytest.mark.parametrize("good_bytes", [0, 1000])
def test_a_disk_that_stops_reading_is_named(clip, monkeypatch, good_bytes):
    class Disk(io.FileIO):
        def read(self, size=-1):
            if self.tell() < good_bytes:
                return super().read(min(size, good_bytes))
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(guard, "open", lambda path, *_, **__: Disk(path), raising=False)
    assert failure(clip) == (types.UNREADABLE, "reading it failed: Input/output error")


def test_files_are_closed_whatever_happens(tmp_path, clip):
    before = len(os.listdir("/proc/self/fd"))
    for make in (noise, sound, huge_claim):
        failure(make(tmp_path, clip))
    next(read_frames(clip)).rgb  # noqa: B018  dropped after one frame
    assert len(os.listdir("/proc/self/fd")) == before
