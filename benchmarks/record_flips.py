"""How many single flipped bits of record files get into training without a word.

python -m benchmarks.record_flips                # 1,500 flips over a file of three face groups, read as `train` does

Bits rot on disks and in copies; one of them is another label, another name or other pixels. Every flip is tried on a
file of its own through `RecordSource`, the door of training, and then through all batches of one epoch.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys
import tempfile
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from unet_industrial.record_files import RecordFileError

NAMED, UNNAMED, SILENT = "refused, file and byte named", "refused without its place", "silent"
GROUPS, SIDE = 3, 64


def outcomes(path: str, read: Callable[[], object], flips: int, seed: int = 14) -> dict[str, int]:
    """How many of `flips` drawn bits of a file, flipped one at a time, `read` refuses; the file is whole again after.

    Args:
        read: reads the file; what it raises counts as named if it is a `RecordFileError` that has the file's name.
    """
    whole = pathlib.Path(path).read_bytes()
    counts: collections.Counter[str] = collections.Counter()
    bits = np.random.default_rng(seed).choice(8 * len(whole), flips, replace=False)
    try:
        for bit in tqdm(bits, file=sys.stderr, disable=not sys.stderr.isatty()):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << (bit % 8)
            pathlib.Path(path).write_bytes(damaged)
            try:
                read()
                counts[SILENT] += 1
            except RecordFileError as error:
                counts[NAMED if path in str(error) and "byte" in str(error) else UNNAMED] += 1
    finally:
        pathlib.Path(path).write_bytes(whole)
    return dict(counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1500)
    arguments = parser.parse_args()
    from benchmarks.input_pipeline import write_records
    from unet_industrial.config import DataConfig, ModelConfig
    from unet_industrial.dataset import RecordSource

    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_records(pathlib.Path(folder) / "train.tfrecord", SIDE, groups=GROUPS)

        def read() -> None:
            source = RecordSource([path], ModelConfig(input_size=SIDE), DataConfig(), 0)
            for _ in source.batches(0, source.epoch_examples(), 0, 1).take(1):
                pass

        print(", ".join(f"{count} {name}" for name, count in outcomes(path, read, arguments.flips).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
