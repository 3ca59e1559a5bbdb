"""Record files and a detector's answers, batch by batch → a frame table, pixel histograms and pixel counts.

Nothing of an image is kept but its row, its video's histograms and sums, so memory is flat in pixels and frames.
Nothing is averaged before it is summed over all workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import numpy as np
import pandas as pd

from runtime.evaluation import baselines, tables
from runtime.evaluation.measure import Detector
from runtime.evaluation.pixel_metrics import PixelHistograms, count_pixels
from runtime.training.distributed import Workers
from unet_industrial.config import FAKE_ABOVE, DataConfig, ModelConfig
from unet_industrial.metrics import SegmentationCounts

if TYPE_CHECKING:
    import tensorflow as tf

# (B,S,S,C) float32 crops in [-1,1] → (B,S,S,1) probabilities and (B,) frame scores
Predict = Callable[["tf.Tensor"], "tuple[tf.Tensor, tf.Tensor]"]

FIELDS = ("clip", "key", "dataset", "method", "identity", "track", "original", "face_px", "frame_index")
BLUR, HULL = "blur", "face hull"
HISTOGRAM_NAMES = ("faked", "untouched", "original", "faked_with_original")


class Recorder:
    """One detector's answers. Images of a group must arrive in order, the original first, as `eval_dataset` gives them.

    Args:
        threshold: a pixel is marked where its probability is above it.
        histograms: keep what pixel and region AUC need (8 ms for a fake crop of 256 px on one core).
        by_threshold: count pixels at every threshold of the reference too (10 ms a crop).
    """

    def __init__(self, threshold: float = FAKE_ABOVE, histograms: bool = True, by_threshold: bool = False) -> None:
        self._threshold, self._keep_histograms, self._by_threshold = threshold, histograms, by_threshold
        self.clear()

    def clear(self) -> None:
        """Forget everything recorded."""
        self._rows: list[dict[str, Any]] = []
        self._histograms: dict[str, PixelHistograms] = {}
        self._counts = SegmentationCounts() if self._by_threshold else None
        self._original: tuple[str, Optional[np.ndarray]] = ("", None)

    def __len__(self) -> int:
        """Crops recorded."""
        return len(self._rows)

    def update(
        self, batch: Mapping[str, np.ndarray], scores: np.ndarray, probability: Optional[np.ndarray] = None
    ) -> None:
        """Add one batch.

        Args:
            batch: NumPy arrays of `eval_dataset`: FIELDS, label (B,), mask (B, H, W, 1); text as bytes or str.
            scores: (B,) frame scores, NaN where undecided.
            probability: (B, H, W, 1) fake probability of every pixel; None for a detector without masks.
        """
        for i, score in enumerate(scores):
            row = {name: _plain(batch[name][i]) for name in FIELDS}
            row.update(label=int(batch["label"][i]), score=float(score))
            if probability is not None:
                row.update(self._pixels(row, probability[i, ..., 0], batch["mask"][i, ..., 0]))
            self._rows.append(row)
        if probability is not None and self._counts is not None:
            self._counts.update(probability, batch["mask"], batch["label"])

    def _pixels(self, row: Mapping[str, Any], probability: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        counts = count_pixels(probability, mask, self._threshold)
        if row["label"] == 0:
            self._original = (row["key"], probability)
            return {"iou": float("nan"), "dice": float("nan"), "area": counts.area}
        if counts.faked and self._keep_histograms:
            key, original = self._original
            histograms = self._histograms.setdefault(row["clip"], PixelHistograms.empty())
            histograms.add_fake(probability, mask, original if key == row["key"] else None)
        return {"iou": counts.iou, "dice": counts.dice, "area": counts.area}

    def state(self) -> dict[str, Any]:
        """Rows, histograms and counts as plain lists, for gathering over workers."""
        histograms = {
            clip: {name: getattr(value, name).tolist() for name in HISTOGRAM_NAMES}
            for clip, value in self._histograms.items()
        }
        counts = None if self._counts is None else self._counts.as_vector().tolist()
        return {"rows": list(self._rows), "histograms": histograms, "counts": counts}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add another worker's `state()`."""
        self._rows = self._rows + list(state["rows"])
        for clip, parts in state["histograms"].items():
            mine = self._histograms.setdefault(clip, PixelHistograms.empty())
            for name in HISTOGRAM_NAMES:
                setattr(mine, name, getattr(mine, name) + np.asarray(parts[name], np.int64))
        if self._counts is not None:
            self._counts.merge(SegmentationCounts.from_vector(np.asarray(state["counts"])))

    def detector(self) -> Detector:
        """Everything recorded, as a detector to measure.

        Raises:
            ValueError: nothing was recorded.
        """
        if not self._rows:
            raise ValueError("no crops were recorded: nothing to evaluate")
        rows = pd.DataFrame(self._rows).sort_values(["clip", "frame_index", "track"], kind="stable", ignore_index=True)
        frames = tables.normalise(tables.from_records(rows), "record files")
        key_of = dict(zip(rows["clip"], frames["key"]))
        histograms = {key_of[clip]: value for clip, value in self._histograms.items()}
        return Detector.from_frames(frames, histograms, None if self._counts is None else self._counts.result())


class Recorders:
    """The judged model beside the baselines of every table: blur (frame scores) and a face painted on every crop
    (masks).

    Args:
        name: of the model; None records the baselines alone.
    """

    def __init__(self, name: Optional[str], threshold: float = FAKE_ABOVE) -> None:
        self._by_name = {name: Recorder(threshold, by_threshold=True)} if name else {}
        self._by_name.update({each: Recorder(threshold) for each in (BLUR, HULL)})
        self._name = name

    def clear(self) -> None:
        """Forget everything recorded."""
        for recorder in self._by_name.values():
            recorder.clear()

    def __len__(self) -> int:
        """Crops recorded."""
        return len(self._by_name[BLUR])

    def update(
        self,
        batch: Mapping[str, np.ndarray],
        scores: Optional[np.ndarray] = None,
        probability: Optional[np.ndarray] = None,
    ) -> None:
        """Add one batch; as `Recorder.update`, with `image` (B, S, S, C) float32 in [-1, 1] in it."""
        if self._name and scores is not None:
            self._by_name[self._name].update(batch, scores, probability)
        crops = baselines.to_uint8(batch["image"])
        self._by_name[BLUR].update(batch, np.array([baselines.blur_score(crop) for crop in crops]))
        hull = baselines.face_hull(crops.shape[1])
        painted = np.broadcast_to(hull[None, ..., None], (*crops.shape[:3], 1))
        self._by_name[HULL].update(batch, np.full(len(crops), 0.5), painted)

    def state(self) -> dict[str, Any]:
        """As `Recorder.state`, by name."""
        return {name: recorder.state() for name, recorder in self._by_name.items()}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add another worker's `state()`."""
        for name, recorder in self._by_name.items():
            recorder.merge(state[name])

    def detectors(self) -> dict[str, Detector]:
        """The model first, then the baselines."""
        return {name: recorder.detector() for name, recorder in self._by_name.items()}


def predictor(network: Any, config: ModelConfig) -> Predict:
    """The live network as a `Predict`, compiled once."""
    import tensorflow as tf

    from unet_industrial.train_step import frame_score, network_input

    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = network(network_input(images, config), training=False)
        probability = tf.sigmoid(tf.cast(logits, tf.float32))
        return probability, frame_score(probability)

    return predict


def record(
    predict: Predict,
    files: Sequence[str],
    model: ModelConfig,
    data: DataConfig,
    batch_size: int,
    workers: Workers,
    recorder: Union[Recorder, Recorders],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Run a model over record files, each worker over its share, and put the shares together.

    Workers need not have equally many batches: they meet only after their last one.

    Args:
        recorder: filled with all workers' shares, in the order of their ranks, so that it is the same on each.
    Raises:
        RecordFileError: files are missing or damaged.
        ValueError: they hold no crops.
    """
    from unet_industrial.dataset import eval_dataset

    for batch in progress(eval_dataset(files, model, data, batch_size, workers.rank, workers.size)):
        probability, scores = (part.numpy() for part in predict(batch["image"]))
        recorder.update({name: values.numpy() for name, values in batch.items()}, scores, probability)
    if workers.size > 1:
        states = workers.gather(recorder.state())
        recorder.clear()
        for state in states:
            recorder.merge(state)
    if not len(recorder):
        raise ValueError("no crops in the record files: nothing to evaluate")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
