"""Named settings of `train`: what each `--preset` sets unless a flag is given, and nothing else sets.

`reference`: the defaults, which are those of NVIDIA's scripts. `ffpp`: ours, on records of real and fake pairs.
`sbi`: ours, on manipulations made on the fly from a face bank. `pairs`: ours, on records of real pairs and the
synthesis together, all compressed while training. `shipped`: `sbi` as the weights in
`runtime/model/weights` were trained at last.

`shipped` is the part of those weights' making that one command can repeat. It does not hold:

* the weights that the run began with (`--init_from`): half a million images of earlier runs, each on another synthesis
  (docs/model.md, "What was tried"). From noise, compression has to rise with difficulty (`--ramp_images=40000`) or
  nothing is learned, and `--preset=sbi` first and `shipped` from its result is the way that is left;
* the face bank and the shares of its sources, which name folders of their maker's;
* the precision (bf16, which is slow on a CPU without AMX);
* which of its checkpoints was taken: step 3250 of 9000, by pairs of FaceForensics++ that are no part of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

from unet_industrial.config import Config, DataConfig, ModelConfig, TrainConfig

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings that differ from their defaults, by the configuration they belong to.

    Attributes:
        pairs: of `PairConfig`; None where the examples come from records as they are.
    """

    model: Values = dataclasses.field(default_factory=dict)
    data: Values = dataclasses.field(default_factory=dict)
    train: Values = dataclasses.field(default_factory=dict)
    pairs: Optional[Values] = None

    def of(self, config: type[Config]) -> Values:
        return {ModelConfig: self.model, DataConfig: self.data, TrainConfig: self.train}[config]


_LEARNING = {
    "batch_size": 8,
    "loss": "x-entropy",
    "dice_loss_weight": 0.5,
    "image_loss_weight": 0.3,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "clip_norm": 1.0,
    "weight_decay": 0.0,
}
_OWN_AUGMENTATION = {"augment": False}  # the synthesis draws its own

PRESETS = {
    "reference": Preset(),
    "ffpp": Preset(model={"features": "rgb+srm"}, train=_LEARNING),
    "sbi": Preset(
        model={"features": "rgb+srm", "input_size": 128},
        data=_OWN_AUGMENTATION,
        train=_LEARNING,
        pairs={},
    ),
    "pairs": Preset(
        model={"features": "local+srm", "input_size": 128},
        data=_OWN_AUGMENTATION,
        train={
            **_LEARNING,
            "batch_size": 16,
            "pair_loss_weight": 0.3,
            "warmup_steps": 100,
            "ema_decay": 0.998,
        },
        pairs={
            "mix": {
                "soft": 1.0,
                "hardness": 0.7,
                "relight": 0.3,
                "reshape": 0.4,
                "recorded": 0.4,
                "cover": 0.1,
                "alike": 0.85,
                "video": 0.3,
                "least_margin": 0.8,
            }
        },
    ),
    "shipped": Preset(
        model={"features": "local+srm", "input_size": 128},
        data=_OWN_AUGMENTATION,
        train={
            **_LEARNING,
            "batch_size": 16,
            "pair_loss_weight": 0.3,
            "learning_rate": 7e-4,
            "warmup_steps": 50,
            "total_steps": 9000,
            "seed": 21,
            "checkpoint_every": 250,
            "keep_checkpoints": 3,
        },
        pairs={
            "ramp_images": 0,
            "mix": {
                "video": 0.9,
                "soft": 1.0,
                "softened": 0.0,
                "hardness": 0.5,
                "recorded": 0.4,
                "cover": 0.1,
                "alike": 0.85,
                "relight": 0.4,
                "reshape": 0.4,
            },
        },
    ),
}
# What `--reference_mode` sets beside any preset: the reference's own choices where our defaults differ.
REFERENCE_MODE = Preset(
    model={"weight_init": "he_normal"},
    data={"drop_clean": True, "reference_mode": True},
    train={"loss_scope": "worker"},
)
