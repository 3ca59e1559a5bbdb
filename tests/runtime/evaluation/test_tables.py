"""Score tables: keys, defaults, identities, pairs, other detectors' files, and errors that name file and column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from runtime.evaluation import tables
from tests.helpers.score_tables import METHODS, ffpp


def test_the_key_keeps_methods_of_one_name_apart():
    table = tables.normalise(ffpp())
    fakes = table[table["video"] == "183_253"]
    assert set(fakes["key"]) == {"ffpp/Deepfakes/c40/183_253", "ffpp/FaceSwap/c40/183_253"}
    assert tables.to_videos(table)["key"].nunique() == 7


def test_a_fake_points_at_its_original_by_bare_name():
    table = tables.normalise(ffpp())
    assert set(table.loc[table["video"] == "183_253", "original"]) == {"ffpp/real/c40/183"}


def test_a_swap_pair_is_one_identity_and_an_actor_another():
    table = tables.normalise(ffpp())
    clusters = table.groupby("video")["cluster"].first()
    assert clusters["183"] == clusters["253"] == clusters["183_253"] == clusters["253_183"]
    assert clusters["actor"] != clusters["183"]


def test_identity_clusters_join_through_others():
    clusters = tables.identity_clusters([{"a", "b"}, {"c"}, {"b", "d"}, {"e", "d"}, {"c"}])
    assert clusters[0] == clusters[2] == clusters[3]
    assert clusters[1] == clusters[4] != clusters[0]
    with pytest.raises(ValueError, match="no identity"):
        tables.identity_clusters([{"a"}, set()])


def test_pairs_meet_at_the_same_index_and_track():
    table = ffpp(frames=2)
    table = table[~((table["video"] == "183") & (table["frame_index"] == 1))]  # the original lacks a frame
    table = tables.normalise(table)
    pairs = tables.match_pairs(table)
    assert len(pairs) == 2 * 1 + 2 * 2
    fakes, originals = table.iloc[pairs[:, 0]], table.iloc[pairs[:, 1]]
    assert list(fakes["original"]) == list(originals["key"])
    assert list(fakes["frame_index"]) == list(originals["frame_index"])


def test_breakdown_by_method_brings_each_fakes_own_originals():
    table = tables.normalise(ffpp(frames=1))
    groups = dict(tables.breakdown(table, "method"))
    assert set(groups) == set(METHODS)
    assert set(table.iloc[groups["Deepfakes"]]["video"]) == {"183", "253", "183_253", "253_183"}
    assert not set(table.iloc[groups["Deepfakes"]]["method"]) & {"FaceSwap"}


def test_breakdown_by_method_takes_reals_of_the_place_when_originals_are_missing():
    table = tables.normalise(ffpp(frames=1).query("video not in ('183', '253')"))
    rows = dict(tables.breakdown(table, "method"))["Deepfakes"]
    assert "actor" in set(table.iloc[rows]["video"])


def test_breakdown_by_face_size_and_none_for_one_value():
    table = tables.normalise(ffpp(frames=1))
    assert {name for name, _ in tables.breakdown(table, "face_size")} == {"64-127 px", "128-255 px"}
    assert tables.breakdown(table, "compression") == []
    assert tables.breakdown(table, "skin_tone") == []


def test_face_size_classes_at_their_edges():
    sizes = tables.face_size(pd.Series([63.9, 64, 127.9, 128, 256, np.nan]))
    assert list(sizes) == ["<64 px", "64-127 px", "64-127 px", "128-255 px", ">=256 px", "unknown"]


def test_the_mean_of_the_highest_face_is_an_alternative_and_skips_faceless_frames():
    table = pd.DataFrame(
        {
            "video": ["a"] * 4 + ["b"],
            "label": [1] * 4 + [0],
            "frame_index": [0, 0, 1, 2, 0],
            "track": ["0", "1", "0", "0", "0"],
            "score": [0.2, 0.8, 0.4, np.nan, np.nan],
            "state": ["ok", "ok", "ok", "no_face", "no_face"],
        }
    )
    videos = tables.to_videos(tables.normalise(table), tables.HIGHEST_FACE_MEAN).set_index("video")
    assert videos.loc["a", "score"] == pytest.approx((0.8 + 0.4) / 2)
    assert np.isnan(videos.loc["b", "score"])
    assert list(videos["state"]) == ["ok", "no_face"]


def test_csv_keeps_leading_zeros_and_round_trips(tmp_path):
    path = tmp_path / "frame_scores.csv"
    frame = ffpp().replace({"183": "003", "183_253": "003_253"})
    frame.to_csv(path, index=False)
    loaded = tables.load_frames(path)
    assert "ffpp/real/c40/003" in set(loaded["key"])
    np.testing.assert_allclose(loaded["score"], frame["score"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="label"), "column label missing"),
        (lambda t: t.assign(label=2), "0 .real. or 1"),
        (lambda t: t.assign(score="high"), "score holds something that is not a number"),
        (lambda t: t.assign(score=np.inf), "infinite"),
        (lambda t: t.assign(method="real", video="x"), "both real and fake"),
    ],
)
def test_unusable_tables_name_the_file_and_the_column(tmp_path, change, message):
    path = tmp_path / "bad.csv"
    change(ffpp()).to_csv(path, index=False)
    with pytest.raises(tables.TableError, match=message) as error:
        tables.load_frames(path)
    assert "bad.csv" in str(error.value)


@pytest.mark.parametrize("content", ["", "video,label,score\n"])
def test_empty_files_are_refused(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    with pytest.raises(tables.TableError, match=r"empty\.csv"):
        tables.load_frames(path)
    with pytest.raises(tables.TableError, match="no such file"):
        tables.load_frames(tmp_path / "missing.csv")


def test_foreign_scores_by_key_path_or_unique_name(tmp_path):
    reference = tables.to_videos(tables.normalise(ffpp()))
    path = tmp_path / "other.csv"
    path.write_text(
        "video,score\n"
        "manipulated_sequences/Deepfakes/c40/videos/183_253.mp4,0.9\n"
        "ffpp/FaceSwap/c40/183_253,0.8\n"
        "actor.mp4,0.1\n"
    )
    scores = tables.load_foreign(path, reference)
    assert dict(zip(reference["key"], scores["state"]))["ffpp/real/c40/183"] == "missing"
    by_key = dict(zip(reference["key"], scores["score"]))
    assert by_key["ffpp/Deepfakes/c40/183_253"] == 0.9
    assert by_key["ffpp/FaceSwap/c40/183_253"] == 0.8
    assert by_key["ffpp/real/c40/actor"] == 0.1
    assert np.isnan(by_key["ffpp/real/c40/183"])


@pytest.mark.parametrize(
    "rows, message",
    [
        ("183_253.mp4,0.5", "fits 2 videos"),
        ("nobody.mp4,0.5", "not a video of the reference"),
        ("actor,0.5\nactor.mp4,0.6", "scored twice"),
        ("actor,high", "not a number"),
    ],
)
def test_foreign_scores_that_cannot_be_placed_are_errors(tmp_path, rows, message):
    path = tmp_path / "other.csv"
    path.write_text(f"video,score\n{rows}\n")
    with pytest.raises(tables.TableError, match=message):
        tables.load_foreign(path, tables.to_videos(tables.normalise(ffpp())))


def test_a_group_pairs_a_fake_that_lost_frames():
    table = ffpp(frames=2).query("video in ('183', '183_253') and method != 'FaceSwap'")
    table["group"] = table["frame_index"].astype(str)
    table.loc[table["label"] == 1, "frame_index"] += 5  # numbered differently, same moments
    frames = tables.normalise(table)
    pairs = tables.match_pairs(frames)
    assert len(pairs) == 2
    assert list(frames.iloc[pairs[:, 0]]["group"]) == list(frames.iloc[pairs[:, 1]]["group"])
    assert len(tables.match_pairs(frames.drop(columns="group"))) == 0
    assert len(tables.match_pairs(tables.to_videos(frames))) == 1


def test_results_of_score_are_placed_by_path_with_their_states(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label,method\nin/a.mp4,1,swap\nin/b.mp4,0,\nin/c.mp4,0,\n")
    (tmp_path / "videos.csv").write_text(
        "path,state,reason,score,probability\n/x/in/a.mp4,ok,,3.5,0.8\n/x/in/b.mp4,no_face,none seen,,\n"
    )
    reference = tables.load_labels(tmp_path / "labels.csv")
    placed = tables.load_foreign(tmp_path / "videos.csv", reference)
    assert list(placed["state"]) == ["ok", "no_face", "missing"]
    assert placed["score"].tolist()[0] == 3.5
    assert placed["probability"].tolist()[0] == 0.8
    assert placed["score"].isna().tolist() == [False, True, True]
