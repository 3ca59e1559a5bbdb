"""`train`: flags → a job, run in any of the reference's modes. TensorFlow is imported only once flags are in order."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from absl import flags

from mask_generation import cli
from mask_generation.commands.flags import define_face_bank_flags, mix_from_flags
from mask_generation.synthesis.face_bank import FaceBankError
from runtime.commands.flags import define_data_dir, define_threads, define_train_split
from runtime.training.checkpoint import CheckpointError
from runtime.training.distributed import DistributedError, Workers, is_lost_worker
from runtime.training.pair_source import PairConfig, PairSource, write_validation
from runtime.training.presets import PRESETS, REFERENCE_MODE
from unet_industrial.config import PRECISIONS, STRIDE, ConfigError, DataConfig, ModelConfig, TrainConfig
from unet_industrial.files import FolderBusy, sole_writer
from unet_industrial.record_files import RecordFileError

EXEC_MODES = ("train", "train_and_evaluate", "evaluate", "training_benchmark", "inference_benchmark")
USER_ERRORS = (RecordFileError, CheckpointError, DistributedError, FaceBankError)


def define_flags() -> None:
    flags.DEFINE_enum("exec_mode", "train_and_evaluate", EXEC_MODES, "What to do.")
    flags.DEFINE_enum("iter_unit", "batch", ["epoch", "batch"], "Unit of --num_iter.")
    cli.define_output("Folder for checkpoints, logs and numbers; a run that is there is resumed.")
    cli.alias("results_dir", "output", quiet=True)  # the reference's name
    cli.define_overwrite()
    define_data_dir(required=False)
    define_train_split()
    flags.DEFINE_string("eval_split", "val", "Split to measure on.")
    flags.DEFINE_string(
        "log_dir",  # a file, but that is what the reference calls it
        None,
        "File of the JSON lines log. [default: OUTPUT/train.jsonl]",
        allow_override=True,  # absl's own logging has a flag of that name, which we do not use
    )
    flags.DEFINE_integer("warmup_step", 200, "Benchmarks: steps before the timing begins.", lower_bound=0)
    flags.DEFINE_boolean(
        "save_eval_results_to_json", True, "Write evaluation.json, .csv, .md, .html and frame_scores.csv."
    )
    define_threads()
    flags.DEFINE_enum(
        "preset",
        "reference",
        list(PRESETS),
        "Settings to begin with, which flags outrank: the reference's; ffpp: ours, on records of real and fake pairs; "
        "sbi: ours, on manipulations made on the fly from a --face_bank; pairs: ours, on --record_sources and a "
        "--face_bank together; shipped: those of the weights that ship.",
    )
    cli.alias("recipe", "preset")
    define_face_bank_flags()
    flags.DEFINE_list(
        "record_sources",
        [],
        "With --preset=pairs: NAME=DIR of records to draw from beside the face bank. Those with an --eval_split are "
        "validated on.",
    )
    flags.DEFINE_list(
        "source_shares",
        [],
        "With --preset=pairs: NAME=SHARE of the draws, the face bank's is synthesis. [default: equal]",
    )
    flags.DEFINE_list("eval_sources", [], "NAME=DIR of records to validate on. [default: those of --record_sources]")
    cli.define(PairConfig)
    cli.alias("synthesis_processes", "processes")
    flags.DEFINE_integer("eval_pairs", 200, "With --face_bank: validation pairs, of people held out.", lower_bound=1)
    flags.DEFINE_string("init_from", None, "Checkpoint or results folder whose weights a new run begins with.")
    for config in (ModelConfig, DataConfig, TrainConfig):
        cli.define(config)
    flags.DEFINE_boolean("amp", None, "Mixed precision with float32 weights. [default: off]")
    flags.DEFINE_enum("amp_type", "fp16", [kind for kind in PRECISIONS if kind != "none"], "Half precision of --amp.")
    flags.DEFINE_boolean(
        "reference_mode", False, "Reproduce the reference's own choices where ours differ (see the README's table)."
    )


def configurations() -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """The flags as configurations; what is not given comes from --preset, then from --reference_mode.

    Raises:
        UsageError: a value, or a combination of values, is impossible.
    """
    values = flags.FLAGS
    presets = [PRESETS[values.preset], *([REFERENCE_MODE] if values.reference_mode else [])]
    made = []
    for kind in (ModelConfig, DataConfig, TrainConfig):
        given = cli.given(kind)
        if kind is TrainConfig:
            given.update(_given_precision())
            if values.iter_unit == "epoch":
                given.pop("total_steps", None)  # --num_iter counts epochs, see `_steps`
        for preset in presets:
            given = {**preset.of(kind), **given}
        try:
            made.append(kind(**given))
        except ConfigError as error:
            raise cli.UsageError(str(error)) from error
    model, data, train = made
    return model, data, train  # type: ignore[return-value]


def _given_precision() -> dict[str, str]:
    """{"amp": …} if precision was given."""
    values = flags.FLAGS
    if values.amp is None and not values["amp_type"].present:
        return {}
    return {"amp": "none" if values.amp is False else values.amp_type}


def check_sources(mode: str, model: ModelConfig, train: TrainConfig) -> None:
    """Raise UsageError where data, face bank and preset do not go together."""
    values = flags.FLAGS
    if PRESETS[values.preset].pairs is not None:
        if values.face_bank is None and not values.record_sources:
            raise cli.UsageError(
                f"--preset={values.preset} needs --face_bank, a file made by `mask face_bank`, "
                "or --record_sources=NAME=DIR"
            )
        if values.picture_size % STRIDE:
            raise cli.UsageError(f"--picture_size={values.picture_size}: must be a multiple of {STRIDE}")
        if 0 < values.picture_size < model.input_size:
            raise cli.UsageError(
                f"--picture_size={values.picture_size}: must be at least --input_size={model.input_size}"
            )
        try:
            pair_config(model, train).sources()
        except ValueError as error:
            raise cli.UsageError(f"--source_shares: {error}") from error
        if not values.eval_sources and values.face_bank is None and not _validated_on():
            raise cli.UsageError(
                f"no --record_sources have a split {values.eval_split}: name some by --eval_sources=NAME=DIR"
            )
    elif values.face_bank is not None or values.record_sources:
        given = "--face_bank" if values.face_bank is not None else "--record_sources"
        raise cli.UsageError(f"{given} does not go with --preset={values.preset}, which trains on --data_dir")
    elif values.data_dir is None and not mode.endswith("_benchmark"):
        raise cli.UsageError(f"--data_dir is needed with --exec_mode={mode}")


def pair_config(model: ModelConfig, train: TrainConfig) -> PairConfig:
    """What flags and preset ask of the pairs.

    Raises:
        UsageError: a setting of the mix or a share is impossible.
    """
    preset = PRESETS[flags.FLAGS.preset].pairs or {}
    mix = {**preset.get("mix", {}), **mix_from_flags()}
    return PairConfig(
        face_bank=flags.FLAGS.face_bank,
        size=model.input_size,
        seed=train.seed,
        records=cli.folders("record_sources"),
        split=flags.FLAGS.train_split,
        shares=cli.numbers("source_shares"),
        weights=cli.numbers("face_bank_shares"),
        **{**cli.values(PairConfig), **preset, **cli.given(PairConfig), "mix": mix},
    )


def as_evaluated(model: ModelConfig) -> ModelConfig:
    """A network trained on windows is measured on whole pictures."""
    side = flags.FLAGS.picture_size
    return dataclasses.replace(model, input_size=side) if side else model


def main(arguments: Sequence[str]) -> int:
    del arguments
    model, data, train = configurations()
    mode = flags.FLAGS.exec_mode
    check_sources(mode, model, train)
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

    values = flags.FLAGS
    results = Path(values.output)
    if mode.endswith("_benchmark"):
        source = _source(model, data, train) if values.data_dir or values.face_bank or values.record_sources else None
        measured = benchmark.run(
            mode, model, train, workers, values.num_iter, values.warmup_step, source, progress=sys.stderr.isatty()
        )
        if workers.is_chief:
            benchmark.write(results, mode, measured)
        return cli.OK
    if mode == "evaluate":
        return _evaluate_checkpoint(results, model, data, train, workers)
    source = _source(model, data, train)
    with _sole_run(results, workers):
        return _train(mode, model, data, train, source, workers, results)


@contextlib.contextmanager
def _sole_run(results: Path, workers: Workers) -> Iterator[None]:
    """Hold the results folder for this job: two at once would write over each other's checkpoints.

    Raises:
        Failure: on all workers, if another job holds it, or it cannot be written to.
    """
    problem = None
    with contextlib.ExitStack() as stack:
        if workers.is_chief:
            try:
                results.mkdir(parents=True, exist_ok=True)
                stack.enter_context(sole_writer(results))
            except FolderBusy as error:
                problem = str(error)
            except OSError as error:
                problem = f"{results}: cannot be written to: {error.strerror}"
        if not workers.is_elastic:  # there, newcomers join later
            problem = workers.broadcast(problem)
        if problem:
            raise cli.Failure(problem)
        yield


def _train(
    mode: str, model: ModelConfig, data: DataConfig, train: TrainConfig, source: Any, workers: Workers, results: Path
) -> int:
    from runtime.training.loop import Trainer, TrainingError, TrainJob

    values = flags.FLAGS
    if values.overwrite and workers.is_chief:
        _clear(results)
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


def kept() -> str:
    """What is left of a run that was stopped outside its loop, where there is no checkpoint to write."""
    folder = Path(flags.FLAGS.output) / "checkpoints"
    return f"Checkpoints are kept in {folder}: the same command goes on from there." if folder.is_dir() else ""


def _clear(results: Path) -> None:
    """Delete what a run writes, and nothing else that may lie in the folder."""
    for name in ("checkpoints", "logs", "plots"):
        shutil.rmtree(results / name, ignore_errors=True)
    for name in ("train.jsonl", *(f"evaluation.{kind}" for kind in ("json", "csv", "md", "html")), "frame_scores.csv"):
        (results / name).unlink(missing_ok=True)


def _source(model: ModelConfig, data: DataConfig, train: TrainConfig) -> Any:
    from unet_industrial.dataset import RecordSource, find_files

    values = flags.FLAGS
    if values.face_bank or values.record_sources:
        return PairSource(pair_config(model, train))
    return RecordSource(find_files(values.data_dir, values.train_split), model, data, train.seed)


def _steps(source: Any, train: TrainConfig, workers: Workers) -> int:
    if flags.FLAGS.iter_unit == "batch":
        return train.total_steps
    return flags.FLAGS.num_iter * max(
        1, source.epoch_examples() // (train.batch_size * train.accumulate * workers.size)
    )


def _validated_on() -> dict[str, list[str]]:
    """{name: record files} of --eval_sources, else of those --record_sources that have the split to measure on."""
    from unet_industrial.dataset import find_files

    values = flags.FLAGS
    if values.eval_sources:
        return {name: find_files(folder, values.eval_split) for name, folder in cli.folders("eval_sources").items()}
    found = {}
    for name, folder in cli.folders("record_sources").items():
        try:
            found[name] = find_files(folder, values.eval_split)
        except RecordFileError:
            continue  # trained on whole
    return found


def _eval_files(model: ModelConfig, train: TrainConfig, workers: Workers) -> dict[str, list[str]]:
    """Records to validate on, by name: see `_validated_on`; else those of --data_dir; else pairs made of people held
    out."""
    from unet_industrial.dataset import find_files

    values = flags.FLAGS
    named = _validated_on()
    if named:
        return named
    if values.data_dir is None and values.face_bank:
        folder = Path(values.output) / "validation"
        if workers.is_chief:
            write_validation(pair_config(model, train), folder, values.eval_pairs)
        workers.broadcast(None)  # the others wait for the file
        return {"": [str(write_validation(pair_config(model, train), folder, values.eval_pairs))]}
    return {"": find_files(values.data_dir, values.eval_split)}


def _validation(model: ModelConfig, data: DataConfig, train: TrainConfig, workers: Workers) -> Any:
    """See `loop.Validation`. One set of records is judged by its frame AUC (by its Dice where there are no reals),
    named ones by the mean of AUC and pairwise accuracy over all of them, each set counting the same."""
    from runtime.evaluation.measure import summary
    from runtime.evaluation.recorder import Recorder, predictor, record

    sets = _eval_files(model, train, workers)
    model = as_evaluated(model)
    compiled: list[Any] = []  # the network is the same object every time, so it is compiled once

    def validate(network: Any) -> tuple[Optional[float], dict[str, Any]]:
        if not compiled:
            compiled.append(predictor(network, model))
        measured = {}
        for name, files in sets.items():
            recorder = Recorder(histograms=False, by_threshold=True)
            record(compiled[0], files, model, data, train.batch_size, workers, recorder)
            measured[name] = summary(recorder.detector())
            measured[name].pop("by_threshold")
        if "" in measured:
            numbers = measured[""]
            return numbers["dice_fake"] if numbers["frame_auc"] is None else numbers["frame_auc"], numbers
        scores = [numbers[key] for numbers in measured.values() for key in ("frame_auc", "paired")]
        defined = [score for score in scores if score is not None]
        return (sum(defined) / len(defined) if defined else None), measured

    return validate


def _evaluate_checkpoint(
    results: Path, given: ModelConfig, data: DataConfig, train: TrainConfig, workers: Workers
) -> int:
    """Evaluate the best checkpoint of a run on the validation split, and write the numbers beside it."""
    from runtime.evaluation import measure, report
    from runtime.evaluation.recorder import Recorders, predictor, record
    from runtime.model.export import load_network

    network, model, state, folder = load_network(results)
    files = [name for part in _eval_files(given, train, workers).values() for name in part]
    model = as_evaluated(model)
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
