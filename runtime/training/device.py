"""The machine under one worker: which GPU, memory growth, precision, XLA, TF32, threads, seeds."""

from __future__ import annotations

from typing import Any

from mask_generation.parallel.processes import cpu_cores
from runtime.training.distributed import Workers
from unet_industrial.config import ConfigError, TrainConfig

_POLICIES = {"none": "float32", "fp16": "mixed_float16", "bf16": "mixed_bfloat16"}


def configure(workers: Workers, config: TrainConfig, threads: int = 0) -> str:
    """Set up TensorFlow in this process before it runs its first operation.

    A worker takes the GPU of its *local* rank (the reference takes the global rank's, so it works on one node only).
    On a CPU, workers of one machine share its cores instead of each starting as many threads as there are cores.

    Args:
        threads: intra-op threads of this process; 0 divides the cores among the machine's workers.
    Returns:
        "GPU" or "CPU": what the steps will run on.
    Raises:
        ConfigError: fewer GPUs than workers on this machine, or bf16 asked of a GPU without it.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if workers.local_rank >= len(gpus):
            raise ConfigError(f"{workers.local_size} workers on this machine, but it has {len(gpus)} GPUs: start fewer")
        own = gpus[workers.local_rank]
        tf.config.set_visible_devices(own, "GPU")
        tf.config.experimental.set_memory_growth(own, True)
        _check_precision(tf, own, config.amp)
    if threads or workers.local_size > 1:
        own_threads = threads or max(1, cpu_cores() // workers.local_size)
        tf.config.threading.set_intra_op_parallelism_threads(own_threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, own_threads) if gpus else own_threads)
    tf.config.experimental.enable_tensor_float_32_execution(config.tf32)
    set_precision(config.amp)
    tf.keras.utils.set_random_seed(config.seed % 2**32)  # the same on all workers, whose weights then start equal
    deterministic = config.deterministic if config.deterministic is not None else not gpus
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return "GPU" if gpus else "CPU"


def _check_precision(tf: Any, gpu: Any, amp: str) -> None:
    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    if amp == "bf16" and capability and capability < (8, 0):
        raise ConfigError(
            f"amp=bf16: this GPU (compute capability {capability[0]}.{capability[1]}) has no bfloat16; use fp16"
        )


def set_precision(amp: str) -> None:
    """Keras' policy for layers built from now on: half precision arithmetic over float32 weights, or float32."""
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy(_POLICIES[amp])
