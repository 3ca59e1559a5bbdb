"""`evaluate`: a checkpoint or an exported model on record files → numbers and a table of frame scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from absl import flags

from mask_generation import cli
from runtime.commands.flags import (
    define_data_dir,
    define_measuring,
    define_threads,
    define_trust_model,
    given_model,
    make_settings,
)
from runtime.evaluation.measure import compare
from runtime.model.calibration import CalibrationError, threshold_of_model
from runtime.model.saved_model import ModelError, Trust, fingerprint, load_model
from runtime.scoring.result import ScoreConfig
from runtime.training.checkpoint import CheckpointError
from runtime.training.distributed import DistributedError
from unet_industrial.config import DataConfig, TrainConfig
from unet_industrial.record_files import RecordFileError

USER_ERRORS = (RecordFileError, CheckpointError, DistributedError, ModelError, CalibrationError)


def define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "Results folder of a run (its best checkpoint), a checkpoint, or a SavedModel. [default: the experimental one "
        "of this installation]",
    )
    define_trust_model()
    define_data_dir(required=True)
    flags.DEFINE_string("split", "test", "Split to evaluate on.")
    cli.define_output("Folder for evaluation.json, .csv, .md, .html, frame_scores.csv and plots.", "output_dir")
    cli.define(TrainConfig, "batch_size")
    define_threads()
    cli.define(DataConfig, "reader_threads")
    define_measuring()


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    settings = make_settings()
    from runtime.training import device, distributed

    workers = distributed.start()
    device.configure(workers, TrainConfig(deterministic=False), values.threads)
    from runtime.commands.compare import write_and_print
    from runtime.evaluation.recorder import Recorders, record
    from unet_industrial.dataset import find_files

    source, trust = given_model()
    predict, model, about, thresholds = _load(source, trust)
    files = find_files(values.data_dir, values.split)
    data = cli.make(DataConfig)
    recorders = Recorders("model")
    progress = _progress(workers.is_chief)
    try:
        record(predict, files, model, data, values.batch_size, workers, recorders, progress)
    except ValueError as error:
        raise cli.Failure(str(error)) from error
    if workers.is_chief:
        about.update(model=str(source), data_dir=values.data_dir, split=values.split, workers=workers.size)
        folder, title = Path(values.output), f"{source} on {values.split}"
        detectors = recorders.detectors()
        if thresholds:
            detectors["model"] = detectors["model"].judged(*thresholds)
        write_and_print(folder, compare(detectors, settings), detectors, title, about, True)
    return cli.OK


def _progress(shown: bool) -> Any:
    from tqdm import tqdm

    def wrap(batches: Iterable[Any]) -> Iterable[Any]:
        return tqdm(batches, unit="batch", desc="evaluate", disable=None if shown else True)  # None: only on a terminal

    return wrap


def _load(path: Path, trust: Trust) -> tuple[Any, Any, dict[str, Any], Optional[tuple[float, float]]]:
    """(predict, model configuration, what it is, its own video thresholds) of a SavedModel folder or of a checkpoint,
    which has no thresholds.

    Raises:
        CalibrationError: the thresholds are damaged.
        ModelError: the SavedModel is unknown and not trusted, damaged, or with another signature.
        CheckpointError: no usable checkpoint there.
    """
    if (path / "saved_model.pb").is_file():
        saved = load_model(path, trust)
        # Video scores here are those of `score` with its default settings, so its thresholds for these hold.
        own = threshold_of_model(saved.metadata, ScoreConfig().scoring(fingerprint(saved.sha256, saved.metadata)))
        hashes = {"sha256": saved.sha256, "weights_sha256": saved.metadata.get("weights_sha256")}
        return saved.predictor(), saved.crops(), {"saved_model": str(path), **hashes}, own
    from runtime.evaluation.recorder import predictor
    from runtime.model.export import load_network

    network, model, state, folder = load_network(path)
    return predictor(network, model), model, {"checkpoint": str(folder), "step": state.step}, None
