"""`classifier`: train MesoNet or a plain Keras network on TFRecords, and measure it, to have something to compare
with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mask_generation import cli
from runtime.commands import measuring_flags
from runtime.commands.compare import write_and_print
from runtime.evaluation import measure
from runtime.evaluation.classifier import ARCHITECTURES, ClassifierConfig, ClassifierError, evaluate, load, train
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError, ClassifierError)
MODES = ("train_and_evaluate", "train", "evaluate")


def define_flags() -> None:
    default = ClassifierConfig()
    flags.DEFINE_enum("mode", MODES[0], MODES, "Train, measure what was trained, or both.")
    flags.DEFINE_enum("architecture", default.architecture, list(ARCHITECTURES), "Network.")
    flags.DEFINE_string("data_dir", None, "Folder of TFRecords: SPLIT*.tfrecord or SPLIT/*.tfrecord.")
    flags.DEFINE_string("split", "train", "Split to train on.")
    flags.DEFINE_string("eval_split", "test", "Split to measure on.")
    flags.DEFINE_string("results_dir", None, "Where weights, configuration, loss curve and the evaluation go.")
    for name in ("data_dir", "results_dir"):
        flags.mark_flag_as_required(name)
    flags.DEFINE_integer("steps", default.steps, "Training steps.", lower_bound=1)
    flags.DEFINE_integer("batch_size", default.batch_size, "Crops a step, half of them real.", lower_bound=2)
    flags.DEFINE_integer("input_size", default.input_size, "Side of the crops, a multiple of 32.", lower_bound=32)
    flags.DEFINE_float("learning_rate", default.learning_rate, "Of Adam at the start; falls to 0 as a cosine.")
    flags.DEFINE_integer("seed", default.seed, "Seed of weights, order and augmentation.", lower_bound=0)
    flags.DEFINE_bool("augment", default.augment, "Augment the crops as the segmenter's training does.")
    flags.DEFINE_bool("overwrite", False, "Replace a classifier that is already in results_dir.")
    measuring_flags.define()


def main(arguments: Sequence[str]) -> int:
    del arguments
    from unet_industrial.dataset import find_files

    values = flags.FLAGS
    settings = measuring_flags.settings()
    folder = Path(values.results_dir)
    if values.mode == "evaluate":
        model, config = load(folder)
    else:
        if (folder / "classifier.json").exists() and not values.overwrite:
            raise cli.Failure(f"{folder} holds a trained classifier: use --mode=evaluate or --overwrite")
        if values.input_size % 32:
            raise cli.UsageError(f"--input_size={values.input_size}: must be a multiple of 32")
        config = ClassifierConfig(
            architecture=values.architecture,
            input_size=values.input_size,
            steps=values.steps,
            batch_size=values.batch_size,
            learning_rate=values.learning_rate,
            seed=values.seed,
            augment=values.augment,
        )
        files = find_files(values.data_dir, values.split)
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
