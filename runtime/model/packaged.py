"""The model that comes with the installation: weights as plain half-precision numbers, their hash pinned in this file.

Weights are data, a SavedModel is a program; so the package holds weights, and the SavedModel is made of them by this
version's own code on first use, in the user's cache. `tools/pack_weights.py` makes the files from a checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import unet_industrial
from runtime.model.saved_model import METADATA_PATH, ModelError

FOLDER = Path(__file__).parent / "weights"
WEIGHTS_FILE, METADATA_FILE = FOLDER / "tinyunet.npz", FOLDER / "model.json"
WEIGHTS_SHA256 = "19533eec418b1439f129f3c5f5ded8d45f00f8420fe6f2c673ddda7c7836d444"
CACHE_VARIABLE = "DEEPFAKE_UNET_CACHE"  # overrides where the SavedModel is kept


def available() -> bool:
    """Whether this installation holds weights."""
    return WEIGHTS_FILE.is_file() and METADATA_FILE.is_file()


def read_weights() -> list[np.ndarray]:
    """The network's variables in their order, float32.

    Raises:
        ModelError: the file is missing, or is not the one that this version was released with.
    """
    try:
        data = WEIGHTS_FILE.read_bytes()
    except OSError as error:
        raise ModelError(f"{WEIGHTS_FILE}: {error.strerror}; install the package again, or give --model") from error
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelError(
            f"{WEIGHTS_FILE}: SHA-256 {found[:16]}… is not the released {WEIGHTS_SHA256[:16]}…; "
            "install the package again, or give --model"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return [arrays[name].astype(np.float32) for name in sorted(arrays.files)]


def read_description() -> dict[str, Any]:
    """What model.json says: configuration, training, calibration, thresholds, figures."""
    return json.loads(METADATA_FILE.read_text("utf-8"))


def build_network() -> tuple[Any, Any]:
    """(network with the shipped weights, its ModelConfig)."""
    from unet_industrial.config import ModelConfig
    from unet_industrial.train_step import make_network

    config = ModelConfig.from_dict(read_description()["model"])
    network = make_network(config)
    network.set_weights(read_weights())
    return network, config


def model_folder() -> Path:
    """The SavedModel of the shipped weights; made on first use, some seconds.

    Raises:
        ModelError: this installation holds no weights, or damaged ones.
    """
    if not available():
        raise ModelError(f"{FOLDER} holds no weights: give --model=FOLDER, as `python -m runtime export` writes it")
    name = hashlib.sha256(
        b"\0".join([unet_industrial.__version__.encode(), WEIGHTS_SHA256.encode(), METADATA_FILE.read_bytes()])
    ).hexdigest()[:16]
    folder = _cache() / name
    if not (folder / METADATA_PATH).is_file():
        _build(folder)
    return folder


def _cache() -> Path:
    """A folder that only this user can write to."""
    base = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    folder = Path(base) if base else Path(os.path.expanduser("~")) / ".cache"
    folder = folder if os.environ.get(CACHE_VARIABLE) else folder / "deepfake-unet-industrial"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="deepfake-unet-"))


def _build(folder: Path) -> None:
    from runtime.model.export import export

    network, config = build_network()
    described = read_description()
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    about = {name: value for name, value in described.items() if name not in ("model", "versions")}
    export(network, config, temporary / "model", about)
    try:
        os.rename(temporary / "model", folder)
    except OSError:  # another process was faster
        if not (folder / METADATA_PATH).is_file():
            raise
    finally:
        for leftover in sorted(temporary.rglob("*"), reverse=True):
            leftover.unlink() if leftover.is_file() else leftover.rmdir()
        temporary.rmdir()
