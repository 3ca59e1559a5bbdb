"""`export`: the best checkpoint of a run → a SavedModel that takes uint8 crops."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mask_generation import cli
from runtime.training.checkpoint import CheckpointError
from unet_industrial.config import FACE_MARGIN

USER_ERRORS = (CheckpointError,)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Results folder of a run (its best checkpoint), or one checkpoint.")
    flags.mark_flag_as_required("model")
    cli.define_output("Folder for the SavedModel.", "export_dir")
    cli.define_overwrite()
    flags.DEFINE_string("onnx", None, "Also write the model in ONNX to this file, checked in ONNX Runtime.")
    flags.DEFINE_integer("input_size", None, "Side of the crops in pixels. [default: as trained]", lower_bound=16)
    flags.DEFINE_float(
        "face_margin",
        None,
        "Side of the crop over that of the face box, where the run does not know how its records were made. "
        f"[default: as the run's records, else {FACE_MARGIN}]",
        lower_bound=1.0,
    )


def main(arguments: Sequence[str]) -> int:
    del arguments
    from runtime.model import export, saved_model
    from unet_industrial.config import ConfigError

    values = flags.FLAGS
    network, model, state, folder = export.load_network(Path(values.model))
    try:
        if values.input_size:
            model = dataclasses.replace(model, input_size=values.input_size)
    except ConfigError as error:
        raise cli.UsageError(str(error)) from error
    about = {
        "training": {name: state.config[name] for name in ("data", "train", "source")},
        "step": state.step,
        "face_margin": values.face_margin or state.config.get("face_margin") or FACE_MARGIN,
    }
    try:
        metadata = export.export(network, model, Path(values.output), about, values.overwrite)
    except export.ExportError as error:
        raise cli.Failure(str(error)) from error
    try:
        saved_model.pin(values.output)
    except OSError as error:  # a home that cannot be written to: `score` then wants --trust_model
        print(f"{saved_model.pin_file()}: {error.strerror}; the model is not remembered as trusted", file=sys.stderr)
    print(
        f"{folder} → {values.output}: crops of {metadata['input_size']} px, "
        f"differs from the live model by at most {metadata['export_error']:.1e}"
    )
    if values.onnx:
        from runtime.model.onnx import OnnxError, export_onnx

        try:
            difference = export_onnx(saved_model.load_model(values.output, trust=True), values.onnx)
        except OnnxError as problem:
            raise cli.Failure(str(problem)) from problem
        print(f"{values.onnx}: in ONNX Runtime it differs by at most {difference:.1e}")
    return cli.OK
