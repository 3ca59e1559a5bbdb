"""What a run shows of itself: JSON lines, TensorBoard, a progress bar, and how long it waited for data."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np


class JsonLines:
    """One JSON object a line, flushed at once, so that a killed run leaves all it had said."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115  lives as long as the run

    def write(self, kind: str, **values: Any) -> None:
        row = {"kind": kind, "time": round(time.time(), 3), **{name: plain(value) for name, value in values.items()}}
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def plain(value: Any) -> Any:
    """NumPy and TensorFlow scalars as Python ones; numbers JSON cannot hold as their names."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


class Stopwatch:
    """Wall time of the loop, and the part of it spent waiting for the next batch."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited = 0.0
        self._images = 0
        self._excluded = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begun

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Validation and checkpoints are no part of the training rate."""
        begun = time.perf_counter()
        yield
        self._excluded += time.perf_counter() - begun

    def count(self, images: int) -> None:
        self._images += images

    def read(self) -> dict[str, float]:
        """Rate and waiting share since the last reading, which it resets."""
        elapsed = max(time.perf_counter() - self._started - self._excluded, 1e-9)
        result = {"images_per_s": self._images / elapsed, "waiting_share": self._waited / elapsed}
        self.__init__()  # type: ignore[misc]
        return result


class TrainLog:
    """The chief's log, TensorBoard writer and progress bar; on other workers every call does nothing."""

    def __init__(
        self, results_dir: Path, log_file: Optional[Path], first_step: int, last_step: int, images: int, chief: bool
    ) -> None:
        """
        Args:
            images: images of all workers in one step.
        """
        self._chief = chief
        if not chief:
            return
        import tensorflow as tf
        from tqdm import tqdm

        self._lines = JsonLines(log_file or results_dir / "train.jsonl")
        self._board = tf.summary.create_file_writer(str(results_dir / "logs"))
        self._bar = tqdm(
            total=last_step, initial=first_step, unit="img", unit_scale=images, desc="train", file=sys.stderr,
            disable=None,
        )  # fmt: skip

    def event(self, kind: str, **values: Any) -> None:
        """A row of the JSON lines log; numbers also go to TensorBoard when the row has a step."""
        if not self._chief:
            return
        import tensorflow as tf

        self._lines.write(kind, **values)
        if "step" in values:
            with self._board.as_default(step=int(values["step"])):
                for name, value in _flat(values):
                    tf.summary.scalar(f"{kind}/{name}", value)

    def advance(self, step: int, **shown: Any) -> None:
        if self._chief:
            self._bar.update(step - self._bar.n)
            if shown:
                self._bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)

    def masks(self, step: int, images: np.ndarray, masks: np.ndarray, probabilities: np.ndarray) -> None:
        """TensorBoard pictures: crop, true mask and predicted mask side by side.

        Args:
            images: (N,H,W,C) in [-1,1]; masks, probabilities: (N,H,W,1) in [0,1].
        """
        if not self._chief:
            return
        import tensorflow as tf

        shown = np.clip((images[:4].astype(np.float32) + 1) / 2, 0, 1)
        columns = [
            np.broadcast_to(part[:4].astype(np.float32), (*shown.shape[:3], 3))
            for part in (shown, masks, probabilities)
        ]
        with self._board.as_default(step=step):
            tf.summary.image("crop_mask_prediction", np.concatenate(columns, axis=2), max_outputs=4)

    def close(self) -> None:
        if self._chief:
            self._bar.close()
            self._lines.close()
            self._board.close()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[Any]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and name != "step":
            yield f"{prefix}{name}", float(value)
