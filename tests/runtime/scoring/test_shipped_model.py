"""The shipped weights answer as they always did: two drawn clips, from the file to the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from mask_generation.faces.detector import MtcnnDetector
from runtime.commands import demo_clips
from runtime.model import packaged
from runtime.model.saved_model import load_model
from runtime.scoring.scorer import Scorer

# Made by commit 1b7c989, before modules were moved and rules merged: video score, verdict, probability, frame scores.
BEFORE = {
    "real": (0.04945634409742536, "real", 0.4128262114981276, [0.016587, 0.026272, 0.089805, 0.037178]),
    "fake": (0.8347269618557731, "unclear", 0.571907074281392, [0.750791, 0.765558, 0.877168, 0.886666]),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Kind of clip → result, of four frames of one portrait and of the same with a self-blended face."""
    folder, detector = tmp_path_factory.mktemp("shipped"), MtcnnDetector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(packaged.CACHE_VARIABLE, str(folder / "cache"))
        scorer = Scorer(load_model(packaged.model_folder(), trust=True), None, detector)
    _, photo, face = next(demo_clips.portrait_faces(detector))
    clips = demo_clips.draw_clip(photo, np.asarray(face.landmarks, np.float64), np.random.default_rng(0), 4)
    found = {}
    for kind, frames in zip(BEFORE, clips):
        demo_clips.write_clip(folder / f"{kind}.mp4", frames, crf=18)
        found[kind] = scorer.score(folder / f"{kind}.mp4")
    return found


@pytest.mark.parametrize("kind", BEFORE)
def test_the_scores_of_the_shipped_model_do_not_move(results, kind):
    score, verdict, probability, frame_scores = BEFORE[kind]
    result = results[kind]
    assert (result.state, result.verdict) == ("ok", verdict)
    assert result.score == pytest.approx(score, abs=1e-6)
    assert result.probability == pytest.approx(probability, abs=1e-6)
    assert [row.score for row in result.rows] == pytest.approx(frame_scores, abs=1.5e-6)  # rounded to six digits
