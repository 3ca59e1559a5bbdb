"""Dataset → summed counts and frame scores → numbers; sharded over all workers.

Nothing is averaged before it is summed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pandas as pd
import tensorflow as tf

from runtime.evaluation import metrics, tables
from runtime.evaluation.recorder import Recorders
from runtime.training.distributed import Workers
from unet_industrial.config import DataConfig, ModelConfig
from unet_industrial.dataset import eval_dataset
from unet_industrial.metrics import SegmentationCounts, SegmentationResult
from unet_industrial.train_step import frame_score, network_input

MARK_THRESHOLD = 0.5  # a pixel above it is called fake
FRAME_TABLE = "frame_scores.csv"  # columns as `runtime.evaluation.tables` reads them

# (B,S,S,C) float32 crops in [-1,1] → (B,S,S,1) probabilities and (B,) frame scores
Predict = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclasses.dataclass
class Evaluation:
    """What a model did on a data set, over all workers.

    Attributes:
        pixels: Dice, IoU, precision and recall at the reference's thresholds, and the area marked on real crops.
        frames: one row a crop, sorted by clip, frame and track.
        ranking: frame AUC, clip AUC, paired share, counts.
    """

    pixels: SegmentationResult
    frames: pd.DataFrame
    ranking: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        at = self.pixels.at(MARK_THRESHOLD)
        return {
            **self.ranking,
            "mask_threshold": MARK_THRESHOLD,
            **{name: _number(at[name]) for name in ("iou", "iou_fake", "dice", "dice_fake", "precision", "recall")},
            "marked_real": _number(at["marked_real"]),
            "by_threshold": {name: _number(value) for name, value in self.pixels.flat().items() if "@" in name},
        }


def predictor(network: Any, config: ModelConfig) -> Predict:
    """The live network as a `Predict`, compiled once."""

    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = network(network_input(images, config), training=False)
        probability = tf.sigmoid(tf.cast(logits, tf.float32))
        return probability, frame_score(probability)

    return predict


def evaluate(
    predict: Predict,
    files: Sequence[str],
    model: ModelConfig,
    data: DataConfig,
    batch_size: int,
    workers: Workers,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    recorders: Optional[Recorders] = None,
) -> Evaluation:
    """Run a model over record files, each worker over its share, and put the shares together.

    Workers need not have equally many batches: they meet only after their last one.

    Args:
        recorders: filled with everything that intervals and baselines need, if given; all workers' shares on each.
    Raises:
        RecordFileError: files are missing or damaged.
        ValueError: they hold no crops.
    """
    counts = SegmentationCounts()
    rows: dict[str, list[np.ndarray]] = {}
    for batch in progress(eval_dataset(files, model, data, batch_size, workers.rank, workers.size)):
        probability, scores = (part.numpy() for part in predict(batch["image"]))
        label = batch["label"].numpy()
        counts.update(probability, batch["mask"].numpy(), label)
        if recorders is not None:
            recorders.update({name: values.numpy() for name, values in batch.items()}, scores, probability)
        columns = {name: values.numpy() for name, values in batch.items() if name not in ("image", "mask", "label")}
        columns.update(label=label, score=scores, fake_area=(probability > MARK_THRESHOLD).mean(axis=(1, 2, 3)))
        for name, values in columns.items():
            rows.setdefault(name, []).append(values)
    merged = SegmentationCounts.from_vector(workers.sum_array(counts.as_vector()))
    own = {name: _plain_list(np.concatenate(parts)) for name, parts in rows.items()}
    shares = [share for share in workers.gather(own) if share]
    if recorders is not None:
        for rank, state in enumerate(workers.gather(recorders.state())):
            if rank != workers.rank:
                recorders.merge(state)
    if not shares:
        raise ValueError("no crops in the record files: nothing to evaluate")
    frames = pd.concat([pd.DataFrame(share) for share in shares], ignore_index=True)
    frames = frames.sort_values(["clip", "frame_index", "track"], kind="stable", ignore_index=True)
    return Evaluation(merged.result(), frames, rank_frames(frames))


def _plain_list(values: np.ndarray) -> list[Any]:
    if values.dtype == object:
        return [value.decode("utf-8", "replace") for value in values]
    return values.tolist()


def _number(value: float) -> Optional[float]:
    """NaN (undefined) becomes null in JSON."""
    return None if math.isnan(value) else float(value)


def rank_frames(frames: pd.DataFrame) -> dict[str, Any]:
    """How well frame scores rank fakes above reals: over frames, over clips, and over pairs.

    *Clips*: the mean of a clip's frame scores. *Paired*: the share of fake crops that outscore the original's crop of
    the same group, i.e. the same face, frame and box, where source and compression differ little.

    Args:
        frames: columns `clip`, `key`, `label`, `score`.
    """
    labels, scores = frames["label"].to_numpy(), frames["score"].to_numpy()
    clips = frames.groupby("clip", sort=True).agg(label=("label", "first"), score=("score", "mean"))
    originals = frames[frames["label"] == 0].drop_duplicates("key").set_index("key")["score"]
    fakes = frames[(frames["label"] == 1) & frames["key"].isin(originals.index)]
    paired = metrics.paired_score(fakes["score"].to_numpy(), originals.reindex(fakes["key"]).to_numpy())
    return {
        "crops": int(labels.size),
        "fake_crops": int(labels.sum()),
        "clips": len(clips),
        "fake_clips": int(clips["label"].sum()),
        "frame_auc": _number(metrics.auc(labels, scores)),
        "video_auc": _number(metrics.auc(clips["label"].to_numpy(), clips["score"].to_numpy())),
        "paired": _number(paired),
        "pairs": len(fakes),
        "mean_score_real": _number(float(scores[labels == 0].mean())) if (labels == 0).any() else None,
        "mean_score_fake": _number(float(scores[labels == 1].mean())) if (labels == 1).any() else None,
    }


def markdown(summary: dict[str, Any], title: str) -> str:
    """A small table of the leading numbers."""
    shown = (
        "frame_auc", "video_auc", "paired", "iou", "iou_fake", "dice_fake", "precision", "recall", "marked_real",
        "crops", "fake_crops", "clips", "fake_clips", "pairs",
    )  # fmt: skip

    def cell(value: Any) -> str:
        if value is None:
            return "undefined"
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [f"## {title}", "", "| number | value |", "|---|---|"]
    lines += [f"| {name} | {cell(summary[name])} |" for name in shown]
    lines += ["", f"Masks are cut at {summary['mask_threshold']}; chance is 0.5 for both AUCs and for `paired`."]
    return "\n".join(lines) + "\n"


def write_results(folder: Path, evaluation: Evaluation, about: dict[str, Any]) -> dict[str, Any]:
    """Write `evaluation.json`, `evaluation.md` and `frame_scores.csv`, each whole or not at all; returns the summary.

    Args:
        about: what was evaluated on what, for the JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = evaluation.summary()
    _write(folder / "evaluation.json", json.dumps({**about, **summary}, indent=2) + "\n")
    _write(folder / "evaluation.md", markdown(summary, f"Evaluation of {about.get('model', 'the model')}"))
    _write(folder / FRAME_TABLE, tables.from_records(evaluation.frames).to_csv(index=False))
    return summary


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
