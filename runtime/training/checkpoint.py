"""Checkpoints that are whole or not there: model, optimizer, loss scale, step, data position, best metric, settings.

A checkpoint is a folder `step-00001234` holding TensorFlow's files and `state.json`, which is written last and lists
every file with its size and SHA-256. All of it is written and synced under a temporary name, then renamed, so that a
kill at any moment leaves either the whole folder or a temporary one that nothing reads.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Optional

from unet_industrial.files import file_sha256, read_json_object

STATE_FILE = "state.json"
_PREFIX, _TEMPORARY = "step-", ".writing-"

log = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or does not fit; the message says which and what to do."""


@dataclasses.dataclass
class TrainState:
    """What a run carries from step to step beside the variables.

    Attributes:
        step: finished updates.
        position: examples of the data stream consumed by all workers so far.
        best: best validation score yet, None before the first validation; `best_step` is where it was reached.
        config: resolved configuration: "model", "data", "train", "source" (what the data is), "face_margin" (side of
            the records' crops over that of the face's box, None where not known; older checkpoints lack it).
    """

    step: int = 0
    position: int = 0
    best: Optional[float] = None
    best_step: int = 0
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointStore:
    """The checkpoints of one run, in one folder. Only the chief writes."""

    def __init__(self, folder: Path, keep: int = 5) -> None:
        self.folder = Path(folder)
        self._keep = keep

    def save(self, trackable: Any, state: TrainState) -> Path:
        """Write `trackable` (a tf.train.Checkpoint) and `state` as one, then drop all but the newest `keep`.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
        """
        import tensorflow as tf

        final = self.folder / f"{_PREFIX}{state.step:08d}"
        temporary = self.folder / f"{_TEMPORARY}{state.step:08d}-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
            temporary.mkdir()
            trackable.write(str(temporary / "model"))
            parts = sorted(path for path in temporary.iterdir())
            listed = {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in parts}
            document = {"state": dataclasses.asdict(state), "files": listed}
            with open(temporary / STATE_FILE, "w", encoding="utf-8") as stream:
                json.dump(document, stream, indent=2)
            for path in [*parts, temporary / STATE_FILE, temporary]:
                _sync(path)
            if final.exists():  # the same step again, after going back to an older checkpoint
                shutil.rmtree(final)
            os.rename(temporary, final)
            _sync(self.folder)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            last = self.newest()
            kept = f"the last good one is {last}" if last else "there is no earlier one"
            raise CheckpointError(
                f"checkpoint of step {state.step} not written to {self.folder}: {error}; {kept}"
            ) from error
        self._drop_old(state.best_step)
        return final

    def _remove_unfinished(self) -> None:
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _drop_old(self, best_step: int) -> None:
        steps = sorted(self._folders())
        for step, path in steps[: -self._keep]:
            if step != best_step:
                shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[tuple[int, Path]]:
        names = self.folder.glob(f"{_PREFIX}*") if self.folder.is_dir() else []
        return [(int(path.name[len(_PREFIX) :]), path) for path in names if path.name[len(_PREFIX) :].isdigit()]

    def newest(self) -> Optional[Path]:
        """The newest checkpoint that is whole; damaged ones are passed over with a warning. None: there is none."""
        for _, path in sorted(self._folders(), reverse=True):
            problem = find_problem(path)
            if problem is None:
                return path
            log.warning("checkpoint %s is passed over: %s", path, problem)
        return None


def find_problem(path: Path) -> Optional[str]:
    """Why a checkpoint folder cannot be trusted, or None: every listed file is there with its size and SHA-256."""
    try:
        document = read_json_object(path / STATE_FILE)
        _state_of(document)
        for name, expected in document["files"].items():
            part = path / name
            if not part.is_file() or part.stat().st_size != expected["bytes"]:
                return f"{name} is missing or cut short"
            if file_sha256(part) != expected["sha256"]:
                return f"{name} is damaged (SHA-256 differs)"
    except OSError as error:
        return f"{STATE_FILE}: {error.strerror}"
    except ValueError as error:
        return f"{STATE_FILE}: {error}"
    except (LookupError, TypeError, AttributeError) as error:
        return f"{STATE_FILE} is not of the shape that `train` writes ({type(error).__name__}: {error})"
    return None


def _state_of(document: dict[str, Any]) -> TrainState:
    """
    Raises:
        ValueError, LookupError, TypeError: the document holds no state, or one of another shape.
    """
    state = TrainState(**document["state"])
    for name in ("step", "position", "best_step"):
        value = getattr(state, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a count, is {value!r}")
    if state.best is not None and (isinstance(state.best, bool) or not isinstance(state.best, (int, float))):
        raise ValueError(f"best must be a number or null, is {state.best!r}")
    parts = [state.config, *(state.config.get(name, {}) for name in ("model", "data", "train", "source"))]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("config must be an object of objects")
    return state


def read_state(path: Path) -> TrainState:
    """The state of a whole checkpoint, without its variables.

    Raises:
        CheckpointError: there is no checkpoint at `path`, or it is damaged.
    """
    problem = find_problem(Path(path))
    if problem:
        raise CheckpointError(f"{path} is no usable checkpoint: {problem}")
    return _state_of(read_json_object(Path(path) / STATE_FILE))


def restore(path: Path, trackable: Any, partial: bool = False) -> None:
    """Load the variables of a checkpoint into `trackable` (a tf.train.Checkpoint whose variables exist).

    Args:
        partial: allow the checkpoint to hold more than `trackable` has (its optimizer, when only the model is wanted).
    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to another kind of model or optimizer.
    """
    import tensorflow as tf

    problem = find_problem(Path(path))
    if problem:
        raise CheckpointError(f"{path} is no usable checkpoint: {problem}")
    try:
        status = trackable.read(str(Path(path) / "model"))
        status.assert_existing_objects_matched()
        if partial:
            status.expect_partial()
        else:
            status.assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise CheckpointError(f"{path} does not fit this model and optimizer: {error}") from error


def resolve(path: Path) -> Path:
    """The checkpoint meant by a path: itself, or the best (else newest whole) one of a results or checkpoint folder.

    Raises:
        CheckpointError: none is found.
    """
    path = Path(path)
    if (path / STATE_FILE).is_file():
        return path
    for folder in (path, path / "checkpoints"):
        newest = CheckpointStore(folder).newest()
        if newest is None:
            continue
        best = folder / f"{_PREFIX}{read_state(newest).best_step:08d}"
        return best if best.is_dir() and find_problem(best) is None else newest
    raise CheckpointError(f"no checkpoint in {path} (nor in {path / 'checkpoints'})")
