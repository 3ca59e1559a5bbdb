"""Fit the perceptrons of the mask recipe `adaptive` on real faces that the project manipulates, with exact masks.

python -m tools.mask_fit --input PHOTOS CLIPS --samples 1149 --samples_dir WORK --output masks_adaptive.npz

Each sample is one frame of a short run in which a photograph drifts as before a hand-held camera, or of a clip:
manipulated, then original and fake through x264 apart, at CRF 0 to 48, in a third of the samples not at the same one.
A quarter is not manipulated at all. Samples are kept in --samples_dir; a second call goes on where the first ended.
Never measure on the people that were fitted on.
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
from typing import NamedTuple, Optional

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks import mask_truth
from mask_generation import cli
from mask_generation.faces.detector import Box, MtcnnDetector, crop_geometry
from mask_generation.masks.adaptive import perceptron, with_context
from mask_generation.masks.adaptive_features import FEATURES, gather
from mask_generation.synthesis import degrade, manipulations
from mask_generation.video.writer import PICTURE_SUFFIXES
from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.files import atomic_path

RUN = 6  # frames of a run
CRFS = (0, 0, 0, 8, 16, 23, 23, 23, 28, 32, 36, 40, 40, 40, 44)
KINDS = {
    "self_blend": 0.18,
    "swap": 0.15,
    "mouth": 0.22,
    "expression": 0.17,
    mask_truth.UNTOUCHED: 0.12,
    mask_truth.RECODED: 0.16,
}
SIDES_PX = (70.0, 260.0)  # of the face's box
HIDDEN, EPOCHS, BATCH, CELLS_A_SAMPLE = 24, 8, 2048, 1500
CLEAN_WEIGHT = 1.0  # of a cell in an untouched pair; a faked pair's cells weigh 0.15 over its faked share
NOISE = 0.15  # on standardised features while fitting, against overfitting to the fitted people


class Source(NamedTuple):
    """Frames of one person; a photograph has one."""

    name: str
    frames: list[np.ndarray]
    boxes: list[Box]
    points: list[np.ndarray]


def run_of(source: Source, rng: np.random.Generator) -> tuple[list[np.ndarray], list[Box], list[np.ndarray]]:
    """`RUN` frames about the face, with boxes and points; sizes are even."""
    scale = float(np.exp(rng.uniform(*np.log(SIDES_PX)))) / float(np.sqrt(source.boxes[0].area))
    moving = len(source.frames) >= RUN
    first = int(rng.integers(len(source.frames) - RUN + 1)) if moving else 0
    mirror = rng.random() < 0.5
    drift, turn, noise = rng.normal(0, 1.2, 2), float(rng.normal(0, 0.25)), float(rng.uniform(0, 3))
    frames, boxes, points = [], [], []
    for index in range(RUN):
        at = first + index if moving else 0
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        rgb = cv2.resize(source.frames[at], None, fx=scale, fy=scale, interpolation=how)
        box, five = np.array(source.boxes[at]).reshape(2, 2) * scale, source.points[at] * scale
        if not moving:
            matrix = cv2.getRotationMatrix2D(tuple(box.mean(0)), turn * index, 1.05)
            matrix[:, 2] += drift * index
            rgb = cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            box, five = (xy @ matrix[:, :2].T + matrix[:, 2] for xy in (box, five))
            grain = rng.normal(0, noise, (*rgb.shape[:2], 1))
            rgb = np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)
        if mirror:
            last = rgb.shape[1] - 1
            rgb, box = rgb[:, ::-1], np.array([[last - box[1, 0], box[0, 1]], [last - box[0, 0], box[1, 1]]])
            five = np.stack([last - five[:, 0], five[:, 1]], 1)[[1, 0, 2, 4, 3]]
        frames.append(rgb)
        boxes.append(Box(*box.ravel().tolist()))
        points.append(five)
    square = crop_geometry(boxes[RUN // 2], 2.7)
    height, width = frames[0].shape[:2]
    x0, y0 = max(square.x0, 0), max(square.y0, 0)
    x1, y1 = min(square.x0 + square.side, width), min(square.y0 + square.side, height)
    part = np.s_[y0 : y1 - (y1 - y0) % 2, x0 : x1 - (x1 - x0) % 2]
    frames = [np.ascontiguousarray(frame[part]) for frame in frames]
    if rng.random() < 0.4:  # the camera's own codec
        frames = degrade.h264(frames, int(rng.integers(14, 28)))
    return frames, [box.shifted(-x0, -y0) for box in boxes], [five - (x0, y0) for five in points]


def sample(sources: list[Source], number: int) -> dict[str, np.ndarray]:
    """Sample `number`: frames `o` and `f` after the codec, `box`, mask `m` (uint8), `crf` and `kind`."""
    rng = np.random.default_rng([11, number])
    frames, boxes, points = run_of(sources[int(rng.integers(len(sources)))], rng)
    other = sources[int(rng.integers(len(sources)))]
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    seed, crf, index = int(rng.integers(2**31)), int(rng.choice(CRFS)), int(rng.integers(1, RUN - 1))
    poisson = float(rng.random() < 0.75)
    made = []
    for rgb, five in zip(frames, points):
        same = np.random.default_rng(seed)  # outline and colours hold still over a run
        if kind in ("swap", mask_truth.UNTOUCHED):
            done = manipulations.face_swap(rgb, five, other.frames[0], other.points[0], same, 1.0, poisson)
        elif kind == mask_truth.RECODED:
            done = manipulations.Manipulated(rgb, rgb, np.zeros(rgb.shape[:2], np.float32))
        else:
            change = {
                "self_blend": manipulations.self_blend,
                "mouth": manipulations.mouth_rerender,
                "expression": manipulations.expression_warp,
            }[kind]
            done = change(rgb, five, same, 1.0)
        made.append(done)
    originals, fakes, mask = [m.real for m in made], [m.fake for m in made], made[index].mask
    if kind == mask_truth.UNTOUCHED:  # manipulated in its second half only, and seen in its first
        index = int(rng.integers(1, RUN // 2))
        fakes[: RUN // 2], mask = originals[: RUN // 2], np.zeros_like(mask)
    if kind == mask_truth.RECODED:
        fakes = degrade.h264(fakes, int(rng.integers(14, 30)))
    off = int(rng.integers(-4, 5)) if crf > 0 and rng.random() < 0.3 else 0
    box = np.array(boxes[index]) + rng.normal(0, 0.02, 4) * np.sqrt(boxes[index].area)  # detectors waver
    return {
        "o": degrade.h264(originals, crf)[index],
        "f": degrade.h264(fakes, max(crf + off, 0))[index],
        "box": box,
        "m": np.rint(mask * 255).astype(np.uint8),
        "crf": np.array(crf),
        "kind": np.array(kind),
    }


def write_arrays(path: str, arrays: dict[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def cells_of(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (h, w, F) and truth (h, w) of a sample's cells."""
    with np.load(path) as data:
        features = gather(data["o"], data["f"], data["box"])
        truth = (data["m"] > FAKE_ABOVE_UINT8).astype(np.float32)
    left, top, right, bottom = features.rect
    height, width = features.values.shape[:2]
    x0, y0, x1, y1 = (round(v) for v in (left, top, right, bottom))
    return features.values, cv2.resize(truth[y0:y1, x0:x1], (width, height), interpolation=cv2.INTER_AREA)


def draw_cells(
    samples: list[tuple[np.ndarray, np.ndarray]], extra: Optional[list[np.ndarray]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, truth and weight of some cells of each sample; a small mask's cells weigh more, as in IoU."""
    features, truths, weights = [], [], []
    for number, (all_features, truth) in enumerate(samples):
        source = all_features if extra is None else extra[number]
        chosen = rng.choice(truth.size, min(CELLS_A_SAMPLE, truth.size), replace=False)
        features.append(source.reshape(truth.size, -1)[chosen])
        truths.append(truth.ravel()[chosen])
        share = float(truth.mean())
        weights.append(np.full(len(chosen), 0.15 / max(0.06, share) if share > 0 else CLEAN_WEIGHT, np.float32))
    return np.concatenate(features), np.concatenate(truths), np.concatenate(weights)


def fit(features: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Weights and biases of a perceptron; standardisation is folded into the first layer."""
    import tensorflow as tf

    mean, spread = features.mean(0), features.std(0) + 1e-3
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.GaussianNoise(NOISE),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(1),
        ]
    )
    steps = EPOCHS * len(features) // BATCH
    rate = tf.keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(
        tf.keras.optimizers.AdamW(rate, weight_decay=1e-3), tf.keras.losses.BinaryCrossentropy(from_logits=True)
    )
    model.fit((features - mean) / spread, truth, BATCH, EPOCHS, sample_weight=weights, verbose=0)
    found = [variable.numpy() for variable in model.trainable_variables]
    found[0] = found[0] / spread[:, None]
    found[1] = found[1] - mean @ found[0]
    return [values.astype(np.float32) for values in found]


def fit_both(samples: list[tuple[np.ndarray, np.ndarray]], seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of the weights file."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    first = fit(*draw_cells(samples, None, rng))
    extra = [with_context(features, perceptron(first, features)) for features, _ in samples]
    second = fit(*draw_cells(samples, extra, rng))
    arrays = {"first_count": np.array(len(first)), "second_count": np.array(len(second))}
    for name, layers in (("first", first), ("second", second)):
        arrays.update({f"{name}_{i}": values for i, values in enumerate(layers)})
    return arrays


def sources_of(paths: list[str]) -> list[Source]:
    detector, found = MtcnnDetector(), []
    for path in tqdm(mask_truth.find_inputs(paths), unit="file", desc="faces"):
        clip = mask_truth.load(path, detector)
        if isinstance(clip, str):
            print(f"{path}: left out: {clip}", file=sys.stderr)
        else:
            still = path.lower().endswith(PICTURE_SUFFIXES)
            keep = slice(0, 1) if still else slice(None)
            found.append(Source(clip.name, clip.frames[keep], clip.boxes[keep], clip.points[keep]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, help="photographs, clips, or folders of them")
    parser.add_argument("--samples", type=int, default=1149)
    parser.add_argument("--samples_dir", required=True, help="where samples are kept")
    parser.add_argument("--output", required=True, help="the weights file, .npz")
    arguments = parser.parse_args()
    os.makedirs(arguments.samples_dir, exist_ok=True)
    paths = [os.path.join(arguments.samples_dir, f"{number:05d}.npz") for number in range(arguments.samples)]
    missing = [(number, path) for number, path in enumerate(paths) if not os.path.exists(path)]
    if missing:
        try:
            sources = sources_of(arguments.input)
        except cli.Failure as failure:
            print(failure, file=sys.stderr)
            return cli.FAILED
        if len(sources) < 2:
            print("at least two people are needed", file=sys.stderr)
            return cli.FAILED
        for number, path in tqdm(missing, unit="sample", desc="samples"):
            write_arrays(path, sample(sources, number))
    files = sorted(glob.glob(os.path.join(arguments.samples_dir, "[0-9]*.npz")))[: arguments.samples]
    samples = [cells_of(path) for path in tqdm(files, unit="sample", desc="features")]
    assert samples[0][0].shape[2] == FEATURES
    write_arrays(arguments.output, fit_both(samples))
    print(f"{arguments.output}: fitted on {len(samples)} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
