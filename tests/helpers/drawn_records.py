"""Record files of drawn face groups: smooth pictures, and copies with a noisy patch that the mask marks exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from unet_industrial.records import FaceGroup, FaceImage, encode_group


def picture(rng: np.random.Generator, side: int, channels: int = 3) -> np.ndarray:
    """(side,side,channels) uint8, smooth."""
    coarse = rng.uniform(40, 215, (1, 4, 4, channels)).astype(np.float32)
    return np.round(tf.image.resize(coarse, (side, side), "bicubic")[0].numpy().clip(0, 255)).astype(np.uint8)


def group(number: int, side: int = 32, copies: int = 1, original: bool = True, channels: int = 3) -> FaceGroup:
    """A group of which everything but the shape follows from `number`; every fourth belongs to one clip."""
    rng = np.random.default_rng([7, number])
    base = picture(rng, side, channels)
    clip, frame = f"{number // 4:03d}", number % 4
    images = []
    if original:
        images.append(FaceImage(base, np.zeros((side, side), np.uint8), 0, f"drawn/real/c0/{clip}", "real", frame))
    for copy in range(copies):
        mask = np.zeros((side, side), np.uint8)
        y, x = rng.integers(2, side // 2, 2)
        mask[y : y + side // 3, x : x + side // 3] = 255
        noise = rng.integers(-60, 60, base.shape)
        fake = np.where(mask[..., None] > 0, np.clip(base + noise, 0, 255), base).astype(np.uint8)
        method = f"noise{copy}"
        images.append(FaceImage(fake, mask, 1, f"drawn/{method}/c0/{clip}", method, frame, "drawn"))
    box = (4.0, 4.0, side - 4.0, side - 4.0)
    return FaceGroup(
        f"drawn/{number:05d}", "drawn", "train", f"person{number // 4}", frame, frame / 25, 0, box, tuple(images)
    )


def write(path: Path, groups: list[FaceGroup]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in groups:
            writer.write(encode_group(item))
    return str(path)


def write_dataset(folder: Path, train: int = 12, val: int = 4, files: int = 2, side: int = 32, copies: int = 1) -> Path:
    """`train` and `val` groups as `<split>-<n>.tfrecord` under `folder`; the splits share no group."""
    for split, first, count in (("train", 0, train), ("val", 1000, val)):
        groups = [group(first + i, side, copies) for i in range(count)]
        for part in range(files):
            write(folder / f"{split}-{part:05d}.tfrecord", groups[part::files])
    return folder
