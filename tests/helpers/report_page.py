"""Results of scoring made up without a video, one for each thing that a report must show, and their report.html."""

from __future__ import annotations

import numpy as np

from runtime.scoring import drawing, html, tables
from runtime.scoring.result import FaceRow, ScoreConfig, VideoResult

NASTY = "</script><img src=x onerror=\"document.title='owned'\"><!--"


def picture(number):
    crop = np.full((64, 64, 3), (200, 150, 120), np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[30:50, 10 + number % 20 : 44] = 0.9
    item = drawing.FramePicture(0, 1.0, 0, 0.9, crop, (0, 0, 64, 64), crop, mask)
    return {"time_s": 1.0 + number % 3, "face": 0, "score": 0.9, "jpeg": drawing.thumbnail(item)}


def scored(number, score, faces=1, **changes):
    """A result with a curve for each face, thumbnails, and a segment where it is fake."""
    times = tuple(float(t) for t in range(16))
    rows = tuple(
        FaceRow(int(t) * 25, t, face, score, 10, 10, 90, 90, 0.99, 80, 50, 120, (score,) * 8)
        for t in times
        for face in range(faces)
    )
    fake = score > 0.5
    shares = {"eyes": 0.1, "nose": 0.1, "mouth": 0.7, "cheeks": 0.1, "forehead": 0.0, "outline": 0.0, "background": 0.0}
    attribution = {"family": "mouth re-rendered", "confidence": "weak", "evidence": "marked around the mouth"}
    values = {
        "path": f"/videos/clip_{number:04d}.mp4",
        "state": "ok",
        "reason": "",
        "score": score,
        "verdict": "fake" if fake else "real",
        "segments": ((2.0, 5.0, score),) if fake else (),
        "faces": tuple(
            {"track": f, "score": score, "frames": 16, "segments": [], "face_px": 80.0, "first_s": 0.0, "last_s": 15.0}
            for f in range(faces)
        ),
        "character": {"shares": shares, "coverage": shares, "stability": 0.8, "frames": 16, **attribution},
        "frames_sampled": 16,
        "frames_with_face": 16,
        "sample_times_s": times,
        "rows": rows,
        "sha256": f"{number:064x}",
        "video": {"width": 640, "height": 360, "fps": 25.0, "codec": "h264", "duration_s": 16.0 + number},
        "decode": {"decoded": 16, "failed": 0, "corrupt": 0},
        "timings_s": {"decode": 0.1, "total": 1.0},
        "thumbnails": tuple(picture(i) for i in range(3)),
    }
    return VideoResult(**{**values, **changes})


def unscored(number, state, reason):
    return VideoResult(f"/videos/{state}_{number}.mp4", state, reason, timings_s={"total": 0.1})


def page(results, calibrated=False, notice=""):
    """The page and the content of report.json of a run with these results."""
    config = ScoreConfig().for_model("0" * 64, {}).to_dict()
    model = {"path": "model", "sha256": "0" * 64, "metadata_sha256": None, "calibrated": calibrated, "notice": notice}
    about = {"model": model, "config": config, "inputs": ["/videos"], "skipped": [], "wall_s": 3.0}
    document = tables.report(results, {**about, "resumed": 0, "workers": 2})
    return html.html(results, document), document


RESULTS = [
    scored(0, 0.95),
    scored(1, 0.10),
    scored(2, 0.60, faces=2, state="partial", reason="30 of 64 declared frames are there"),
    scored(3, 0.30, path=f"/videos/{NASTY}.mp4"),
    unscored(4, "inconclusive", "faces too small: 20 px (median), 32 are needed"),
    unscored(5, "unreadable", f"damaged {NASTY}"),
]
