"""Images a second that the synthesis gives on one core, and where the time goes.

python -m benchmarks.synthesis --face_bank FACES.npz            # made by `mask face_bank`
python -m benchmarks.synthesis --face_bank FACES.npz --profile

CPU seconds of one process are counted, so other work on the machine hardly disturbs the figure. Real and fake of a pair
are two images.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import sys
import time

import cv2
import numpy as np
from tqdm import tqdm

from mask_generation.synthesis import face_bank
from mask_generation.synthesis.face_bank import FaceBank, FaceBankError
from mask_generation.synthesis.pairs import Schedule, make_pair

TARGET = 25.0  # images a second and core at 128 px


def measure(faces: FaceBank, size: int, pairs: int, ramp: int) -> dict[str, object]:
    """Images a CPU second over `pairs` pairs spread over a run, and the standard error of that from blocks."""
    schedule, seconds = Schedule(ramp_pairs=ramp), []
    for number in tqdm(range(pairs), unit="pair", disable=not sys.stderr.isatty()):
        index = number * 2 * ramp // pairs if ramp else number  # half of them on the ramp, half behind it
        start = time.process_time()
        make_pair(faces, 0, index, size, schedule.difficulty(index))
        seconds.append(time.process_time() - start)
    blocks = [2 * len(block) / block.sum() for block in np.array_split(np.array(seconds), 8)]
    return {
        "size_px": size,
        "pairs": pairs,
        "images_per_cpu_s": round(2 * pairs / sum(seconds), 2),
        "standard_error": round(float(np.std(blocks, ddof=1) / 8**0.5), 2),
        "slowest_pair_ms": round(1000 * max(seconds), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--face_bank", required=True, help="made by `mask face_bank`, .npz")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--ramp_pairs", type=int, default=1000, help="length of the easy beginning")
    parser.add_argument("--profile", action="store_true", help="also the 15 functions that take the most time")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        faces = face_bank.load(arguments.face_bank, "train")
    except FaceBankError as error:
        print(error, file=sys.stderr)
        return 1
    measure(faces, arguments.sizes[0], 16, 0)  # first calls load libraries
    for size in arguments.sizes:
        row = measure(faces, size, arguments.pairs, arguments.ramp_pairs)
        row.update(machine=platform.machine(), cpus=os.cpu_count(), opencv=cv2.__version__)
        if size == 128:
            row.update(target=TARGET, met=float(row["images_per_cpu_s"]) >= TARGET)  # type: ignore[arg-type]
        print(json.dumps(row))
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(measure, faces, arguments.sizes[0], arguments.pairs, arguments.ramp_pairs)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    return 0


if __name__ == "__main__":
    sys.exit(main())
