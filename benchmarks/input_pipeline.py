"""How fast record files become batches, against the reference's PNG pipeline, and how long a training step waits.

python -m benchmarks.input_pipeline            # prints the table; --write puts it into docs/training.md
python -m benchmarks.input_pipeline --size=512
python -m benchmarks.input_pipeline --checks   # only what the records' check sums cost, as a ratio

The data are crops of a photograph with a blended patch, so that PNGs are as large as faces make them. The reference's
pipeline is written here as its source has it (datasets/core.py, datasets/dagm2007.py): a list of PNG files, defective
ones only, decoded, resized by TF1's bilinear rule, cached as floats in memory, shuffled, flipped and turned.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
from tqdm import tqdm

import unet_industrial
from benchmarks.speed import write
from mask_generation.parallel.processes import cpu_cores
from runtime.evaluation import markdown
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.record_files import RecordReader, index_files

GROUPS = 48
THREADS = 64  # of the reference's map_and_batch


def faces(size: int, groups: int = GROUPS) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(original, fake, mask) uint8 of so many groups."""
    import cv2
    from skimage import data

    photograph, rng = data.astronaut(), np.random.default_rng(0)
    for _ in range(groups):
        side = int(rng.integers(160, 400))
        y, x = (int(rng.integers(0, 512 - side)) for _ in range(2))
        original = cv2.resize(photograph[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
        original = np.clip(original + rng.normal(0, 2, original.shape), 0, 255).astype(np.uint8)  # a camera's noise
        mask = np.zeros((size, size), np.uint8)
        centre = tuple(int(v) for v in rng.integers(size // 3, 2 * size // 3, 2))
        cv2.ellipse(mask, centre, (size // 5, size // 7), 0, 0, 360, 255, -1)
        fake = np.where(mask[..., None] > 0, cv2.GaussianBlur(original, (0, 0), 2), original)
        yield original, fake, mask


def to_grey(image: np.ndarray) -> np.ndarray:
    """(H,W,3) → (H,W,1) uint8."""
    weighted = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.round(weighted).astype(np.uint8)[..., None]


def write_records(path: pathlib.Path, size: int, grey: bool = False, groups: int = GROUPS) -> list[str]:
    import tensorflow as tf

    from unet_industrial.records import FaceGroup, FaceImage, encode_group

    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, (original, fake, mask) in enumerate(faces(size, groups)):
            if grey:
                original, fake = to_grey(original), to_grey(fake)
            images = (
                FaceImage(original, np.zeros_like(mask), 0, f"real/{number}", "real", 0),
                FaceImage(fake, mask, 1, f"fake/{number}", "blur", 0, "exact"),
            )
            box = (0.0, 0.0, float(size), float(size))
            writer.write(encode_group(FaceGroup(f"g/{number}", "drawn", "train", "p", 0, 0.0, 0, box, images)))
    return [str(path)]


def write_pngs(folder: pathlib.Path, size: int) -> pathlib.Path:
    """A list and its PNG files as the reference's preprocessing leaves them, in grey; half of the images are clean."""
    import tensorflow as tf

    lines = ["image_filepath,lbl_image_filepath,is_defective"]
    for number, (original, fake, mask) in enumerate(faces(size)):
        for name, image, label in ((f"{number}c.png", original, 0), (f"{number}d.png", fake, 1)):
            (folder / name).write_bytes(tf.io.encode_png(to_grey(image)).numpy())
            mask_name = f"{number}_label.png" if label else ""
            lines.append(f"{name},{mask_name},{label}")
        (folder / f"{number}_label.png").write_bytes(tf.io.encode_png(mask[..., None]).numpy())
    (folder / "train_list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train_list.csv"


def reference_pipeline(csv: pathlib.Path, size: int, batch: int, cached: bool) -> Any:
    """The reference's training data set, one worker; `cached=False` reads and decodes every time."""
    import tensorflow as tf

    from unet_industrial import reference_mode

    def load(line: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask, _ = tf.io.decode_csv(line, ["", "", 0])

        def decoded(name: tf.Tensor) -> tf.Tensor:
            pixels = tf.io.decode_png(tf.io.read_file(tf.strings.join([f"{csv.parent}/", name])), 1)
            return reference_mode.resize_bilinear(pixels[tf.newaxis], (size, size))[0]

        return decoded(image) / 127.5 - 1.0, decoded(mask) / 255.0

    def moved(number: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return reference_mode.augment(*pair, tf.stack([number, 1]))

    lines = tf.data.TextLineDataset(str(csv)).skip(1)
    lines = lines.filter(lambda line: tf.strings.substr(line, -1, 1) != "0")  # defective ones only
    data = lines.interleave(
        lambda line: tf.data.Dataset.from_tensors(line).map(load),
        cycle_length=8 * batch, block_length=4, num_parallel_calls=tf.data.AUTOTUNE,
    )  # fmt: skip
    if cached:
        data = data.cache()
    data = data.shuffle(10_000, seed=1).repeat().enumerate()
    return data.map(moved, num_parallel_calls=THREADS).batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def rate(batches: Any, batch: int, images: int, warm_up: int) -> tuple[float, float]:
    """(images per second, CPU seconds per image) of a data set, after `warm_up` images."""
    turns = iter(batches)
    for _ in range(-(-warm_up // batch)):
        next(turns)
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in itertools.islice(turns, -(-images // batch))) * batch
    return count / (time.perf_counter() - wall), (time.process_time() - cpu) / count


class Unchecked(RecordReader):
    """Reads as `RecordReader` does, without the check sums: what they cost is the difference."""

    def read(self, record: int) -> bytes:
        with self._lock:
            number = int(self._index.file_of[record])
            if number not in self._idle:
                self._idle[number] = os.open(self._index.files[number], os.O_RDONLY)
        return os.pread(self._idle[number], int(self._index.length[record]), int(self._index.offset[record]))


def checks_share(files: list[str], cpu_s_per_image: float) -> float:
    """What the check sums cost an image, over all that the pipeline costs it (CPU seconds both).

    Two whole pipelines differ by more than that on cores which others use too; so the reading of the records alone is
    timed with and without check sums, in turns, and the median of the differences counts.
    """
    index = index_files(files)
    readers = RecordReader(index), Unchecked(index)

    def cpu_s(reader: RecordReader) -> float:
        start = time.process_time()
        for record in range(len(index)):
            reader.read(record)
        return (time.process_time() - start) / len(index)

    turns = [[cpu_s(reader) for reader in readers] for _ in range(31)]
    return float(np.median([checked - plain for checked, plain in turns[1:]])) / cpu_s_per_image


def measure(size: int, batch: int, images: int) -> str:
    from runtime.training import benchmark
    from runtime.training.device import configure
    from runtime.training.distributed import Workers
    from unet_industrial.dataset import RecordSource

    model, train = ModelConfig(input_size=size), TrainConfig(batch_size=batch)
    configure(Workers(), train)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        csv = write_pngs(folder, size)
        files = write_records(folder / "colour.tfrecord", size)
        grey_files, grey = (
            write_records(folder / "grey.tfrecord", size, True),
            ModelConfig("tinyUNet", 1, input_size=size),
        )

        def records(files: list[str], model: ModelConfig, **settings: bool) -> Callable[[], Any]:
            return lambda: RecordSource(files, model, DataConfig(**settings), 0).batches(0, batch, 0, 1)

        pipelines = {
            "reference's PNG pipeline, grey, first epoch (decodes)": lambda: reference_pipeline(
                csv, size, batch, False
            ),
            "reference's PNG pipeline, grey, from its cache": lambda: reference_pipeline(csv, size, batch, True),
            "records, grey, `--reference_mode`: the same work": records(
                grey_files, grey, reference_mode=True, drop_clean=True
            ),
            "records, colour, no augmentation": records(files, model, augment=False),
            "records, colour, default augmentation": records(files, model),
        }
        baseline, checks = 0.0, []
        for title, make in tqdm(pipelines.items(), file=sys.stderr, disable=not sys.stderr.isatty()):
            per_s, cpu_s = rate(make(), batch, images, warm_up=2 * GROUPS)
            baseline = baseline or cpu_s
            if "colour" in title:
                checks.append(checks_share(files, cpu_s))
            rows.append((title, f"{per_s:.0f}", f"{1 / cpu_s:.0f}", f"{baseline / cpu_s:.2f}"))
        source = RecordSource(files, model, DataConfig(), 0)
        waits = {}
        for title, batches in (("the records", source), ("noise, made once", None)):
            waits[title] = benchmark.run("training_benchmark", model, train, Workers(), 10, 2, batches)
    cost = waits["the records"]["cpu_s_per_image"] / waits["noise, made once"]["cpu_s_per_image"] - 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return "\n".join(
        [
            f"Crops of {size} px, batches of {batch}, {cpu_cores()} cores that others use too; version "
            f"{unet_industrial.__version__}.",
            "",
            markdown.table(("pipeline", "images/s", "images per CPU second (one core)", "against the first row"), rows),
            f"Training on them (default augmentation, batch {batch}): the step waits for its batch "
            f"{waits['the records']['waiting_share']:.1%} of the time; making the batches costs {cost:.0%} of the "
            f"step's CPU seconds. Peak memory of the process {peak:.1f} GB.",
            "",
            f"Of the pipeline's CPU seconds, the check sums of the records take {checks[-1]:.1%} "
            f"({checks[0]:.1%} without augmentation).",
        ]
    )


def main() -> int:
    from unet_industrial.dataset import RecordSource

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, default=400, help="images timed for each pipeline")
    parser.add_argument("--checks", action="store_true", help="measure only what the check sums cost, as a ratio")
    parser.add_argument("--write", action="store_true", help="put the table into docs/training.md")
    arguments = parser.parse_args()
    if arguments.checks:
        with tempfile.TemporaryDirectory() as name:
            files = write_records(pathlib.Path(name) / "colour.tfrecord", arguments.size)
            model = ModelConfig(input_size=arguments.size)
            for augment in (False, True):
                batches = RecordSource(files, model, DataConfig(augment=augment), 0).batches(0, arguments.batch, 0, 1)
                cpu_s = rate(batches, arguments.batch, arguments.images, 2 * GROUPS)[1]
                share = checks_share(files, cpu_s)
                print(f"augment={augment}: {cpu_s * 1e3:.2f} CPU ms an image, {share:.1%} of it for check sums")
        return 0
    text = measure(arguments.size, arguments.batch, arguments.images)
    print(text)
    if arguments.write:
        write("input", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
