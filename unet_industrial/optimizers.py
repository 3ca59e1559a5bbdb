"""What Keras does not have: TF1's centered RMSProp, and a warm-up of the learning rate.

`CenteredRMSProp` is `tf.train.RMSPropOptimizer(centered=True)`, slot for slot. Keras' own RMSprop is not equivalent:
its mean square starts at zero rather than one, so its first steps are about 3*lr*sign(gradient) where the reference
takes about lr*gradient; and its epsilon is 1e-7 rather than 1e-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("unet_industrial")
class CenteredRMSProp(tf.keras.optimizers.Optimizer):
    """For each variable w with gradient g, in this order:

    rms = rho*rms + (1-rho)*g^2;  mg = rho*mg + (1-rho)*g;
    mom = momentum*mom + learning_rate*g / sqrt(rms - mg^2 + epsilon);  w = w - mom

    The slots rms (from ones), mg and mom (from zeros) are optimizer variables, so checkpoints hold them.

    Args:
        learning_rate: a float or a `LearningRateSchedule`; the reference's default is 1e-4.
        rho: decay of the two averages.
        momentum: 0 for none.
        epsilon: inside the root, as in TF1.
    """

    def __init__(
        self,
        learning_rate: Union[float, tf.keras.optimizers.schedules.LearningRateSchedule] = 1e-4,
        rho: float = 0.9,
        momentum: float = 0.8,
        epsilon: float = 1e-10,
        name: str = "CenteredRMSProp",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Make the slots of every variable; a second call does nothing."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._rms, self._mean_gradient, self._momentum = [], [], []
        for variable in var_list:
            ones = tf.ones(variable.shape, variable.dtype)
            self._rms.append(self.add_variable_from_reference(variable, "rms", initial_value=ones))
            self._mean_gradient.append(self.add_variable_from_reference(variable, "mg"))
            self._momentum.append(self.add_variable_from_reference(variable, "momentum"))

    def update_step(self, gradient: Union[tf.Tensor, tf.IndexedSlices], variable: tf.Variable) -> None:
        """Apply one gradient to one variable."""
        index = self._index_dict[self._var_key(variable)]
        dtype = variable.dtype
        tf.raw_ops.ResourceApplyCenteredRMSProp(  # the reference's own kernel: the same rounding, one pass over memory
            var=variable.handle,
            mg=self._mean_gradient[index].handle,
            ms=self._rms[index].handle,
            mom=self._momentum[index].handle,
            lr=tf.cast(self.learning_rate, dtype),
            rho=tf.cast(self.rho, dtype),
            momentum=tf.cast(self.momentum, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.convert_to_tensor(gradient),
            use_locking=False,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


@tf.keras.utils.register_keras_serializable("unet_industrial")
class WarmUp(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise over the first `warmup_steps` updates, times the value of `schedule`; then `schedule` alone.

    A schedule is a function of the number of finished updates. Update number n (0-based) has (n + 1) / warmup_steps of
    the rate, so the first does something.
    """

    def __init__(
        self, schedule: Union[float, tf.keras.optimizers.schedules.LearningRateSchedule], warmup_steps: int
    ) -> None:
        super().__init__()
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps={warmup_steps!r}: must not be negative")
        self.schedule, self.warmup_steps = schedule, warmup_steps

    def __call__(self, step: Union[int, tf.Tensor]) -> tf.Tensor:
        rate = self.schedule(step) if callable(self.schedule) else tf.constant(self.schedule, tf.float32)
        if not self.warmup_steps:
            return rate
        return rate * tf.minimum((tf.cast(step, tf.float32) + 1.0) / self.warmup_steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        schedule = self.schedule
        if isinstance(schedule, tf.keras.optimizers.schedules.LearningRateSchedule):
            schedule = tf.keras.optimizers.schedules.serialize(schedule)
        return {"schedule": schedule, "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = tf.keras.optimizers.schedules.deserialize(schedule)
        return cls(schedule, config["warmup_steps"])
