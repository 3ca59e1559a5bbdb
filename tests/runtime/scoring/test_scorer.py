"""`scoring.scorer`: one drawn clip → state, score, segments, faces; nothing that is wrong with a file raises."""

from __future__ import annotations

import dataclasses
import json
import os
from fractions import Fraction

import cv2
import numpy as np
import pytest

import runtime
from mask_generation.video.types import Limits
from runtime.model import calibration
from runtime.model.saved_model import load_model
from runtime.scoring import abstention, scorer
from runtime.scoring.frame_score import ScorerConfig
from runtime.scoring.result import ScoreConfig, VideoResult
from runtime.scoring.scorer import Scorer
from runtime.scoring.video_score import AggregateConfig
from tests.helpers import drawn_model, drawn_videos, odd_videos


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(drawn_model.save(tmp_path_factory.mktemp("model") / "green"), trust=True)


@pytest.fixture
def score(model):
    return lambda path, **changes: Scorer(model, ScoreConfig(**changes), drawn_videos.OvalDetector()).score(path)


def test_a_real_and_a_fake_clip(score, tmp_path):
    real = score(drawn_videos.clip(tmp_path / "real.mp4"))
    fake = score(drawn_videos.clip(tmp_path / "fake.mp4", fake={0: range(32)}))
    assert (real.state, real.verdict, real.segments) == ("ok", "real", ())
    assert (fake.state, fake.verdict) == ("ok", "fake")
    assert fake.score > 0.8 > 0.2 > real.score
    assert fake.probability is None
    assert "no calibration" in fake.probability_note
    assert fake.character["shares"]["mouth"] > 0.5
    assert fake.character["family"] == "mouth re-rendered"
    assert real.character["family"] == "unknown"


def test_limits_hold_before_a_file_is_read_as_a_whole(score, tmp_path, monkeypatch):
    clip = drawn_videos.clip(tmp_path / "a.mp4", 4)
    read = []
    monkeypatch.setattr(scorer.files, "file_sha256", lambda path: read.append(path) or "0" * 64)
    large = score(clip, limits=Limits(max_bytes=clip.stat().st_size - 1))
    assert (large.state, large.sha256, read) == ("unsupported", None, [])
    (tmp_path / "b.mp4").write_bytes(bytes(1000))
    assert score(tmp_path / "b.mp4").sha256 == "0" * 64  # small: the hash still names what could not be used
    monkeypatch.setattr(scorer, "HASHED_ANYWAY_BYTES", 999)
    assert score(tmp_path / "b.mp4").sha256 is None
    assert score(clip).sha256 == "0" * 64


def test_a_file_that_needs_too_much_memory_is_an_answer(score, tmp_path, monkeypatch):
    def starve(*_):
        raise MemoryError

    monkeypatch.setattr(drawn_videos.OvalDetector, "detect", starve)
    result = score(drawn_videos.clip(tmp_path / "a.mp4", 4))
    assert (result.state, result.score) == ("unsupported", None)
    assert "--memory_mb" in result.reason


def test_a_short_fake_is_found_with_its_times(score, tmp_path):
    result = score(drawn_videos.clip(tmp_path / "short.mp4", frames=64, fake={0: range(20, 27)}))
    ((start, end, _),) = result.segments
    assert result.verdict == "fake"
    assert 20 / drawn_videos.FPS - 0.1 <= start < end <= 26 / drawn_videos.FPS + 0.1


def test_the_one_faked_person_of_three_is_named(score, tmp_path):
    result = score(drawn_videos.clip(tmp_path / "group.mp4", faces=3, fake={1: range(32)}))
    assert result.verdict == "fake"
    assert len(result.faces) == 3
    suspicious = [face["track"] for face in result.faces if face["score"] > 0.5]
    boxes = {row.track: row.x0 for row in result.rows}
    assert sorted(boxes, key=boxes.get).index(suspicious[0]) == 1
    assert len(suspicious) == 1
    assert {item.track for item in result.pictures} == set(suspicious)


def test_the_same_pictures_in_fragments_get_the_same_score(score, tmp_path):
    plain = drawn_videos.clip(
        tmp_path / "plain.mp4", frames=300, fake={0: range(260, 300)}
    )  # from the 2nd key frame on
    fragments = odd_videos.copied(plain, tmp_path / "fragments.mp4", {"movflags": "frag_keyframe"})
    a, b = score(plain), score(fragments)
    assert a.verdict == "fake"
    assert (b.state, b.score, b.sample_times_s) == (a.state, a.score, a.sample_times_s)
    assert b.video["frames"] == 300


def test_frames_a_second_go_by_time_stamps(score, tmp_path):
    times = [*range(0, 1000, 40), *range(1000, 4000, 500)]  # ms: 25 a second, then 2 a second
    path = odd_videos.write(tmp_path / "a.mkv", odd_videos.pictures(len(times)), times=times)
    seen = score(path, fps=4.0).sample_times_s
    assert seen == pytest.approx([0, 0.24, 0.48, 0.72, 1, 1.5, 2, 2.5, 3, 3.5], abs=0.01)


def test_frames_sampled_as_asked(score, tmp_path):
    path = drawn_videos.clip(tmp_path / "long.mp4", frames=48)
    assert score(path, frames=8).frames_sampled == 8
    assert score(path, frames=0).frames_sampled == 48
    assert score(path, fps=4.0).frames_sampled == 12


@pytest.mark.parametrize("scorer", ["model", "max", "area", "topk"])
def test_every_scorer_ranks_the_fake_above_the_real(score, tmp_path, scorer):
    real, fake = (
        drawn_videos.clip(tmp_path / "r.mp4", 12),
        drawn_videos.clip(tmp_path / "f.mp4", 12, fake={0: range(12)}),
    )
    config = ScorerConfig(scorer)
    assert score(fake, scorer=config).score > score(real, scorer=config).score


def test_states_of_what_cannot_be_scored(score, tmp_path):
    background = [np.full((120, 160, 3), level, np.uint8) for level in range(60, 92)]
    cases = {
        "no_face": drawn_videos.write(tmp_path / "empty_room.mp4", background),
        "too_short": drawn_videos.clip(tmp_path / "two.mp4", frames=2),
        "inconclusive": drawn_videos.clip(tmp_path / "tiny.mp4", size=(28, 20)),
    }
    for name, content in {"text": b"not a video at all\n" * 50, "nothing": b""}.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        assert score(tmp_path / f"{name}.mp4").state == "unreadable"
    assert score(tmp_path / "missing.mp4").state == "unreadable"
    assert score(tmp_path).state == "unreadable"
    for state, path in cases.items():
        result = score(path)
        assert (result.state, result.score, result.verdict) == (state, None, None)
        assert result.reason
    assert "px" in score(cases["inconclusive"]).reason


def test_blurred_and_foreign_faces_are_inconclusive(model, score, tmp_path):
    path = drawn_videos.clip(tmp_path / "clip.mp4")
    blurred = score(path, thresholds=abstention.Thresholds(min_sharpness=1e6))
    assert (blurred.state, "blurred" in blurred.reason) == ("inconclusive", True)
    narrow = dataclasses.replace(model, metadata={**model.metadata, "domain": {"face_px": [300, 400]}})
    foreign = Scorer(narrow, ScoreConfig(), drawn_videos.OvalDetector()).score(path)
    assert (foreign.state, "validated" in foreign.reason) == ("inconclusive", True)


def test_a_cut_off_file_is_scored_on_what_is_there_and_says_so(score, tmp_path):
    pictures = [drawn_videos.frame(1, [0], shift=i % 3) for i in range(96)]
    whole = drawn_videos.write(tmp_path / "whole.mp4", pictures, faststart=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    result = score(tmp_path / "cut.mp4")
    assert (result.state, result.verdict) == ("partial", "fake")
    assert result.frames_sampled > 16  # spread over what is there, not over what was declared
    assert "96" in result.reason


def test_a_file_whose_larger_part_is_damaged_says_so_although_its_samples_lie_in_the_rest(score, tmp_path):
    rng = np.random.default_rng(0)
    pictures = [np.clip(drawn_videos.frame(1) + rng.integers(-9, 10, (160, 160, 3)), 0, 255) for _ in range(48)]
    path = odd_videos.write(
        tmp_path / "damaged.mp4", np.uint8(pictures), rate=24, options={"g": "96", "bf": "0", "crf": "12"}
    )
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    start += (end - start) // 4
    data[start:end] = rng.bytes(end - start)
    path.write_bytes(bytes(data))
    result = score(path)
    assert result.state == "partial"
    assert result.frames_sampled < 24
    assert "of 2.0 s are damaged" in result.reason


class UprightOvals(drawn_videos.OvalDetector):
    """Finds ovals that stand with the eyes above; given a score for `others`, those too, as MTCNN does."""

    def __init__(self, others=0.0):
        self.others = others

    def detect(self, rgb):
        found = super().detect(rgb)
        upright = [face for face in found if self.is_upright(rgb, face.box)]
        others = [dataclasses.replace(face, score=self.others) for face in found if face not in upright]
        return upright + (others if self.others else [])

    @staticmethod
    def is_upright(rgb, box):
        inside = rgb[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)].max(axis=2)
        rows = np.flatnonzero((inside < 60).any(axis=1))  # of the eyes
        return box.height > box.width and rows.size > 0 and rows.mean() < inside.shape[0] / 2


@pytest.mark.parametrize("others", [0.0, 0.95])
@pytest.mark.parametrize(("turns", "words"), [(1, "90° to the right"), (2, "upside down"), (3, "90° to the left")])
def test_a_face_on_its_side_or_head_is_looked_at_upright(model, tmp_path, turns, words, others):
    upright = [drawn_videos.frame(1, [0], shift=i % 3) for i in range(12)]
    side = drawn_videos.write(tmp_path / "side.mp4", [np.rot90(picture, turns) for picture in upright])
    plain = drawn_videos.write(tmp_path / "plain.mp4", upright)
    scorer = Scorer(model, ScoreConfig(), UprightOvals(others))
    found, wanted = scorer.score(side), scorer.score(plain)
    assert (found.state, found.verdict, found.frames_with_face) == ("ok", "fake", 12)
    assert words in found.reason
    assert wanted.reason == ""
    assert found.score == pytest.approx(wanted.score, abs=0.02)
    boxes = [[(row.x0, row.y0, row.x1, row.y1) for row in result.rows] for result in (found, wanted)]
    np.testing.assert_allclose(*boxes, atol=3)
    assert (found.video["width"], found.video["height"]) == (wanted.video["width"], wanted.video["height"])


def test_a_room_without_faces_is_not_turned(model, tmp_path):
    room = drawn_videos.write(
        tmp_path / "room.mp4", [np.full((120, 160, 3), level, np.uint8) for level in range(60, 80)]
    )
    result = Scorer(model, ScoreConfig(), UprightOvals()).score(room)
    assert (result.state, result.video["quarter_turns"]) == ("no_face", 0)


def with_faces(path, there, frames=20):
    empty = np.full((160, 160, 3), 90, np.uint8)
    return drawn_videos.write(path, [drawn_videos.frame(1) if i < there else empty for i in range(frames)])


def test_a_score_on_part_of_the_frames_says_so_and_one_on_hardly_any_is_none(score, tmp_path):
    most, half, few = (score(with_faces(tmp_path / f"{there}.mp4", there)) for there in (16, 10, 3))
    assert (most.state, most.reason) == ("ok", "")
    assert (half.state, half.reason) == ("ok", "a face in 10 of 20 frames looked at (50 %)")
    assert (few.state, few.score) == ("inconclusive", None)
    assert few.reason.startswith("a face in 3 of 20 frames looked at (15 %)")


def test_every_size_of_a_call_is_looked_at_and_faces_are_followed(score, tmp_path):
    parts = []
    for number, scale in enumerate((1, 2)):
        pictures = [
            np.kron(drawn_videos.frame(1, [0], shift=i % 3), np.ones((scale, scale, 1), np.uint8)) for i in range(12)
        ]
        parts.append(drawn_videos.write(tmp_path / f"{number}.ts", pictures).read_bytes())
    (tmp_path / "call.ts").write_bytes(b"".join(parts))
    result = score(tmp_path / "call.ts", frames=0)
    assert (result.state, result.verdict) == ("ok", "fake")
    assert (result.frames_sampled, len(result.rows)) == (24, 24)
    assert {row.track for row in result.rows} == {0}
    assert "changes size: 160x160 from 0.0 s, 320x320" in result.reason
    assert (result.video["width"], result.video["height"]) == (320, 320)
    assert max(row.face_px for row in result.rows) > 1.8 * min(row.face_px for row in result.rows)


def test_squeezed_pixels_get_the_score_boxes_and_size_of_square_ones(score, tmp_path):
    pictures = [drawn_videos.frame(1, [0], shift=i % 3) for i in range(8)]
    narrow = [cv2.resize(picture, (120, 160), interpolation=cv2.INTER_AREA) for picture in pictures]
    tags = {"sample_aspect_ratio": Fraction(4, 3)}
    squeezed = score(odd_videos.write(tmp_path / "narrow.mp4", narrow, tags=tags))
    square = score(odd_videos.write(tmp_path / "square.mp4", pictures))
    assert (squeezed.video["width"], squeezed.video["height"]) == (160, 160)
    assert squeezed.score == pytest.approx(square.score, abs=0.02)
    for one, other in zip(squeezed.rows, square.rows):
        assert (one.x0, one.y0, one.x1, one.y1) == pytest.approx((other.x0, other.y0, other.x1, other.y1), abs=4)


def test_hdr_is_named_and_stays_an_answer(score, tmp_path):
    tags = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    grey = [np.full((96, 96, 3), 120, np.uint8)] * 4
    path = odd_videos.write(tmp_path / "hdr.mp4", grey, pixel_format="yuv420p10le", tags=tags)
    result = score(path)
    assert "HDR (PQ), shown as SDR" in result.reason


def test_faces_beyond_the_limit_make_the_result_partial(score, tmp_path):
    result = score(drawn_videos.clip(tmp_path / "crowd.mp4", faces=3, frames=8), max_faces=2)
    assert (result.state, len(result.rows)) == ("partial", 16)
    assert "max_faces" in result.reason


@pytest.mark.parametrize("name", [b"-rf.mp4", b"a\nb.mp4", b"\xff\xfe.mp4", b"<img src=x>.mp4"])
def test_hostile_names_are_read_and_reported_printable(score, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    os.rename(drawn_videos.clip(tmp_path / "plain.mp4", 8), path)
    result = score(path)
    assert result.state == "ok"
    assert result.path.isprintable()


def test_result_survives_json(score, tmp_path):
    result = score(drawn_videos.clip(tmp_path / "fake.mp4", fake={0: range(32)}))
    again = VideoResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == dataclasses.replace(result, **{f: getattr(again, f) for f in ("timings_s", "character", "faces")})
    assert (again.to_dict(), again.rows) == (result.to_dict(), result.rows)


def test_a_score_without_a_scored_state_is_impossible():
    with pytest.raises(ValueError, match="no_face"):
        VideoResult("x", "no_face", "", score=0.5)


def test_public_function_takes_a_folder_and_refuses_an_unknown_one(model, tmp_path, monkeypatch):
    path = drawn_videos.clip(tmp_path / "clip.mp4", 8)
    detector = drawn_videos.OvalDetector()
    assert runtime.score_video(path, model, detector=detector).state == "ok"
    assert runtime.score_video(str(path), str(model.path), trust=True, detector=detector).state == "ok"
    monkeypatch.setenv("DEEPFAKE_UNET_PINS", str(tmp_path / "none.json"))
    with pytest.raises(Exception, match="trust_model"):
        runtime.score_video(path, str(model.path))


def test_memory_does_not_grow_with_the_frames_looked_at(model, tmp_path):
    """What stays after a pass: numbers a face, and a bounded number of pictures."""
    path = drawn_videos.clip(tmp_path / "long.mp4", frames=120)
    scorer = Scorer(model, ScoreConfig(frames=0, batch_size=8, evidence=2), drawn_videos.OvalDetector())
    result = scorer.score(path)
    assert len(result.rows) == 120
    assert len(result.pictures) == 2


def test_a_model_that_still_carries_a_learned_scorer_is_scored_without_it(model, score, tmp_path):
    """Versions before could store one; whatever it holds, it is left alone."""
    path = drawn_videos.clip(tmp_path / "fake.mp4", 12, fake={0: range(12)})
    old = dataclasses.replace(model, metadata={**model.metadata, "learned_scorer": {"features": ["max"]}})
    assert Scorer(old, None, drawn_videos.OvalDetector()).score(path).score == score(path).score


def test_a_calibration_stored_with_the_model_gives_probabilities_for_its_own_settings_only(model, tmp_path):
    config = ScoreConfig()
    fitted = calibration.fit([0.1] * 9 + [0.9] + [0.9] * 9 + [0.1], [0] * 10 + [1] * 10, config.scoring(model.sha256))
    calibrated = dataclasses.replace(model, metadata={**model.metadata, calibration.KEY: fitted.to_dict()})
    path = drawn_videos.clip(tmp_path / "fake.mp4", 12, fake={0: range(12)})
    result = Scorer(calibrated, config, drawn_videos.OvalDetector()).score(path)
    assert result.probability == pytest.approx(fitted.probability(result.score))
    assert 0.5 < result.probability < result.score  # one in ten was wrong at such scores
    other = ScoreConfig(aggregate=AggregateConfig(window=7))
    result = Scorer(calibrated, other, drawn_videos.OvalDetector()).score(path)
    assert result.probability is None
    assert "other scoring settings" in result.probability_note
    (tmp_path / "short.mp4").write_bytes(drawn_videos.clip(tmp_path / "two.mp4", 2).read_bytes())
    assert Scorer(calibrated, config, drawn_videos.OvalDetector()).score(tmp_path / "short.mp4").probability is None


def test_the_models_own_threshold_decides_unless_another_is_given(model, tmp_path):
    path = drawn_videos.clip(tmp_path / "fake.mp4", 12, fake={0: range(12)})
    score = Scorer(model, None, drawn_videos.OvalDetector()).score(path).score
    point = {"threshold": (score + 1) / 2, "real_below": 0.1, "scoring": ScoreConfig().scoring(model.sha256)}
    strict = dataclasses.replace(model, metadata={**model.metadata, calibration.THRESHOLD_KEY: point})
    result = Scorer(strict, None, drawn_videos.OvalDetector()).score(path)
    assert (result.score, result.verdict) == (score, "unclear")
    point["real_below"] = point["threshold"]
    assert Scorer(strict, None, drawn_videos.OvalDetector()).score(path).verdict == "real"
    given = ScoreConfig(aggregate=AggregateConfig(threshold=score - 0.01))
    assert Scorer(strict, given, drawn_videos.OvalDetector()).score(path).verdict == "fake"


def test_an_unclear_video_says_where_to_look_by_the_threshold_of_frames(model, tmp_path):
    """Before, frames were held to the video's threshold: a spliced fake second was reported without its place."""
    path = drawn_videos.clip(tmp_path / "spliced.mp4", 64, fake={0: range(20, 27)})
    of = {"scoring": ScoreConfig().scoring(model.sha256)}
    video = {"threshold": 0.99, "real_below": 0.1, **of}

    def score(frame_threshold):
        frames = {"frame_threshold": frame_threshold, **of}
        own = {calibration.THRESHOLD_KEY: video, calibration.FRAME_THRESHOLD_KEY: frames}
        strict = dataclasses.replace(model, metadata={**model.metadata, **own})
        return Scorer(strict, None, drawn_videos.OvalDetector()).score(path)

    result = score(0.6)
    ((start, end, _),) = result.segments
    assert (result.state, result.verdict) == ("ok", "unclear")
    assert 20 / drawn_videos.FPS - 0.1 <= start < end <= 26 / drawn_videos.FPS + 0.1
    assert result.reason == f"look at {start:.1f}–{end:.1f} s"
    assert (score(0.99999).segments, score(0.99999).reason) == ((), "")


class Certain(drawn_videos.OvalDetector):
    """Finds ovals, and is less sure of those right of the middle."""

    def __init__(self, right):
        self.right = right

    def detect(self, rgb):
        middle = rgb.shape[1] / 2
        faces = super().detect(rgb)
        return [dataclasses.replace(f, certainty=self.right if f.box.x0 > middle else 0.999) for f in faces]


@pytest.mark.parametrize("sure, people, verdict", [(0.99, 2, "fake"), (0.8, 1, "real")])
def test_what_is_no_face_decides_neither_score_nor_pictures(model, tmp_path, sure, people, verdict):
    """Before, an arm or a shadow counted like a person, and its frames were the ones shown."""
    path = drawn_videos.clip(tmp_path / "arm.mp4", faces=2, fake={1: range(32)})
    result = Scorer(model, ScoreConfig(), Certain(sure)).score(path)
    assert (len(result.faces), result.verdict, result.doubtful_faces) == (people, verdict, 2 - people)
    assert {row.track for row in result.rows} == set(range(people))
    assert all(row.x0 < 140 for row in result.rows if row.track == 0)
    assert {picture.track for picture in result.pictures} == {people - 1}


def test_a_video_of_nothing_but_doubtful_findings_has_no_face(model, tmp_path):
    detector = Certain(0.8)
    detector.detect = lambda rgb: [
        dataclasses.replace(face, certainty=0.8) for face in drawn_videos.OvalDetector().detect(rgb)
    ]
    result = Scorer(model, ScoreConfig(), detector).score(drawn_videos.clip(tmp_path / "cloth.mp4", 12))
    assert (result.state, result.frames_with_face, result.doubtful_faces) == ("no_face", 0, 1)
    assert "1 findings are too doubtful" in result.reason


def test_a_face_seen_in_two_frames_is_reported_but_not_counted(score, tmp_path):
    """Before, two frames of .99 beside thirty of .00 made .37 of the video, and were the ones shown."""
    pictures = [drawn_videos.frame(2 if i in (9, 10) else 1, [1], shift=i % 3) for i in range(32)]
    pictures = [np.pad(each, ((0, 0), (0, 280 - each.shape[1]), (0, 0)), mode="edge") for each in pictures]
    brief = score(drawn_videos.write(tmp_path / "brief.mp4", pictures), detect_every_s=0.001)
    alone = score(drawn_videos.clip(tmp_path / "alone.mp4"))
    assert [(face["frames"], face["counted"]) for face in brief.faces] == [(32, True), (2, False)]
    assert brief.faces[1]["score"] > 0.5 > 0.05 > brief.score == pytest.approx(alone.score, abs=0.01)
    assert brief.segments == ()
    assert {picture.track for picture in brief.pictures} == {0}


def test_a_person_seen_again_after_a_cut_or_a_pan_is_one_face(score, tmp_path):
    """Before, every cut of the picture made a new face: two people in 32 frames of a walk became 17."""
    face = drawn_videos.frame(1)
    head = (np.abs(face.astype(int) - 90).max(axis=2) > 16)[..., None]
    pictures = []
    for at in range(32):
        picture = np.full((160, 320, 3), 110 if at // 8 % 2 else 190, np.uint8)
        left = (0, 90, 30, 160)[at // 8]
        cv2.ellipse(picture, (left + 70, 80), (52, 72), 0, 0, 360, (60, 40, 30), -1)  # hair
        cv2.rectangle(picture, (left, 136), (left + 140, 160), (40, 50, 120), -1)  # a shirt
        picture[:, left : left + 160] = np.where(head, face, picture[:, left : left + 160])
        pictures.append(picture)
    result = score(drawn_videos.write(tmp_path / "walk.mp4", pictures))
    assert [face["frames"] for face in result.faces] == [32]
