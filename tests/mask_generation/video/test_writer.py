"""The encoder: files whole or not there, the same bytes each time; and one list of what is taken for a video."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks import mask_truth
from mask_generation.commands import face_bank
from mask_generation.datasets import base, real_folder
from mask_generation.video.reader import read_frames
from mask_generation.video.writer import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    NoFramesError,
    encode,
    video_file,
)
from runtime.scoring import batch
from tests.helpers import odd_videos


def _written(path, frames, times=None, **options):
    with video_file(path, 20, **options) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, times and times[index])
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_come_back_in_number_size_and_time(tmp_path, suffix):
    times = [0.0, 0.1, 0.25, 1.0]
    path = _written(tmp_path / f"out{suffix}", odd_videos.pictures(4, 47, 65), times)
    back = list(read_frames(path))
    np.testing.assert_allclose([frame.time_s for frame in back], times, atol=2e-3)  # Matroska counts milliseconds
    assert back[0].rgb.shape == (46, 64, 3)
    assert np.abs(back[3].rgb.astype(int) - odd_videos.pictures(4, 47, 65)[3][:46, :64]).mean() < 8


def test_without_times_the_rate_decides(tmp_path):
    back = list(read_frames(_written(tmp_path / "out.mp4", odd_videos.pictures(5), fps=12)))
    np.testing.assert_allclose([frame.time_s for frame in back], np.arange(5) / 12, atol=1e-4)


def test_times_that_stand_still_or_jump_back_are_put_in_order(tmp_path):
    path = _written(tmp_path / "out.mp4", odd_videos.pictures(5), [0.0, 0.1, 0.1, 0.05, 0.3])
    assert (np.diff([frame.time_s for frame in read_frames(path)]) > 0).all()


def test_the_same_frames_give_the_same_bytes(tmp_path):
    pictures = odd_videos.pictures(6, 130, 150)  # a width at which x264's vector code reads what it never wrote
    first, second = (_written(tmp_path / name, pictures).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second
    assert [bytes(p) for p in encode(pictures, 20)] == [bytes(p) for p in encode(pictures, 20)]


def test_no_frames_or_an_error_leave_nothing(tmp_path):
    with pytest.raises(NoFramesError, match="no frames"):
        _written(tmp_path / "empty.mp4", [])
    with pytest.raises(NoFramesError, match="no frames"):
        encode([], 20)

    def breaking():
        yield odd_videos.pictures(1)[0]
        raise KeyError("a bug half way")

    with pytest.raises(KeyError):
        _written(tmp_path / "half.mp4", breaking())
    assert os.listdir(tmp_path) == []


def _data_sets(folder):
    return base.list_videos(folder).values()


def _real_folder(folder):
    return [group.original for group in real_folder.find(folder, base.Options()).groups]


def _face_bank(folder):
    return [os.path.join(folder, relative) for _, folder, relative in face_bank.list_source(f"name={folder}")]


def _score(folder):
    return [os.fsdecode(path) for path in batch.find_videos([folder], folder + "/out").files]


def _benchmarks(folder):
    return mask_truth.find_inputs([folder])


@pytest.mark.parametrize("finder", [_data_sets, _real_folder, _face_bank, _score, _benchmarks])
def test_every_subcommand_takes_the_same_files_for_videos(tmp_path, finder):
    names = {f"clip{number}{suffix}" for number, suffix in enumerate((*VIDEO_SUFFIXES, ".OGV", ".Mp4"))}
    for name in (*names, "notes.txt", "clip.mp4.json", "mp4"):
        (tmp_path / name).write_bytes(b"")
    assert {os.path.basename(path) for path in finder(str(tmp_path))} == names


@pytest.mark.parametrize("finder", [_face_bank, _benchmarks])
def test_every_subcommand_takes_the_same_files_for_pictures(tmp_path, finder):
    names = {f"photo{suffix}" for suffix in PICTURE_SUFFIXES}
    for name in (*names, "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert {os.path.basename(path) for path in finder(str(tmp_path))} == names
