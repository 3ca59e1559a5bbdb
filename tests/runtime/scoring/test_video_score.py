"""`runtime.scoring.video_score`: the cases every contest rule gets wrong, and the properties of the rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.scoring.video_score import (
    AggregateConfig,
    NoFaceError,
    Segment,
    look_at,
    marking_level,
    verdict,
    video_score,
)

FAKE, REAL, FRAMES = 0.95, 0.05, 32


def clip(fakes: int, start: int = 10, frames: int = FRAMES) -> np.ndarray:
    scores = np.full(frames, REAL)
    scores[start : start + fakes] = FAKE
    return scores


def score(*tracks: np.ndarray) -> float:
    return video_score(tracks).score


@pytest.mark.parametrize("fakes", [3, 9, 12, 13, 32])
@pytest.mark.parametrize("place", ["start", "middle", "end", "scattered"])
def test_short_fakes_are_called_fake(fakes, place):
    scores = clip(fakes, {"start": 0, "middle": (FRAMES - fakes) // 2}.get(place, FRAMES - fakes))
    if place == "scattered":
        scores = np.full(FRAMES, REAL)
        scores[np.linspace(0, FRAMES - 1, fakes).round().astype(int)] = FAKE
    assert score(scores) > 0.5


def test_one_more_fake_frame_never_makes_a_jump():
    scores = np.array([score(clip(fakes, 0)) for fakes in range(FRAMES + 1)])
    assert np.all(np.diff(scores) >= 0)
    assert scores[13] - scores[12] < 0.02
    assert np.diff(scores)[3:].max() < 0.05


@pytest.mark.parametrize("people", [2, 3, 6])
def test_one_faked_person_in_a_group_is_called_fake(people):
    assert score(clip(FRAMES, 0), *[clip(0)] * (people - 1)) > 0.5


def test_three_fake_frames_of_one_person_in_three():
    assert score(clip(3), clip(0), clip(0)) > 0.5


def test_real_faces_do_not_add_up_to_a_fake():
    assert score(*[clip(0)] * 50) == pytest.approx(score(clip(0)), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", ["normal", "skewed"])
def test_fifty_noisy_real_faces_stay_real(seed, spread):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.15, 0.12, (50, FRAMES)) if spread == "normal" else rng.beta(1, 6, (50, FRAMES))
    assert score(*np.clip(noise, 0, 1)) < 0.35


def test_spikes_of_one_frame_in_many_faces_stay_real():
    assert score(*[clip(1, start) for start in range(30)]) < 0.5
    assert score(clip(1)) < 0.5


def test_a_face_seen_once_does_not_make_a_long_video_fake_but_a_still_picture_is_judged():
    stray = np.full(FRAMES, np.nan)
    stray[7] = 1.0
    assert score(clip(0), stray) < 0.5
    assert score(np.array([FAKE])) == pytest.approx(FAKE)


def seen_in(frames: int, value: float) -> np.ndarray:
    scores = np.full(FRAMES, np.nan)
    scores[:frames] = value
    return scores


@pytest.mark.parametrize("brief", [1, 2])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_face_seen_in_one_or_two_frames_does_not_move_a_face_seen_in_thirty(brief, value):
    """Before, two frames of 1.00 lifted thirty of .05 to .37."""
    for scores in (seen_in(30, REAL), seen_in(30, FAKE)):
        found = video_score([scores, seen_in(brief, value)])
        assert found.score == score(scores)
        assert [each.counted for each in found.tracks] == [True, False]
        assert found.segments == video_score([scores]).segments
        assert found.tracks[1].frames_seen == brief


def test_brief_faces_count_where_they_are_most_of_what_was_seen():
    crowd = [seen_in(2, FAKE) for _ in range(9)]
    found = video_score([seen_in(4, REAL), *crowd])
    assert all(each.counted for each in found.tracks)
    assert found.score > 0.5
    assert score(seen_in(2, FAKE)) == pytest.approx(FAKE)


def test_a_spliced_second_is_pointed_at_in_a_video_below_its_threshold():
    """The frames of a spliced fake second; before, without a segment, as frames were held to the video's .974."""
    scores, time_s = np.full(32, 0.05), np.arange(32) * 0.3125
    scores[16:19] = 0.97, 0.58, 0.99
    config = AggregateConfig(threshold=0.974, real_below=0.064, frame_threshold=0.6)
    found = video_score([scores], time_s, config)
    assert found.verdict == "unclear"
    ((start, end, _),) = found.segments
    assert (start, end) == (time_s[16], time_s[18])
    assert found.advice == "look at 5.0–5.6 s"
    assert video_score([scores], time_s, AggregateConfig(threshold=0.5)).advice == ""  # it is called fake


@pytest.mark.parametrize("segments, words", [
    ([], ""),
    ([(1.0, 1.04, 0.9)], "look at 1.0 s"),
    ([(9.1, 9.8, 0.7), (5.2, 5.8, 0.9)], "look at 5.2–5.8 s and 9.1–9.8 s"),
    ([(1, 2, 0.6), (3, 4, 0.9), (5, 6, 0.5), (7, 8, 0.8)], "look at 1.0–2.0 s, 3.0–4.0 s and 7.0–8.0 s"),
])  # fmt: skip
def test_where_to_look_in_words(segments, words):
    assert look_at([Segment(*segment) for segment in segments]) == words


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_exactly_the_frames_above_a_threshold_by_their_marking_level_make_segments(level):
    scores = np.random.default_rng(1).beta(1, 1, 40)
    scores[7] = np.nan
    found = video_score([scores], config=AggregateConfig(threshold=0.999, frame_threshold=level))
    levels = marking_level(scores)
    seen = np.flatnonzero(~np.isnan(scores))
    inside = [any(start <= index <= end for start, end, _ in found.segments) for index in seen]
    assert len(levels) == 39
    assert all(np.array(inside)[levels > level])
    assert bool(found.segments) == bool((levels > level).any())


def test_more_faces_lower_the_score_of_the_same_suspicious_frames():
    alone, crowd = score(clip(FRAMES, 0)), score(clip(FRAMES, 0), *[clip(0)] * 49)
    assert alone > crowd > 0.5


def test_segments_carry_time_stamps_and_gaps_of_missing_faces_are_bridged():
    scores = clip(6, 10)
    scores[12] = np.nan
    time_s = np.arange(FRAMES) * 0.3125
    result = video_score([scores], time_s)
    ((start, end, value),) = result.segments
    assert (start, end) == (time_s[10], time_s[15])
    assert value == pytest.approx(FAKE)


def test_segments_of_different_faces_merge_and_separate_ones_stay():
    result = video_score([clip(5, 2), clip(5, 4), clip(4, 25)], np.arange(FRAMES) / 4)
    assert [(s.start_s, s.end_s) for s in result.segments] == [(0.5, 2.0), (6.25, 7.0)]
    assert [len(track.segments) for track in result.tracks] == [1, 1, 1]


def test_time_stamps_may_differ_by_track():
    result = video_score([clip(4, 0, 8), clip(4, 0, 6)], [np.arange(8.0), 100 + np.arange(6.0)])
    assert [s.start_s for s in result.segments] == [0.0, 100.0]


@pytest.mark.parametrize("tracks", [[], [np.full(5, np.nan)], [np.array([])]])
def test_no_seen_frame_is_an_error_not_a_half(tracks):
    with pytest.raises(NoFaceError):
        video_score(tracks)


@pytest.mark.parametrize(
    "tracks, time_s, message",
    [
        ([[0.2, 1.2]], None, "expected 0 to 1"),
        ([[0.2, np.inf]], None, "expected 0 to 1"),
        ([[[0.2]]], None, "1-D"),
        ([[0.2, 0.3]], [0.0], "time stamps"),
        ([[0.2, 0.3]], [1.0, 0.0], "must not fall"),
        ([[0.2], [0.3]], [[0.0]], "2 tracks"),
    ],
)
def test_bad_input_is_named(tracks, time_s, message):
    with pytest.raises(ValueError, match=message):
        video_score(tracks, time_s)


@pytest.mark.parametrize("bad", [{"top_k": 6}, {"top_k": 0}, {"power": 0.5}, {"threshold": 1.0}, {"real_below": 0.6},
                                 {"frame_threshold": 0.0}])  # fmt: skip
def test_bad_settings_fail_at_once(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        AggregateConfig(**bad)


@pytest.mark.parametrize("score, real_below, word", [
    (0.9, None, "fake"), (0.4, None, "real"), (0.5, None, "real"),
    (0.9, 0.2, "fake"), (0.4, 0.2, "unclear"), (0.1, 0.2, "real"), (0.4, 0.5, "real"),
])  # fmt: skip
def test_between_the_thresholds_it_is_unclear(score, real_below, word):
    found = video_score([np.full(9, score)], config=AggregateConfig(power=1, real_below=real_below))
    assert found.score == pytest.approx(score, abs=0.01)
    assert found.verdict == word


@pytest.mark.parametrize(
    "score, threshold, real_below, word",
    [
        (0.6, 0.94, 0.1, "unclear"),
        (0.94, 0.94, 0.1, "unclear"),
        (0.1, 0.94, 0.1, "unclear"),
        (0.5, 0.5, None, "real"),
        (0.5, 0.5, 0.5, "real"),  # no band: one or the other, as without `real_below`
    ],
)
def test_a_score_exactly_at_a_threshold_is_on_its_lower_or_unclear_side(score, threshold, real_below, word):
    assert verdict(score, threshold, real_below) == word


frame = st.one_of(st.floats(0, 1, width=32), st.just(float("nan")))
track = st.lists(frame, min_size=1, max_size=40).map(np.array)
some_tracks = st.lists(track, min_size=1, max_size=5).filter(lambda ts: any(np.isfinite(t).any() for t in ts))


@settings(max_examples=150, deadline=None)
@given(some_tracks, st.randoms(use_true_random=False))
def test_score_is_bounded_and_blind_to_the_order_of_tracks(tracks, random):
    result = video_score(tracks)
    highest = max(np.nanmax(t) for t in tracks if np.isfinite(t).any())
    assert 0 <= result.score <= highest + 1e-9
    shuffled = random.sample(tracks, len(tracks))
    assert video_score(shuffled).score == result.score


@settings(max_examples=150, deadline=None)
@given(some_tracks, st.data())
def test_score_never_falls_when_a_frame_score_rises(tracks, data):
    index = data.draw(st.integers(0, len(tracks) - 1))
    raised = [t.copy() for t in tracks]
    room = data.draw(st.floats(0, 1))
    raised[index] = raised[index] + room * (1 - raised[index])
    assert video_score(raised).score >= video_score(tracks).score - 1e-12


@settings(max_examples=100, deadline=None)
@given(some_tracks)
def test_segments_lie_in_the_video_and_a_fake_has_one(tracks):
    result = video_score(tracks)
    longest = max(map(len, tracks))
    for start, end, value in result.segments:
        assert 0 <= start <= end < longest
        assert 0.5 < value <= 1
    assert all(a.end_s < b.start_s for a, b in zip(result.segments, result.segments[1:]))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.integers(3, 40), st.integers(1, 10))
def test_constant_scores_come_back(value, frames, faces):
    assert score(*[np.full(frames, value)] * faces) == pytest.approx(value, abs=1e-9)
