"""Tables, Parquet, report.json against its schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from runtime.scoring import tables
from runtime.scoring.result import Column, VideoResult, cells, reported
from tests.helpers.report_page import RESULTS, page, scored, unscored


@pytest.fixture
def written(tmp_path):
    _, document = page(RESULTS)
    about = {name: document[name] for name in ("model", "config", "inputs", "skipped", "wall_s", "resumed", "workers")}
    return tmp_path, tables.write_outputs(tmp_path, RESULTS, about)


def test_tables_hold_one_row_a_video_and_one_a_face_and_frame(written):
    folder, _ = written
    videos, frames = pd.read_csv(folder / "videos.csv"), pd.read_csv(folder / "frames.csv")
    assert tuple(videos) == tables.VIDEO_COLUMNS
    assert tuple(frames) == tables.FRAME_COLUMNS
    assert len(videos) == len(RESULTS)
    assert len(frames) == sum(len(result.rows) for result in RESULTS)
    assert json.loads(videos["segments"][0]) == [[2.0, 5.0, 0.95]]
    assert videos["score"].isna().tolist() == [result.score is None for result in RESULTS]
    assert frames["mask_top_3"].tolist() == [row.features[3] for result in RESULTS for row in result.rows]


def test_columns_and_their_order_are_those_that_readers_know():
    assert (
        *("path", "state", "reason", "score", "verdict", "probability", "segments", "faces", "frames_sampled"),
        *("frames_with_face", "family", "family_confidence", "duration_s", "width", "height", "fps", "codec"),
        *("sha256", "seconds", "overlay", "overlay_video"),
    ) == tables.VIDEO_COLUMNS
    assert (
        *("path", "frame_index", "time_s", "track", "score", "x0", "y0", "x1", "y1", "detection", "face_px"),
        *("sharpness", "brightness", "mask_max", "mask_mean", "mask_top_1", "mask_top_3", "mask_top_10"),
        *("mask_area_25", "mask_area_50", "mask_area_75"),
    ) == tables.FRAME_COLUMNS


def test_a_field_is_written_once():
    """Its metadata put it into the table, the report and the page."""

    @dataclasses.dataclass(frozen=True)
    class Longer(VideoResult):
        blinks: int = dataclasses.field(
            default=3, metadata=reported({"type": "integer"}, Column("blinks", "int64"), Column("odd", cell=bool))
        )

    result = Longer("a.mp4", "no_face", "no face")
    assert list(cells(result).items())[-2:] == [("blinks", 3), ("odd", True)]
    assert result.to_report()["blinks"] == 3
    assert Longer.from_dict({**result.to_dict(), "blinks": 5}).blinks == 5
    text, _ = page([result])
    assert text.count('"blinks":3') == 2  # for the page's table and for its details


def test_the_shipped_schema_is_what_the_fields_say():
    shipped = Path(tables.__file__).parent / "schemas" / tables.SCHEMA
    assert json.loads(shipped.read_text()) == tables.schema(), "write_json(shipped, tables.schema()) writes it anew"


def test_parquet_holds_the_same(written):
    folder, _ = written
    for name in ("videos", "frames"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        assert table.to_csv(index=False) == (folder / f"{name}.csv").read_text()
        assert table["score"].dtype == "float64"


def test_the_report_fits_its_schema_and_the_schema_refuses_lies(written):
    folder, document = written
    stored = json.loads((folder / "report.json").read_text())
    assert stored == document
    schema = tables.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(stored, schema)
    for change in ({"score": 0.5}, {"verdict": "real"}, {"state": "fine"}, {"sha256": "abc"}, {"new": 1}):
        lie = json.loads(json.dumps(stored))
        lie["videos"][-1].update(change)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(lie, schema)


def test_no_temporary_files_stay(written):
    assert sorted(path.name for path in written[0].iterdir()) == [
        *("frames.csv", "frames.parquet", "report.json", "videos.csv", "videos.parquet"),
    ]


def test_a_folder_without_any_answer_still_has_its_columns(tmp_path):
    videos, frames = tables.tables([unscored(0, "no_face", "no face")])
    assert (len(videos), len(frames)) == (1, 0)
    assert tuple(frames) == tables.FRAME_COLUMNS
    assert videos["score"].dtype == frames["score"].dtype == "float64"
    assert frames["track"].dtype == "int64"


def test_submission_prefers_the_probability(tmp_path):
    results = [scored(0, 0.9, probability=0.7), scored(1, 0.2), unscored(2, "timeout", "slow")]
    tables.write_submission(tmp_path / "submission.csv", results)
    table = pd.read_csv(tmp_path / "submission.csv")
    assert table["label"].tolist() == [0.7, 0.2, 0.5]
    assert table["filename"].tolist() == ["clip_0000.mp4", "clip_0001.mp4", "timeout_2.mp4"]
