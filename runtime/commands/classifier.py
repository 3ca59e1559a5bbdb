"""`classifier`: train MesoNet or a plain Keras network on TFRecords, and measure it, to have something to compare
with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from runtime.commands.compare import write_and_print
from runtime.commands.flags import define_data_dir, define_measuring, define_train_split, make_settings
from runtime.evaluation import measure
from runtime.evaluation.classifier import ClassifierConfig, ClassifierError, evaluate, load, train
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError, ClassifierError)
MODES = ("train_and_evaluate", "train", "evaluate")


def define_flags() -> None:
    flags.DEFINE_enum("mode", MODES[0], MODES, "Train, measure what was trained, or both.")
    define_data_dir(required=True)
    define_train_split()
    cli.alias("split", "train_split")
    flags.DEFINE_string("eval_split", "test", "Split to measure on.")
    cli.define_output("Folder for weights, configuration, loss curve and the evaluation.", "results_dir")
    cli.define_overwrite()
    cli.define(ClassifierConfig)
    cli.alias("augment", "augment_data")
    define_measuring()


def main(arguments: Sequence[str]) -> int:
    del arguments
    from unet_industrial.dataset import find_files

    values = flags.FLAGS
    settings = make_settings()
    folder = Path(values.output)
    if values.mode == "evaluate":
        model, config = load(folder)
    else:
        if (folder / "classifier.json").exists() and not values.overwrite:
            raise cli.Failure(f"{folder} holds a trained classifier: use --mode=evaluate or --overwrite")
        if values.input_size % 32:
            raise cli.UsageError(f"--input_size={values.input_size}: must be a multiple of 32")
        config = cli.make(ClassifierConfig)
        files = find_files(values.data_dir, values.train_split)
        model = train(config, files, folder, _progress("train", config.steps))
        print(f"trained {config.architecture} for {config.steps} steps: {folder}")
    if values.mode == "train":
        return cli.OK
    files = find_files(values.data_dir, values.eval_split)
    try:
        detectors = evaluate(model, config, files, values.batch_size, _progress("evaluate", None))
    except ValueError as error:
        raise cli.Failure(str(error)) from error
    about = {"model": str(folder), "data_dir": values.data_dir, "split": values.eval_split}
    write_and_print(folder, measure.compare(detectors, settings), detectors, config.architecture, about, True)
    return cli.OK


def _progress(name: str, total: Any) -> Any:
    from tqdm import tqdm

    def wrap(batches: Iterable[Any]) -> Iterable[Any]:
        return tqdm(batches, total=total, unit="batch", desc=name, disable=None)

    return wrap
