"""Metrics, evaluation mode and preprocessing against the reference."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tests.reference import original
from tests.reference.common import Check, Reference, reference_network, replace_head
from unet_industrial import reference_mode
from unet_industrial.losses import get_loss
from unet_industrial.metrics import SegmentationCounts, dice_at_thresholds, image_confusion, image_scores

PREPROCESSING = {
    "eval_same_48": (48, 1),
    "eval_down_64_to_48": (48, 1),
    "eval_down_64_to_32": (32, 1),
    "eval_up_32_to_80": (80, 1),
    "eval_grey_to_3ch_32_to_48": (48, 3),
}
DRAWS = 3000


def metrics() -> list[Check]:
    arrays = Reference("metrics")
    ours = [dice_at_thresholds(p, y, arrays["thresholds"]) for p, y in zip(arrays["pred"], arrays["target"])]
    return [arrays.absolute("iou_score", ours, 1e-6)]


def confusion() -> list[Check]:
    arrays = Reference("image_confusion")
    totals = dict.fromkeys(("tp", "tn", "fp", "fn"), 0.0)
    for scores, labels in zip(arrays["scores"], arrays["labels"]):
        counts = image_confusion(scores, labels, arrays["thresholds"])
        totals = {name: totals[name] + counts[name] for name in totals}
    return [arrays.exact(name.upper(), total) for name, total in totals.items()]


def evaluation() -> list[Check]:
    """Five batches through the network, the loss and the running counts."""
    arrays = Reference("eval_mode_tiny_c1_32")
    model = reference_network("tiny_c1")
    replace_head(model, arrays)
    counts = SegmentationCounts(arrays["thresholds"])
    loss = get_loss("adaptive_loss")
    losses, scores = [], []
    for images, masks, labels in zip(arrays["input"], arrays["target"], arrays["labels"]):
        logits = model(images)
        mask = tf.sigmoid(logits).numpy()
        losses.append(loss(logits, masks).numpy())
        scores.append(image_scores(mask))
        counts.update(mask, masks, labels)
    result = counts.result()
    return [
        arrays.relative("batch_loss", losses, 1e-5),
        arrays.relative("mean_loss", np.mean(losses), 1e-5),
        arrays.absolute("image_score", scores, 1e-5),
        arrays.absolute("iou_mean", result.dice, 1e-3),
        arrays.exact("confusion_TP", result.tp),
        arrays.exact("confusion_TN", result.tn),
        arrays.exact("confusion_FP", result.fp),
        arrays.exact("confusion_FN", result.fn),
        arrays.absolute("tpr", result.tpr, 1e-6),
        arrays.absolute("tnr", result.tnr, 1e-6),
    ]


def _decoded(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Through a PNG file's bytes, as the reference reads them."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return original.decode_png(tf.io.encode_png(pixels), channels).numpy()


def preprocessing() -> list[Check]:
    arrays, checks = Reference("preprocessing"), []
    for tag, (side, channels) in PREPROCESSING.items():
        images = np.stack([_decoded(image, channels) for image in arrays[f"{tag}_source_images"]])
        masks = np.stack([_decoded(mask, channels) for mask in arrays[f"{tag}_source_masks"]])
        labels = arrays[f"{tag}_source_labels"]
        masks[labels == 0] = 0  # clean images have no mask file
        images, masks = original.preprocess(images, masks, (side, side))
        checks += [
            arrays.absolute(f"{tag}_images", images, 1e-6),
            arrays.absolute(f"{tag}_masks", masks, 1e-6),
            arrays.exact(f"{tag}_labels", labels),
        ]
    turned = [reference_mode.flip_and_turn(arrays["aug_input"], flip, turns) for flip, turns in arrays["aug_flip_k"]]
    thresholds = arrays["binarise_input"].ravel()[:8]  # its first row holds the reference's thresholds
    table = arrays["count_steps_unit_samples_iter_batch_steps_epochs"]
    units = original.ITER_UNITS
    steps = [[*row[:4], *original.count_steps(units[row[0]], *(int(v) for v in row[1:4]))] for row in table]
    return [
        *checks,
        arrays.exact("aug_output", np.stack(turned)),
        arrays.absolute("aug_frequency_flip_k0_k1_k2_k3", _frequencies(), 0.04),
        arrays.absolute("rgb_png_decoded_1ch", _decoded(arrays["rgb_png_pixels"], 1), 1.0),
        arrays.exact("grey_png_decoded_3ch", _decoded(arrays["grey_png_pixels"], 3)),
        arrays.exact("binarise_none", original.binarise(arrays["binarise_input"]).numpy()),
        arrays.exact(
            "binarise_at_thresholds",
            np.stack([original.binarise(arrays["binarise_input"], float(t)).numpy() for t in thresholds]),
        ),
        arrays.exact("count_steps_unit_samples_iter_batch_steps_epochs", steps),
    ]


def _frequencies() -> np.ndarray:
    """How often `augment` flips, and how often it turns 0, 1, 2 and 3 times, read off a lopsided picture."""
    picture = tf.reshape(tf.range(4, dtype=tf.float32), (2, 2, 1))
    outcomes = {
        reference_mode.flip_and_turn(picture, flip, turns).numpy().tobytes(): (flip, turns)
        for flip in (0, 1)
        for turns in (0, 1, 2, 3)
    }
    seeds = tf.stack([tf.range(DRAWS), tf.ones(DRAWS, tf.int32)], axis=1)
    draw = tf.function(lambda seed: reference_mode.augment(picture, picture, seed)[0])
    drawn = np.array([outcomes[draw(seed).numpy().tobytes()] for seed in seeds])
    return np.array([drawn[:, 0].mean(), *((drawn[:, 1] == turns).mean() for turns in range(4))])


CHECKS = {
    "metrics": metrics,
    "image_confusion": confusion,
    "eval_mode_tiny_c1_32": evaluation,
    "preprocessing": preprocessing,
}
