"""Does an exported model load unchanged in a newer TensorFlow, and give the same answers?

    .venv/bin/python benchmarks/newer_tensorflow.py write MODEL probes.npz
    /other/venv/bin/python benchmarks/newer_tensorflow.py check MODEL probes.npz

`check` needs nothing but TensorFlow and NumPy, so the product need not be installed beside it.
"""

from __future__ import annotations

import sys

import numpy as np

ALLOWED = 1e-5


def answers(model: str, pictures: np.ndarray) -> dict[str, np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    found = loaded.signatures["serving_default"](images=tf.constant(pictures))
    return {name: value.numpy() for name, value in found.items()}


def side_of(model: str) -> int:
    import tensorflow as tf

    (spec,) = tf.saved_model.load(model).signatures["serving_default"].structured_input_signature[1].values()
    return int(spec.shape[1])


def main(words: list[str]) -> int:
    import tensorflow as tf

    if len(words) != 3 or words[0] not in ("write", "check"):
        print(__doc__)
        return 2
    action, model, path = words
    if action == "write":
        side = side_of(model)
        rng = np.random.default_rng(0)
        smooth = np.linspace(0, 255, side).astype(np.uint8)[:, None, None]
        pictures = [rng.integers(0, 256, (side, side, 3), np.uint8), np.broadcast_to(smooth, (side, side, 3))]
        pictures += [np.full((side, side, 3), level, np.uint8) for level in (0, 128, 255)]
        stacked = np.stack(pictures)
        np.savez_compressed(path, pictures=stacked, **answers(model, stacked))
        print(f"TensorFlow {tf.__version__}: {path}")
        return 0
    stored = np.load(path)
    found = answers(model, stored["pictures"])
    worst = max(float(np.abs(found[name] - stored[name]).max()) for name in ("mask", "frame_score"))
    print(f"TensorFlow {tf.__version__}, NumPy {np.__version__}: largest difference {worst:.2e} (allowed {ALLOWED:g})")
    return int(not worst <= ALLOWED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
