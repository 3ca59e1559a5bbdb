"""The page of a scored folder, photographed: docs/images/score_report.png and docs/images/score_report_phone.png.

    python -m tools.draw_report [FOLDER]

FOLDER (default: /tmp/clips) must not exist; its name stands in the pictures. Its clips show the first manipulations
that the synthesis draws of Eileen Collins (NASA) and Grace Hopper (US Navy), whom the shipped weights have never seen.
Needs Chromium and chromedriver.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from mask_generation.faces.detector import MtcnnDetector
from runtime.__main__ import main as run
from runtime.commands import demo_clips
from tests.helpers import browser

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
MANIPULATIONS, SIDE_PX, FRAMES = 6, 256, 36
DESKTOP_PX, PHONE_PX = (1200, 1730), (390, 844)


def draw(folder: Path) -> None:
    """Clips whose middle third is manipulated, an untouched one of each person, half a file, and a text called .mp4."""
    folder.mkdir(parents=True)
    for number, pair in enumerate(demo_clips.unseen_pairs(MANIPULATIONS, SIDE_PX, MtcnnDetector())):  # none left out
        write(folder / f"fake_{number}.mp4", pair.real, pair.fake)
        if pair.identity not in {path.stem.partition("_")[2] for path in folder.glob("real_*")}:
            write(folder / f"real_{pair.identity}.mp4", pair.real, pair.real)
    whole = (folder / "fake_0.mp4").read_bytes()
    (folder / "half_a_file.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.mp4").write_text("Not a video, whatever its name says.\n" * 20)


def write(path: Path, outside: np.ndarray, within: np.ndarray) -> None:
    """A clip of one picture under a camera that drifts: `within` in its middle third, `outside` around it."""
    frames = []
    for index in range(FRAMES):
        wave = np.sin(2 * np.pi * index / FRAMES + np.array([0.0, 1.0, 2.0]))
        matrix = cv2.getRotationMatrix2D((SIDE_PX / 2, SIDE_PX / 2), 3 * wave[0], 1 + 0.03 * wave[1])
        matrix[:, 2] += 32 + 6 * wave[1:]
        picture = within if FRAMES <= 3 * index < 2 * FRAMES else outside
        frames.append(cv2.warpAffine(picture, matrix, (SIDE_PX + 64, SIDE_PX + 64), borderMode=cv2.BORDER_REPLICATE))
    demo_clips.write_clip(path, frames, crf=20)


def photograph(page: Path) -> None:
    """The table with a manipulated clip's details open, on a desktop and on a phone."""
    with tempfile.TemporaryDirectory() as profile, browser.chromium(Path(profile)) as window:
        window.resize(*DESKTOP_PX)
        window.open(page)
        window.click("#rows button.name")  # the highest score stands first
        window.screenshot(IMAGES / "score_report.png")
        window.phone()
        window.run("document.querySelector('#rows button.name').scrollIntoView()")
        window.screenshot(IMAGES / "score_report_phone.png")
    desktop, phone = (IMAGES / name for name in ("score_report.png", "score_report_phone.png"))
    smaller = cv2.resize(cv2.imread(str(phone)), PHONE_PX, interpolation=cv2.INTER_AREA)
    for path, picture in ((desktop, cv2.imread(str(desktop))), (phone, smaller)):
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main(folder: Path) -> None:
    draw(folder)
    with tempfile.TemporaryDirectory() as results:
        run(["score", f"--input={folder}", f"--output={results}"])
        photograph(Path(results) / "report.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/tmp/clips"))
