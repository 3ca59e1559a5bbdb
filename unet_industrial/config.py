"""Every setting of model, data and training: one home and one default each, checked when made, JSON both ways.

Command-line flags read their defaults and allowed values from here (`mask_generation.cli.define`); the resolved
configuration is saved beside every checkpoint and export. Constants that masks, training, export and scoring must
agree on live here too. Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Optional, TypeVar

from unet_industrial.setting import setting

# The reference's choices (NVIDIA UNet_Industrial, main.py and utils/cmdline_helper.py) under the reference's names.
VARIANTS = ("tinyUNet", "original")
ACTIVATIONS = ("relu", "leaky_relu", "prelu_shared", "prelu_not_shared", "selu", "crelu", "elu")
WEIGHT_INITS = ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "orthogonal")
LAYOUTS = {"NHWC": "channels_last", "NCHW": "channels_first"}  # as the user and as Keras write them
DATA_FORMATS = tuple(LAYOUTS.values())
LOSSES = ("x-entropy", "l2_loss", "dice_sorensen", "dice_jaccard", "adaptive_loss")
# Ours.
FEATURES = ("rgb", "rgb+srm", "local+srm")
OPTIMIZERS = ("rmsprop", "adam")
SCHEDULES = ("staircase", "cosine", "constant")
PRECISIONS = ("none", "fp16", "bf16")
LOSS_SCOPES = ("global", "worker")
AUGMENTATIONS = ("flip", "rot90", "rotate", "photometric", "downscale", "jpeg", "blur", "noise", "cutout")

# What masks, training, export and scoring agree on.
FACE_MARGIN = 1.3  # side of the square crop over the longer side of the face's box
TOP_SHARE = 0.03  # an image's score is the mean of this share of its pixels, the highest
# A pixel counts as fake where its value is strictly above these (strictly, as the reference compares).
FAKE_ABOVE = 0.5  # probabilities
FAKE_ABOVE_UINT8 = int(FAKE_ABOVE * 255)  # masks of 0..255: 127

STRIDE = 16  # four poolings: a height or width that is no multiple of it cannot meet its skip connection

ConfigT = TypeVar("ConfigT", bound="Config")


class ConfigError(ValueError):
    """A setting has an impossible value; the message names it and says what is allowed."""


def _choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r}: allowed are {', '.join(map(str, allowed))}")


def _within(name: str, value: Any, low: float, high: float = math.inf, open_low: bool = False) -> None:
    inside = (low < value if open_low else low <= value) and value <= high
    if not inside or not math.isfinite(value):
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        raise ConfigError(f"{name}={value!r}: must be {bound}" + (f" and at most {high:g}" if high < math.inf else ""))


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of the three configurations: JSON both ways, unknown keys refused, types checked."""

    def __post_init__(self) -> None:
        kinds = {"int": int, "float": (int, float), "bool": bool, "str": str}
        for field in dataclasses.fields(self):
            value, declared = getattr(self, field.name), str(field.type)
            if declared.lower().startswith("tuple"):
                if not isinstance(value, tuple):
                    raise ConfigError(f"{field.name}={value!r}: must be a list of names")
                continue
            if declared.startswith("Optional["):
                if value is None:
                    continue
                declared = declared[len("Optional[") : -1]
            kind = kinds[declared]
            if not isinstance(value, kind) or (isinstance(value, bool) and declared != "bool"):  # type: ignore[arg-type]
                raise ConfigError(f"{field.name}={value!r}: must be of type {declared}")
        self._check()

    def _check(self) -> None:
        """Raise ConfigError where a value, or a combination of values, is impossible."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, tuples as lists: what JSON holds."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[ConfigT], values: dict[str, Any]) -> ConfigT:
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """The network and what it is fed.

    Attributes:
        in_channels: colour channels of the crop, 1 (grey) or 3 (RGB).
        features: "rgb"; "rgb+srm": three fixed high-pass residual channels beside the colours; "local+srm": beside
            what each colour differs by from its surroundings, so that the network sees seams but not the light.
        input_size: side of the square crop in pixels, a multiple of 16; one that differs from the records' crops
            resizes them.
        data_format: layout the network computes in; inputs and outputs are NHWC in either case.
    """

    variant: str = setting("tinyUNet", "Size of the network.", flag="unet_variant", choices=VARIANTS)
    in_channels: int = setting(3, "1: grey crops, 3: colour.", choices=(1, 3))
    activation: str = setting("relu", "Activation after every convolution.", flag="activation_fn", choices=ACTIVATIONS)
    weight_init: str = setting(
        "he_uniform",  # what every script of the reference passes; its flag's own default is he_normal
        "Initial weights.",
        flag="weight_init_method",
        choices=WEIGHT_INITS,
    )
    data_format: str = setting(
        "channels_last",  # the reference's NCHW has no convolution on a CPU without oneDNN
        "Layout the network computes in.",
        choices=LAYOUTS,
    )
    features: str = setting(
        "rgb",
        "rgb: the colours; rgb+srm: and three high-pass channels (SRM filters); local+srm: local contrast and those.",
        choices=FEATURES,
    )
    input_size: int = setting(256, "Side of the crops in pixels, a multiple of 16.")

    def _check(self) -> None:
        _choice("variant", self.variant, VARIANTS)
        _choice("in_channels", self.in_channels, (1, 3))
        _choice("activation", self.activation, ACTIVATIONS)
        _choice("weight_init", self.weight_init, WEIGHT_INITS)
        _choice("data_format", self.data_format, DATA_FORMATS)
        _choice("features", self.features, FEATURES)
        if self.input_size < STRIDE or self.input_size % STRIDE:
            raise ConfigError(f"input_size={self.input_size}: must be a positive multiple of {STRIDE}")
        if self.features != "rgb" and self.in_channels != 3:
            raise ConfigError(f"features={self.features!r} needs in_channels=3")

    @property
    def network_channels(self) -> int:
        """Channels the network itself sees: colours and residuals."""
        return self.in_channels + (0 if self.features == "rgb" else 3)


@dataclasses.dataclass(frozen=True)
class DataConfig(Config):
    """Records to batches.

    Attributes:
        drop_clean: leave out real (untouched) images, as the reference does when training. Off: half of each batch
            is real, next to a fake of the same face and frame.
        augmentations: which, in the order they are applied (see `augment.py`).
        reference_mode: the reference's own augmentation and resizing, quirks included (`reference_mode.py`).
        reader_threads: examples read and decoded in parallel; 0 lets tf.data choose.
        prefetch_batches: batches kept ready; 0 lets tf.data choose.
    """

    drop_clean: bool = setting(False, "Train on manipulated images only, as the reference does.")
    augment: bool = setting(True, "Augment while training.", flag="augment_data")
    augmentations: tuple[str, ...] = setting(
        ("flip", "photometric", "downscale", "blur", "noise", "jpeg"),
        f"Which augmentations, in order; of {', '.join(AUGMENTATIONS)}.",
    )
    reference_mode: bool = False
    reader_threads: int = setting(0, "Examples decoded in parallel; 0: automatic.")
    prefetch_batches: int = setting(4, "Batches kept ready; 0: automatic.")

    def _check(self) -> None:
        for name in self.augmentations:
            _choice("augmentations", name, AUGMENTATIONS)
        if len(set(self.augmentations)) != len(self.augmentations):
            raise ConfigError(f"augmentations={','.join(self.augmentations)}: each at most once")
        _within("reader_threads", self.reader_threads, 0)
        _within("prefetch_batches", self.prefetch_batches, 0)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """Loss, optimizer and how the steps are run. Batch sizes are per worker, as the reference counts them.

    Attributes:
        loss_scope: "global" computes the loss of the whole global batch, so that N workers equal one with the same
            global batch; "worker" computes it on each worker's own batch, as the reference does (its Dice is a ratio
            of sums, so the two differ).
        image_loss_weight: weight of the image-level term: cross-entropy of the label against the mean of the
            highest 3 % of a crop's logits; 0 leaves it out.
        pair_loss_weight: weight of the pairwise term: fakes must outscore their own original where both are in one
            worker's batch (`losses.pair_ranking_sums`); 0 leaves it out.
        dice_loss_weight: weight of a Dice term over fake crops, added to `loss`; 0 leaves it out.
        total_steps: length of the cosine schedule, in steps; the loop sets it to the run's length.
        warmup_steps: steps over which the learning rate rises linearly from 0; 0: none, as in the reference.
        scale_lr: multiply the learning rate by the number of workers (the reference does not).
        ema_decay: what is evaluated, kept and exported is an exponential moving average of the weights with this decay
            per update (Polyak and Juditsky 1992), lower over the first updates as in TensorFlow's
            ExponentialMovingAverage; 0: the weights themselves.
        accumulate: micro-batches of `batch_size` whose gradients are averaged into one update.
        amp: half precision of the arithmetic, "fp16", "bf16", or "none"; weights stay float32.
        dynamic_loss_scale: with fp16, double the loss scale after 2000 good steps and halve it when gradients
            overflow (Keras' rule); off: fixed at 32768.
        deterministic: ask TensorFlow for bit-for-bit repeatable kernels. None: on a CPU yes, on a GPU no.
    """

    batch_size: int = setting(8, "Crops in one pass of the network, on each worker.")
    loss: str = setting("adaptive_loss", "Loss of the mask.", flag="loss_fn_name", choices=LOSSES)
    loss_scope: str = setting("global", "Loss over the global batch, or each worker's own.", choices=LOSS_SCOPES)
    image_loss_weight: float = setting(0.0, "Weight of the image-level term; 0: none.")
    pair_loss_weight: float = setting(0.0, "Weight of fakes outscoring their originals; 0: none.")
    dice_loss_weight: float = setting(0.0, "Weight of an added Dice term; 0: none.")
    optimizer: str = setting("rmsprop", "rmsprop is the reference's.", choices=OPTIMIZERS)
    learning_rate: float = setting(1e-4, "Initial learning rate.")
    schedule: str = setting(
        "staircase", "How the learning rate falls.", flag="learning_rate_schedule", choices=SCHEDULES
    )
    learning_rate_decay_factor: float = setting(0.8, "Factor of the staircase.")
    learning_rate_decay_steps: int = setting(500, "Steps between two stairs.")
    total_steps: int = setting(2500, "Length of the whole run, in --iter_unit.", flag="num_iter", low=1)
    warmup_steps: int = setting(0, "Steps of linear rise from 0; 0: none.", flag="learning_rate_warmup_steps")
    scale_lr: bool = setting(
        False, "Multiply the learning rate by the number of workers.", flag="learning_rate_scaling"
    )
    rmsprop_decay: float = setting(0.9, "RMSProp's decay of squared gradients.")
    rmsprop_momentum: float = setting(0.8, "RMSProp's momentum.")
    rmsprop_epsilon: float = setting(1e-10, "RMSProp's epsilon.")
    weight_decay: float = setting(1e-5, "Factor of the L2 term in the loss.")
    clip_norm: float = setting(0.0, "Largest global gradient norm; 0: no clipping.")
    ema_decay: float = setting(0.0, "Decay of the moving average of weights that is evaluated and kept; 0: none.")
    accumulate: int = setting(1, "Micro-batches averaged into one update.")
    amp: str = "none"
    dynamic_loss_scale: bool = setting(True, "With --amp: adapt the loss scale.", flag="use_auto_loss_scaling")
    xla: bool = setting(False, "Compile the step with XLA.")
    tf32: bool = setting(True, "Let Ampere and later GPUs multiply in TF32.")
    deterministic: Optional[bool] = setting(None, "Bit-for-bit repeatable kernels.", shown="on a CPU only")
    fp16_allreduce: bool = setting(False, "Send gradients in half precision.")
    seed: int = setting(0, "Seed of everything that is drawn at random.", low=0)
    display_every: int = setting(50, "Steps between two rows of the log.")
    eval_every: int = setting(0, "Steps between validations; 0: only at the end.")
    checkpoint_every: int = setting(500, "Steps between checkpoints; 0: only at the end.")
    keep_checkpoints: int = setting(5, "Newest checkpoints kept, beside the best one.")
    commit_every: int = setting(20, "Elastic jobs: steps between copies survivors go on from.")

    def _check(self) -> None:
        _choice("loss", self.loss, LOSSES)
        _choice("loss_scope", self.loss_scope, LOSS_SCOPES)
        _choice("optimizer", self.optimizer, OPTIMIZERS)
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("amp", self.amp, PRECISIONS)
        for name in (
            "batch_size",
            "learning_rate_decay_steps",
            "total_steps",
            "accumulate",
            "display_every",
            "commit_every",
        ):
            _within(name, getattr(self, name), 1)
        _within("keep_checkpoints", self.keep_checkpoints, 1)
        for name in ("warmup_steps", "seed", "eval_every", "checkpoint_every"):
            _within(name, getattr(self, name), 0)
        _within("learning_rate", self.learning_rate, 0, open_low=True)
        _within("rmsprop_epsilon", self.rmsprop_epsilon, 0, open_low=True)
        _within("learning_rate_decay_factor", self.learning_rate_decay_factor, 0, 1, open_low=True)
        _within("rmsprop_decay", self.rmsprop_decay, 0, 1)
        _within("rmsprop_momentum", self.rmsprop_momentum, 0, 1)
        _within("ema_decay", self.ema_decay, 0, 1)
        for name in ("weight_decay", "clip_norm", "image_loss_weight", "pair_loss_weight", "dice_loss_weight"):
            _within(name, getattr(self, name), 0)
