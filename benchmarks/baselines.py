"""What needs no training, measured on record files: blur and a painted face, with intervals. See docs/evaluation.md.

python -m benchmarks.baselines --data_dir RECORDS --split test --output OUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mask_generation import cli
from runtime.commands.flags import define_data_dir, define_measuring
from runtime.evaluation.measure import Settings, compare
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError,)


def define_flags() -> None:
    define_data_dir(required=True)
    flags.DEFINE_list("split", ["test"], "Split, or several with commas, to measure on.")
    cli.define_output("Folder for the report.", "output_dir")
    define_measuring()


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    settings = cli.make(Settings)
    from runtime.commands.compare import write_and_print
    from runtime.evaluation.baselines import CROP_PX
    from runtime.evaluation.recorder import Recorders
    from unet_industrial.config import DataConfig, ModelConfig
    from unet_industrial.dataset import eval_dataset, find_files

    files = [name for split in values.split for name in find_files(values.data_dir, split)]
    recorders = Recorders(None)
    for batch in eval_dataset(files, ModelConfig(input_size=CROP_PX), DataConfig(), 16):
        recorders.update({name: value.numpy() for name, value in batch.items()})
    detectors = recorders.detectors()
    about = {"data_dir": values.data_dir, "split": ",".join(values.split)}
    write_and_print(Path(values.output), compare(detectors, settings), detectors, "Baselines", about)
    return cli.OK


if __name__ == "__main__":
    subcommand = cli.Subcommand("baselines", "Blur and a painted face on record files.", __name__)
    sys.exit(cli.run("python -m benchmarks.baselines", subcommand.summary, [subcommand], ["baselines", *sys.argv[1:]]))
