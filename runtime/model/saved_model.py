"""SavedModels: the one place that loads them, reads their metadata and decides whether they may run.

A SavedModel is a program: loading one from a stranger is running the stranger's code (TensorFlow's SECURITY.md). So a
model is loaded only if it came with this installation (`shipped_model`), or its hashes are among those that this user's
own `export` pinned on this machine (`pin`), or the caller passes `trust=True` (`--trust_model`). Every subcommand and
`runtime.score_video` come through here.

What is trusted is the program and its model.json together, since thresholds and calibration decide the verdict as much
as weights do; and what is loaded is a private copy of the bytes that were hashed, not what lies there a moment later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from mask_generation.video.types import printable
from unet_industrial.config import FACE_MARGIN, ConfigError, ModelConfig
from unet_industrial.files import locked, parse_json, update_digest, write_json

METADATA_PATH = Path("assets.extra") / "model.json"  # where TF Serving expects what it should leave alone
METADATA_FORMAT = 1
PIN_VARIABLE = "DEEPFAKE_UNET_PINS"  # overrides where pins are kept
PACKAGED = "runtime.model.packaged"  # the shipped model's module; `shipped()` gives folder and key
DEFAULT_BATCH = 16

log = logging.getLogger(__name__)


Trust = Union[bool, str]  # True: load whatever lies there; a key (`Identity.key`): exactly that model


class ModelError(Exception):
    """The model is missing, not trusted, or not one of ours; the message says what to do.

    Messages quote names and text of models: control characters are escaped, which a terminal would obey.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which model it is, byte for byte.

    Attributes:
        sha256: of the program: graph, weights and assets, without the metadata.
        metadata_sha256: of the bytes of assets.extra/model.json; None if there is none.
    """

    sha256: str
    metadata_sha256: Optional[str]

    @property
    def key(self) -> str:
        """What `pin` remembers."""
        return f"{self.sha256}:{self.metadata_sha256 or 'none'}"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict.

    Attributes:
        path: folder of the SavedModel.
        sha256: of the program: graph, weights and assets, without the metadata.
        metadata: content of assets.extra/model.json; {} if there is none.
        metadata_sha256: of that file's bytes; None if there is none.
        input_size: side of the crops in pixels.
        face_margin: side of the crop over the longer side of the face box, as in training.
    """

    path: Path
    sha256: str
    metadata: dict[str, Any]
    metadata_sha256: str | None
    input_size: int
    face_margin: float
    saved: Any = dataclasses.field(repr=False)  # holds the variables alive
    signature: Any = dataclasses.field(repr=False)

    def predict(self, crops: np.ndarray, batch_size: int = DEFAULT_BATCH) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities for (N,S,S,3) uint8 crops: masks (N,S,S) float32 and frame scores (N,) float32, in [0, 1].

        Raises:
            ValueError: the crops have another shape or type.
        """
        import tensorflow as tf

        side = self.input_size
        if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
            raise ValueError(f"crops of {crops.dtype}{crops.shape}: expected uint8 (N,{side},{side},3)")
        masks = np.empty(crops.shape[:3], np.float32)
        scores = np.empty(len(crops), np.float32)
        for start in range(0, len(crops), batch_size):
            out = self.signature(images=tf.constant(crops[start : start + batch_size]))
            masks[start : start + batch_size] = out["mask"].numpy()[..., 0]
            scores[start : start + batch_size] = out["frame_score"].numpy()
        if not (np.isfinite(masks).all() and np.isfinite(scores).all()):
            raise ModelError(f"{self.path}: the model returned values that are not finite; export it again")
        return masks, scores

    def predictor(self) -> Callable[[Any], tuple[Any, Any]]:
        """For `evaluate`, on tensors: (B,S,S,3) float32 crops in [-1, 1] → (B,S,S,1) masks and (B,) frame scores.

        Whole grey levels come back from [-1, 1] exactly, so it sees the bytes that `predict` would be given.
        """
        import tensorflow as tf

        def predict(images: Any) -> tuple[Any, Any]:
            levels = tf.cast(tf.round((images + 1.0) * 127.5), tf.uint8)  # the inverse of `dataset.normalise`
            out = self.signature(images=levels)
            return out["mask"], out["frame_score"]

        return predict

    def crops(self) -> ModelConfig:
        """The crops it takes, as `dataset` wants to know them: their side, in colour, without filters beside them.

        Raises:
            ModelError: its crops are of a size that record files are not resized to.
        """
        try:
            return ModelConfig(input_size=self.input_size)
        except ConfigError as error:
            raise ModelError(f"{self.path}: {error}") from error


def program_sha256(folder: Union[str, Path]) -> str:
    """SHA-256 over names, sizes and bytes of everything in a SavedModel but its metadata.

    Raises:
        ModelError: there is no SavedModel there, or it cannot be read.
    """
    return _hash_program(Path(folder), None)


def _hash_program(folder: Path, copy: Optional[Path]) -> str:
    """See `program_sha256`; the bytes that were hashed are left in the folder `copy`."""
    if not (folder / "saved_model.pb").is_file():
        raise ModelError(
            f"{folder}: no SavedModel there (saved_model.pb is missing); `python -m runtime export` makes one"
        )
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
            relative = path.relative_to(folder)
            if not path.is_file() or relative.parts[0] == METADATA_PATH.parts[0]:
                continue
            name, size = relative.as_posix().encode("utf-8", "surrogateescape"), path.stat().st_size
            digest.update(b"%d:%s:%d:" % (len(name), name, size))
            if copy is not None:
                (copy / relative).parent.mkdir(parents=True, exist_ok=True)
            if update_digest(digest, path, copy and copy / relative) != size:
                raise ModelError(f"{path}: changed while it was read; try again")
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be read or copied: {error.strerror}") from error
    return digest.hexdigest()


def examine(folder: Union[str, Path]) -> tuple[Identity, dict[str, Any]]:
    """(identity of a SavedModel, content of its model.json), without running anything.

    Raises:
        ModelError: there is no SavedModel there, or its metadata are damaged.
    """
    sha256 = program_sha256(folder)
    content, metadata_sha256 = read_metadata(folder)
    return Identity(sha256, metadata_sha256), content


def pin_file() -> Path:
    """Where this user's trusted hashes are kept."""
    if os.environ.get(PIN_VARIABLE):
        return Path(os.environ[PIN_VARIABLE])
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "deepfake-unet-industrial" / "trusted_models.json"


def pinned() -> dict[str, str]:
    """`Identity.key` → note of the models this user trusts; {} where none is, or the file cannot be read.

    A file of another user, or one that anybody may write to, vouches for nothing.
    """
    path = pin_file()
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            data = file.read()
        entries = parse_json(data, path)
    except (OSError, ValueError):
        return {}
    if about.st_uid not in (os.geteuid(), 0) or about.st_mode & 0o002:
        log.warning("%s is passed over: it belongs to another user, or anybody may write to it", path)
        return {}
    return {str(key): str(note) for key, note in entries.items()} if isinstance(entries, dict) else {}


def pin(folder: Union[str, Path], note: str = "", replaces: Optional[str] = None) -> Identity:
    """Trust this model from now on, for this user. Called for what has just been made here.

    Args:
        note: kept beside the hashes; empty: the folder's path.
        replaces: key of what it was before; that is no longer trusted.
    Raises:
        OSError: it cannot be remembered.
    """
    identity, _ = examine(folder)
    path = pin_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(path.parent):  # two exports at once must not forget each other
        kept = {key: text for key, text in pinned().items() if key != replaces}
        write_json(path, {**kept, identity.key: note or str(Path(folder).resolve())})
        path.chmod(0o600)  # whatever the umask
    return identity


def read_metadata(folder: Union[str, Path]) -> tuple[dict[str, Any], str | None]:
    """(content, SHA-256) of a SavedModel's model.json; ({}, None) if there is none.

    Raises:
        ModelError: the file is there but is not a JSON object, or of another format.
    """
    path = Path(folder) / METADATA_PATH
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    return _parse_metadata(path, data), hashlib.sha256(data).hexdigest()


def _parse_metadata(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = parse_json(data, path)
    except ValueError as error:
        raise ModelError(str(error)) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: a JSON object is needed")
    if content.get("format", METADATA_FORMAT) != METADATA_FORMAT:
        raise ModelError(f"{path}: format {content['format']!r}, this version reads {METADATA_FORMAT}")
    escaped: dict[str, Any] = _escaped(content)
    return escaped


def _escaped(value: Any) -> Any:
    """The same JSON with control characters in its text escaped: a model's words go to terminals and pages."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _escaped(item) for key, item in value.items()}
    return value


def fingerprint(sha256: str, metadata: Mapping[str, Any]) -> str:
    """The hash by which a calibration names a model: of its weights, as they are the same wherever the SavedModel is
    built anew (the file is not, byte for byte); of the program where the weights' hash is not known."""
    return str(metadata.get("weights_sha256") or sha256)


def write_metadata(folder: Union[str, Path], content: dict[str, Any]) -> None:
    """Replace model.json, atomically."""
    path = Path(folder) / METADATA_PATH
    path.parent.mkdir(exist_ok=True)
    write_json(path, content)


def check_trust(folder: Path, identity: Identity, trust: Trust) -> None:
    """
    Raises:
        ModelError: the model is not pinned, and the caller does not vouch for it.
    """
    if trust is True or trust == identity.key:
        return
    if isinstance(trust, str):
        raise ModelError(f"{folder}: changed since it was checked; nothing of it was run. Start again")
    known = pinned()
    if identity.key in known:
        return
    if any(key.split(":")[0] == identity.sha256 for key in known):
        raise ModelError(
            f"{folder / METADATA_PATH}: not the one this model was exported or calibrated with, and it decides "
            "verdicts (thresholds, calibration). Export it again; or, if you changed it yourself, give --trust_model"
        )
    raise ModelError(
        f"{folder}: unknown model (SHA-256 {identity.sha256[:16]}…). A SavedModel is a program that runs with your "
        "rights; if you made it, or trust who did, give --trust_model"
    )


def shipped_model() -> tuple[Path, str]:
    """(folder, `Identity.key`) of the model that comes with this installation, used where no other is named.

    Raises:
        ModelError: this installation has none; the message says what to do.
    """
    if importlib.util.find_spec(PACKAGED) is None:
        raise ModelError(
            "no model named, and none comes with this installation: give --model=FOLDER, as `python -m runtime export` "
            "writes it"
        )
    folder, key = importlib.import_module(PACKAGED).shipped()
    return Path(folder), str(key)


def default_model() -> Path:
    """The folder of `shipped_model`.

    Raises:
        ModelError: as there.
    """
    return shipped_model()[0]


def load_model(path: Union[str, Path], trust: Trust = False) -> LoadedModel:
    """Load a SavedModel after checking who made it and what it takes.

    Args:
        trust: True: load it even if its hashes are unknown; a key: only if it is that model.
    Raises:
        ModelError: missing, unknown and not trusted, damaged, or with another signature.
    """
    folder = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-unet-model-")))
        except OSError as error:
            raise ModelError(f"no folder for temporary files ({error.strerror}): set TMPDIR to one") from error
        sha256 = _hash_program(folder, copy)
        metadata, metadata_sha256 = read_metadata(folder)
        check_trust(folder, Identity(sha256, metadata_sha256), trust)
        import tensorflow as tf

        try:
            saved = tf.saved_model.load(str(copy))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            reason = _first_line(error).replace(str(copy), str(folder))
            raise ModelError(f"{folder}: cannot be loaded, damaged or incomplete ({reason})") from error
    signature = saved.signatures.get("serving_default") if hasattr(saved, "signatures") else None
    side = _check_signature(folder, signature, metadata)
    margin = metadata.get("face_margin", FACE_MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 1 <= margin <= 4:
        raise ModelError(f"{folder / METADATA_PATH}: face_margin={margin!r}, expected a number from 1 to 4")
    return LoadedModel(folder, sha256, metadata, metadata_sha256, side, float(margin), saved, signature)


def _check_signature(folder: Path, signature: Any, metadata: dict[str, Any]) -> int:
    """Side of the crops.

    Raises:
        ModelError: the signature is not that of an exported segmenter.
    """
    import tensorflow as tf

    wanted = "expected the signature serving_default: images uint8 (B,S,S,3) → mask float32 (B,S,S,1), frame_score (B,)"
    if signature is None:
        raise ModelError(f"{folder}: has no serving_default; {wanted}")
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    if set(inputs) != {"images"} or not {"mask", "frame_score"} <= set(outputs):
        raise ModelError(f"{folder}: takes {sorted(inputs)} and returns {sorted(outputs)}; {wanted}")
    images, mask, score = inputs["images"], outputs["mask"], outputs["frame_score"]
    ranks = [len(spec.shape) if spec.shape.rank is not None else None for spec in (images, mask, score)]
    if images.dtype != tf.uint8 or ranks[0] != 4 or images.shape[-1] != 3:
        raise ModelError(f"{folder}: its images are {images.dtype.name} {images.shape}; {wanted}")
    if ranks[1] not in (4, None) or ranks[2] not in (1, None):
        raise ModelError(f"{folder}: returns mask {mask.shape} and frame_score {score.shape}; {wanted}")
    side = images.shape[1] if images.shape[1] is not None else metadata.get("input_size")
    if not isinstance(side, int) or not 16 <= side <= 4096 or images.shape[2] not in (side, None):
        raise ModelError(f"{folder}: the size of its crops is not known (input {images.shape}); {wanted}")
    return side


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
