"""Where `train` gets its examples: record files, or synthesis on the fly from a face bank (`--preset=sbi`).

The synthesis needs no manipulated video: every fake is made from two real pictures or one, so its mask is exact, and
real and fake of one picture lie side by side in a batch.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.setting import setting

LOOKAHEAD = 4  # batches in the making for each process
WINDOW_DRAWS, WINDOW_SHARE = 4, 0.08  # windows tried for one that shows so much of the manipulation
LEAST_SHARE = 0.01  # a window of a fake that shows less of it is labelled real
VALIDATION_SEED_OFFSET = 1_000_003  # validation pairs are drawn apart from training's


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """What the synthesis draws.

    Attributes:
        face_bank: file made by `mask face_bank`.
        weights: share of each source in it; empty: by the root of its number of people.
        mix: settings of `mask_generation.synthesis.pairs.Mix` that differ from its defaults.
        ramp_images: difficulty rises from 0 to 1 over them.
        size: side of the training pictures.
        picture_size: larger than `size`, a window of `size` is cut out of each, so that a network learns the fine
            grain at a quarter of the cost. 0: as `size`.
        processes: 0: one thread of this process.
    """

    face_bank: str
    size: int
    seed: int
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mix: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ramp_images: int = setting(30_000, "With --face_bank: images over which fakes get harder.", low=0)
    processes: int = setting(1, "With --face_bank: processes that make pictures, of each worker.", low=0)
    picture_size: int = setting(
        0,
        "With --face_bank: side at which pictures are made; windows of --input_size are cut out of larger ones, and "
        "validation is at this size. 0: --input_size.",
        low=0,
    )

    @property
    def made_at(self) -> int:
        return self.picture_size or self.size


def cut_window(mask: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner (y, x) of a window of `size` pixels: one of a few drawn that shows enough of the mask, if any.

    Args:
        mask: (S, S) uint8, 255 times the share of faked pixels.
    """
    top = left = 0
    for _ in range(WINDOW_DRAWS):
        top, left = (int(rng.integers(mask.shape[0] - size + 1)) for _ in range(2))
        if fake_share(mask[top : top + size, left : left + size]) >= WINDOW_SHARE:
            break
    return top, left


def fake_share(mask: np.ndarray) -> float:
    """Share of pixels that count as faked, of a (H, W) uint8 mask."""
    return float(np.mean(mask > FAKE_ABOVE_UINT8))


class _Maker:
    """Makes batches inside one process: the face bank is loaded once."""

    def __init__(self, config: SynthesisConfig, split: str) -> None:
        import cv2

        from mask_generation.synthesis.face_bank import load
        from mask_generation.synthesis.pairs import Mix, Schedule

        cv2.setNumThreads(1)  # processes are what shares the cores out
        self._config = config
        self._bank = load(config.face_bank, split, dict(config.weights) or None)
        self._mix = Mix(**config.mix)
        self._schedule = Schedule(config.ramp_images // 2)

    def batch(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Examples first … first + count - 1 of the stream: even ones real, odd ones the fake of the same picture."""
        from mask_generation.synthesis.pairs import make_pair

        size = self._config.size
        batch = {
            "image": np.empty((count, size, size, 3), np.uint8),
            "mask": np.zeros((count, size, size, 1), np.uint8),
            "label": np.empty(count, np.int32),
            "clip": np.empty(count, object),
            "key": np.empty(count, object),
            "frame_index": np.empty(count, np.int64),
        }
        pair, index = None, -1
        window: tuple[slice, slice] = (slice(None), slice(None))
        for row, example in enumerate(range(first, first + count)):
            if pair is None or example // 2 != index:
                index = example // 2
                difficulty = self._schedule.difficulty(index)
                pair = make_pair(self._bank, self._config.seed, index, self._config.made_at, difficulty, self._mix)
                y, x = cut_window(pair.mask, size, np.random.default_rng([self._config.seed, index, 1]))
                window = np.s_[y : y + size, x : x + size]
            fake = example % 2
            batch["image"][row] = (pair.fake if fake else pair.real)[window]
            if fake:
                batch["mask"][row, ..., 0] = pair.mask[window]
            batch["label"][row] = fake and fake_share(pair.mask[window]) >= LEAST_SHARE
            batch["clip"][row] = f"synthesis/{pair.kind if fake else 'real'}"
            batch["key"][row] = f"synthesis/{self._config.seed}/{index}"
            batch["frame_index"][row] = index
        return batch


_maker: Optional[_Maker] = None  # of a worker process


def _start_process(config: SynthesisConfig, split: str) -> None:
    global _maker
    _maker = _Maker(config, split)


def _make_batch(first: int, count: int) -> dict[str, np.ndarray]:
    assert _maker is not None
    return _maker.batch(first, count)


class SynthesisSource:
    """Training batches made on the fly; see `unet_industrial.dataset.BatchSource`.

    Raises:
        FaceBankError: the face bank is missing, damaged, or has no crops to train on.
        ValueError: a setting of the mix has an impossible value.
    """

    def __init__(self, config: SynthesisConfig) -> None:
        from mask_generation.synthesis.face_bank import load
        from mask_generation.synthesis.pairs import Mix

        Mix(**config.mix)
        self._config = config
        bank = load(config.face_bank, "train", dict(config.weights) or None)
        self._crops, self._digest, self._summary = len(bank), bank.digest, bank.summary()

    def epoch_examples(self) -> int:
        return 2 * self._crops  # every crop once on average, real and fake

    def describe(self) -> dict[str, Any]:
        config = dataclasses.asdict(self._config)
        return {
            "kind": "synthesis",
            "pool_sha256": self._digest,
            "sources": self._summary,
            **{name: config[name] for name in ("size", "picture_size", "seed", "mix", "ramp_images")},
        }

    def batches(self, position: int, batch_size: int, rank: int, workers: int) -> Any:
        import tensorflow as tf

        size = self._config.size
        signature = {
            "image": tf.TensorSpec((batch_size, size, size, 3), tf.uint8),
            "mask": tf.TensorSpec((batch_size, size, size, 1), tf.uint8),
            "label": tf.TensorSpec((batch_size,), tf.int32),
            "clip": tf.TensorSpec((batch_size,), tf.string),
            "key": tf.TensorSpec((batch_size,), tf.string),
            "frame_index": tf.TensorSpec((batch_size,), tf.int64),
        }

        def to_float(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = tf.cast(batch["image"], tf.float32) / 127.5 - 1.0
            return {**batch, "image": image, "mask": tf.cast(batch["mask"], tf.float32) / 255.0}

        def generate() -> Iterator[dict[str, np.ndarray]]:
            yield from self._generate(position + rank * batch_size, batch_size, batch_size * workers)

        data = tf.data.Dataset.from_generator(generate, output_signature=signature)
        return data.map(to_float).prefetch(2)

    def _generate(self, first: int, count: int, stride: int) -> Iterator[dict[str, np.ndarray]]:
        if not self._config.processes:
            maker = _Maker(self._config, "train")
            while True:
                yield maker.batch(first, count)
                first += stride
        context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
        with concurrent.futures.ProcessPoolExecutor(
            self._config.processes, context, _start_process, (self._config, "train")
        ) as executor:
            waiting: deque[concurrent.futures.Future[dict[str, np.ndarray]]] = deque()
            try:
                while True:
                    while len(waiting) < LOOKAHEAD * self._config.processes:
                        waiting.append(executor.submit(_make_batch, first, count))
                        first += stride
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def write_validation(config: SynthesisConfig, folder: Path, pairs: int) -> Path:
    """Record file of `pairs` face groups made from the people held out of training, at full difficulty.

    Made once; a file already there is kept, as it holds the same.

    Raises:
        FaceBankError: nobody is held out.
    """
    from mask_generation import shards
    from mask_generation.synthesis.face_bank import load
    from mask_generation.synthesis.pairs import Mix, face_groups

    bank = load(config.face_bank, "val", dict(config.weights) or None)
    path = folder / f"val-{bank.digest[:12]}-{config.made_at}-{pairs}"
    if shards.read_contents(path) is None:
        seed = config.seed + VALIDATION_SEED_OFFSET
        groups = face_groups(bank, "val", seed, range(pairs), config.made_at, mix=Mix(**config.mix))
        shards.write_part(path, groups, [], {})
    return shards.record_path(path)
