"""`train`: flags → a job, run in any of the reference's modes. TensorFlow is imported only once flags are in order."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from absl import flags

from mask_generation import cli
from mask_generation.synthesis.face_bank import FaceBankError
from runtime.commands import flags as train_flags
from runtime.commands import synthesis_flags
from runtime.training import synthesis_source
from runtime.training.checkpoint import CheckpointError
from runtime.training.distributed import DistributedError, Workers, is_lost_worker
from unet_industrial.config import ConfigError, DataConfig, ModelConfig, TrainConfig
from unet_industrial.record_files import RecordFileError

EXEC_MODES = ("train", "train_and_evaluate", "evaluate", "training_benchmark", "inference_benchmark")
USER_ERRORS = (RecordFileError, CheckpointError, DistributedError, FaceBankError)


def define_flags() -> None:
    flags.DEFINE_enum("exec_mode", "train_and_evaluate", EXEC_MODES, "What to do.")
    flags.DEFINE_enum("iter_unit", "batch", ["epoch", "batch"], "Unit of --num_iter.")
    flags.DEFINE_integer("num_iter", TrainConfig.total_steps, "Length of the whole run, in --iter_unit.", lower_bound=1)
    flags.DEFINE_string("results_dir", None, "Where checkpoints, logs and numbers go; a run there is resumed.")
    flags.mark_flag_as_required("results_dir")
    flags.DEFINE_boolean("overwrite", False, "Delete an earlier run in --results_dir instead of resuming it.")
    flags.DEFINE_string("data_dir", None, "Folder of TFRecords: SPLIT*.tfrecord or SPLIT/*.tfrecord.")
    flags.DEFINE_string("train_split", "train", "Split to train on.")
    flags.DEFINE_string("eval_split", "val", "Split to validate on.")
    flags.DEFINE_string(
        "log_dir",  # a file, but that is what the reference calls it
        None,
        "File of the JSON lines log. [default: RESULTS_DIR/train.jsonl]",
        allow_override=True,  # absl's own logging has a flag of that name, which we do not use
    )
    flags.DEFINE_integer("warmup_step", 200, "Benchmarks: steps before the timing begins.", lower_bound=0)
    flags.DEFINE_boolean(
        "save_eval_results_to_json", True, "Write evaluation.json, .csv, .md, .html and frame_scores.csv."
    )
    flags.DEFINE_integer("threads", 0, "Threads of one operation; 0: the machine's cores shared out.", lower_bound=0)
    synthesis_flags.define()
    train_flags.define([*train_flags.MODEL, *train_flags.DATA, *train_flags.TRAIN])
    train_flags.define_amp()
    train_flags.define_reference_mode()


def configurations() -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """The flags as configurations.

    Raises:
        UsageError: a value, or a combination of values, is impossible.
    """
    given = train_flags.given([*train_flags.MODEL, *train_flags.DATA, *train_flags.TRAIN])
    given[TrainConfig].update(train_flags.given_amp())
    base = synthesis_source.RECIPES[flags.FLAGS.recipe]
    for settings in (base, train_flags.REFERENCE_SETTINGS if flags.FLAGS.reference_mode else {}):
        for kind, values in settings.items():
            given[kind] = {**values, **given[kind]}
    try:
        return (
            ModelConfig(**given[ModelConfig]),
            DataConfig(**given[DataConfig]),
            TrainConfig(**given[TrainConfig]),
        )
    except ConfigError as error:
        raise cli.UsageError(str(error)) from error


def main(arguments: Sequence[str]) -> int:
    del arguments
    model, data, train = configurations()
    mode = flags.FLAGS.exec_mode
    synthesis_flags.check_sources(mode, model, train)
    from runtime.training import device, distributed

    workers = distributed.start(train.fp16_allreduce)
    try:
        on = device.configure(workers, train, flags.FLAGS.threads)
    except ConfigError as error:
        raise cli.UsageError(str(error)) from error
    if workers.is_chief:
        print(f"{mode}: {workers.size} worker{'s' if workers.size > 1 else ''} on {on}", file=sys.stderr)
    try:
        return _run(mode, model, data, train, workers)
    except Exception as error:
        if not is_lost_worker(error):
            raise
        raise cli.Failure(
            f"worker {workers.rank}: another worker has gone, so the job cannot go on. The reason is in that worker's "
            "output. Run the same command again to continue from the last checkpoint."
        ) from error


def _run(mode: str, model: ModelConfig, data: DataConfig, train: TrainConfig, workers: Workers) -> int:
    from runtime.training import benchmark
    from runtime.training.loop import Trainer, TrainingError, TrainJob

    values = flags.FLAGS
    results = Path(values.results_dir)
    if mode.endswith("_benchmark"):
        source = _source(model, data, train) if values.data_dir or values.pool else None
        measured = benchmark.run(
            mode, model, train, workers, values.num_iter, values.warmup_step, source, progress=sys.stderr.isatty()
        )
        if workers.is_chief:
            benchmark.write(results, mode, measured)
        return cli.OK
    if mode == "evaluate":
        return _evaluate_checkpoint(results, model, data, train, workers)
    if values.overwrite and workers.is_chief:
        _clear(results)
    source = _source(model, data, train)
    steps = _steps(source, train, workers)
    train = dataclasses.replace(train, total_steps=steps)
    validate = _validation(model, data, train, workers) if mode == "train_and_evaluate" else None
    log_file = Path(values.log_dir) if values.log_dir else None
    job = TrainJob(
        model,
        data,
        train,
        source,
        steps,
        results,
        validate,
        log_file,
        Path(values.init_from) if values.init_from else None,
    )
    try:
        result = Trainer(job, workers).run()
    except TrainingError as error:
        raise cli.Failure(str(error)) from error
    if result.stopped:
        raise cli.Failure(
            f"stopped on request after step {result.state.step} of {steps}; the checkpoint is written: "
            "run the same command again to go on"
        )
    if workers.is_chief:
        print(f"trained to step {result.state.step}: loss {result.loss:.6g}, {result.images_per_s:.2f} images/s")
    if validate is not None:
        return _evaluate_checkpoint(results, model, data, train, workers)
    return cli.OK


def _clear(results: Path) -> None:
    """Delete what a run writes, and nothing else that may lie in the folder."""
    for name in ("checkpoints", "logs", "plots"):
        shutil.rmtree(results / name, ignore_errors=True)
    for name in ("train.jsonl", *(f"evaluation.{kind}" for kind in ("json", "csv", "md", "html")), "frame_scores.csv"):
        (results / name).unlink(missing_ok=True)


def _source(model: ModelConfig, data: DataConfig, train: TrainConfig) -> Any:
    from unet_industrial.dataset import RecordSource, find_files

    values = flags.FLAGS
    if values.recipe == "sbi":
        return synthesis_source.SynthesisSource(synthesis_flags.synthesis(model, train))
    return RecordSource(find_files(values.data_dir, values.train_split), model, data, train.seed)


def _steps(source: Any, train: TrainConfig, workers: Workers) -> int:
    if flags.FLAGS.iter_unit == "batch":
        return flags.FLAGS.num_iter
    return flags.FLAGS.num_iter * max(
        1, source.epoch_examples() // (train.batch_size * train.accumulate * workers.size)
    )


def _eval_files(model: ModelConfig, train: TrainConfig, workers: Workers) -> list[str]:
    """Records to validate on: those of --data_dir; without it, with --recipe=sbi, pairs made of people held out."""
    from unet_industrial.dataset import find_files

    values = flags.FLAGS
    if values.data_dir is None and values.recipe == "sbi":
        folder = Path(values.results_dir) / "validation"
        if workers.is_chief:
            synthesis_source.write_validation(synthesis_flags.synthesis(model, train), folder, values.eval_pairs)
        workers.broadcast(None)  # the others wait for the file
        return [
            str(synthesis_source.write_validation(synthesis_flags.synthesis(model, train), folder, values.eval_pairs))
        ]
    return find_files(values.data_dir, values.eval_split)


def _validation(model: ModelConfig, data: DataConfig, train: TrainConfig, workers: Workers) -> Any:
    from runtime.evaluation.measure import summary
    from runtime.evaluation.recorder import Recorder, predictor, record

    files = _eval_files(model, train, workers)
    model = synthesis_flags.as_evaluated(model)
    compiled: list[Any] = []  # the network is the same object every time, so it is compiled once

    def validate(network: Any) -> tuple[Optional[float], dict[str, Any]]:
        if not compiled:
            compiled.append(predictor(network, model))
        recorder = Recorder(histograms=False, by_threshold=True)
        record(compiled[0], files, model, data, train.batch_size, workers, recorder)
        numbers = summary(recorder.detector())
        numbers.pop("by_threshold")
        return numbers["dice_fake"] if numbers["frame_auc"] is None else numbers["frame_auc"], numbers

    return validate


def _evaluate_checkpoint(
    results: Path, given: ModelConfig, data: DataConfig, train: TrainConfig, workers: Workers
) -> int:
    """Evaluate the best checkpoint of a run on the validation split, and write the numbers beside it."""
    from runtime.evaluation import measure, report
    from runtime.evaluation.recorder import Recorders, predictor, record
    from runtime.model.export import load_network

    network, model, state, folder = load_network(results)
    files = _eval_files(given, train, workers)
    model = synthesis_flags.as_evaluated(model)
    recorders = Recorders("model")
    record(predictor(network, model), files, model, data, train.batch_size, workers, recorders)
    if workers.is_chief:
        detectors = recorders.detectors()
        summary = measure.summary(detectors["model"])
        about = {"model": str(folder), "step": state.step, "split": flags.FLAGS.eval_split}
        if flags.FLAGS.save_eval_results_to_json:
            title = f"{folder.name}, split {flags.FLAGS.eval_split}"
            report.write(results, measure.compare(detectors, measure.Settings()), detectors, title, about, True)
        print(report.summary_markdown(summary, f"{folder.name}, split {flags.FLAGS.eval_split}"))
        print(json.dumps({"frame_auc": summary["frame_auc"], "iou": summary["iou"]}), file=sys.stderr)
    return cli.OK
