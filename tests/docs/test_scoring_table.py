"""The table of short fakes and of one fake among many in docs/scoring.md, for the model that ships.

After a new calibration its numbers change: the failing test prints the table that belongs into the document.
"""

from __future__ import annotations

import json

import numpy as np

from runtime.model import packaged
from runtime.scoring.video_score import AggregateConfig, video_score
from tests.helpers.documents import ROOT

FAKE, REAL, FRAMES = 0.95, 0.05, 32


def shipped() -> AggregateConfig:
    """The rule with the shipped model's thresholds."""
    metadata = json.loads(packaged.METADATA_FILE.read_text("utf-8"))
    point, frames = metadata["threshold"], metadata["frame_threshold"]
    return AggregateConfig(
        threshold=point["threshold"], real_below=point["real_below"], frame_threshold=frames["frame_threshold"]
    )


def person(fakes: int = 0, scattered: bool = False) -> np.ndarray:
    scores = np.full(FRAMES, REAL)
    start = (FRAMES - fakes) // 2
    where = np.linspace(0, FRAMES - 1, fakes).round().astype(int) if scattered else np.arange(start, start + fakes)
    scores[where] = FAKE
    return scores


def winner(scores: np.ndarray) -> float:
    """The rule of the winner of the DFDC challenge, from kernel_utils.py of selimsef/dfdc_deepfake_challenge."""
    high, low = scores[scores > 0.8], scores[scores < 0.2]
    if len(high) > len(scores) // 2.5 and len(high) > 11:
        return float(high.mean())
    return float(low.mean() if len(low) > 0.9 * len(scores) else scores.mean())


CASES = {
    "3 fake frames of 32, in a row": [person(3)],
    "3 of 32, scattered": [person(3, scattered=True)],
    "9 of 32": [person(9)],
    "12 of 32": [person(12)],
    "13 of 32": [person(13)],
    "all 32": [person(32)],
    "2 people, one fake throughout": [person(32), person()],
    "3 people, one fake throughout": [person(32), person(), person()],
    "3 people, one fake for 3 frames": [person(3), person(), person()],
    "50 people, one fake throughout": [person(32), *[person()] * 49],
    "50 real people": [person()] * 50,
    "one single frame fake": [person(1)],
    "one real person, and 2 frames of a fake one": [person(), np.where(np.arange(FRAMES) < 2, FAKE, np.nan)],
}


def table() -> str:
    """The lines of the document: scores, the verdict of the shipped model, and how many frames it points at."""
    rule = shipped()
    lines = [
        "| case | this rule | verdict of the shipped model | frames it points at | plain mean | DFDC winner's rule |",
        "|---|---|---|---|---|---|",
    ]
    for name, tracks in CASES.items():
        found = video_score(tracks, config=rule)
        pointed = sum(round(end - start) + 1 for start, end, _ in found.segments)
        pooled = np.concatenate(tracks)
        pooled = pooled[~np.isnan(pooled)]
        ours, mean, theirs = (f"{value:.3f}".lstrip("0") for value in (found.score, pooled.mean(), winner(pooled)))
        lines.append(f"| {name} | **{ours}** | {found.verdict} | {pointed or '–'} | {mean} | {theirs} |")
    return "\n".join(lines)


def test_the_table_of_short_fakes_is_that_of_the_shipped_model():
    printed = table()
    print(printed)
    assert printed in (ROOT / "docs" / "scoring.md").read_text("utf-8"), f"docs/scoring.md should hold\n{printed}"


def test_what_the_table_promises():
    """Whatever the thresholds: short fakes and one faked person of few stand out, crowds of real people do not."""
    rule = shipped()
    scores = {name: video_score(tracks, config=rule).score for name, tracks in CASES.items()}
    assert min(scores["3 fake frames of 32, in a row"], scores["3 people, one fake throughout"]) > 0.8
    assert scores["50 real people"] < 0.06
    assert scores["one real person, and 2 frames of a fake one"] < 0.06
    assert video_score(CASES["3 fake frames of 32, in a row"], config=rule).segments
    assert not video_score(CASES["50 real people"], config=rule).segments
