"""Losses from logits and masks to a scalar, under the reference's names.

Every loss of the reference is a function of a few sums over the batch, so it comes in two halves: `sums` (which add up
over batches and workers) and `from_sums`. A worker that allreduces the sums between the two gets the loss of the
global batch. All of it computes in float32, whatever the logits' precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Callable

import tensorflow as tf

from unet_industrial.config import LOSSES, TOP_SHARE

DICE_SMOOTHING = 1.0  # the reference's Laplace constant, in numerator and denominator
ADAPTIVE_SWITCH = 0.3  # `adaptive_loss` is Dice strictly below this Dice loss, cross-entropy otherwise


def _bce(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each pixel, max(z, 0) - z*y + log(1 + exp(-|z|)): finite for any finite logit."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=mask, logits=logits)


# name of a sum → its summands, from logits, probabilities and mask
_SUMMANDS: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "bce": lambda z, p, y: _bce(z, y),
    "pixels": lambda z, p, y: tf.cast(tf.size(y), tf.float32),
    "squared_error": lambda z, p, y: tf.square(p - y),
    "overlap": lambda z, p, y: p * y,
    "probability": lambda z, p, y: p,
    "mask": lambda z, p, y: y,
    "probability_squared": lambda z, p, y: tf.square(p),
    "mask_squared": lambda z, p, y: tf.square(y),
}


def _cross_entropy(s: dict[str, tf.Tensor]) -> tf.Tensor:
    return s["bce"] / s["pixels"]


def _l2(s: dict[str, tf.Tensor]) -> tf.Tensor:
    return 0.5 * s["squared_error"]


def _dice(overlap: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    return 1.0 - (2.0 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)


def _sorensen(s: dict[str, tf.Tensor]) -> tf.Tensor:
    return _dice(s["overlap"], s["probability"] + s["mask"])


def _jaccard(s: dict[str, tf.Tensor]) -> tf.Tensor:
    return _dice(s["overlap"], s["probability_squared"] + s["mask_squared"])


def _adaptive(dice: tf.Tensor, s: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.where(dice < ADAPTIVE_SWITCH, dice, _cross_entropy(s))


@dataclasses.dataclass(frozen=True)
class Loss:
    """`loss(logits, mask)` → float32 scalar; logits (B, H, W, 1) of any float dtype, mask the same shape in [0, 1].

    Attributes:
        name: what `get_loss` knows it by.
        terms: names of the sums it needs, in the order of `sums`.
    """

    name: str
    terms: tuple[str, ...]
    _finish: Callable[[dict[str, tf.Tensor]], tf.Tensor]

    def sums(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """(len(terms),) float32: sums over every pixel of the batch. They add up over batches and workers."""
        logits, mask = tf.cast(logits, tf.float32), tf.cast(mask, tf.float32)
        logits.shape.assert_is_compatible_with(mask.shape)  # a broadcast would train, silently, on nonsense
        probability = tf.sigmoid(logits)
        return tf.stack([tf.reduce_sum(_SUMMANDS[term](logits, probability, mask)) for term in self.terms])

    def from_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """The loss, float32 scalar, from what `sums` returned (added up or not)."""
        return self._finish(dict(zip(self.terms, tf.unstack(sums, num=len(self.terms)))))

    def __call__(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self.from_sums(self.sums(logits, mask))


_BCE = ("bce", "pixels")
_SORENSEN = ("overlap", "probability", "mask")
_JACCARD = ("overlap", "probability_squared", "mask_squared")
_LOSSES = {
    loss.name: loss
    for loss in (
        Loss("x-entropy", _BCE, _cross_entropy),
        Loss("l2_loss", ("squared_error",), _l2),
        Loss("dice_sorensen", _SORENSEN, _sorensen),
        Loss("dice_jaccard", _JACCARD, _jaccard),
        Loss("adaptive_loss", _BCE + _SORENSEN, lambda s: _adaptive(_sorensen(s), s)),
        # in the reference's code, but no flag of it leads here
        Loss("adaptive_loss_jaccard_gate", _BCE + _JACCARD, lambda s: _adaptive(_jaccard(s), s)),
    )
}


def get_loss(name: str) -> Loss:
    """The loss of that name, called as `loss(logits, mask)` → float32 scalar.

    `x-entropy`: mean binary cross-entropy. `l2_loss`: half the *sum* of squared errors of the probabilities.
    `dice_sorensen`, `dice_jaccard`: one minus soft Dice over the whole batch, with plain and squared denominators (the
    latter is no Jaccard index; the name is the reference's). `adaptive_loss`: `dice_sorensen` where that is below 0.3,
    `x-entropy` otherwise, decided anew for each batch.

    Raises:
        ValueError: unknown name.
    """
    if name not in _LOSSES:
        raise ValueError(f"loss {name!r}: allowed are {', '.join(LOSSES)}")
    return _LOSSES[name]


def image_logits(logits: tf.Tensor, top_share: float = TOP_SHARE) -> tf.Tensor:
    """(B,) float32: mean of the largest `top_share` of each image's logits (at least one pixel).

    Args:
        logits: (B, H, W, 1).
    """
    logits = tf.convert_to_tensor(logits)
    pixels = logits.shape[1:].num_elements()  # known when the graph is built, or not at all
    flat = tf.reshape(tf.cast(logits, tf.float32), (tf.shape(logits)[0], -1 if pixels is None else pixels))
    if pixels is None:
        count = tf.maximum(1, tf.cast(tf.round(top_share * tf.cast(tf.shape(flat)[1], tf.float32)), tf.int32))
    else:
        count = max(1, round(top_share * pixels))
    return tf.reduce_mean(tf.math.top_k(flat, count, sorted=False).values, axis=1)


def l2_regularisation(variables: Sequence[tf.Variable], weight_decay: float) -> tf.Tensor:
    """weight_decay * half the sum of squares of all `variables`; float32 scalar.

    The reference hands it every trainable variable, biases and PReLU alphas included.
    """
    if not variables or not weight_decay:
        return tf.constant(0.0)
    return weight_decay * tf.add_n([tf.nn.l2_loss(tf.cast(variable, tf.float32)) for variable in variables])


def pair_ranking_sums(image_logit: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """[sum, count] over all pairs of a fake and its own original in the batch of log(1 + exp(real - fake)).

    The pairwise logistic loss of RankNet (Burges et al. 2005): who is shown, the light and the compression are the same
    on both sides of a pair, so only the manipulation lowers it.

    Args:
        image_logit: (B,) float32, as `image_logits` gives. labels: (B,) int, 1 fake. keys: (B,) strings, equal for one
            face at one moment.
    """
    fake = labels > 0
    pair = (keys[:, None] == keys[None, :]) & fake[:, None] & ~fake[None, :]
    loss = tf.nn.softplus(image_logit[None, :] - image_logit[:, None])
    return tf.stack([tf.reduce_sum(tf.where(pair, loss, 0.0)), tf.reduce_sum(tf.cast(pair, tf.float32))])
