"""Tracking at a working size against MTCNN on every full frame: how much faster, and how many of its boxes are kept.

python -m benchmarks.faces --input FOLDER --output_dir OUT

Both see the same consecutive frames, in turns. Speed is the ratio of CPU seconds, decoding not counted. A box counts as
kept where the tracker has one on the same frame with IoU of at least 0.7. Written: faces.md and faces.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import mask_truth
from mask_generation import cli
from mask_generation.faces.detector import MtcnnDetector
from mask_generation.faces.tracker import FaceTracker
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import VideoError, printable
from mask_generation.video.writer import VIDEO_SUFFIXES
from runtime.evaluation.markdown import table
from unet_industrial import files

KEPT_IOU = 0.7
TARGETS = {"speed_ratio": 5.0, "kept": 0.99}
EVERY_SIZE = 1 << 20  # a working size that no frame reaches: nothing is shrunk


def compare(path: str, start: int, count: int, full: MtcnnDetector, quick: MtcnnDetector) -> dict[str, Any]:
    """Counts and CPU seconds of one clip.

    Raises:
        VideoError: not readable.
    """
    tracker = FaceTracker(quick)
    row: dict[str, Any] = {"clip": Path(path).name, "frames": 0, "boxes": 0, "kept": 0, "largest": 0, "largest_kept": 0}
    row.update(full_s=0.0, tracked_s=0.0, smallest_px=float("inf"))
    with VideoReader(path) as reader:
        row["size"] = f"{reader.info.width}x{reader.info.height}"
        for frame in reader.frames(range(start, start + count)):
            began = time.process_time()
            truth = full.detect(frame.rgb)
            middle = time.process_time()
            found = tracker.update(frame)
            row["tracked_s"] += time.process_time() - middle
            row["full_s"] += middle - began
            row["frames"] += 1
            kept = [max((f.box.iou(t.box) for f in found), default=0.0) >= KEPT_IOU for t in truth]
            row["boxes"] += len(truth)
            row["kept"] += sum(kept)
            if truth:
                biggest = max(range(len(truth)), key=lambda i: truth[i].box.area)
                row["largest"] += 1
                row["largest_kept"] += kept[biggest]
                row["smallest_px"] = min(row["smallest_px"], *(t.box.height for t in truth))
    row["detections"], row["refinements"] = tracker.detections, tracker.refinements
    return row


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals: boxes and seconds are summed over clips before they are divided."""

    def total(name: str) -> float:
        return sum(row[name] for row in rows)

    return {
        "clips": len(rows),
        "frames": total("frames"),
        "speed_ratio": total("full_s") / total("tracked_s"),
        "kept": total("kept") / max(1, total("boxes")),
        "largest_kept": total("largest_kept") / max(1, total("largest")),
        "targets": TARGETS,
    }


def markdown(rows: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    headings = (
        *(
            "clip",
            "size",
            "frames",
            "boxes",
            "kept",
            "of the largest",
            "smallest, px",
            "CPU s full",
            "tracked",
            "ratio",
        ),
    )
    cells = []
    for row in rows:
        ratio, share = row["full_s"] / row["tracked_s"], row["kept"] / max(1, row["boxes"])
        largest = row["largest_kept"] / max(1, row["largest"])
        smallest = f"{row['smallest_px']:.0f}" if row["boxes"] else "-"
        times = (f"{row['full_s']:.1f}", f"{row['tracked_s']:.1f}", f"{ratio:.1f}")
        counts = (row["clip"], row["size"], row["frames"], row["boxes"])
        cells.append((*counts, f"{share:.1%}", f"{largest:.1%}", smallest, *times))
    lines = [
        table(headings, cells),
        f"All: {summary['frames']} frames of {summary['clips']} clips, {summary['speed_ratio']:.1f} times faster "
        f"(target {TARGETS['speed_ratio']:g}), {summary['kept']:.1%} of the boxes kept (target {TARGETS['kept']:.0%}), "
        f"{summary['largest_kept']:.1%} of each frame's largest.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, help="clips, or folders of them")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--frames", type=int, default=60, help="consecutive ones of each clip")
    parser.add_argument("--start", type=int, default=0)
    arguments = parser.parse_args()
    try:
        inputs = [f for f in mask_truth.find_inputs(arguments.input) if f.lower().endswith(VIDEO_SUFFIXES)]
    except cli.Failure as failure:
        print(failure, file=sys.stderr)
        return cli.FAILED
    out = Path(arguments.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    full, quick = MtcnnDetector(working_size=EVERY_SIZE, retry_size=None), MtcnnDetector()
    rows: list[dict[str, Any]] = []
    for path in tqdm(inputs, unit="clip", disable=not sys.stderr.isatty()):
        try:
            if not rows:
                compare(path, arguments.start, 2, full, quick)  # first calls build graphs
            rows.append(compare(path, arguments.start, arguments.frames, full, quick))
        except VideoError as error:
            print(f"{printable(path)}: left out: {error.reason}", file=sys.stderr)
            continue
        summary = summarise(rows)
        files.write_text(out / "faces.json", json.dumps({"rows": rows, **summary, "cpus": os.cpu_count()}, indent=1))
        files.write_text(out / "faces.md", markdown(rows, summary))
    if not rows:
        return cli.FAILED
    print(markdown(rows, summary))
    return cli.OK


if __name__ == "__main__":
    sys.exit(main())
