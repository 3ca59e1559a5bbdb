"""The training loop: batches in, checkpoints and logs out, on one process or on all workers of a Horovod job."""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Optional

import tensorflow as tf

from mask_generation.pipeline import crop_margin
from runtime.training import checkpoint
from runtime.training.checkpoint import CheckpointStore, TrainState
from runtime.training.distributed import Workers, is_lost_worker
from runtime.training.log import LogError, Stopwatch, TrainLog
from unet_industrial import metrics
from unet_industrial.config import DataConfig, ModelConfig, TrainConfig
from unet_industrial.dataset import BatchSource, RecordSource
from unet_industrial.records import READ_ERRORS
from unet_industrial.train_step import MovingAverage, TrainStep, make_network, make_optimizer, network_input

log = logging.getLogger(__name__)

SHOWN_CROPS = 4  # of a batch, in TensorBoard

# A validation: (network) → (score to keep the best checkpoint by, higher is better; numbers for the log).
Validation = Callable[[Any], tuple[Optional[float], dict[str, Any]]]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what is left."""


@dataclasses.dataclass
class TrainJob:
    """One run: settings, data, and where its results go.

    Attributes:
        steps: updates in the whole run, those before a resume included.
        validate: called on all workers alike every `eval_every` steps and at the end; None: never.
        log_file: JSON lines log; None: `train.jsonl` in `results_dir`.
        init_from: checkpoint or results folder whose weights a new run begins with; None: drawn anew. A run that is
            resumed has its own.
    """

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    source: BatchSource
    steps: int
    results_dir: Path
    validate: Optional[Validation] = None
    log_file: Optional[Path] = None
    init_from: Optional[Path] = None

    def describe(self) -> dict[str, Any]:
        """What goes into every checkpoint; see `TrainState.config`."""
        return {
            "model": self.model.to_dict(),
            "data": self.data.to_dict(),
            "train": self.train.to_dict(),
            "source": self.source.describe(),
            "face_margin": crop_margin(self.source.files) if isinstance(self.source, RecordSource) else None,
        }


@dataclasses.dataclass
class TrainResult:
    """How a run ended: its last state, the last loss, and whether it was asked to stop before its end."""

    state: TrainState
    loss: float
    stopped: bool
    images_per_s: float


def check_resumable(saved: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with another model or other data; print what else has changed.

    Raises:
        CheckpointError: network or data differ from the checkpoint's.
    """
    for part in ("model", "source"):
        changed = sorted(
            name
            for name in set(saved.get(part, {})) | set(now[part])
            if saved.get(part, {}).get(name) != now[part].get(name)
        )
        if changed:
            raise checkpoint.CheckpointError(
                f"{folder} holds a run with another {part} ({', '.join(changed)} differ): "
                "choose another --output, or give --overwrite to start anew"
            )
    defaults = {"data": DataConfig().to_dict(), "train": TrainConfig().to_dict()}
    for part in ("data", "train"):
        for name, value in now[part].items():
            before = saved.get(part, {}).get(name, defaults[part].get(name))  # older checkpoints lack newer settings
            if before != value:
                log.warning("resuming with %s=%s, the checkpoint had %s: losses will not repeat", name, value, before)


class Trainer:
    """A job being run by one of the workers."""

    def __init__(self, job: TrainJob, workers: Workers) -> None:
        self.job, self.workers = job, workers
        self.network = make_network(job.model)
        self.optimizer = make_optimizer(job.train, workers.size)
        self.optimizer.build(self.network.trainable_variables)  # its slots are part of a checkpoint
        self.evaluated = self.network
        self.average: Optional[MovingAverage] = None
        if job.train.ema_decay:
            # What a checkpoint calls "model" is what everybody else wants of it: the averages.
            self.evaluated = make_network(job.model)
            self.average = MovingAverage(self.network, self.evaluated, job.train.ema_decay)
            self.average.start()
            self.trackable = tf.train.Checkpoint(model=self.evaluated, optimizer=self.optimizer, trained=self.network)
        else:
            self.trackable = tf.train.Checkpoint(model=self.network, optimizer=self.optimizer)
        self.store = CheckpointStore(job.results_dir / "checkpoints", job.train.keep_checkpoints)
        self.state = TrainState(config=job.describe())

    def variables(self) -> list[tf.Variable]:
        """Everything a step changes: weights, optimizer slots and counters, loss scale."""
        found = [*self.network.variables, *self.optimizer.variables]
        if self.average is not None:
            found += self.evaluated.variables
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            found += [v for v in _tracked_variables(self.optimizer) if all(v is not known for known in found)]
        return found

    def resume(self) -> bool:
        """Go back to the newest whole checkpoint, if any: read by the chief, broadcast to all before the first step.

        Raises:
            CheckpointError: on all workers, if the chief could not read it or it is of another run.
        """
        problem, found = None, False
        if self.workers.is_chief:
            newest = self.store.newest()
            if newest is not None:
                try:
                    saved = checkpoint.read_state(newest)
                    check_resumable(saved.config, self.state.config, self.job.results_dir)
                    checkpoint.restore(newest, self.trackable)
                    self.state = dataclasses.replace(saved, config=self.state.config)
                    found = True
                except checkpoint.CheckpointError as error:
                    problem = str(error)
            elif self.job.init_from is not None:
                try:
                    weights = tf.train.Checkpoint(model=self.network)
                    checkpoint.restore(checkpoint.resolve(self.job.init_from), weights, partial=True)
                    if self.average is not None:
                        self.average.start()
                except checkpoint.CheckpointError as error:
                    problem = f"--init_from: {error}"
        if self.workers.is_elastic:  # newcomers are given the state as they join: see `Workers.run_elastic`
            if problem:
                raise checkpoint.CheckpointError(problem)
            return found
        problem, found, self.state = self.workers.broadcast((problem, found, self.state))
        if problem:
            raise checkpoint.CheckpointError(problem)
        self.workers.broadcast_variables(self.variables())
        return found

    def save(self) -> None:
        """Write a checkpoint on the chief.

        Raises:
            CheckpointError: on all workers, if it could not be written.
        """
        problem = None
        if self.workers.is_chief:
            try:
                self.store.save(self.trackable, self.state)
            except checkpoint.CheckpointError as error:
                problem = str(error)
        problem = self.workers.broadcast(problem)
        if problem:
            raise checkpoint.CheckpointError(problem)

    def run(self) -> TrainResult:
        """Train to the job's last step, or until asked to stop.

        Raises:
            TrainingError: the loss is not finite any more, a record is damaged, or the log cannot be written.
            CheckpointError: a checkpoint cannot be read or written.
        """
        resumed = self.resume()
        return self.workers.run_elastic(self.variables(), self, lambda commit: self._train(resumed, commit))

    def get(self) -> TrainState:
        """For `run_elastic`: the state that goes with the variables."""
        return self.state

    def set(self, state: TrainState) -> None:
        """For `run_elastic`: go back to such a state."""
        self.state = state

    def _train(self, resumed: bool, commit: Callable[[], None]) -> TrainResult:
        job, workers = self.job, self.workers
        images = job.train.batch_size * job.train.accumulate * workers.size
        try:
            history = TrainLog(job.results_dir, job.log_file, self.state.step, job.steps, images, workers.is_chief)
            try:
                history.event(
                    "start", resumed=resumed, at_step=self.state.step, workers=workers.size, config=self.state.config
                )
                return self._loop(history, commit)
            finally:
                history.close()
        except LogError as error:
            raise TrainingError(f"step {self.state.step}: {error}. {self._last_good()}") from error

    def _loop(self, history: TrainLog, commit: Callable[[], None]) -> TrainResult:
        job, config, workers = self.job, self.job.train, self.workers
        update = TrainStep(
            self.network, self.optimizer, job.model, config, workers.size, workers.sum, workers.average_gradients
        )
        consumed = config.batch_size * config.accumulate * workers.size
        data = job.source.batches(self.state.position, config.batch_size, workers.rank, workers.size)
        batches = iter(data)
        watch, whole = Stopwatch(), Stopwatch()
        loss, stopped = float("nan"), False
        with StopRequest() as stop:
            while self.state.step < job.steps and not stopped:
                with watch.waiting():
                    micro = self._next(batches)
                shown = (self.state.step + 1) % config.display_every == 0 or self.state.step + 1 == job.steps
                result = update.run(micro, stop.flag, tf.constant(shown))
                self._check_finite(result, micro)
                self.state.step += 1
                if self.average is not None:
                    self.average.update(tf.constant(self.state.step, tf.int64))
                self.state.position += consumed
                watch.count(consumed)
                whole.count(consumed)
                step, stopped = self.state.step, bool(result["stop"])
                last = stopped or step == job.steps
                loss = float(result["loss"])
                history.advance(step, loss=loss)
                if shown:
                    self._report(history, result, watch)
                with watch.excluded(), whole.excluded():
                    validated = job.validate and not stopped and (last or _due(step, config.eval_every))
                    is_best = validated and self._validate(history)
                    if last or is_best or _due(step, config.checkpoint_every):
                        self.save()
                    if last or validated or _due(step, config.checkpoint_every):
                        self._show_masks(history, micro[0])
                if workers.is_elastic and not last and _due(step, config.commit_every):
                    commit()
        rate = whole.read()["images_per_s"]
        history.event(
            "end", at_step=self.state.step, stopped=stopped, loss=loss, images_per_s=rate, best=self.state.best
        )
        return TrainResult(self.state, loss, stopped, rate)

    def _next(self, batches: Iterator[dict[str, tf.Tensor]]) -> tuple[dict[str, tf.Tensor], ...]:
        """The micro-batches of one update."""
        config = self.job.train
        try:
            return tuple(next(batches) for _ in range(config.accumulate))
        except READ_ERRORS as error:
            count = config.batch_size * config.accumulate * self.workers.size
            damage = self.job.source.find_damage(range(self.state.position, self.state.position + count))
            if damage is None:
                raise
            raise TrainingError(f"step {self.state.step + 1}: {damage}. {self._last_good()}") from error

    def _last_good(self) -> str:
        """For messages: the checkpoint that a run stopped here will go on from (the chief alone looks)."""
        if not self.workers.is_chief:
            return ""
        last = self.store.newest()
        return f"The last good checkpoint is {last}." if last else "There is no checkpoint yet."

    def _check_finite(self, result: dict[str, tf.Tensor], micro: tuple[dict[str, tf.Tensor], ...]) -> None:
        if bool(result["finite"]):
            return
        keys = [key.decode("utf-8", "backslashreplace") for batch in micro for key in batch["key"].numpy()]
        # Every worker gets here at the same step, since what it looked at was summed over all of them.
        shares = self.workers.gather((bool(result["own_finite"]), keys))
        blamed = [own for finite, own in shares if not finite] or [own for _, own in shares]
        named = sorted({key for own in blamed for key in own})
        raise TrainingError(
            f"step {self.state.step + 1}: loss {float(result['loss'])}, gradient norm {float(result['gradient_norm'])} "
            f"not finite; no update was made. Records of the batch: {', '.join(named)}. "
            f"{self._last_good()} A lower --learning_rate, or --clip_norm, often helps."
        )

    def _report(self, history: TrainLog, result: dict[str, tf.Tensor], watch: Stopwatch) -> None:
        dice = result["dice"].numpy()
        history.event(
            "train",
            step=self.state.step,
            loss=result["loss"],
            **{
                name: result[name]
                for name in ("mask_loss", "image_loss", "dice_loss", "pair_loss", "l2", "gradient_norm")
            },
            loss_scale=result["loss_scale"],
            learning_rate=self.optimizer.learning_rate,
            dice={f"{t:g}": float(value) for t, value in zip(metrics.THRESHOLDS, dice)},
            **watch.read(),
        )

    def _validate(self, history: TrainLog) -> bool:
        """Measure the network; True if it is the best so far, and must be saved as it is now."""
        assert self.job.validate is not None
        score, numbers = self.job.validate(self.evaluated)
        best = score is not None and (self.state.best is None or score > self.state.best)
        if best:
            self.state.best, self.state.best_step = score, self.state.step
        history.event("validation", step=self.state.step, score=score, is_best=best, **numbers)
        return best

    def _show_masks(self, history: TrainLog, batch: dict[str, tf.Tensor]) -> None:
        """The chief's first few crops of the last batch, with their true and predicted masks, to TensorBoard."""
        if self.workers.is_chief:
            images, masks = (batch[name][:SHOWN_CROPS] for name in ("image", "mask"))
            logits = tf.cast(self.evaluated(network_input(images, self.job.model)), tf.float32)
            history.masks(self.state.step, images.numpy(), masks.numpy(), tf.sigmoid(logits).numpy())


class StopRequest:
    """SIGTERM (from Slurm, Kubernetes, `kill`), SIGINT and SIGHUP (a closed terminal) ask the loop to save and leave,
    not to die where it stands.

    A second SIGINT kills. SIGHUP is left alone where it is ignored, as under `nohup`.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
            for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        for number, previous in self._previous.items():
            # When another worker dies, horovodrun sends SIGTERM to the rest, who still have to report it; it
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


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _tracked_variables(trackable: Any) -> Iterator[tf.Variable]:
    """Variables reachable through TensorFlow's own bookkeeping of an object, as a checkpoint would find them."""
    view = tf.train.TrackableView(trackable)
    for item in view.descendants():
        if isinstance(item, tf.Variable):
            yield item
