"""One training step: forward, loss, scaled gradients, update. Knows workers only as functions that sum and average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import tensorflow as tf

from unet_industrial import losses, metrics, optimizers
from unet_industrial.config import ModelConfig, TrainConfig
from unet_industrial.unet import build_unet

FIXED_LOSS_SCALE = 2.0**15

Batch = dict[str, tf.Tensor]
Reduce = Callable[[tf.Tensor], tf.Tensor]
Average = Callable[[Sequence[Any]], list[Any]]


def network_input(images: tf.Tensor, config: ModelConfig) -> tf.Tensor:
    """Crops (B,H,W,in_channels) in [-1,1] → what the network sees: (B,H,W,network_channels)."""
    if config.features == "rgb":
        return images
    from unet_industrial.srm import add_residuals, local_contrast

    return add_residuals(images, local_contrast(images) if config.features == "local+srm" else None)


def frame_score(probability: tf.Tensor) -> tf.Tensor:
    """(B,H,W,1) mask probabilities → (B,) mean of the highest 3 % of each crop's pixels: the default frame score."""
    return losses.image_logits(probability)


def mean_dice(probability: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """(T,) the batch's `metrics.dice_at_thresholds`, in the graph, so that a GPU need not hand the maps over."""
    found = []
    for threshold in metrics.THRESHOLDS:
        marked, target = probability > threshold, mask > threshold
        both, either = (
            tf.reduce_sum(tf.cast(part, tf.float32), axis=(1, 2, 3)) for part in (marked & target, marked | target)
        )
        found.append(tf.reduce_mean((2 * both + metrics.EPSILON) / (both + either + metrics.EPSILON)))
    return tf.stack(found)


def make_network(config: ModelConfig) -> Any:
    """The Keras model of a configuration: (B,H,W,network_channels) → logits (B,H,W,1)."""
    return build_unet(
        config.variant, config.network_channels, config.activation, config.weight_init, config.data_format
    )


def make_schedule(config: TrainConfig, workers: int) -> Any:
    """Learning rate over finished updates, scaled and warmed up as configured."""
    peak = config.learning_rate * (workers if config.scale_lr else 1)
    if config.schedule == "staircase":
        steps, factor = config.learning_rate_decay_steps, config.learning_rate_decay_factor
        rate: Any = tf.keras.optimizers.schedules.ExponentialDecay(peak, steps, factor, staircase=True)
    elif config.schedule == "cosine":
        rate = tf.keras.optimizers.schedules.CosineDecay(peak, config.total_steps)
    else:
        rate = peak
    return optimizers.WarmUp(rate, config.warmup_steps) if config.warmup_steps else rate


def make_optimizer(config: TrainConfig, workers: int = 1) -> Any:
    """The optimizer of a run; wrapped for loss scaling where fp16 needs it."""
    rate = make_schedule(config, workers)
    if config.optimizer == "rmsprop":
        optimizer = optimizers.CenteredRMSProp(
            learning_rate=rate,
            rho=config.rmsprop_decay,
            momentum=config.rmsprop_momentum,
            epsilon=config.rmsprop_epsilon,
        )
    else:
        optimizer = tf.keras.optimizers.Adam(rate)
    if config.amp == "fp16":
        return tf.keras.mixed_precision.LossScaleOptimizer(
            optimizer,
            dynamic=config.dynamic_loss_scale,
            initial_scale=FIXED_LOSS_SCALE,
        )
    return optimizer


EMA_START = 10.0  # update t uses at most (1 + t) / (10 + t), so that the first weights are forgotten soon


class MovingAverage:
    """An exponential moving average of a network's weights, kept in another network of the same shape.

    average = d·average + (1 - d)·weights after each update, d = min(decay, (1 + t) / (10 + t)), as
    `tf.train.ExponentialMovingAverage(decay, num_updates=t)`.

    Args:
        network: whose weights are followed. average: takes the averages; begins with the same weights.
    """

    def __init__(self, network: Any, average: Any, decay: float) -> None:
        self._pairs = list(zip(average.variables, network.variables))
        self._decay = decay
        self.update = tf.function(self._update)

    def start(self) -> None:
        """Begin with the network's weights as they are."""
        for average, weights in self._pairs:
            average.assign(weights)

    def _update(self, updates: tf.Tensor) -> None:
        """
        Args:
            updates: finished updates of the network, integer scalar, this one included.
        """
        count = tf.cast(updates, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + count) / (EMA_START + count))
        for average, weights in self._pairs:
            average.assign_sub((1.0 - decay) * (average - weights))


class TrainStep:
    """Runs updates of a model on batches, alone or as one of several workers.

    With `loss_scope` "global" the sums that a loss is made of run over all workers' batches before the loss is taken
    of them, so that N workers do exactly what one worker with their joint batch does: Dice is a ratio of sums, and a
    mean of ratios is another number.

    Args:
        sum_over_workers: (tensor) → its sum over all workers; identity for one.
        average_over_workers: (gradients) → their means over all workers.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        model_config: ModelConfig,
        config: TrainConfig,
        workers: int = 1,
        sum_over_workers: Reduce = tf.identity,
        average_over_workers: Average = list,
    ) -> None:
        self._optimizer, self._model_config, self._config = optimizer, model_config, config
        self._workers = workers
        self._sum, self._average = sum_over_workers, average_over_workers
        self._variables = model.trainable_variables
        self._loss_scaling = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        optimizer.build(self._variables)  # slots must exist before a checkpoint can be restored into them
        # XLA compiles the network alone, forwards and backwards: Horovod's operations cannot be inside.
        self._forward = (
            tf.function(lambda images: model(images, training=True), jit_compile=True)
            if config.xla
            else (lambda images: model(images, training=True))
        )
        self.run = tf.function(self._run)

    def _run(self, batches: Sequence[Batch], stop: tf.Tensor, detailed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update from `accumulate` micro-batches.

        Args:
            batches: the micro-batches of this update, as `dataset.BatchSource` describes them.
            stop: float scalar, above 0 when this worker was asked to stop.
            detailed: bool scalar: work out `dice` too, which costs a few per cent of a step; else it is 0.
        Returns:
            Scalars, equal on all workers unless noted otherwise: `loss` (all terms), `mask_loss`, `image_loss`,
            `dice_loss`, `pair_loss`, `l2`, `gradient_norm`, `dice` (one value a threshold of `metrics.THRESHOLDS`),
            `finite` (bool: False means that nothing was updated and training cannot go on), `own_finite` (this worker's
            own images and logits; a ReLU may hide a NaN from the loss),
            `stop` (some worker was asked to stop), `loss_scale`.
        """
        parts = [self._gradients(batch, detailed) for batch in batches]
        gradients = [tf.add_n(of_one) / len(parts) for of_one in zip(*(part[0] for part in parts))]
        terms = tf.add_n([part[1] for part in parts]) / len(parts)
        dice = tf.add_n([part[2] for part in parts]) / len(parts)
        own_finite = tf.reduce_all(tf.math.is_finite([part[3] for part in parts]))
        averaged = self._average(self._unscaled(gradients))
        shared = self._sum(tf.concat([terms / self._workers, dice / self._workers, [tf.cast(stop, tf.float32)]], 0))
        mask_loss, image_loss, dice_loss, pair_loss = shared[0], shared[1], shared[2], shared[3]
        l2 = self._l2()
        loss = self._total(mask_loss, image_loss, dice_loss, pair_loss) + l2
        norm = tf.linalg.global_norm(averaged)
        finite = tf.math.is_finite(loss)
        if not self._loss_scaling:  # with loss scaling, gradients that overflow are skipped and lower the scale
            finite &= tf.math.is_finite(norm)
        tf.cond(finite, lambda: self._update(averaged, norm), lambda: tf.constant(False))
        return {
            "loss": loss,
            "mask_loss": mask_loss,
            "image_loss": image_loss,
            "dice_loss": dice_loss,
            "pair_loss": pair_loss,
            "l2": l2,
            "gradient_norm": norm,
            "dice": shared[4:-1],
            "finite": finite,
            "own_finite": own_finite,
            "stop": shared[-1] > 0,
            "loss_scale": self._optimizer.loss_scale if self._loss_scaling else tf.constant(1.0),
        }

    def _gradients(self, batch: Batch, detailed: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of this worker's micro-batch: scaled gradients, [mask, image, dice, pair] losses, Dice at each threshold, and
        a sum that is finite if its images and logits are."""
        mask, labels = batch["mask"], batch["label"]
        with tf.GradientTape() as tape:
            logits = tf.cast(self._forward(network_input(batch["image"], self._model_config)), tf.float32)
            mask_loss = self._loss(self._config.loss, logits, mask)
            image_loss = dice_loss = pair_loss = tf.constant(0.0)
            if self._config.image_loss_weight or self._config.pair_loss_weight:
                of_images = losses.image_logits(logits)
            if self._config.image_loss_weight:
                image_loss = tf.reduce_mean(
                    tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), of_images)
                )
            if self._config.pair_loss_weight:
                sums = losses.pair_ranking_sums(of_images, labels, batch["key"])
                pair_loss = tf.math.divide_no_nan(*tf.unstack(self._shared_sums(sums)))
            if self._config.dice_loss_weight:  # on fakes only: a real crop has no mask to overlap with
                fake = labels > 0
                dice_loss = self._loss("dice_sorensen", tf.boolean_mask(logits, fake), tf.boolean_mask(mask, fake))
            # A global loss sends each worker the gradient of its own share only: averaging must become summing.
            own = self._workers if self._config.loss_scope == "global" else 1
            objective = self._total(own * mask_loss, image_loss, own * dice_loss, own * pair_loss) + self._l2()
            scaled = self._optimizer.get_scaled_loss(objective) if self._loss_scaling else objective
        gradients = tape.gradient(scaled, self._variables)
        dice = tf.cond(detailed, lambda: mean_dice(tf.sigmoid(logits), mask), lambda: tf.zeros(len(metrics.THRESHOLDS)))
        seen = tf.reduce_sum(tf.cast(batch["image"], tf.float32)) + tf.reduce_sum(logits)
        return gradients, tf.stack([mask_loss, image_loss, dice_loss, pair_loss]), dice, seen

    def _loss(self, name: str, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        loss = losses.get_loss(name)
        return loss.from_sums(self._shared_sums(loss.sums(logits, mask)))

    def _shared_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Over all workers with `loss_scope` "global", else as they are."""
        if self._config.loss_scope == "global" and self._workers > 1:
            return self._summed_over_workers(sums)
        return sums

    def _summed_over_workers(self, sums: tf.Tensor) -> tf.Tensor:
        """The sum's value, bit for bit the same on all workers; its gradient flows to this worker's own part."""

        @tf.custom_gradient
        def total(own: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return self._sum(own), lambda upstream: upstream

        return total(sums)

    def _total(
        self, mask_loss: tf.Tensor, image_loss: tf.Tensor, dice_loss: tf.Tensor, pair_loss: tf.Tensor
    ) -> tf.Tensor:
        config = self._config
        image_terms = config.image_loss_weight * image_loss + config.pair_loss_weight * pair_loss
        return mask_loss + image_terms + config.dice_loss_weight * dice_loss

    def _l2(self) -> tf.Tensor:
        return losses.l2_regularisation(self._variables, self._config.weight_decay)

    def _unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        return self._optimizer.get_unscaled_gradients(gradients) if self._loss_scaling else gradients

    def _update(self, gradients: list[tf.Tensor], norm: tf.Tensor) -> tf.Tensor:
        if self._config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._config.clip_norm, use_norm=norm)
        self._optimizer.apply_gradients(zip(gradients, self._variables))
        return tf.constant(True)
