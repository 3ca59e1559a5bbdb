"""The model that comes with the installation: weights as plain half-precision numbers, their hash pinned in this file.

Weights are data, a SavedModel is a program; so the package holds weights, and the SavedModel is made of them by this
version's own code on first use, in the user's cache. `tools/pack_weights.py` makes the files from a checkpoint.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np

import unet_industrial
from runtime.model import saved_model
from runtime.model.saved_model import ModelError
from unet_industrial.files import locked

FOLDER = Path(__file__).parent / "weights"
WEIGHTS_FILE, METADATA_FILE = FOLDER / "tinyunet.npz", FOLDER / "model.json"
WEIGHTS_SHA256 = "19533eec418b1439f129f3c5f5ded8d45f00f8420fe6f2c673ddda7c7836d444"
CACHE_VARIABLE = "DEEPFAKE_UNET_CACHE"  # overrides where the SavedModel is kept
BUILDING = ".building-"  # begins the name of a folder in which a model is being made
BUILD_LIMIT_S = 3600.0  # no build takes that long: what is older was killed
KEPT_UNKNOWN = 2

log = logging.getLogger(__name__)


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
    """What model.json holds: configuration, training, calibration, thresholds, figures."""
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
    """The folder of `shipped`."""
    return shipped()[0]


def shipped() -> tuple[Path, str]:
    """(SavedModel of the shipped weights, its `Identity.key`); made on first use, some seconds.

    A SavedModel is a program, and a cache is a folder that others may write to. So what lies there is used only if it
    belongs to this user and its hashes are those remembered, outside the cache, when this installation built it;
    anything else is passed over.

    Raises:
        ModelError: this installation holds no weights, or damaged ones.
    """
    if not available():
        raise ModelError(f"{FOLDER} holds no weights: give --model=FOLDER, as `python -m runtime export` writes it")
    version = hashlib.sha256(
        b"\0".join([unet_industrial.__version__.encode(), WEIGHTS_SHA256.encode(), METADATA_FILE.read_bytes()])
    ).hexdigest()[:16]
    cache = _cache()
    with locked(cache):  # several processes that start at once build one model
        return _find(cache, version) or _build(cache, version)


def _cache() -> Path:
    """The folder for built models, or a temporary one for this process alone where that is not this user's own."""
    base = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    folder = Path(base) if base else Path(os.path.expanduser("~")) / ".cache"
    folder = folder if os.environ.get(CACHE_VARIABLE) else folder / "deepfake-unet-industrial"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK) and _own(folder):
            return folder
    except OSError:
        pass
    return _own_folder()


def _own(folder: Path) -> bool:
    """Whether a folder is this user's, and not everybody's to write to."""
    about = folder.lstat() if folder.is_symlink() else folder.stat()
    return about.st_uid == os.geteuid() and not about.st_mode & 0o002 and stat.S_ISDIR(about.st_mode)


@functools.cache
def _own_folder() -> Path:
    """A folder only for this process and those it starts, removed when it ends."""
    folder = tempfile.mkdtemp(prefix="deepfake-unet-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _find(cache: Path, version: str) -> Optional[tuple[Path, str]]:
    """The model of that version in the cache that this installation built, whole and unchanged; None without one."""
    passed_over = []
    for folder in sorted(cache.glob(f"{version}-*")):
        try:
            key = saved_model.examine(folder)[0].key if _own(folder) else ""
            built = saved_model.pinned().get(key) == _origin(folder)
        except (ModelError, OSError) as error:
            log.warning("%s is passed over: %s", folder, error)
            built = False
        else:
            if not built:
                log.warning("%s is passed over: this installation did not build it, or it was changed since", folder)
        if built:
            return folder, key
        passed_over.append(folder)
    _sweep(cache, passed_over)
    return _unpinned.get(version)


def _sweep(cache: Path, passed_over: list[Path]) -> None:
    """Remove what will never be used: builds that were killed, and models that nobody remembers.

    Of the latter the newest stay: another installation that shares the cache may be about to load its own.
    """
    old = sorted(passed_over, key=lambda folder: folder.lstat().st_mtime, reverse=True)[KEPT_UNKNOWN:]
    killed = [f for f in cache.glob(f"{BUILDING}*") if time.time() - f.lstat().st_mtime > BUILD_LIMIT_S]
    for folder in (*old, *killed):
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


_unpinned: dict[str, tuple[Path, str]] = {}  # version → built by this process, where its hash could not be remembered


def _origin(folder: Path) -> str:
    """The note beside the hash: a user's own export, trusted elsewhere, is still not the shipped model."""
    return f"built from the shipped weights: {folder.resolve()}"


def _build(cache: Path, version: str) -> tuple[Path, str]:
    """Make the SavedModel, remember its hash, and only then give it its name."""
    from runtime.model.export import export

    network, config = build_network()
    about = {name: value for name, value in read_description().items() if name not in ("model", "versions")}
    temporary = Path(tempfile.mkdtemp(prefix=BUILDING, dir=cache))
    try:
        export(network, config, temporary / "model", about)
        key = saved_model.examine(temporary / "model")[0].key
        folder = cache / f"{version}-{key[:16]}"
        try:
            saved_model.pin(temporary / "model", _origin(folder))
        except (
            OSError
        ) as error:  # later it could not be distinguished from a foreign one, so it is for this process alone
            log.warning("%s: %s; the model is built anew at every start", saved_model.pin_file(), error.strerror)
            folder = _own_folder() / version
            _unpinned[version] = folder, key
        if folder.is_symlink() or folder.is_file():  # what _find passed over
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        shutil.move(str(temporary / "model"), folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder, key
