"""`preview`: a picture of original, fake and mask for examples spread over methods and clips.

From records it shows what training will see; from --data_dir or --pairs_csv it makes the masks of a few frames of each
clip, without writing records.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from absl import flags

from mask_generation import cli
from mask_generation.audit import shard_paths
from mask_generation.commands.flags import (
    SplitFlag,
    define_data_flags,
    inventory_from_flags,
    refuse_videos_beside_records,
)
from mask_generation.datasets.base import ClipGroup, DatasetError
from mask_generation.given_face import GivenFaceError, place_face
from mask_generation.pairs.outcome import GroupConfig
from mask_generation.shards import record_path
from unet_industrial import files
from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.record_files import RecordFileError, RecordReader, index_files

if TYPE_CHECKING:
    from unet_industrial.records import FaceGroup

USER_ERRORS = (DatasetError, GivenFaceError, RecordFileError, OSError)
SETTINGS = ("recipe", "faces", "given_margin", "given_offset", "max_border_difference", "min_brightness")
TILE_PX, CAPTION_PX, GAP_PX = 192, 18, 6
COLOUR = (255, 0, 80)  # of what is faked
HEADINGS = ("original", "fake", "faked pixels")


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One example: uint8 RGB crops of one size, a mask (H, W) uint8 in which 128 and more is faked, and two lines."""

    original: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    title: str
    detail: str


def define_flags() -> None:
    define_data_flags()
    cli.define_records()
    cli.define_output("The picture to write, .png.", default="preview.png")
    flags.DEFINE_integer("count", 16, "Examples shown.", lower_bound=1)
    flags.DEFINE_integer("columns", 2, "Examples beside each other.", lower_bound=1)
    flags.DEFINE_flag(SplitFlag())
    cli.alias("part", "split")
    cli.define(GroupConfig, *SETTINGS)
    cli.alias("recipe", "mask_recipe")


def main(arguments: list[str]) -> int:
    del arguments
    values = flags.FLAGS
    if not values.output.lower().endswith(".png"):
        raise cli.UsageError(f"--output: a name that ends in .png, not {values.output}")
    if values.records:
        refuse_videos_beside_records()
        rows = rows_of_records(Path(values.records), values.split, values.methods, values.count)
    else:
        groups = [g for g in inventory_from_flags().groups if g.fakes and values.split in (None, g.split)]
        rows = rows_of_pairs(groups, cli.make(GroupConfig, *SETTINGS), values.count)
    if not rows:
        raise cli.Failure("no fake with an altered face to show; `audit` and clips.csv give the reasons")
    write_png(Path(values.output), contact_sheet(rows, values.columns))
    print(f"{len(rows)} examples: {values.output}")
    return cli.OK


def rows_of_records(folder: Path, split: str | None, methods: Sequence[str], count: int) -> list[Row]:
    """Fakes of a folder of records, spread evenly over methods, then clips, in an order that is always the same."""
    from unet_industrial.records import decode_group, located

    paths = [record_path(path) for path in shard_paths(folder) if split in (None, path.name.split("-")[0])]
    paths = [path for path in paths if path.exists()]
    if not paths:
        raise cli.Failure(f"{folder}: no records in it" + (f" of the split {split}" if split else ""))
    index = index_files([str(path) for path in paths])
    reader = RecordReader(index)
    found: list[tuple[str, str, int, int]] = []  # method, clip, record, member
    for record in range(len(index)):
        with located(index.name(record)):
            members = _members(reader.read(record))
        for member, (clip, method, label) in enumerate(members):
            if label and (not methods or method in methods):
                found.append((method, clip, record, member))
    rows = []
    for _, _, record, member in spread(found, count):
        with located(index.name(record)):
            group = decode_group(reader.read(record))
        rows.append(_row(group, member))
    reader.close()
    return rows


def _members(serialised: bytes) -> list[tuple[str, str, int]]:
    from unet_industrial.records import fields_of

    fields = fields_of(serialised)
    clips, methods = ([v.decode("utf-8", "replace") for v in fields[name]] for name in ("clip", "method"))
    return list(zip(clips, methods, map(int, fields["label"])))


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


def rows_of_pairs(groups: Sequence[ClipGroup], config: GroupConfig, count: int) -> list[Row]:
    """Fakes of pairs on disk, masked now: `count` clips, in turn of each method, two frames of each at most."""
    from tqdm import tqdm

    from mask_generation.pairs.groups import process
    from mask_generation.pipeline import build_detector

    clips = [
        (fake.method, fake.name, number, place) for number, g in enumerate(groups) for place, fake in enumerate(g.fakes)
    ]
    chosen = spread(clips, count)
    wanted: dict[int, list[int]] = {}
    for _, _, number, place in chosen:
        wanted.setdefault(number, []).append(place)
    frames = max(1, min(2, -(-count // max(len(clips), 1))))
    build = functools.partial(build_detector, "CPU:0")
    config, _ = place_face(config, groups, build)
    config = dataclasses.replace(config, frames=frames + 2)  # the first and the last frame show least
    detector = build()
    rows: list[Row] = []
    for number, places in tqdm(sorted(wanted.items()), unit="original", disable=not sys.stderr.isatty()):
        group = dataclasses.replace(
            groups[number], fakes=tuple(groups[number].fakes[place] for place in sorted(places))
        )
        result = process(group, config, detector)
        for outcome in result.outcomes:
            if not outcome.usable:
                print(f"{outcome.name}: {outcome.state}, {outcome.reason}", file=sys.stderr)
        middle = result.groups[1:-1] or result.groups
        for each in middle[:frames]:
            rows += [_row(each, member) for member, image in enumerate(each.images) if image.label]
    return sorted(rows, key=lambda row: row.title)[:count]


def overlay(fake: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The fake with what is faked tinted, and the boundary drawn; grey pictures become RGB."""
    fake = _rgb(fake)
    weight = 0.45 * (mask.astype(np.float32) / 255)[..., None]
    tinted = (fake * (1 - weight) + np.array(COLOUR, np.float32) * weight).round().astype(np.uint8)
    outlines, _ = cv2.findContours((mask > FAKE_ABOVE_UINT8).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(tinted), outlines, -1, COLOUR, 1)


def contact_sheet(rows: Sequence[Row], columns: int = 2) -> np.ndarray:
    """All rows as one RGB picture, `columns` of three tiles beside each other."""
    tiles = [_draw_row(row) for row in rows]
    height, width = tiles[0].shape[:2]
    lines = -(-len(tiles) // columns)
    across = min(columns, len(tiles))
    sheet = np.full((lines * (height + GAP_PX) + GAP_PX, across * (width + 2 * GAP_PX), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        line, column = divmod(number, columns)
        y, x = GAP_PX + line * (height + GAP_PX), GAP_PX + column * (width + 2 * GAP_PX)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _draw_row(row: Row) -> np.ndarray:
    pictures = [row.original, row.fake, overlay(row.fake, row.mask)]
    tiles = [_tile(picture, heading) for picture, heading in zip(pictures, HEADINGS)]
    width = 3 * TILE_PX + 2 * GAP_PX
    drawn = np.full((2 * CAPTION_PX + TILE_PX, width, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        x = place * (TILE_PX + GAP_PX)
        drawn[2 * CAPTION_PX :, x : x + TILE_PX] = tile
    for line, text in enumerate((row.title, row.detail)):
        _write(drawn, text, (2, (line + 1) * CAPTION_PX - 5), (0, 0, 0), width)
    return drawn


def _tile(picture: np.ndarray, heading: str) -> np.ndarray:
    shrink = max(picture.shape[:2]) > TILE_PX
    method = cv2.INTER_AREA if shrink else cv2.INTER_NEAREST
    tile = np.ascontiguousarray(cv2.resize(_rgb(picture), (TILE_PX, TILE_PX), interpolation=method))
    _write(tile, heading, (4, TILE_PX - 6), (255, 255, 255), TILE_PX, outlined=True)
    return tile


def _rgb(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        picture = picture[..., None]
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _write(
    picture: np.ndarray,
    text: str,
    at: tuple[int, int],
    colour: tuple[int, int, int],
    width: int,
    outlined: bool = False,
) -> None:
    text = text.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    scale = 0.4
    while cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > width - 6 and len(text) > 8:
        text = text[: len(text) // 2 - 2] + "..." + text[len(text) // 2 + 2 :]
    if outlined:
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a picture atomically.

    Raises:
        OSError: it cannot be written.
    """
    done, data = cv2.imencode(".png", rgb[..., ::-1])
    assert done
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, data.tobytes())
