"""Command-line flags of model, data and training → configurations. Names are the reference's where the idea is.

Defaults come from `unet_industrial.config`; a flag that is not given leaves its setting alone, which is how a
resumed run keeps the settings of its checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Optional

from absl import flags

from unet_industrial import config as settings
from unet_industrial.config import Config, DataConfig, ModelConfig, TrainConfig

_LAYOUTS = {"NHWC": "channels_last", "NCHW": "channels_first"}


@dataclasses.dataclass(frozen=True)
class _Flag:
    """One flag and the setting it stands for; `choices` makes it an enumeration, its keys what the user writes."""

    name: str
    kind: type[Config]
    setting: str
    help: str
    choices: Optional[Iterable[str]] = None

    @property
    def default(self) -> Any:
        return next(field.default for field in dataclasses.fields(self.kind) if field.name == self.setting)


MODEL = (
    _Flag("unet_variant", ModelConfig, "variant", "Size of the network.", settings.VARIANTS),
    _Flag("in_channels", ModelConfig, "in_channels", "1: grey crops, 3: colour.", ("1", "3")),
    _Flag("activation_fn", ModelConfig, "activation", "Activation after every convolution.", settings.ACTIVATIONS),
    _Flag("weight_init_method", ModelConfig, "weight_init", "Initial weights.", settings.WEIGHT_INITS),
    _Flag("data_format", ModelConfig, "data_format", "Layout the network computes in.", tuple(_LAYOUTS)),
    _Flag("features", ModelConfig, "features", "Colours, or colours and fixed residuals.", settings.FEATURES),
    _Flag("input_size", ModelConfig, "input_size", "Side of the crops in pixels, a multiple of 16."),
)
DATA = (
    _Flag("drop_clean", DataConfig, "drop_clean", "Train on manipulated images only, as the reference does."),
    _Flag("augment_data", DataConfig, "augment", "Augment while training."),
    _Flag("augmentations", DataConfig, "augmentations", f"Which, in order; of {', '.join(settings.AUGMENTATIONS)}."),
    _Flag("reader_threads", DataConfig, "reader_threads", "Examples decoded in parallel; 0: automatic."),
    _Flag("prefetch_batches", DataConfig, "prefetch_batches", "Batches kept ready; 0: automatic."),
)
TRAIN = (
    _Flag("batch_size", TrainConfig, "batch_size", "Images per worker and step."),
    _Flag("loss_fn_name", TrainConfig, "loss", "Loss of the mask.", settings.LOSSES),
    _Flag(
        "loss_scope",
        TrainConfig,
        "loss_scope",
        "Loss over the global batch, or each worker's own.",
        settings.LOSS_SCOPES,
    ),
    _Flag("image_loss_weight", TrainConfig, "image_loss_weight", "Weight of the image-level term; 0: none."),
    _Flag("pair_loss_weight", TrainConfig, "pair_loss_weight", "Weight of fakes outscoring their originals; 0: none."),
    _Flag("dice_loss_weight", TrainConfig, "dice_loss_weight", "Weight of an added Dice term; 0: none."),
    _Flag("optimizer", TrainConfig, "optimizer", "rmsprop is the reference's.", settings.OPTIMIZERS),
    _Flag("learning_rate", TrainConfig, "learning_rate", "Initial learning rate."),
    _Flag("learning_rate_schedule", TrainConfig, "schedule", "How it falls.", settings.SCHEDULES),
    _Flag("learning_rate_decay_factor", TrainConfig, "learning_rate_decay_factor", "Factor of the staircase."),
    _Flag("learning_rate_decay_steps", TrainConfig, "learning_rate_decay_steps", "Steps between two stairs."),
    _Flag("learning_rate_warmup_steps", TrainConfig, "warmup_steps", "Steps of linear rise from 0; 0: none."),
    _Flag("learning_rate_scaling", TrainConfig, "scale_lr", "Multiply the learning rate by the number of workers."),
    _Flag("rmsprop_decay", TrainConfig, "rmsprop_decay", "RMSProp's decay of squared gradients."),
    _Flag("rmsprop_momentum", TrainConfig, "rmsprop_momentum", "RMSProp's momentum."),
    _Flag("rmsprop_epsilon", TrainConfig, "rmsprop_epsilon", "RMSProp's epsilon."),
    _Flag("weight_decay", TrainConfig, "weight_decay", "Factor of the L2 term in the loss."),
    _Flag("clip_norm", TrainConfig, "clip_norm", "Largest global gradient norm; 0: no clipping."),
    _Flag("accumulate", TrainConfig, "accumulate", "Micro-batches averaged into one update."),
    _Flag("use_auto_loss_scaling", TrainConfig, "dynamic_loss_scale", "With --amp: adapt the loss scale."),
    _Flag("xla", TrainConfig, "xla", "Compile the step with XLA."),
    _Flag("tf32", TrainConfig, "tf32", "Let Ampere and later GPUs multiply in TF32."),
    _Flag("deterministic", TrainConfig, "deterministic", "Bit-for-bit repeatable kernels; default: on a CPU only."),
    _Flag("fp16_allreduce", TrainConfig, "fp16_allreduce", "Send gradients in half precision."),
    _Flag("seed", TrainConfig, "seed", "Seed of weights, order and augmentations."),
    _Flag("display_every", TrainConfig, "display_every", "Steps between two rows of the log."),
    _Flag("eval_every", TrainConfig, "eval_every", "Steps between validations; 0: only at the end."),
    _Flag("checkpoint_every", TrainConfig, "checkpoint_every", "Steps between checkpoints; 0: only at the end."),
    _Flag("keep_checkpoints", TrainConfig, "keep_checkpoints", "Newest checkpoints kept, beside the best one."),
    _Flag("commit_every", TrainConfig, "commit_every", "Elastic jobs: steps between copies survivors go on from."),
)
REFERENCE_SETTINGS: dict[type[Config], dict[str, Any]] = {
    ModelConfig: {"weight_init": "he_normal"},
    DataConfig: {"drop_clean": True, "reference_mode": True},
    TrainConfig: {"loss_scope": "worker"},
}


def define(table: Iterable[_Flag]) -> None:
    """Define absl flags for a table. None stands for "not given"; the help text shows the real default."""
    for flag in table:
        text = f"{flag.help} [default: {shown(flag)}]"
        if flag.choices is not None:
            flags.DEFINE_enum(flag.name, None, list(flag.choices), text)
        elif flag.setting == "augmentations":
            flags.DEFINE_list(flag.name, None, text)
        elif isinstance(flag.default, bool) or flag.setting == "deterministic":
            flags.DEFINE_boolean(flag.name, None, text)
        elif isinstance(flag.default, int):
            flags.DEFINE_integer(flag.name, None, text)
        else:
            flags.DEFINE_float(flag.name, None, text)


def shown(flag: _Flag) -> str:
    """The default as the user would write it."""
    if flag.setting == "data_format":
        return next(name for name, layout in _LAYOUTS.items() if layout == flag.default)
    return ",".join(flag.default) if isinstance(flag.default, tuple) else str(flag.default)


def define_amp() -> None:
    flags.DEFINE_boolean("amp", None, "Mixed precision with float32 weights. [default: off]")
    flags.DEFINE_enum("amp_type", None, ["fp16", "bf16"], "Half precision used by --amp. [default: fp16]")


def define_reference_mode() -> None:
    flags.DEFINE_boolean(
        "reference_mode", False, "Reproduce the reference's own choices where ours differ (see the README's table)."
    )


def given(table: Iterable[_Flag]) -> dict[type[Config], dict[str, Any]]:
    """The settings the user gave on the command line, by configuration."""
    found: dict[type[Config], dict[str, Any]] = {ModelConfig: {}, DataConfig: {}, TrainConfig: {}}
    for flag in table:
        value = flags.FLAGS[flag.name].value
        if value is None:
            continue
        if flag.setting == "data_format":
            value = _LAYOUTS[value]
        elif flag.setting == "in_channels":
            value = int(value)
        elif isinstance(value, list):
            value = tuple(value)
        found[flag.kind][flag.setting] = value
    return found


def given_amp() -> dict[str, Any]:
    """{"amp": …} if the user said anything about precision."""
    amp, kind = flags.FLAGS.amp, flags.FLAGS.amp_type
    if amp is None and kind is None:
        return {}
    return {"amp": "none" if amp is False else (kind or "fp16")}
