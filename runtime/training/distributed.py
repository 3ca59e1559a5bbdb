"""Workers: rank, size, reductions and broadcasts. The only module that imports Horovod, and only when launched by it.

One process needs no Horovod at all: `start()` then returns a lone worker whose reductions are the identity.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Callable, Protocol, TypeVar

import numpy as np

T = TypeVar("T")
# Variables that launchers set: horovodrun; mpirun of Open MPI; of MPICH and Intel MPI, and `srun --mpi=pmi2`.
SIZE_VARIABLES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
LAUNCHER_VARIABLES = (*SIZE_VARIABLES, "HOROVOD_RANK", "HOROVOD_ELASTIC", "PMIX_RANK")


class DistributedError(RuntimeError):
    """Workers cannot work together: Horovod is missing where it is needed, or another worker has gone."""


def launched_size() -> int:
    """Workers that the launcher started (see docs/training.md), from its environment; 1 without a launcher."""
    for name in SIZE_VARIABLES:
        if name in os.environ:
            return int(os.environ[name])
    # `srun --mpi=pmix` gives the size by this alone; a batch script, which is one process, has it without the rank
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if "PMIX_RANK" in os.environ else 1


def launched_by_horovod() -> bool:
    return any(name in os.environ for name in LAUNCHER_VARIABLES)


class Keeper(Protocol):
    """Holds the plain (picklable) part of what must survive the loss of a worker."""

    def get(self) -> Any: ...

    def set(self, state: Any) -> None: ...


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

    @property
    def is_elastic(self) -> bool:
        """True where workers may come and go while the job runs."""
        return False

    def run_elastic(self, variables: Sequence[Any], keeper: Keeper, body: Callable[[Callable[[], None]], T]) -> T:
        """`body(commit)`, begun anew from the last commit, with fresh rank and size, whenever workers come or go.

        Args:
            variables: what a commit keeps, and a newcomer is given.
            keeper: gets and sets the plain state that goes with them.
        """
        del variables, keeper
        return body(lambda: None)


class HorovodWorkers(Workers):
    """Workers joined by Horovod (Gloo, NCCL or MPI: whatever it was built with and set to use)."""

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

    @property
    def is_elastic(self) -> bool:
        return elastic()

    def run_elastic(self, variables: Sequence[Any], keeper: Keeper, body: Callable[[Callable[[], None]], T]) -> T:
        if not elastic():
            return super().run_elastic(variables, keeper, body)
        import tensorflow as tf
        from horovod.common.exceptions import HorovodInternalError

        hvd = self._hvd
        state = _committed_state(hvd, variables, keeper)

        @hvd.elastic.run
        def run(state: Any) -> T:
            try:
                return body(state.commit)
            except tf.errors.OpError as error:
                if is_lost_worker(error):  # inside a compiled step TensorFlow wraps Horovod's error in one of its own
                    raise HorovodInternalError(str(error)) from error
                raise

        return run(state)


def _committed_state(hvd: Any, variables: Sequence[Any], keeper: Keeper) -> Any:
    """Horovod's view of what a commit keeps: copies in this process's memory, so that a commit is cheap."""
    from horovod.common.elastic import State
    from horovod.tensorflow.functions import broadcast_object

    class Committed(State):
        def __init__(self) -> None:
            super().__init__(bcast_object=broadcast_object, get_rank=hvd.rank)
            self.save()

        def save(self) -> None:
            self._kept = [variable.numpy() for variable in variables], copy.deepcopy(keeper.get())

        def restore(self) -> None:
            values, state = self._kept
            for variable, value in zip(variables, values):
                variable.assign(value)
            keeper.set(copy.deepcopy(state))

        def sync(self) -> None:
            hvd.broadcast_variables(list(variables), root_rank=0)
            keeper.set(broadcast_object(keeper.get()))
            self.save()

    return Committed()


def start(fp16_allreduce: bool = False) -> Workers:
    """Join the job this process was launched into; a lone worker where there is none.

    Raises:
        DistributedError: launched with several workers, but Horovod cannot be imported, or does not see the others.
    """
    if not launched_by_horovod() or (launched_size() == 1 and not elastic()):
        return Workers()
    try:
        workers = HorovodWorkers(fp16_allreduce)
    except ImportError as error:
        raise DistributedError(
            f"launched as one of {launched_size()} workers, but Horovod cannot be imported ({error}). Install it with "
            "`pip install 'deepfake-unet-industrial[horovod]'` (TensorFlow first; it needs cmake and g++), or start "
            "one process without horovodrun."
        ) from error
    if not elastic() and workers.size != launched_size():  # each would train alone, and write over the others' results
        raise DistributedError(
            f"launched as one of {launched_size()} workers, but Horovod sees {workers.size}: it was built without the "
            "support for this launcher (see `horovodrun --check-build`). Launch with `horovodrun --gloo`, "
            "or use a Horovod with MPI for mpirun and srun."
        )
    return workers


def elastic() -> bool:
    """True when `horovodrun` was started so that workers may come and go (--min-np with --host-discovery-script)."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error means that a reduction failed because another worker has gone."""
    if not launched_by_horovod():
        return False
    try:
        from horovod.common.exceptions import HorovodInternalError
    except ImportError:
        return False
    return isinstance(error, HorovodInternalError) or (
        type(error).__module__.startswith("tensorflow") and "Horovod" in str(error)
    )
