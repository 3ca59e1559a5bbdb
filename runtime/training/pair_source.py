"""Pairs made in processes of their own for `train`: out of records, by the synthesis from a face bank, or both mixed.

Real and fake of one picture lie side by side in a batch and are compressed alike. The synthesis needs no manipulated
video: every fake is made from two real pictures or one, so its mask is exact. Records hold real manipulations.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.setting import setting

LOOKAHEAD = 4  # batches in the making for each process
WINDOW_DRAWS, WINDOW_SHARE = 4, 0.08  # windows tried for one that shows so much of the manipulation
LEAST_SHARE = 0.01  # a window of a fake that shows less of it is labelled real
VALIDATION_SEED_OFFSET = 1_000_003  # validation pairs are drawn apart from training's
TURNS = 200  # pairs over which each source gets its share exactly
SYNTHESIS = "synthesis"  # the name of the face bank's share


@dataclasses.dataclass(frozen=True)
class PairConfig:
    """What is drawn.

    Attributes:
        face_bank: file made by `mask face_bank`; None: nothing is synthesised.
        records: folder of records of each named source.
        split: of the records.
        shares: of the draws, of each source and of `SYNTHESIS`; one that is not named gets none; empty: all the same.
        weights: share of each source in the face bank; empty: by the root of its number of people.
        mix: settings of `mask_generation.synthesis.pairs.Mix` that differ from its defaults.
        ramp_images: difficulty rises from 0 to 1 over them.
        size: side of the training pictures.
        picture_size: larger than `size`, a window of `size` is cut out of each, so that a network learns the fine
            grain at a quarter of the cost. 0: as `size`.
        processes: 0: one thread of this process.
    """

    face_bank: Optional[str]
    size: int
    seed: int
    records: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = "train"
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mix: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ramp_images: int = setting(30_000, "Images over which made fakes and compression get harder.", low=0)
    processes: int = setting(1, "Processes that make pairs, of each worker.", low=0)
    picture_size: int = setting(
        0,
        "Side at which pairs are made; windows of --input_size are cut out of larger ones, and validation is at this "
        "size. 0: --input_size.",
        low=0,
    )

    @property
    def made_at(self) -> int:
        return self.picture_size or self.size

    def sources(self) -> dict[str, float]:
        """Share of each source that is drawn from, in a fixed order, adding up to 1.

        Raises:
            ValueError: a share names no source, is negative, or all are 0.
        """
        names = [*sorted(self.records), *([SYNTHESIS] if self.face_bank else [])]
        unknown = sorted(set(self.shares) - set(names))
        if unknown:
            raise ValueError(f"share of {', '.join(unknown)}: there are {', '.join(names) or 'no sources'}")
        shares = {name: float(self.shares.get(name, 0 if self.shares else 1)) for name in names}
        if not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise ValueError("shares must not be negative, and one must be above 0")
        return {name: share / sum(shares.values()) for name, share in shares.items() if share > 0}


class Turns:
    """Which source a pair comes from, and how many of that source came before it: a function of seed and number.

    Every `TURNS` pairs hold each source's share, rounded to whole pairs, in an order drawn anew.
    """

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        exact = np.array(list(shares.values())) * TURNS
        self._counts = np.floor(exact).astype(int)
        for missing in np.argsort(self._counts - exact, kind="stable")[: TURNS - self._counts.sum()]:
            self._counts[missing] += 1  # those whose share was cut most
        self.names, self._seed = list(shares), seed
        self._block: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def turn(self, pair: int) -> tuple[str, int]:
        """(name of the source, number of the pair within it)."""
        block, place = divmod(pair, TURNS)
        if self._block[0] != block:
            order = np.repeat(np.arange(len(self._counts)), self._counts)
            self._block = (block, np.random.default_rng([self._seed, 3, block]).permutation(order))
        order = self._block[1]
        source = int(order[place])
        before = int(np.count_nonzero(order[:place] == source))
        return self.names[source], block * int(self._counts[source]) + before


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
    """Makes batches inside one process: face bank and record files are opened once."""

    def __init__(self, config: PairConfig) -> None:
        import cv2

        from mask_generation.synthesis.face_bank import load
        from mask_generation.synthesis.pairs import Mix, Schedule

        cv2.setNumThreads(1)  # processes are what shares the cores out
        shares = config.sources()
        self._config, self._turns = config, Turns(shares, config.seed)
        self._bank = load(str(config.face_bank), "train", dict(config.weights) or None) if SYNTHESIS in shares else None
        self._records = {name: _record_pairs(config, name) for name in shares if name != SYNTHESIS}
        self._mix = Mix(**config.mix)
        self._schedule = Schedule(config.ramp_images // 2)

    def pair(self, number: int) -> Any:
        """Pair `number` of the stream, a `LabelledPair`; each source is drawn from in its turn."""
        from mask_generation.synthesis.pairs import LabelledPair, make_pair

        config, difficulty = self._config, self._schedule.difficulty(number)
        name, index = self._turns.turn(number)
        if name != SYNTHESIS:
            return self._records[name].make(index, config.made_at, difficulty, self._mix)
        assert self._bank is not None
        made = make_pair(self._bank, config.seed, index, config.made_at, difficulty, self._mix)
        clips, key = (b"synthesis/real", f"synthesis/{made.kind}".encode()), f"synthesis/{config.seed}/{index}".encode()
        return LabelledPair(made.real, made.fake, made.mask, clips, (key, key), (index, index))

    def batch(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Examples first … first + count - 1 of the stream: even ones real, odd ones the fake of the same picture."""
        size = self._config.size
        batch = {
            "image": np.empty((count, size, size, 3), np.uint8),
            "mask": np.zeros((count, size, size, 1), np.uint8),
            "label": np.empty(count, np.int32),
            "clip": np.empty(count, object),
            "key": np.empty(count, object),
            "frame_index": np.empty(count, np.int64),
        }
        pair, number = None, -1
        window: tuple[slice, slice] = (slice(None), slice(None))
        for row, example in enumerate(range(first, first + count)):
            if pair is None or example // 2 != number:
                number = example // 2
                pair = self.pair(number)
                y, x = cut_window(pair.mask, size, np.random.default_rng([self._config.seed, number, 1]))
                window = np.s_[y : y + size, x : x + size]
            fake = example % 2
            batch["image"][row] = (pair.fake if fake else pair.real)[window]
            if fake:
                batch["mask"][row, ..., 0] = pair.mask[window]
            batch["label"][row] = fake and fake_share(pair.mask[window]) >= LEAST_SHARE
            batch["clip"][row], batch["key"][row] = pair.clips[fake], pair.keys[fake]
            batch["frame_index"][row] = pair.frames[fake]
        return batch


def _record_source(config: PairConfig, name: str) -> Any:
    from unet_industrial.config import DataConfig, ModelConfig
    from unet_industrial.dataset import RecordSource, find_files

    files = find_files(config.records[name], config.split)
    return RecordSource(files, ModelConfig(), DataConfig(augment=False), config.seed)


def _record_pairs(config: PairConfig, name: str) -> Any:
    from mask_generation.synthesis.record_pairs import RecordPairs

    return RecordPairs(_record_source(config, name), config.seed)


_maker: Optional[_Maker] = None  # of a worker process


def _start_process(config: PairConfig) -> None:
    global _maker
    if config.records:  # which TensorFlow parses
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
    _maker = _Maker(config)


def _make_batch(first: int, count: int) -> dict[str, np.ndarray]:
    assert _maker is not None
    return _maker.batch(first, count)


class PairSource:
    """Training batches of pairs made on the fly; see `unet_industrial.dataset.BatchSource`.

    Raises:
        FaceBankError: the face bank is missing, damaged, or has no crops to train on.
        RecordFileError: records are missing, damaged or hold nothing to train on.
        ValueError: a setting of the mix or a share has an impossible value.
    """

    def __init__(self, config: PairConfig) -> None:
        from mask_generation.synthesis.face_bank import load
        from mask_generation.synthesis.pairs import Mix

        Mix(**config.mix)
        self._config, self._shares = config, config.sources()
        self._examples, self._digest, self._summary = 0, "", {}
        if SYNTHESIS in self._shares:
            bank = load(str(config.face_bank), "train", dict(config.weights) or None)
            self._examples, self._digest, self._summary = 2 * len(bank), bank.digest, bank.summary()
        self._opened = {name: _record_source(config, name) for name in self._shares if name != SYNTHESIS}
        self._records = {name: source.describe() for name, source in self._opened.items()}
        self._examples += sum(source.epoch_examples() for source in self._opened.values())

    def epoch_examples(self) -> int:
        return self._examples  # every crop once on average, real and fake

    def describe(self) -> dict[str, Any]:
        config = dataclasses.asdict(self._config)
        described = {
            "kind": "synthesis",
            "pool_sha256": self._digest,  # an earlier name of the face bank, kept so that older runs can be resumed
            "sources": self._summary,
            **{name: config[name] for name in ("size", "picture_size", "seed", "mix", "ramp_images")},
        }
        if self._records:
            described.update(kind="pairs", records=self._records, shares=self._shares)
        return described

    def find_damage(self, positions: Sequence[int]) -> Optional[str]:
        turns = Turns(self._shares, self._config.seed)
        for name, index in (turns.turn(pair) for pair in sorted({position // 2 for position in positions})):
            damage = self._opened[name].find_damage([2 * index, 2 * index + 1]) if name in self._opened else None
            if damage:
                return damage
        return None

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
            maker = _Maker(self._config)
            while True:
                yield maker.batch(first, count)
                first += stride
        context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
        with concurrent.futures.ProcessPoolExecutor(
            self._config.processes, context, _start_process, (self._config,)
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


def write_validation(config: PairConfig, folder: Path, pairs: int) -> Path:
    """Record file of `pairs` face groups made from the people held out of training, at full difficulty.

    Made once; a file already there is kept, as it holds the same.

    Raises:
        FaceBankError: nobody is held out.
    """
    from mask_generation import shards
    from mask_generation.synthesis.face_bank import load
    from mask_generation.synthesis.pairs import Mix, face_groups

    bank = load(str(config.face_bank), "val", dict(config.weights) or None)
    path = folder / f"val-{bank.digest[:12]}-{config.made_at}-{pairs}"
    if shards.read_contents(path) is None:
        seed = config.seed + VALIDATION_SEED_OFFSET
        groups = face_groups(bank, "val", seed, range(pairs), config.made_at, mix=Mix(**config.mix))
        shards.write_part(path, groups, [], {})
    return shards.record_path(path)
