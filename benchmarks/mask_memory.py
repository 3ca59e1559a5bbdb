"""Peak memory of the mask stage against the length of the clips: `python -m benchmarks.mask_memory [--seconds 10,600]`.

One pair for each length, drawn from a public-domain portrait under a drifting camera, goes through `process_group` and
the writer in a process of its own; what is compared is that process's peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FPS, HW = 25, (360, 640)


def draw(path: Path, seconds: int, fake: bool) -> None:
    """A photograph that drifts; the fake's lower half of the face is brighter."""
    import cv2
    import numpy as np

    from mask_generation.video.writer import video_file
    from runtime.commands.demo_clips import portraits

    photo = cv2.resize(portraits()["collins"], None, fx=1.4, fy=1.4)
    with video_file(path, 23, "ultrafast", FPS) as writer:
        for index in range(seconds * FPS):
            x, y = (int(20 + 18 * np.sin(index / period)) for period in (37, 53))
            frame = np.ascontiguousarray(photo[y : y + HW[0], x : x + HW[1]])
            if fake:
                part = frame[190 - y + 20 : 230 - y + 20, 270 - x + 20 : 350 - x + 20]
                part[:] = np.minimum(part.astype(np.int16) + 40, 255).astype(np.uint8)
            writer.write(frame)


def measure(original: str, fake: str, folder: str) -> None:
    """In a process of its own: print what the pair took, as JSON."""
    import resource
    import time

    import psutil

    from mask_generation.datasets.base import ClipGroup, FakeClip
    from mask_generation.pairs.examples import process_group
    from mask_generation.pairs.outcome import GroupConfig
    from mask_generation.pipeline import build_detector
    from mask_generation.shards import write_part

    detector = build_detector("CPU:0")
    who = frozenset(("drawn",))
    clip = FakeClip("drawn/fake/c/1", fake, "fake", "c", who)
    group = ClipGroup("drawn/real/c/1", "drawn", "real", "c", original, (clip,), who, "train", "drawn")
    before, started = psutil.Process().memory_info().rss, time.process_time()
    result = process_group(group, GroupConfig(), detector)
    contents = write_part(Path(folder) / "part", result.groups, [], result.seconds)
    print(
        json.dumps(
            {
                "frames": result.outcomes[0].frames,
                "states": [outcome.state for outcome in result.outcomes],
                "examples": len(contents.examples),
                "start_mb": before >> 20,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
                "cpu_s": round(time.process_time() - started, 1),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", default="10,600", help="lengths to compare")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in map(int, arguments.seconds.split(",")):
            paths = [Path(folder) / f"{name}{seconds}.mp4" for name in ("real", "fake")]
            for path, fake in zip(paths, (False, True)):
                draw(path, seconds, fake)
            command = [sys.executable, "-m", "benchmarks.mask_memory", "--measure", *map(str, paths), folder]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = json.loads(output.splitlines()[-1])
            peaks.append(row["peak_mb"])
            print(f"{seconds:5d} s: {row}", flush=True)
    print(f"largest peak over smallest: {max(peaks) / min(peaks):.3f}")


if __name__ == "__main__":
    main()
