"""Sought frames are those that decoding from the start gives."""

from __future__ import annotations

import numpy as np
import pytest

from mask_generation.video import seeking
from mask_generation.video.reader import VideoReader
from tests.helpers import odd_videos

COUNT = 400
WANTED = [0, 7, 101, 102, 188, 251, 399]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    frames = odd_videos.pictures(60, 32, 48) * (COUNT // 60) + odd_videos.pictures(COUNT % 60, 32, 48)
    h264 = odd_videos.write(folder / "a.mp4", frames, rate=25, options={"g": "25", "bf": "3"})
    paths = {kind: odd_videos.copied(h264, folder / f"a.{kind}") for kind in ("mkv", "ts", "flv")}
    paths["avi"] = odd_videos.write(folder / "a.avi", frames, rate=25, options={"g": "25", "bf": "3"})
    paths["trimmed"] = odd_videos.copied(h264, folder / "trimmed.mp4", earlier_s=0.5)
    paths["fragments"] = odd_videos.copied(h264, folder / "frag.mp4", {"movflags": "frag_keyframe+empty_moov"})
    open_groups = {"g": "25", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
    paths["open"] = odd_videos.write(folder / "open.mp4", frames, rate=25, options=open_groups)
    paths["mpg"] = odd_videos.write(
        folder / "a.mpg", frames, codec="mpeg2video", rate=25, options={"g": "25", "bf": "2"}
    )
    return {"mp4": h264, **paths}


def chosen(path, wanted, monkeypatch, seek):
    monkeypatch.setattr(seeking, "FROM_PICTURES", 100 if seek else 10**9)
    with VideoReader(path) as reader:
        return list(reader.frames(wanted)), reader.stats


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "flv", "fragments", "trimmed"])
def test_the_same_frames_as_decoding_from_the_start(clips, monkeypatch, kind):
    wanted = [index for index in WANTED if index < 380] if kind == "trimmed" else WANTED
    sought, stats = chosen(clips[kind], wanted, monkeypatch, seek=True)
    plain, full = chosen(clips[kind], wanted, monkeypatch, seek=False)
    assert [(frame.index, frame.time_s) for frame in sought] == [(frame.index, frame.time_s) for frame in plain]
    for a, b in zip(sought, plain):
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert [frame.index for frame in sought] == wanted
    assert full.seeks == 0
    assert stats.seeks > 0
    assert stats.decoded < full.decoded / 2
    assert stats.notes == full.notes


@pytest.mark.parametrize("kind", ["open", "avi", "mpg"])
def test_where_seeking_is_not_safe_everything_is_decoded_and_that_is_said(clips, monkeypatch, kind):
    sought, stats = chosen(clips[kind], WANTED, monkeypatch, seek=True)
    plain, _ = chosen(clips[kind], WANTED, monkeypatch, seek=False)
    assert [frame.index for frame in sought] == WANTED
    for a, b in zip(sought, plain):
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert stats.seeks == 0
    assert any(note.startswith("decoded from the start") for note in stats.notes)


def test_a_jump_that_goes_wrong_is_made_good(clips, monkeypatch):
    def lost(self, group):
        if group.entry > 100:
            raise seeking.UnsafeSeekError("packets are elsewhere")
        return real(self, group)

    real = seeking.Seeker._group
    monkeypatch.setattr(seeking.Seeker, "_group", lost)
    sought, stats = chosen(clips["mp4"], WANTED, monkeypatch, seek=True)
    plain, _ = chosen(clips["mp4"], WANTED, monkeypatch, seek=False)
    assert [frame.index for frame in sought] == WANTED
    for a, b in zip(sought, plain):
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert stats.notes == ["decoded from the start: packets are elsewhere"]


def test_short_videos_and_dense_choices_are_decoded_from_the_start(clips, monkeypatch):
    with VideoReader(clips["mp4"]) as reader:
        assert seeking.Seeker.plan(reader.timeline, WANTED) is None
        monkeypatch.setattr(seeking, "FROM_PICTURES", 100)
        assert seeking.Seeker.plan(reader.timeline, WANTED) is not None
        assert seeking.Seeker.plan(reader.timeline, range(0, 400, 3)) is None


def test_a_hole_is_told_although_nothing_in_it_is_decoded(clips, tmp_path, monkeypatch):
    path = odd_videos.emptied(clips["mp4"], tmp_path / "hole.mp4", 0.4, 0.5)
    sought, stats = chosen(path, WANTED, monkeypatch, seek=True)
    plain, _ = chosen(path, WANTED, monkeypatch, seek=False)
    assert stats.seeks > 0
    assert [frame.index for frame in sought] == [frame.index for frame in plain]
    assert "damaged and left out between" in stats.problem


def test_nothing_is_said_where_key_frames_are_too_far_apart_to_matter(clips, monkeypatch):
    monkeypatch.setattr(seeking, "FROM_PICTURES", 100)
    with VideoReader(clips["mp4"]) as reader:
        assert len(list(reader.frames(range(0, 400, 5)))) == 80
        assert reader.stats.notes == []
        assert reader.stats.seeks == 0
