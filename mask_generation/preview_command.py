"""`preview`: a picture of original, fake and mask for examples spread over methods and clips.

From records it shows what training will see; from --data_dir or --pairs it makes the masks of a few frames of each
clip, without writing records.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mask_generation import cli, masks
from mask_generation.audit import shard_paths
from mask_generation.clip_result import GroupConfig
from mask_generation.data_flags import define_data_flags, inventory_from_flags
from mask_generation.datasets import SPLITS, ClipGroup, DatasetError
from mask_generation.preview import Row, contact_sheet, write_png
from unet_industrial.record_files import RecordFileError, RecordReader, index_files

if TYPE_CHECKING:
    from unet_industrial.records import FaceGroup

USER_ERRORS = (DatasetError, RecordFileError, OSError)


def define_flags() -> None:
    define_data_flags()
    flags.DEFINE_string("records", None, "Folder of records to show, instead of --data_dir or --pairs.")
    flags.DEFINE_string("output", "preview.png", "The picture to write.")
    flags.DEFINE_integer("count", 16, "Examples shown.", lower_bound=1)
    flags.DEFINE_integer("columns", 2, "Examples beside each other.", lower_bound=1)
    flags.DEFINE_enum("part", None, SPLITS, "Only this split. [default: all]")
    flags.DEFINE_enum("recipe", GroupConfig().recipe, masks.RECIPES, "How masks are made, from pairs.")


def main(arguments: list[str]) -> int:
    del arguments
    values = flags.FLAGS
    if not values.output.lower().endswith(".png"):
        raise cli.UsageError(f"--output: a name that ends in .png, not {values.output}")
    if values.records:
        if values.data_dir or values.pairs:
            raise cli.UsageError("--records takes the place of --data_dir and --pairs")
        rows = rows_of_records(Path(values.records), values.part, values.methods, values.count)
    else:
        groups = [g for g in inventory_from_flags().groups if g.fakes and values.part in (None, g.split)]
        rows = rows_of_pairs(groups, values.recipe, values.count)
    if not rows:
        raise cli.Failure("no fake with an altered face to show; `audit` and clips.csv say why")
    write_png(Path(values.output), contact_sheet(rows, values.columns))
    print(f"{len(rows)} examples: {values.output}")
    return cli.OK


def rows_of_records(folder: Path, split: str | None, methods: Sequence[str], count: int) -> list[Row]:
    """Fakes of a folder of records, spread evenly over methods, then clips, in an order that is always the same."""
    from unet_industrial.records import decode_group

    shards = [path.with_name(path.name + ".tfrecord") for path in shard_paths(folder)]
    files = [str(path) for path in shards if path.exists() and split in (None, path.name.split("-")[0])]
    if not files:
        raise cli.Failure(f"{folder}: no records in it" + (f" of the split {split}" if split else ""))
    index = index_files(files)
    reader = RecordReader(index)
    found: list[tuple[str, str, int, int]] = []  # method, clip, record, member
    for record in range(len(index)):
        for member, (clip, method, label) in enumerate(_members(reader.read(record))):
            if label and (not methods or method in methods):
                found.append((method, clip, record, member))
    rows = []
    for _, _, record, member in spread(found, count):
        group = decode_group(reader.read(record))
        rows.append(_row(group, member))
    reader.close()
    return rows


def _members(serialised: bytes) -> list[tuple[str, str, int]]:
    import tensorflow as tf

    example = tf.train.Example.FromString(serialised).features.feature
    clips, methods = (
        [v.decode("utf-8", "replace") for v in example[name].bytes_list.value] for name in ("clip", "method")
    )
    return list(zip(clips, methods, example["label"].int64_list.value))


def spread(found: Iterable[tuple[str, str, int, int]], count: int) -> list[tuple[str, str, int, int]]:
    """`count` of (method, clip, …), in turn from each method and, within it, each clip; sorted by method and clip."""
    turns: dict[str, int] = {}
    ranked = []
    for entry in sorted(found, key=lambda entry: hashlib.sha256(repr(entry).encode("utf-8", "replace")).digest()):
        method, clip = entry[:2]
        turn_of_clip = turns[clip] = turns.get(clip, -1) + 1
        ranked.append((turn_of_clip, method, entry))
    ranked.sort(key=lambda item: item[0])  # stable: first one of every clip, then the second …
    of_method: dict[str, int] = {}
    order = []
    for _, method, entry in ranked:
        of_method[method] = of_method.get(method, -1) + 1
        order.append((of_method[method], method, entry))
    chosen = [entry for _, _, entry in sorted(order, key=lambda item: item[:2])[:count]]
    return sorted(chosen, key=lambda entry: (entry[0], entry[1], entry[2:]))


def _row(group: FaceGroup, member: int) -> Row:
    image = group.images[member]
    original = group.images[0].image if group.has_original else image.image * 0
    detail = (
        f"frame {image.frame_index}, person {group.track}, {100 * image.fake_area:.1f} % of the crop, {image.recipe}"
    )
    if image.threshold:
        detail += f", cut at {image.threshold:.2g}"
    if image.noise_level:
        detail += f", noise {image.noise_level:.2g}"
    return Row(original, image.image, image.mask, image.clip, detail)


def rows_of_pairs(groups: Sequence[ClipGroup], recipe: str, count: int) -> list[Row]:
    """Fakes of pairs on disk, masked now: `count` clips, in turn of each method, two frames of each at most."""
    from tqdm import tqdm

    from mask_generation.clip_group import process_group
    from mask_generation.pipeline import build_detector

    clips = [
        (fake.method, fake.name, number, place) for number, g in enumerate(groups) for place, fake in enumerate(g.fakes)
    ]
    chosen = spread(clips, count)
    wanted: dict[int, list[int]] = {}
    for _, _, number, place in chosen:
        wanted.setdefault(number, []).append(place)
    frames = max(1, min(2, -(-count // max(len(clips), 1))))
    config = GroupConfig(frames=frames + 2, recipe=recipe)  # the first and the last frame show least
    detector = build_detector("CPU:0")
    rows: list[Row] = []
    for number, places in tqdm(sorted(wanted.items()), unit="original", disable=not sys.stderr.isatty()):
        group = dataclasses.replace(
            groups[number], fakes=tuple(groups[number].fakes[place] for place in sorted(places))
        )
        result = process_group(group, config, detector)
        for outcome in result.outcomes:
            if not outcome.usable:
                print(f"{outcome.name}: {outcome.state}, {outcome.reason}", file=sys.stderr)
        middle = result.groups[1:-1] or result.groups
        for each in middle[:frames]:
            rows += [_row(each, member) for member, image in enumerate(each.images) if image.label]
    return sorted(rows, key=lambda row: row.title)[:count]
