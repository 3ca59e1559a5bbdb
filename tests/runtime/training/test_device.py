"""Which GPU a worker takes, and how TensorFlow is set up before its first operation; the GPUs are stand-ins."""

from __future__ import annotations

import pytest
import tensorflow as tf

from runtime.training import device
from runtime.training.distributed import Workers
from unet_industrial.config import ConfigError, TrainConfig


class Worker(Workers):
    def __init__(self, local_rank=0, local_size=1):
        self.rank = self.local_rank = local_rank
        self.size = self.local_size = local_size


@pytest.fixture
def calls(monkeypatch):
    """What was asked of TensorFlow; `gpus` and `capability` are what it reports."""
    seen = {"gpus": [], "capability": (8, 0)}

    def record(name, answer=None):
        def call(*arguments):
            seen[name] = arguments
            return answer

        return call

    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: seen["gpus"])
    monkeypatch.setattr(config, "set_visible_devices", record("visible"))
    monkeypatch.setattr(config.experimental, "set_memory_growth", record("growth"))
    details = {"get_device_details": lambda _: {"compute_capability": seen["capability"]}}
    monkeypatch.setattr(config.experimental, "get_device_details", details["get_device_details"])
    monkeypatch.setattr(config.experimental, "enable_tensor_float_32_execution", record("tf32"))
    monkeypatch.setattr(config.experimental, "enable_op_determinism", record("deterministic"))
    monkeypatch.setattr(config.threading, "set_intra_op_parallelism_threads", record("intra"))
    monkeypatch.setattr(config.threading, "set_inter_op_parallelism_threads", record("inter"))
    monkeypatch.setattr(device, "cpu_cores", lambda: 8)
    yield seen
    tf.keras.mixed_precision.set_global_policy("float32")


def test_a_worker_takes_the_gpu_of_its_local_rank_and_grows_into_it(calls):
    calls["gpus"] = ["gpu0", "gpu1"]
    assert device.configure(Worker(1, 2), TrainConfig()) == "GPU"
    assert calls["visible"] == ("gpu1", "GPU")
    assert calls["growth"] == ("gpu1", True)
    assert "deterministic" not in calls  # costs speed on a GPU, so only if asked
    device.configure(Worker(1, 2), TrainConfig(deterministic=True))
    assert "deterministic" in calls


def test_more_workers_than_gpus_is_an_error(calls):
    calls["gpus"] = ["gpu0"]
    with pytest.raises(ConfigError, match="2 workers on this machine, but it has 1 GPUs"):
        device.configure(Worker(1, 2), TrainConfig())


def test_bf16_needs_a_gpu_that_has_it(calls):
    calls.update(gpus=["gpu0"], capability=(7, 0))
    with pytest.raises(ConfigError, match=r"compute capability 7\.0.*use fp16"):
        device.configure(Worker(), TrainConfig(amp="bf16"))
    calls["capability"] = (8, 0)
    device.configure(Worker(), TrainConfig(amp="bf16"))


@pytest.mark.parametrize("local_size, threads, expected", [(1, 0, None), (2, 0, 4), (16, 0, 1), (2, 3, 3), (1, 1, 1)])
def test_workers_of_one_machine_share_its_cores(calls, local_size, threads, expected):
    assert device.configure(Worker(0, local_size), TrainConfig(), threads) == "CPU"
    assert calls.get("intra") == (None if expected is None else (expected,))
    assert "deterministic" in calls


@pytest.mark.parametrize("amp, policy", [("none", "float32"), ("fp16", "mixed_float16"), ("bf16", "mixed_bfloat16")])
def test_precision_is_keras_own_policy(calls, amp, policy):
    device.configure(Worker(), TrainConfig(amp=amp, tf32=False))
    assert tf.keras.mixed_precision.global_policy().name == policy
    assert calls["tf32"] == (False,)


def test_one_seed_for_everything(calls):
    drawn = []
    for seed in (5, 5, 6):
        device.configure(Worker(), TrainConfig(seed=seed))
        drawn.append(float(tf.random.uniform(())))
    assert drawn[0] == drawn[1] != drawn[2]
