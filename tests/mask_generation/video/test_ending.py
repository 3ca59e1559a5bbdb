"""A file that is cut short says so wherever its container can tell; a whole one never does."""

from __future__ import annotations

import pytest

from mask_generation.video.reader import VideoReader
from tests.helpers import odd_videos

KINDS = {
    "mp4": {"options": {"movflags": "faststart"}},
    "mov": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "mkv": {},
    "flv": {},
    "nut": {},
    "ts": {},
}
OTHERS = {
    "webm": {"codec": "libvpx", "options": {"g": "10"}},
    "wmv": {"codec": "wmv2"},
    "avi": {"codec": "mpeg4"},
    "ogv": {"codec": "libtheora"},
    "gif": {"codec": "gif", "pixel_format": "rgb8"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    source = odd_videos.write(folder / "source.mp4", odd_videos.noise(40), options={"g": "10"})
    paths = {kind: odd_videos.copied(source, folder / f"a.{kind}", **how) for kind, how in KINDS.items()}
    for kind, how in OTHERS.items():
        try:
            paths[kind] = odd_videos.write(folder / f"a.{kind}", odd_videos.noise(40), **how)
        except ValueError:  # an encoder that this FFmpeg lacks
            continue
    return paths


def problem(path):
    """What is missing; frames must be there in any case."""
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader.frames())
        assert count
        return reader.stats.problem, count


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_cut_short_is_said_and_whole_is_not(tmp_path, whole, kind):
    if kind not in whole:
        pytest.skip("no encoder")
    assert problem(whole[kind]) == (None, 40)
    data = whole[kind].read_bytes()
    (tmp_path / f"cut.{kind}").write_bytes(data[: len(data) * 6 // 10 + 1])
    missing, count = problem(tmp_path / f"cut.{kind}")
    assert count < 40
    assert "cut short" in missing


def test_the_last_frame_alone_is_missed_too(tmp_path, whole):
    data = whole["mp4"].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:-40])
    assert "its part 'mdat' should end 40 bytes after the file does" in problem(tmp_path / "cut.mp4")[0]


def test_what_is_appended_to_a_file_is_nothing_missing(tmp_path, whole):
    for kind in ("mp4", "mkv", "avi", "ts"):
        (tmp_path / f"more.{kind}").write_bytes(whole[kind].read_bytes() + bytes(1000))
        assert problem(tmp_path / f"more.{kind}") == (None, 40)


def test_nothing_tells_that_a_fragmented_file_ends_between_fragments(tmp_path, whole):
    data = whole["mov"].read_bytes()
    (tmp_path / "cut.mov").write_bytes(data[: data.rindex(b"moof") - 4])
    missing, count = problem(tmp_path / "cut.mov")
    assert missing is None
    assert 20 < count < 40
