"""A run that was asked to stop saves and leaves, rather than dying where it stands."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Optional

import tensorflow as tf

from runtime.distributed import is_lost_worker


class StopRequest:
    """SIGTERM (from Slurm, Kubernetes, `kill`) and SIGINT ask the loop to save and leave; a second SIGINT kills."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        for number, previous in self._previous.items():
            # When another worker dies, horovodrun sends SIGTERM to the rest, who still have to say what happened; it
            # sends SIGKILL five seconds later.
            lost = error is not None and is_lost_worker(error)
            signal.signal(number, signal.SIG_IGN if lost and number == signal.SIGTERM else previous)

    def _ask(self, number: int, _: Optional[FrameType]) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        self._asked.set()

    @property
    def flag(self) -> tf.Tensor:
        """1.0 once asked to stop, else 0.0: what `TrainStep.run` takes."""
        return tf.constant(float(self._asked.is_set()))
