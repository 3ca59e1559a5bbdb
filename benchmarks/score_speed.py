"""How long scoring takes, stage by stage: a 10 s 720p clip, 32 sampled frames, one face.

    .venv/bin/python benchmarks/score_speed.py [--model=FOLDER] [--clips=8] [--out=speed.json]

Every measurement runs in a process of its own. CPU seconds are given beside the clock's, as they hold on a machine that
is busy with other things. Without --model the network is an untrained one of 256 px, as quick as a trained one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from unet_industrial import files

FRAMES, SECONDS, RATE, WIDTH, HEIGHT = 32, 10, 30, 1280, 720
REPEATS = 3


def draw_clip(path: Path) -> Path:
    """A portrait under a moving camera, 1280x720, 10 s at 30 frames/s."""
    import cv2
    import skimage.data

    from mask_generation.video.writer import video_file

    photo = skimage.data.astronaut()
    rng = np.random.default_rng(0)
    with video_file(path, 23, fps=RATE) as writer:
        for index in range(SECONDS * RATE):
            angle = 2 * np.pi * index / RATE / 4
            matrix = cv2.getRotationMatrix2D((224, 110), 3 * np.sin(angle), 2.2)
            matrix[:, 2] += np.array([640, 330]) - (224, 110) + 30 * np.array([np.sin(angle), np.cos(1.3 * angle)])
            frame = cv2.warpAffine(
                photo, matrix, (WIDTH, HEIGHT), borderValue=(90, 95, 100)
            )  # one face, no reflections
            frame = cv2.add(frame, rng.integers(0, 6, frame.shape, np.uint8))
            writer.write(frame)
    return path


def make_model(folder: Path) -> Path:
    import runtime  # noqa: F401  sets TensorFlow's environment
    from runtime.model import export
    from unet_industrial.config import ModelConfig
    from unet_industrial.train_step import make_network

    config = ModelConfig(input_size=256, features="rgb+srm")
    export.export(make_network(config), config, folder)
    return folder


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Best of REPEATS: (seconds, CPU seconds)."""
    found = []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def in_process(model: str, clip: str) -> dict[str, Any]:
    """In a fresh process: start-up, one warm score with its stages, and each part alone."""
    start, start_cpu = time.perf_counter(), time.process_time()
    from runtime.scoring.batch import ScorerSetup, build_scorer
    from runtime.scoring.result import ScoreConfig

    config = ScoreConfig(frames=FRAMES)
    scorer = build_scorer(ScorerSetup(model, True, config, os.cpu_count() or 1, lambda *_: None, build_scorer))
    ready, ready_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    scorer.score(clip)
    first, first_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    results: list[Any] = []
    total = _timed(lambda: results.append(scorer.score(clip)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    best = min(results, key=lambda result: result.timings_s["total"])

    from mask_generation.faces.detector import crop_geometry
    from mask_generation.faces.tracker import FaceTracker
    from mask_generation.video.reader import read_frames, sample_indices

    indices = sample_indices(SECONDS * RATE, FRAMES)
    frames = list(read_frames(clip, indices))
    alone = {"decode": _timed(lambda: list(read_frames(clip, indices)))}

    def detect() -> None:
        tracker = FaceTracker(scorer.detector, config.detect_every_s)
        for frame in frames:
            tracker.update(frame)

    alone["detection"] = _timed(detect)
    face = scorer.detector.detect(frames[0].rgb)[0]
    crops = np.stack([crop_geometry(face.box).crop(frame.rgb, scorer.model.input_size) for frame in frames])
    alone["network"] = _timed(lambda: scorer.model.predict(crops, config.batch_size))
    sums = [sum(part[k] for part in alone.values()) for k in (0, 1)]
    return {
        "state": best.state,
        "start_up_s": [ready, ready_cpu],
        "first_score_s": [first, first_cpu],
        "total_s": total,
        "stages_s": best.timings_s,
        "alone_s": alone,
        "total_over_sum": [total[0] / sums[0], total[1] / sums[1]],
        "peak_memory_mib": peak,
        "crop_px": scorer.model.input_size,
    }


def folder_run(model: str, clips: Path, cores: int, out: Path) -> dict[str, float]:
    """A whole `score` command on the first `cores` cores; its seconds and CPU seconds, child processes included."""
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [f"--input={clips}", f"--model={model}", f"--output={out}", "--trust_model"]
    subprocess.run(
        [sys.executable, "-m", "runtime", "score", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads((out / "report.json").read_text())
    spent = [video["timings_s"]["total"] for video in report["videos"]]
    return {"wall_s": time.perf_counter() - wall, "cpu_s": cpu, "mean_video_s": float(np.mean(spent))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--clips", type=int, default=8, help="copies of the clip in the folder run; 0: none")
    parser.add_argument("--out", help="where the figures go as JSON")
    parser.add_argument("--in_process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        print(json.dumps(in_process(*options.in_process)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        model = options.model or str(make_model(base / "model"))
        clip = draw_clip(base / "clip.mp4")
        command = [sys.executable, __file__, "--in_process", model, str(clip)]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        if options.clips:
            (base / "clips").mkdir()
            for number in range(options.clips):
                os.link(clip, base / "clips" / f"{number}.mp4")
            figures["folder"] = {
                str(n): folder_run(model, base / "clips", n, base / f"out{n}") for n in (1, min(2, os.cpu_count() or 1))
            }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        files.write_text(options.out, text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
