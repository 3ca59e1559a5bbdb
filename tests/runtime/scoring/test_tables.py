"""Tables, Parquet, report.json against its schema."""

from __future__ import annotations

import json

import jsonschema
import pandas as pd
import pytest

from runtime.scoring import tables
from tests.runtime.scoring.test_html import RESULTS, page, scored, unscored


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
    assert videos["score"].dtype == "float64"


def test_submission_prefers_the_probability(tmp_path):
    results = [scored(0, 0.9, probability=0.7), scored(1, 0.2), unscored(2, "timeout", "slow")]
    tables.write_submission(tmp_path / "submission.csv", results)
    table = pd.read_csv(tmp_path / "submission.csv")
    assert table["label"].tolist() == [0.7, 0.2, 0.5]
    assert table["filename"].tolist() == ["clip_0000.mp4", "clip_0001.mp4", "timeout_2.mp4"]
