"""`training_benchmark` and `inference_benchmark`: images per second, on noise or on record files."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from runtime.training.distributed import Workers
from unet_industrial.config import ModelConfig, TrainConfig
from unet_industrial.dataset import BatchSource, SyntheticSource
from unet_industrial.files import write_json
from unet_industrial.train_step import TrainStep, make_network, make_optimizer, network_input


def run(
    mode: str,
    model: ModelConfig,
    train: TrainConfig,
    workers: Workers,
    steps: int,
    warmup_steps: int,
    source: Optional[BatchSource] = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Time `steps` steps after `warmup_steps` untimed ones, batch by batch.

    Unlike the reference's, the inference benchmark times the forward pass alone, without metrics.

    Args:
        mode: "training_benchmark" or "inference_benchmark".
        source: where batches come from; None: noise.
    Returns:
        `images_per_s` of all workers together, `cpu_s_per_image` of this one, `step_s` quantiles, `waiting_share`
        (of the time, for the next batch), and what was measured.
    """
    source = source or SyntheticSource(model, train.seed)
    batches = iter(source.batches(0, train.batch_size, workers.rank, workers.size))
    network = make_network(model)
    if mode == "training_benchmark":
        step = TrainStep(
            network, make_optimizer(train, workers.size), model, train, workers.size, workers.sum,
            workers.average_gradients,
        )  # fmt: skip
        workers.broadcast_variables(network.variables)

        def one() -> float:
            micro = tuple(itertools.islice(batches, train.accumulate))
            begun = time.perf_counter()
            float(step.run(micro, tf.constant(0.0), tf.constant(False))["loss"])  # reading it waits for the device
            return time.perf_counter() - begun
    else:
        forward = tf.function(
            lambda images: tf.sigmoid(network(network_input(images, model), training=False)), jit_compile=train.xla
        )

        def one() -> float:
            images = next(batches)["image"]
            begun = time.perf_counter()
            forward(images)[0, 0, 0, 0].numpy()
            return time.perf_counter() - begun

    for _ in range(warmup_steps):
        one()
    workers.broadcast(None)  # begin together
    cpu, begun = time.process_time(), time.perf_counter()
    busy = np.array([one() for _ in tqdm(range(steps), desc=mode, unit="step", disable=not progress)])
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
    images = steps * train.batch_size * (train.accumulate if mode == "training_benchmark" else 1)
    slowest = max(workers.gather(elapsed))
    return {
        "images_per_s": images * workers.size / slowest,
        "cpu_s_per_image": cpu / images,
        "waiting_share": 1 - float(busy.sum()) / elapsed,
        "step_s": {name: float(np.quantile(busy, q)) for name, q in (("p10", 0.1), ("median", 0.5), ("p90", 0.9))},
        "steps": steps,
        "warmup_steps": warmup_steps,
        "workers": workers.size,
        "model": model.to_dict(),
        "train": train.to_dict(),
        "source": source.describe(),
    }


def write(results: Path, mode: str, measured: dict[str, Any]) -> None:
    """Print the rate and leave everything in `<mode>.json`."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{mode}.json"
    write_json(path, measured)
    print(
        f"{mode}: {measured['images_per_s']:.2f} images/s on {measured['workers']} workers, "
        f"{measured['cpu_s_per_image']:.4f} CPU-s/image, waiting {measured['waiting_share']:.1%}; {path}"
    )
