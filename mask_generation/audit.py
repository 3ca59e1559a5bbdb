"""What a data set on disk holds, before any work: found, missing, broken, unpaired, and who is in two splits.

Also what a folder of records holds: whether its shards are what was written, and whether anybody is in two splits.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from mask_generation import shards
from mask_generation.datasets.base import SPLITS, Inventory, is_picture
from mask_generation.datasets.splits import components, leaks
from mask_generation.pairs.align import larger_than, measure, note_longer
from mask_generation.pairs.frame_order import LENGTH_TOLERANCE
from mask_generation.pairs.outcome import ClipOutcome, new_outcome
from mask_generation.parallel import processes
from mask_generation.video.photo import read_picture
from mask_generation.video.reader import VideoReader
from mask_generation.video.types import TIMEOUT, UNREADABLE, Limits, VideoError

FILE_LIMIT_S = 900.0  # for reading one file to its end
CHECKS = ("list", "open", "read")
_ABOUT = 0.02  # share by which lengths that headers give may be off
_KINDS = {"missing": "missing", "original_missing": "unpaired", "split_leak": "dropped"}
COUNTS = ("found", "missing", "unpaired", "broken", "dropped", *SPLITS)


@dataclasses.dataclass
class Part:
    """The clips of one method at one compression.

    Attributes:
        found: on disk; missing: named by the data set's own list, but not there; unpaired: fakes whose original is not
            there; broken: cannot be opened, or not to their end; dropped: left out so that nobody is in two splits.
        train, val, test: what will be used: not what cannot be opened, nor fakes of such an original.
        bytes: of what was found.
    """

    dataset: str
    method: str
    compression: str
    label: int
    found: int = 0
    missing: int = 0
    unpaired: int = 0
    broken: int = 0
    dropped: int = 0
    train: int = 0
    val: int = 0
    test: int = 0
    bytes: int = 0


@dataclasses.dataclass
class Audit:
    """All of it; `ok` unless somebody is in two splits or there is nothing to use.

    Attributes:
        problems: clips that are not used, or not to their end; remarks: pairs that are used, though not as they are.
    """

    source: str
    split: str
    check: str
    parts: list[Part]
    problems: list[dict[str, str]]
    remarks: list[dict[str, str]]
    leaks: list[dict[str, Any]]
    groups: int
    components: int
    largest_component: int
    notes: list[str]

    @property
    def ok(self) -> bool:
        return not self.leaks and self.groups > 0

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **dataclasses.asdict(self)}


@dataclasses.dataclass
class _Clip:
    """A clip to look into, and what was seen of it; `original` is None for an original."""

    seen: ClipOutcome
    original: Optional[str]


def audit(
    inventory: Inventory,
    source: str,
    split: str,
    check: str = "open",
    limits: Optional[Limits] = None,
    threads: int = 4,
    progress: Callable[[], None] = lambda: None,
) -> Audit:
    """Count, and look into every file.

    Args:
        check: `list` looks at names only; `open` opens every file and believes its header; `read` looks at all that is
            there, as `generate` will, without decoding it. Both compare the two of a pair.
        progress: called for each file looked into.
    """
    parts: dict[tuple[str, str, str, int], Part] = {}

    def part(key: tuple[str, str, str, int]) -> Part:
        return parts.setdefault(key, Part(*key))

    problems: list[dict[str, str]] = []
    for problem in inventory.problems:
        row = part((problem.name.split("/")[0], problem.method, problem.compression, problem.label))
        kind = _KINDS.get(problem.state, "broken")
        setattr(row, kind, getattr(row, kind) + 1)
        if problem.state != "missing":
            row.found += 1
            row.bytes += _size(problem.path)
        problems.append({"name": problem.name, "path": problem.path, "state": problem.state, "reason": problem.reason})
    clips = list(_clips(inventory))
    looked = _look_into([clip.seen.path for clip in clips], check, limits or Limits(), threads, progress)
    for number, found in looked.items():
        facts = ("state", "reason", "width", "height", "frames", "failed_frames")
        clips[number].seen = dataclasses.replace(clips[number].seen, **{name: getattr(found, name) for name in facts})
    originals = {clip.seen.path: clip.seen for clip in clips if clip.original is None}
    remarks: list[dict[str, str]] = []
    for clip in clips:
        seen = clip.seen
        row = part((seen.dataset, seen.method, seen.compression, seen.label))
        row.found += 1
        row.bytes += _size(seen.path)
        broken = seen.state != "ok"
        row.broken += broken
        if clip.original in originals and seen.usable:
            _compare(originals[clip.original], seen, exact=check == "read")
        if seen.split in SPLITS and seen.usable:
            setattr(row, seen.split, getattr(row, seen.split) + 1)
        line = {"name": seen.name, "path": seen.path, "state": seen.state, "reason": seen.reason}
        if broken or not seen.usable:
            problems.append(line)
        elif seen.reason:
            remarks.append(line)
    root = components(inventory.groups)
    sizes = collections.Counter(group.identity for group in inventory.groups)
    return Audit(
        source=source,
        split=split,
        check=check,
        parts=[parts[key] for key in sorted(parts)],
        problems=sorted(problems, key=lambda row: row["name"]),
        remarks=sorted(remarks, key=lambda row: row["name"]),
        leaks=leaks(inventory.groups),
        groups=len(inventory.groups),
        components=len(set(root.values())),
        largest_component=max(sizes.values(), default=0),
        notes=list(inventory.notes),
    )


def _clips(inventory: Inventory) -> Iterable[_Clip]:
    seen: set[str] = set()
    for group in inventory.groups:
        if group.original is not None and group.original not in seen:  # Celeb-DF lists some for two sides
            seen.add(group.original)
            yield _Clip(new_outcome(group), None)
        for fake in group.fakes:
            yield _Clip(new_outcome(group, fake), group.original or "")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def _look_into(
    paths: Sequence[str], check: str, limits: Limits, count: int, progress: Callable[[], None]
) -> dict[int, ClipOutcome]:
    """{number of the path: what was seen of it}, in processes: a file may kill, or keep, whoever reads it.

    Raises:
        ParallelError: processes cannot start.
    """
    if check == "list":
        for _ in paths:
            progress()
        return {}
    found = {}
    work = processes.Work(_quiet, functools.partial(_look_at, check, limits), processes.Parallel().memory_mb)
    jobs = list(enumerate(paths))
    for (number, path), answer in processes.run(jobs, work, count, lambda job: FILE_LIMIT_S, lambda job, answer: None):
        progress()
        found[number] = answer.content if answer.kind == processes.DONE else _blank(path)
        if answer.kind == processes.LATE:
            found[number].fail(TIMEOUT, f"took longer than {FILE_LIMIT_S:g} s")
        elif answer.kind == processes.DIED:
            found[number].fail(UNREADABLE, f"the process that read it ended ({answer.content})")
        elif answer.kind == processes.BUG:
            found[number].fail(UNREADABLE, f"unexpected error: {answer.content[0]}"[:300])
    return found


def _quiet() -> None:
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # its findings about a file are in the file's row


def _look_at(check: str, limits: Limits, _: None, job: tuple[int, str]) -> ClipOutcome:
    return _look(job[1], check, limits)


def _blank(path: str) -> ClipOutcome:
    return ClipOutcome(path, path, "", "", "", "", "", "", 0)


def _look(path: str, check: str, limits: Limits) -> ClipOutcome:
    """State of a file, and size and length where they are known."""
    seen = _blank(path)
    try:
        if is_picture(path):  # to open one is to read it
            read_picture(path, limits)
        elif check == "read":
            measure(path, seen, limits)
        else:
            with VideoReader(path, limits) as reader:
                info = reader.info
            seen.width, seen.height = info.width, info.height
            # Of a fragmented file the header counts the first fragment, of a trimmed one what is not shown too.
            seen.frames = round(info.duration_s * info.fps) if info.duration_s and info.fps else info.frames or 0
    except VideoError as error:
        seen.fail(error.state, error.reason)
    return seen


def _compare(original: ClipOutcome, fake: ClipOutcome, exact: bool) -> None:
    """Put into the fake's row what `generate` will meet in the pair, as far as it is seen without decoding."""
    if not original.usable:
        fake.fail("original_failed", f"original: {original.reason}")
        return
    if exact and original.width and fake.width:
        larger = larger_than((original.height, original.width), (fake.height, fake.width))
        if larger:
            fake.fail("unaligned", larger)
            return
    frames = original.frames
    if frames and fake.frames and (exact or abs(frames - fake.frames) > max(LENGTH_TOLERANCE, _ABOUT * frames)):
        note_longer(original, fake)
        if frames - fake.frames > LENGTH_TOLERANCE:
            shorter = f"{frames - fake.frames} frames shorter than its original's {frames}"
            fake.remark(f"{shorter}: generate will look whether it ends early or lost frames on the way")


def audit_records(folder: Path, progress: Callable[[], None] = lambda: None) -> tuple[list[str], list[dict[str, Any]]]:
    """Check the shards of a folder against what was written, in full.

    Returns:
        what is wrong with shards, one line each; identities that are in more than one split, with the splits.
    """
    wrong: list[str] = []
    splits: dict[str, set[str]] = {}
    for path in shard_paths(folder):
        problem = shards.check_shard(path)
        progress()
        if problem:
            wrong.append(problem)
        contents = shards.read_contents(path)
        for row in contents.examples if contents else []:
            values = dict(zip(shards.COLUMNS, row))
            splits.setdefault(values["identity"], set()).add(values["split"])
    found = [{"identity": who, "splits": sorted(where)} for who, where in sorted(splits.items()) if len(where) > 1]
    return wrong, found


def shard_paths(folder: Path) -> list[Path]:
    """Shards of a folder, without suffix, in order; those whose record file or JSON is lost included."""
    paths: list[Path] = []
    for split in SPLITS:
        names = {path.name.split(".")[0] for path in folder.glob(f"{split}-?????-of-?????.*")}
        paths += [folder / name for name in sorted(names)]
    return paths


def table(result: Audit, most_problems: int = 20) -> str:
    """The audit for reading."""
    header = ["data set", "method", "compression", "", *COUNTS, "MB"]
    rows = [
        [
            part.dataset,
            part.method,
            part.compression,
            "fake" if part.label else "real",
            *(str(getattr(part, name)) for name in COUNTS),
            f"{part.bytes / 1e6:.1f}",
        ]
        for part in result.parts
    ]
    lines = [
        f"{result.source}  (--split_policy={result.split}, --check={result.check})",
        "",
        *_columns([header, *rows]),
    ]
    if result.groups:
        lines += [
            "",
            f"{result.groups} originals to work on, in {result.components} components of people and sources; "
            f"the largest holds {result.largest_component} originals.",
        ]
    else:
        lines += ["", "Nothing that could be used."]
    lines += [f"note: {note}" for note in result.notes]
    for title, lines_of in (("not usable, or not to the end", result.problems), ("used all the same", result.remarks)):
        lines += _row_lines(title, lines_of, most_problems)
    lines += ["", *leak_lines(result.leaks)]
    return "\n".join(lines)


def _row_lines(title: str, rows: Sequence[dict[str, str]], most: int) -> list[str]:
    if not rows:
        return []
    counts = collections.Counter(row["state"] for row in rows)
    lines = ["", f"{title}: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))]
    lines += [f"  {row['state']:<17} {row['name']}: {row['reason']}" for row in rows[:most]]
    return [*lines, f"  … and {len(rows) - most} more, see --json"] if len(rows) > most else lines


def leak_lines(found: Sequence[dict[str, Any]], most: int = 20) -> list[str]:
    """Who is in more than one split, for reading."""
    if not found:
        return ["No person, target, source or YouTube clip is in two splits."]
    lines = [f"LEAK: {len(found)} people or sources are in more than one split (--split_policy=strict drops them):"]
    for row in found[:most]:
        clips = "; ".join(f"{split}: {', '.join(names)}" for split, names in row.get("clips", {}).items())
        lines.append(f"  {row['identity']} in {' and '.join(row['splits'])}" + (f" ({clips})" if clips else ""))
    if len(found) > most:
        lines.append(f"  … and {len(found) - most} more")
    return lines


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place < 4 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
