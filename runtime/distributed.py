"""Workers: rank, size, reductions and broadcasts. The only module that imports Horovod, and only when launched by it.

One process needs no Horovod at all: `start()` then returns a lone worker whose reductions are the identity.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

LAUNCHER_VARIABLES = ("HOROVOD_SIZE", "HOROVOD_RANK")


class DistributedError(RuntimeError):
    """Workers cannot work together: Horovod is missing where it is needed, or another worker has gone."""


def launched_size() -> int:
    """Workers that the launcher (`horovodrun`) started, from its environment; 1 without a launcher."""
    return int(os.environ.get("HOROVOD_SIZE", "1"))


def launched_by_horovod() -> bool:
    return any(name in os.environ for name in LAUNCHER_VARIABLES)


class Workers:
    """All workers of the job as one of them sees them. This base is the lone worker."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    @property
    def is_chief(self) -> bool:
        """True on the one worker that writes checkpoints, logs and reports."""
        return self.rank == 0

    def sum(self, tensor: Any) -> Any:
        """Sum over workers, in a graph or eagerly; differentiable (the gradient is summed too)."""
        return tensor

    def average_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        """Mean over workers of each gradient; None stays None."""
        return list(gradients)

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Sum of a NumPy array of one shape over workers, in its own type: for counts."""
        return np.asarray(array)

    def gather(self, value: Any) -> list[Any]:
        """One plain value (numbers, strings, lists, arrays) of every worker, in rank order, on every worker."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """The first worker's plain value, on every worker."""
        return value

    def broadcast_variables(self, variables: Sequence[Any]) -> None:
        """Overwrite every worker's variables with the first worker's."""

    def stop(self) -> None:
        """Leave the job in order."""


class HorovodWorkers(Workers):
    """Workers joined by Horovod (Gloo, NCCL or MPI: whatever it was built with and told to use)."""

    def __init__(self, fp16_allreduce: bool = False) -> None:
        import horovod.tensorflow as hvd

        self._hvd = hvd
        self._compression = hvd.Compression.fp16 if fp16_allreduce else hvd.Compression.none
        hvd.init()

    @property
    def rank(self) -> int:  # type: ignore[override]
        return int(self._hvd.rank())

    @property
    def size(self) -> int:  # type: ignore[override]
        return int(self._hvd.size())

    @property
    def local_rank(self) -> int:  # type: ignore[override]
        return int(self._hvd.local_rank())

    @property
    def local_size(self) -> int:  # type: ignore[override]
        return int(self._hvd.local_size())

    def sum(self, tensor: Any) -> Any:
        return self._hvd.allreduce(tensor, op=self._hvd.Sum)

    def average_gradients(self, gradients: Sequence[Any]) -> list[Any]:
        present = [i for i, gradient in enumerate(gradients) if gradient is not None]
        packed = [self._compression.compress(gradients[i]) for i in present]
        # One grouped call: all gradients of a step are reduced together, in one order, on every worker.
        reduced = self._hvd.grouped_allreduce([tensor for tensor, _ in packed], op=self._hvd.Average)
        averaged = list(gradients)
        for i, tensor, (_, context) in zip(present, reduced, packed):
            averaged[i] = self._compression.decompress(tensor, context)
        return averaged

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        array = np.asarray(array)
        return np.asarray(self._hvd.allreduce(array, op=self._hvd.Sum)).astype(array.dtype)

    def gather(self, value: Any) -> list[Any]:
        return list(self._hvd.allgather_object(value))

    def broadcast(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0)

    def broadcast_variables(self, variables: Sequence[Any]) -> None:
        self._hvd.broadcast_variables(list(variables), root_rank=0)

    def stop(self) -> None:
        self._hvd.shutdown()


def start(fp16_allreduce: bool = False) -> Workers:
    """Join the job this process was launched into; a lone worker where there is none.

    Raises:
        DistributedError: launched with several workers, but Horovod cannot be imported.
    """
    if not launched_by_horovod() or (launched_size() == 1 and not elastic()):
        return Workers()
    try:
        return HorovodWorkers(fp16_allreduce)
    except ImportError as error:
        raise DistributedError(
            f"launched as one of {launched_size()} workers, but Horovod cannot be imported ({error}). Install it with "
            "`pip install 'deepfake-unet-industrial[horovod]'` (TensorFlow first; it needs cmake and g++), or start "
            "one process without horovodrun."
        ) from error


def elastic() -> bool:
    """True when `horovodrun` was told that workers may come and go (--min-np with --host-discovery-script)."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def lost_worker_error() -> Optional[type]:
    """Horovod's exception for a reduction that another worker never joined; None without Horovod."""
    if not launched_by_horovod():
        return None
    try:
        from horovod.common.exceptions import HorovodInternalError
    except ImportError:
        return None
    return HorovodInternalError
