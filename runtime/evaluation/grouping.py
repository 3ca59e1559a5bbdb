"""Which rows belong together: the key of a video, its person, its original, and the groups a breakdown prints.

The key is dataset/method/compression/video. The bare file name is not enough: FaceForensics++ has a `183_253.mp4` under
each of its methods, and merging them by name averages four different fakes into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

REAL_METHOD = "real"
KEY_COLUMNS = ("dataset", "method", "compression", "video")
BREAKDOWNS = ("dataset", "method", "compression", "face_size", "skin_tone")
UNKNOWN = "unknown"
# Side of the face box in pixels of the source video; 64 and 128 are about a face in a group and in an interview at
# 360p.
FACE_SIZE_EDGES_PX = (64, 128, 256)


def video_keys(table: pd.DataFrame) -> pd.Series:
    """(N,) dataset/method/compression/video of every row."""
    parts = [table[column].astype(str) for column in KEY_COLUMNS]
    return parts[0].str.cat(parts[1:], sep="/")


def face_size(face_px: pd.Series) -> pd.Series:
    """(N,) size class of a face-box side in source pixels, such as "64-127 px"; NaN is "unknown"."""
    edges = FACE_SIZE_EDGES_PX
    names = [f"<{edges[0]} px", *(f"{a}-{b - 1} px" for a, b in zip(edges, edges[1:])), f">={edges[-1]} px"]
    index = np.searchsorted(np.asarray(edges), face_px.to_numpy(dtype=np.float64), side="right")
    values = np.where(face_px.isna(), UNKNOWN, np.asarray(names, dtype=object)[np.minimum(index, len(names) - 1)])
    return pd.Series(values, index=face_px.index)


def identity_clusters(identities: Sequence[Iterable[str]]) -> np.ndarray:
    """(N,) cluster number of each row: rows that share an identity, directly or through others, get the same one.

    Args:
        identities: N collections of identity names, e.g. {"183", "253"} for a swap between two people. A row without
            any is an error: it would be its own person and make every interval too narrow.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    rows = [[str(name) for name in names] for names in identities]
    for number, names in enumerate(rows):
        if not names:
            raise ValueError(f"row {number} names no identity")
        for name in names:
            parent.setdefault(name, name)
            parent[root(name)] = root(names[0])
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root(names[0]), len(numbers)) for names in rows], dtype=np.int64)


def split_identities(text: str) -> list[str]:
    """The people a table cell names: parts between `+`, `;` or `|`."""
    return [part.strip() for part in re.split(r"[+;|]", text) if part.strip()]


def match_pairs(frames: pd.DataFrame) -> np.ndarray:
    """(P, 2) positions (fake, original): frames of a fake and of its own original at the same moment and face.

    frames: columns key, original (key of the original), label, frame_index, track, and `group` where the moment has a
    name of its own: a fake that lost frames is numbered differently. A fake frame without a partner is left out.
    """
    columns = ["source", "moment", "track"]
    grouped = "group" in frames
    table = pd.DataFrame(
        {
            "row": np.arange(len(frames)),
            "source": frames["original"].to_numpy(),
            "moment": frames["group" if grouped else "frame_index"].to_numpy(),
            "track": 0 if grouped else frames["track"].to_numpy(),
        }
    )
    fake = frames["label"].to_numpy() == 1
    own = frames["key"].to_numpy() == frames["original"].to_numpy()
    originals = table[~fake & own].drop_duplicates(columns)
    pairs = table[fake].merge(originals, on=columns, suffixes=("_fake", "_original"))
    return pairs[["row_fake", "row_original"]].to_numpy(dtype=np.int64)


def breakdown(table: pd.DataFrame, column: str) -> list[tuple[str, np.ndarray]]:
    """(value, positions) of every group of `column`, in order of value; nothing if the column holds one value or none.

    By method, a group holds the fakes of the method and the reals they are judged against: their own originals, or,
    where a table has none, every real of the same dataset and compression. By anything else, a group is the rows with
    the value.
    """
    if column not in table:
        return []
    values = table[column].fillna(UNKNOWN).astype(str).to_numpy()
    if column != "method":
        names = sorted(set(values))
        return [(name, np.flatnonzero(values == name)) for name in names] if len(names) > 1 else []
    fake = table["label"].to_numpy() == 1
    source = table["original"].astype(str).to_numpy()
    key = table["key"].astype(str).to_numpy()
    place = (table["dataset"].astype(str) + "/" + table["compression"].astype(str)).to_numpy()
    groups = []
    for name in sorted(set(values[fake])):
        chosen = fake & (values == name)
        reals = ~fake & np.isin(key, source[chosen])
        if not reals.any():
            reals = ~fake & np.isin(place, place[chosen])
        groups.append((name, np.flatnonzero(chosen | reals)))
    return groups


class AmbiguousVideo(ValueError):
    """A name that fits several videos, or none."""


def resolve_video(name: str, keys: Iterable[str]) -> str:
    """The key a foreign table means by `name`: the key itself, or a path that holds the key's parts.

    Raises:
        AmbiguousVideo: no key fits, or several do (a bare `183_253.mp4` under four methods).
    """
    known = set(keys)
    text = str(name).replace("\\", "/")
    if text in known:
        return text
    path = PurePosixPath(text)
    parts = {*path.parts[:-1], path.stem, path.name}
    fits = [key for key in known if key.split("/")[-1] in (path.stem, path.name)]
    best = max((len(parts & set(key.split("/"))) for key in fits), default=0)
    fits = sorted(key for key in fits if len(parts & set(key.split("/"))) == best)
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise AmbiguousVideo(f"{name!r} is not a video of the reference table")
    raise AmbiguousVideo(
        f"{name!r} fits {len(fits)} videos ({', '.join(fits[:4])}): give dataset/method/compression/video"
    )
