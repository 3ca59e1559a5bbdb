"""What needs no training, measured on record files: blur and a painted face, with intervals. See docs/evaluation.md.

python -m benchmarks.baselines --data_dir RECORDS --split test --output_dir OUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mask_generation import cli
from runtime.commands import measuring_flags
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError,)


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Folder of TFRecords: SPLIT*.tfrecord or SPLIT/*.tfrecord.")
    flags.DEFINE_list("split", ["test"], "Split, or several with commas, to measure on.")
    flags.DEFINE_string("output_dir", None, "Where the report goes.")
    for name in ("data_dir", "output_dir"):
        flags.mark_flag_as_required(name)
    measuring_flags.define()


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    settings = measuring_flags.settings()
    from runtime.commands.compare import write_and_print
    from runtime.evaluation.baselines import CROP_PX
    from runtime.evaluation.measure import compare
    from runtime.evaluation.recorder import Recorders
    from unet_industrial.config import DataConfig, ModelConfig
    from unet_industrial.dataset import eval_dataset, find_files

    files = [name for split in values.split for name in find_files(values.data_dir, split)]
    recorders = Recorders(None)
    for batch in eval_dataset(files, ModelConfig(input_size=CROP_PX), DataConfig(), 16):
        recorders.update({name: value.numpy() for name, value in batch.items()})
    detectors = recorders.detectors()
    about = {"data_dir": values.data_dir, "split": ",".join(values.split)}
    write_and_print(Path(values.output_dir), compare(detectors, settings), detectors, "Baselines", about)
    return cli.OK


if __name__ == "__main__":
    subcommand = cli.Subcommand("baselines", "Blur and a painted face on record files.", __name__)
    sys.exit(cli.run("python -m benchmarks.baselines", subcommand.summary, [subcommand], ["baselines", *sys.argv[1:]]))
