"""How good are difference masks? Every recipe against exact masks: per manipulation, per CRF, and on untouched pairs.

python -m benchmarks.masks --input FOLDER --output_dir OUT            # clips and photographs of real people
python -m benchmarks.masks --input A.mp4 B.jpg --output_dir OUT --sheet

Each clip is manipulated in four ways whose masks are known, then original and fake go through x264 apart at each CRF.
IoU and Dice compare a recipe's binary mask with the truth from 0.5 up, inside the crop that training sees (the face's
box times 1.3). Untouched pairs count the share of the crop that is called fake: `untouched` pairs differ by the codec
alone, `recoded` ones by one more generation of it on one side. Written after every clip: masks.md, .csv, .json, .png.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tqdm import tqdm

from benchmarks import mask_report, mask_truth
from mask_generation import cli
from mask_generation.faces.detector import Box, MtcnnDetector, crop_geometry
from mask_generation.masks import registry
from mask_generation.masks.registry import DEFAULT_RECIPE, get_recipe
from unet_industrial import files

SEQUENCE = f"{DEFAULT_RECIPE}, sequence"
# The one that takes the data set's masks looks at neither of the two clips.
RECIPES = tuple(sorted([SEQUENCE, *(name for name in registry.RECIPES if not get_recipe(name).uses_official)]))
SCORED = range(1, mask_truth.FRAMES, 3)
FIELDS = ("clip", "kind", "crf", "recipe", "frame", "iou", "dice", "area")
FPS = 25


def crop_of(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the training crop inside the frame."""
    square = crop_geometry(box)
    x0, y0 = max(square.x0, 0), max(square.y0, 0)
    return (
        slice(y0, min(square.y0 + square.side, shape[0])),
        slice(x0, min(square.x0 + square.side, shape[1])),
    )


def overlap(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """IoU and Dice of two bool masks, of which the truth holds at least one pixel."""
    both, either = np.count_nonzero(found & truth), np.count_nonzero(found | truth)
    return both / either, 2 * both / (both + either)


def score_pair(
    case: mask_truth.Case,
    crf: int,
    sheet: Optional[mask_report.Sheet] = None,
    recipes: Sequence[str] = RECIPES,
) -> Iterator[dict[str, Any]]:
    """Rows of one pair at one CRF, for every recipe and scored frame."""
    originals, fakes = mask_truth.encode(case, crf)
    for name in recipes:
        recipe = get_recipe(name.partition(",")[0])
        sequence = recipe.sequence() if name == SEQUENCE else None
        for index, (original, fake, box) in enumerate(zip(originals, fakes, case.clip.boxes)):
            scored = index in SCORED and (case.kind != mask_truth.UNTOUCHED or case.masks[index] is None)
            if sequence is None and not scored:
                continue
            result = (
                sequence.push(original, fake, box, index / FPS) if sequence else recipe.explain(original, fake, box)
            )
            if not scored:
                continue
            part, truth = crop_of(box, original.shape), case.masks[index]
            found = result.binary[part]
            row = {"clip": case.clip.name, "kind": case.kind, "crf": crf, "recipe": name, "frame": index}
            row.update(iou="", dice="", area=float(found.mean()))
            if truth is not None and (truth[part] >= 0.5).any():
                row["iou"], row["dice"] = overlap(found, truth[part] >= 0.5)
            if sheet is not None and index == SCORED[1]:
                known = None if truth is None else truth[part] >= 0.5
                sheet.add(case, crf, name, original[part], fake[part], known, found)
            yield row


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with files.atomic_path(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, help="real clips, photographs, or folders of them")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--seed", type=int, default=0, help="of the manipulations")
    parser.add_argument("--sheet", action="store_true", help="also a picture of one frame of every pair and recipe")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")
    arguments = parser.parse_args()
    out = Path(arguments.output_dir)
    if (out / "masks.csv").exists() and not arguments.overwrite:
        print(f"{out / 'masks.csv'} exists; give another --output_dir, or --overwrite", file=sys.stderr)
        return cli.USAGE
    try:
        inputs = mask_truth.find_inputs(arguments.input)
    except cli.Failure as failure:
        print(failure, file=sys.stderr)
        return cli.FAILED
    out.mkdir(parents=True, exist_ok=True)
    clips, left_out, detector = [], {}, MtcnnDetector()
    for path in tqdm(inputs, unit="clip", desc="faces", disable=not sys.stderr.isatty()):
        clip = mask_truth.load(path, detector)
        if isinstance(clip, str):
            left_out[path] = clip
            print(f"{path}: left out: {clip}", file=sys.stderr)
        else:
            clips.append(clip)
    if len(clips) < 2:
        print(f"{len(clips)} usable clips; two people are needed, one lends the face for the swap", file=sys.stderr)
        return cli.FAILED
    rows: list[dict[str, Any]] = []
    sheet = mask_report.Sheet() if arguments.sheet else None
    with tqdm(total=len(clips) * 6 * len(mask_truth.CRFS), unit="pair", desc="masks") as progress:
        for number, clip in enumerate(clips):
            for case in mask_truth.cases(clip, clips[(number + 1) % len(clips)], arguments.seed):
                for crf in mask_truth.CRFS:
                    rows += score_pair(case, crf, sheet, arguments.recipes)
                    progress.update()
            write_csv(out / "masks.csv", rows)
            summary = mask_report.summarise(rows)
            summary["left_out"] = left_out
            files.write_text(out / "masks.json", json.dumps(summary, indent=1))
            files.write_text(out / "masks.md", mask_report.markdown(summary))
    mask_report.plot(summary, out / "masks.png")
    if sheet is not None:
        sheet.write(out)
    print(mask_report.markdown(summary))
    return cli.OK


if __name__ == "__main__":
    sys.exit(main())
