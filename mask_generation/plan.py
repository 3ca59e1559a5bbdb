"""Which group goes into which shard, and what a folder of records is made of: settled before the first clip is read.

Both depend on the inventory and the settings alone, so a run that goes on after a kill does what the first would have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from mask_generation import writer
from mask_generation.clip_result import GroupConfig
from mask_generation.datasets import SPLITS, ClipGroup, Inventory, Problem
from unet_industrial import __version__

PLAN, SUMMARY, WORK, ERRORS = "generate.json", "summary.json", ".work", "errors.log"
EXAMPLES, CLIPS = "examples.csv", "clips.csv"


class PipelineError(Exception):
    """The run cannot start or go on; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """How a run is done. Only `group` and `shard_groups` decide what the shards hold.

    Attributes:
        processes: groups worked on at a time; None: one a core, of this machine or of the cluster.
        shard_groups: clip groups a shard.
        clip_limit_s: seconds a worker may spend on one clip before it is killed, over decoding's own limit.
        device: where MTCNN runs, in TensorFlow's words.
        ray_address: of a cluster ("auto", "host:port", "local"); empty: processes on this machine.
    """

    group: GroupConfig
    output_dir: Path
    processes: Optional[int] = None
    shard_groups: int = 16
    clip_limit_s: float = 900.0
    device: str = "CPU:0"
    ray_address: str = ""

    def content(self, inventory: Inventory) -> dict[str, Any]:
        """All that the records depend on; a folder holds the records of one such content only."""
        clips = [[g.name, g.split, g.identity, *map(_state, _paths(g))] for g in inventory.groups]
        digest = hashlib.sha256(json.dumps(sorted(clips)).encode())
        return {
            "format": writer.FORMAT,
            "version": __version__,
            "settings": dataclasses.asdict(self.group),
            "shard_groups": self.shard_groups,
            "clips": inventory.clips(),
            "inventory_sha256": digest.hexdigest(),
            "problems": [dataclasses.asdict(problem) for problem in inventory.problems],
        }


@dataclasses.dataclass(frozen=True)
class Job:
    """One group and where its part goes. `given_up`: (clip's name, state, reason) of clips to be left out."""

    group: ClipGroup
    shard: str
    part: Path
    given_up: tuple[tuple[str, str, str], ...] = ()


def _paths(group: ClipGroup) -> list[str]:
    masks = [fake.official_mask for fake in group.fakes if fake.official_mask]
    return [*([group.original] if group.original else []), *(fake.path for fake in group.fakes), *masks]


def _state(path: str) -> str:
    try:
        status = os.stat(path)
        return f"{os.path.basename(path)}:{status.st_size}:{status.st_mtime_ns}"
    except (OSError, ValueError):
        return f"{os.path.basename(path)}:missing"


def plan_jobs(groups: Sequence[ClipGroup], output_dir: Path, shard_groups: int) -> list[Job]:
    """Every group with its shard; shards mix clips, as training reads several of them at a time."""
    jobs = []
    for split in SPLITS:
        mine = sorted((g for g in groups if g.split == split), key=lambda g: hashlib.sha256(_bytes(g.name)).digest())
        count = -(-len(mine) // shard_groups)
        for number, group in enumerate(mine):
            shard = writer.shard_name(split, number // shard_groups, count)
            jobs.append(Job(group, shard, output_dir / WORK / shard / f"{number % shard_groups:05d}"))
    return jobs


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    with open(folder / ".lock", "w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PipelineError(
                f"{folder}: another run is writing there; wait for it, or choose another folder"
            ) from error
        yield


def check_plan(folder: Path, content: dict[str, Any]) -> None:
    """Note what this folder's records are made of, or see that it is the same as before.

    Raises:
        PipelineError: it is not, or the folder holds something else.
    """
    path = folder / PLAN
    try:
        before = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        strangers = [entry.name for entry in os.scandir(folder) if entry.name != ".lock"]
        if strangers:
            raise PipelineError(
                f"{folder}: not empty, and nothing of ours in it ({', '.join(sorted(strangers)[:3])} …): "
                "choose another --output_dir"
            ) from None
        writer.write_json(path, content)
        return
    except ValueError as error:
        raise PipelineError(f"{path}: damaged ({error}); --overwrite starts afresh") from error
    content = json.loads(json.dumps(content))
    if before == content:
        return
    changed = sorted(key for key in {*before, *content} if before.get(key) != content.get(key))
    if "settings" in changed:
        old, new = before.get("settings") or {}, content["settings"]
        names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        changed[changed.index("settings")] = ", ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in names)
    of_clips = ("inventory_sha256", "clips", "problems")
    words = sorted({"clips on disk" if key in of_clips else key for key in changed})
    raise PipelineError(
        f"{folder}: holds records made otherwise (changed: {'; '.join(words)}). Choose another --output_dir, or "
        "--overwrite to delete them"
    )


def read_problems(folder: Path) -> list[Problem]:
    """Clips that the run of this folder found and could not try; none where its plan is lost."""
    try:
        return [Problem(**row) for row in json.loads((folder / PLAN).read_text("utf-8"))["problems"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def clear(folder: Path) -> None:
    """Delete the records of an earlier run, and nothing else.

    Raises:
        PipelineError: the folder holds none, but other things.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / PLAN).exists():
        raise PipelineError(f"{folder}: not empty, and no records of ours in it: nothing is deleted")
    with locked(folder):
        for split in SPLITS:
            for path in folder.glob(f"{split}-?????-of-?????.*"):
                path.unlink()
        shutil.rmtree(folder / WORK, ignore_errors=True)
        for name in (SUMMARY, EXAMPLES, CLIPS, ERRORS, PLAN):
            (folder / name).unlink(missing_ok=True)
