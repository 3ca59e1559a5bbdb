"""Scores clips drawn from public-domain portraits and photographs the page: docs/images/score_report.png and ..._phone.png.

    python tools/draw_report.py [FOLDER]

FOLDER (default: /tmp/clips) must not exist; its name stands in the pictures. The clips are the demo's, of Eileen Collins (NASA) and
Grace Hopper (US Navy), whom the shipped weights have never seen, one of them cut short, and a file that is no video. Needs Chromium
and chromedriver.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mask_generation.faces.detector import MtcnnDetector  # noqa: E402
from runtime.__main__ import main as run  # noqa: E402
from runtime.commands import demo_clips  # noqa: E402
from tests.helpers import browser  # noqa: E402

IMAGES = ROOT / "docs/images"
FRAMES, DESKTOP_PX, PHONE_COLOURS = 36, (1200, 1180), 128


def draw(folder: Path) -> None:
    """Originals and manipulated copies of both people, a damaged copy of one, and a text that calls itself a video."""
    folder.mkdir(parents=True)
    for person, photo, face in demo_clips.portrait_faces(MtcnnDetector()):
        drawn = demo_clips.draw_clip(
            photo, np.asarray(face.landmarks, np.float64), np.random.default_rng(len(person)), FRAMES
        )
        for name, frames in zip(("original", "manipulated"), drawn):
            demo_clips.write_clip(folder / f"{person}_{name}.mp4", frames, crf=20)
    whole = (folder / "hopper_manipulated.mp4").read_bytes()
    (folder / "cut_short.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.mp4").write_text("Not a video, whatever its name says.\n" * 20)


def photograph(page: Path) -> None:
    """The table with a manipulated clip's details open, on a desktop and on a phone."""
    with tempfile.TemporaryDirectory() as profile, browser.chromium(Path(profile)) as window:
        window.resize(*DESKTOP_PX)
        window.open(page)
        row = window.run(
            "return [...document.querySelectorAll('tbody tr')].findIndex(r => r.textContent.includes('_manipulated')) + 1"
        )
        window.click(f"tbody tr:nth-child({row})")
        window.screenshot(IMAGES / "score_report.png")
        window.phone()
        window.run("document.querySelector('.timeline, svg').scrollIntoView()")
        window.screenshot(IMAGES / "score_report_phone.png")
    for name in ("score_report.png", "score_report_phone.png"):
        picture = cv2.imread(str(IMAGES / name))
        cv2.imwrite(str(IMAGES / name), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main(folder: Path) -> None:
    draw(folder)
    with tempfile.TemporaryDirectory() as results:
        run(["score", f"--input={folder}", f"--output={results}"])
        photograph(Path(results) / "report.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/tmp/clips"))
