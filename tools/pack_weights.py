"""Checkpoint and calibrated SavedModel → the files that ship: tinyunet.npz, model.json, and the pin.

    python -m tools.pack_weights CHECKPOINT SAVED_MODEL

Half precision is used if masks and frame scores then agree with the checkpoint's to 1e-3 on noise, ramps and flats;
single precision otherwise. Calibration and thresholds name the weights that they were fitted with, and go along.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np

from runtime.model import packaged
from runtime.model.export import ServingModule, load_network, weights_sha256
from runtime.model.saved_model import METADATA_PATH
from unet_industrial.files import file_sha256, write_bytes, write_text

ALLOWED = 1e-3
DROPPED = ("format", "parameters", "export_error", "weights_sha256", "input_size", "versions")  # made by every export


def main(checkpoint: Path, saved_model: Path) -> None:
    import tensorflow as tf

    network, config, state, folder = load_network(checkpoint)
    described = json.loads((saved_model / METADATA_PATH).read_text("utf-8"))
    exact = network.get_weights()
    side = described["model"]["input_size"]
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, side, dtype=np.uint8)[:, None, None], (side, side, 3))
    images = tf.constant(np.stack([rng.integers(0, 256, (side, side, 3), np.uint8), ramp, np.full_like(ramp, 128)]))
    config = type(config).from_dict(described["model"])
    before = ServingModule(network, config).serve(images)
    weights = [value.astype(np.float16) for value in exact]
    network.set_weights([value.astype(np.float32) for value in weights])
    after = ServingModule(network, config).serve(images)
    worst = max(float(tf.reduce_max(tf.abs(before[name] - after[name]))) for name in before)
    found = f"half precision moves the output by {worst:.1e}"
    if worst > ALLOWED:
        weights, found = exact, f"single precision, as {found}"
        network.set_weights(exact)
    stream = io.BytesIO()
    np.savez_compressed(stream, **{f"{i:03d}": value for i, value in enumerate(weights)})
    data = stream.getvalue()
    packaged.FOLDER.mkdir(exist_ok=True)
    write_bytes(packaged.WEIGHTS_FILE, data)
    kept = {name: value for name, value in described.items() if name not in DROPPED}
    text = json.dumps(kept, indent=1).replace(described["weights_sha256"], weights_sha256(network))
    write_text(packaged.METADATA_FILE, text + "\n")
    source = Path(packaged.__file__)
    pinned = file_sha256(packaged.WEIGHTS_FILE)
    text = re.sub(r'^WEIGHTS_SHA256 = ".*"$', f'WEIGHTS_SHA256 = "{pinned}"', source.read_text("utf-8"), flags=re.M)
    write_text(source, text)
    print(f"{folder.name} (step {state.step}): {len(data)} bytes, {found}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
