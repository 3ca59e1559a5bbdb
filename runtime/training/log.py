"""What a run shows of itself: JSON lines, TensorBoard, a progress bar, and how long it waited for data."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

log = logging.getLogger(__name__)


class LogError(RuntimeError):
    """A log cannot be written (disk full, no permission); the message names it."""


class JsonLines:
    """One JSON object a line, flushed at once, so that a killed run leaves all it had logged.

    Raises:
        LogError: the file cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115  lives as long as the run

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LogError(f"log {self._path} cannot be written: {error.strerror}") from error

    def write(self, kind: str, **values: Any) -> None:
        row = {"kind": kind, "time": round(time.time(), 3), **{name: plain(value) for name, value in values.items()}}
        with self._explained():
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()

    def close(self) -> None:
        with self._explained():
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
        Raises:
            LogError: the files cannot be made.
        """
        self._chief = chief
        if not chief:
            return
        import tensorflow as tf
        from tqdm import tqdm

        self._lines = JsonLines(log_file or results_dir / "train.jsonl")
        self._folder = results_dir / "logs"
        with self._board_explained():
            self._board = tf.summary.create_file_writer(str(self._folder))
        self._bar = tqdm(
            total=last_step, initial=first_step, unit="img", unit_scale=images, desc="train", file=sys.stderr,
            disable=None,
        )  # fmt: skip

    @contextlib.contextmanager
    def _board_explained(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            raise LogError(f"TensorBoard's files in {self._folder} cannot be written: {error.message}") from error

    def event(self, kind: str, **values: Any) -> None:
        """A row of the JSON lines log; numbers also go to TensorBoard when the row has a step.

        Raises:
            LogError: it cannot be written.
        """
        if not self._chief:
            return
        import tensorflow as tf

        values = {name: plain(value) for name, value in values.items()}
        self._lines.write(kind, **values)
        if "step" in values:
            with self._board_explained(), self._board.as_default(step=int(values["step"])):
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
        Raises:
            LogError: they cannot be written.
        """
        if not self._chief:
            return
        import tensorflow as tf

        shown = np.clip((images.astype(np.float32) + 1) / 2, 0, 1)
        columns = [
            np.broadcast_to(part.astype(np.float32), (*shown.shape[:3], 3)) for part in (shown, masks, probabilities)
        ]
        with self._board_explained(), self._board.as_default(step=step):
            tf.summary.image("crop_mask_prediction", np.concatenate(columns, axis=2), max_outputs=len(shown))

    def close(self) -> None:
        """Let go of all of it; what cannot be written any more is only warned of, as the run has ended either way."""
        if not self._chief:
            return
        self._bar.close()
        for finish in (self._lines.close, self._close_board):
            try:
                finish()
            except LogError as error:
                log.warning("%s", error)

    def _close_board(self) -> None:
        with self._board_explained():
            self._board.close()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row of plain values, its step apart, by names like "dice/0.5"."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step":
            yield f"{prefix}{name}", float(value)
