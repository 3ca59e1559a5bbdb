"""How long 32 frames of a long video take: by key frames, and decoded from the start; 1080p, in one run.

    python -m benchmarks.seeking [--minutes 1 10 60] [--height 1080] [--frames 32] [--repeat_s 60] [--out seeking.json]

A portrait under a moving camera is drawn and coded once, with a key frame at least every 250 pictures as x264 sets
them, and its coded pictures are repeated up to the length asked for. CPU seconds of reading, the packets' scan
included, as these hold on a machine that is busy with other things. Frames of both ways are compared bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import skimage.data

from mask_generation.video import seeking
from mask_generation.video.reader import VideoReader, sample_indices
from mask_generation.video.writer import video_file
from unet_industrial import files

RATE = 30


def draw(path: Path, seconds: int, height: int) -> Path:
    """A portrait under a moving camera, 16:9."""
    photo, width = skimage.data.astronaut(), height * 16 // 9
    rng, zoom = np.random.default_rng(0), height / 330
    with video_file(path, 23, fps=RATE) as writer:
        for index in range(seconds * RATE):
            angle = 2 * np.pi * index / RATE / 4
            matrix = cv2.getRotationMatrix2D((224, 110), 3 * np.sin(angle), zoom)
            matrix[:, 2] += np.array([width / 2, height / 2.2]) - (224, 110)
            matrix[:, 2] += height / 24 * np.array([np.sin(angle), np.cos(1.3 * angle)])
            frame = cv2.warpAffine(photo, matrix, (width, height), borderValue=(90, 95, 100))
            writer.write(cv2.add(frame, rng.integers(0, 6, frame.shape, np.uint8)))
    return path


def repeat(source: Path, path: Path, times: int) -> Path:
    """The coded pictures of `source`, several times on end."""
    with av.open(str(path), "w") as new:
        stream: Any = None
        for round_ in range(times):
            with av.open(str(source)) as old:
                video = old.streams.video[0]
                stream = stream or new.add_stream_from_template(video)
                for packet in old.demux(video):
                    if packet.size:
                        packet.stream = stream
                        packet.pts += round_ * video.duration
                        packet.dts += round_ * video.duration
                        new.mux(packet)
    return path


def measure(path: Path, frames: int, seek: bool) -> dict[str, Any]:
    """CPU seconds, seconds and pictures decoded, and a hash of the frames."""
    default = seeking.FROM_PICTURES
    seeking.FROM_PICTURES = default if seek else 1 << 60
    digest, wall, cpu = hashlib.sha256(), time.perf_counter(), time.process_time()
    try:
        with VideoReader(path) as reader:
            for frame in reader.frames(sample_indices(reader.timeline.count, frames)):
                digest.update(frame.rgb.tobytes())
            stats = reader.stats
    finally:
        seeking.FROM_PICTURES = default
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    return {**spent, "decoded": stats.decoded, "seeks": stats.seeks, "sha256": digest.hexdigest()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60])
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeat_s", type=int, default=60, help="Seconds that are drawn and coded.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    print("| minutes | by key frames, CPU s | pictures | from the start, CPU s | pictures | ratio | same frames |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        part = draw(Path(folder) / "part.mp4", options.repeat_s, options.height)
        for minutes in options.minutes:
            path = repeat(part, Path(folder) / "long.mp4", max(1, round(60 * minutes / options.repeat_s)))
            sought, plain = (measure(path, options.frames, seek) for seek in (True, False))
            ratio, same = plain["cpu_s"] / sought["cpu_s"], sought["sha256"] == plain["sha256"]
            rows.append({"minutes": minutes, "sought": sought, "decoded": plain, "ratio": ratio, "same": same})
            first = f"| {minutes:g} | {sought['cpu_s']:.2f} | {sought['decoded']} "
            print(
                first + f"| {plain['cpu_s']:.2f} | {plain['decoded']} | {ratio:.1f} | {'yes' if same else 'NO'} |",
                flush=True,
            )
    if options.out:
        files.write_json(options.out, rows)
    return 0 if all(row["same"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
