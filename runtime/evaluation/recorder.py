"""Crops of face groups and a detector's answers, batch by batch → a frame table and pixel histograms.

Nothing of an image is kept but its row and its video's histograms, so memory is flat in pixels and frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import pandas as pd

from runtime.evaluation import baselines, tables
from runtime.evaluation.measure import Detector
from runtime.evaluation.pixel_metrics import PixelHistograms, count_pixels

FIELDS = ("clip", "key", "dataset", "method", "identity", "track", "original", "face_px", "frame_index")
BLUR, HULL = "blur", "face hull"
HISTOGRAM_NAMES = ("faked", "untouched", "original", "faked_with_original")


class Recorder:
    """One detector's answers. Images of a group must arrive in order, the original first, as `eval_dataset` gives them.

    Args:
        threshold: a pixel is marked where its probability is above it.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self._threshold = threshold
        self._rows: list[dict[str, Any]] = []
        self._histograms: dict[str, PixelHistograms] = {}
        self._original: tuple[str, Optional[np.ndarray]] = ("", None)

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

    def _pixels(self, row: Mapping[str, Any], probability: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        counts = count_pixels(probability, mask, self._threshold)
        if row["label"] == 0:
            self._original = (row["key"], probability)
            return {"iou": float("nan"), "dice": float("nan"), "area": counts.area}
        if counts.faked:
            key, original = self._original
            histograms = self._histograms.setdefault(row["clip"], PixelHistograms.empty())
            histograms.add_fake(probability, mask, original if key == row["key"] else None)
        return {"iou": counts.iou, "dice": counts.dice, "area": counts.area}

    def state(self) -> dict[str, Any]:
        """Rows and histograms as plain lists, for gathering over workers."""
        histograms = {
            clip: {name: getattr(value, name).tolist() for name in HISTOGRAM_NAMES}
            for clip, value in self._histograms.items()
        }
        return {"rows": list(self._rows), "histograms": histograms}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add another worker's `state()`."""
        self._rows = self._rows + list(state["rows"])
        for clip, parts in state["histograms"].items():
            mine = self._histograms.setdefault(clip, PixelHistograms.empty())
            for name in HISTOGRAM_NAMES:
                setattr(mine, name, getattr(mine, name) + np.asarray(parts[name], np.int64))

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
        return Detector.from_frames(frames, {key_of[clip]: value for clip, value in self._histograms.items()})


class Recorders:
    """The judged model beside the baselines of every table: blur (frame scores) and a face painted on every crop
    (masks).

    Args:
        name: of the model; None records the baselines alone.
    """

    def __init__(self, name: Optional[str], threshold: float = 0.5) -> None:
        self._by_name = {each: Recorder(threshold) for each in ([name] if name else []) + [BLUR, HULL]}
        self._name = name

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


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
