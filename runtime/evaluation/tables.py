"""Score tables in and out: frames, videos, and other detectors' `video,score` files, all with one set of columns.

Columns of a frame table (`frame_scores.csv`); those without * may be missing and get the default in brackets:
    video*        name of the video, unique within dataset/method/compression
    label*        0 real, 1 fake
    score*        higher is more fake; empty where undecided (no face, unreadable, inconclusive)
    dataset       ["unknown"]        method   ["real" where label is 0, else "unknown"]      compression  ["unknown"]
    original      the original a fake was made from: its `video` name or its whole key [the row itself for a real]
    identity      people in the video, `+` between them [the original]
    frame_index   [0]                track    face track in the video [0]
    group         rows that show one face at one moment, original and fakes [frame_index and track of the original]
    state         ok, or why there is no score [ok / undecided]
    called_fake   1 where the detector's own verdict is "fake" [score or probability above the threshold of `Settings`]
    unclear       1 where its verdict is neither "fake" nor "real" [none is]
    verdict       its word about the whole video, as in videos.csv of `score`: of a video table it gives both of these
    face_px       side of the face box in source pixels        skin_tone   any label
    iou, dice     of the frame's mask; empty for reals and fakes without a mask     area   share of the crop marked
A video table has the same columns without frame_index and track. Added here: key, and cluster (connected identities).

The key of a video is dataset/method/compression/video. The bare file name is not enough: FaceForensics++ has a
`183_253.mp4` under each of its methods, and merging them by name averages four different fakes into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Callable, Optional

import numpy as np
import pandas as pd

from mask_generation.datasets.splits import connected
from runtime.scoring import video_score
from runtime.scoring.video_score import VERDICTS, AggregateConfig
from unet_industrial import files

FRAME_TABLE = "frame_scores.csv"
REQUIRED = ("video", "label", "score")
PIXEL_COLUMNS = ("iou", "dice", "area")
CALLED, UNCLEAR, VERDICT = "called_fake", "unclear", "verdict"
DERIVED = ("key", "cluster", "face_size")
UNDECIDED_STATE = "undecided"
MISSING_STATE = "missing"
_TEXT = (
    "video",
    "dataset",
    "method",
    "compression",
    "original",
    "identity",
    "state",
    "skin_tone",
    "key",
    "track",
    "group",
    VERDICT,
)
PRODUCT_RULE = "video_score"  # what `score` does: `runtime.scoring.video_score` over the tracks of the video
HIGHEST_FACE_MEAN = "mean of the highest face"  # over frames, the rule of SBI; takes scores on any scale
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
    rows = [[str(name) for name in names] for names in identities]
    for number, names in enumerate(rows):
        if not names:
            raise ValueError(f"row {number} names no identity")
    root = connected(rows)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root[names[0]], len(numbers)) for names in rows], dtype=np.int64)


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


class TableError(ValueError):
    """A score table that cannot be used; the message names the file and the column."""


def read_csv(path: Path) -> pd.DataFrame:
    """The file as it is, text columns as text (so that a video called `007` stays `007`)."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=True)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a readable CSV file ({error})") from error
    if table.empty:
        raise TableError(f"{path}: no rows")
    return table


def normalise(table: pd.DataFrame, where: str = "table") -> pd.DataFrame:
    """A table with every column of the module's docstring, plus key and cluster; rows keep their order.

    Raises:
        TableError: a required column is missing, a label is not 0 or 1, a score is not a number, an original is
            ambiguous.
    """
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise TableError(f"{where}: column {', '.join(missing)} missing; found {', '.join(map(str, table.columns))}")
    table = table.reset_index(drop=True).copy()
    for column in ("label", "score", "frame_index", "face_px"):
        if column in table:
            try:
                table[column] = pd.to_numeric(table[column])
            except (ValueError, TypeError) as error:
                raise TableError(f"{where}: column {column} holds something that is not a number ({error})") from error
    if not table["label"].isin((0, 1)).all():
        raise TableError(f"{where}: column label must be 0 (real) or 1 (fake) in every row")
    table["label"] = table["label"].astype(np.int64)
    if np.isinf(table["score"].astype(np.float64)).any():
        raise TableError(f"{where}: infinite score; leave the cell empty where there is no score")
    real = table["label"] == 0
    _default(table, "dataset", UNKNOWN)
    _default(table, "compression", UNKNOWN)
    _default(table, "method", np.where(real, REAL_METHOD, UNKNOWN))
    _default(table, "frame_index", 0)
    _default(table, "track", 0)
    _default(table, "state", np.where(table["score"].isna(), UNDECIDED_STATE, "ok"))
    table.loc[table["score"].isna() & (table["state"] == "ok"), "state"] = UNDECIDED_STATE
    table["key"] = video_keys(table)
    mixed = table.groupby("key")["label"].nunique()
    if (mixed > 1).any():
        raise TableError(f"{where}: {mixed.idxmax()} is labelled both real and fake")
    _default(table, "original", table["key"])
    table["original"] = _original_keys(table, where)
    _default(table, "identity", table["original"])
    table["cluster"] = identity_clusters([split_identities(text) for text in table["identity"]])
    if "face_px" in table:
        table["face_size"] = face_size(table["face_px"])
    return table


def _default(table: pd.DataFrame, column: str, value: object) -> None:
    if column not in table:
        table[column] = value
    elif table[column].isna().any():
        filler = value if isinstance(value, pd.Series) else pd.Series(value, index=table.index)
        table[column] = table[column].where(table[column].notna(), filler)


def _original_keys(table: pd.DataFrame, where: str) -> pd.Series:
    """Bare original names become keys; a name that no row carries keeps a key of its own, so that identities still
    connect."""
    reals = table[table["label"] == 0]
    by_place: dict[tuple[str, str, str], set[str]] = {}
    for dataset, compression, video, key in reals[["dataset", "compression", "video", "key"]].itertuples(index=False):
        by_place.setdefault((dataset, compression, video), set()).add(key)
    known = set(table["key"])
    resolved: dict[tuple[str, str, str], str] = {}
    for place in set(table[["dataset", "compression", "original"]].itertuples(index=False, name=None)):
        dataset, compression, original = place
        found = by_place.get(place, set())
        if original in known:
            resolved[place] = original
        elif len(found) > 1:
            raise TableError(f"{where}: original {original!r} is any of {', '.join(sorted(found))}: give the whole key")
        else:
            resolved[place] = next(iter(found), f"{dataset}/{REAL_METHOD}/{compression}/{original}")
    places = table[["dataset", "compression", "original"]].itertuples(index=False, name=None)
    return pd.Series([resolved[place] for place in places], index=table.index)


def from_records(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of record files as a frame table: `clip` and `original` (dataset/method/compression/video) taken apart.

    A clip's name with fewer than four parts has no compression. `key` (the name of the face group) becomes `group`.
    """
    table = rows.rename(columns={"key": "group"}).copy()
    parts = table["clip"].str.split("/")
    table["video"] = parts.str[-1]
    table["compression"] = parts.str[-2].where(parts.str.len() >= 4, UNKNOWN)
    table["original"] = table["original"].str.split("/").str[-1].replace("", np.nan)
    leading = ["dataset", "method", "compression", "video", "label", "score", "frame_index", "track"]
    return table[[*leading, *(name for name in table.columns if name not in leading)]]


def write_frames(path: Path, frames: pd.DataFrame) -> None:
    """A normalised frame table as CSV that `load_frames` reads back; what normalising derives is left out."""
    kept = frames.drop(columns=[name for name in DERIVED if name in frames])
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(path, kept)


def load_frames(path: Path) -> pd.DataFrame:
    """A normalised frame (or video) table from CSV."""
    return normalise(read_csv(Path(path)), str(path))


def video_rule(frames: pd.DataFrame) -> str:
    """The rule from frames to a video for such scores: the product's, which needs scores in [0, 1]; HIGHEST_FACE_MEAN
    for others, such as the blur of a crop."""
    scores = frames["score"].dropna()
    return PRODUCT_RULE if scores.between(0, 1).all() else HIGHEST_FACE_MEAN


def to_videos(frames: pd.DataFrame, rule: str = PRODUCT_RULE, config: Optional[AggregateConfig] = None) -> pd.DataFrame:
    """One row a video; score NaN if no frame has one.

    Args:
        frames: normalised. Other columns are the video's own; face_px is the median. Frame probabilities are left
            out: their mean is not a probability of the video; `called_fake` too, it is of a frame; `verdict` becomes
            the video's.
        rule: one of RULES. Numbers of the product are by PRODUCT_RULE, those by another rule are labelled with it.
        config: settings of PRODUCT_RULE; None: its defaults.
    Raises:
        ValueError: the rule does not exist or cannot take such scores.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    score = RULES[rule](frames, config)
    videos = frames.drop_duplicates("key").reset_index(drop=True).assign(frame_index=0, track=0)
    videos["score"] = videos["key"].map(score)
    of_frames = ("probability", "group", CALLED, UNCLEAR, *PIXEL_COLUMNS)
    videos = videos.drop(columns=[name for name in of_frames if name in videos])
    scored = videos["score"].notna()
    videos["state"] = np.where(scored, "ok", np.where(videos["state"] == "ok", UNDECIDED_STATE, videos["state"]))
    if "face_px" in frames:
        videos["face_px"] = videos["key"].map(frames.groupby("key")["face_px"].median())
        videos["face_size"] = face_size(videos["face_px"])
    return with_verdicts(videos)


def with_verdicts(videos: pd.DataFrame, where: str = "table") -> pd.DataFrame:
    """A video table with its `verdict` as `called_fake` and `unclear`; one without words in that column as it is.

    A video that has a score and no word is neither called fake nor real: unclear.

    Raises:
        TableError: a word is none of `video_score.VERDICTS`.
    """
    if VERDICT not in videos:
        return videos
    words, others = videos[VERDICT], videos.drop(columns=VERDICT)
    if words.isna().all():
        return others
    unknown = sorted(set(words.dropna().astype(str)) - set(VERDICTS))
    if unknown:
        raise TableError(f"{where}: column {VERDICT} holds {unknown[0]!r}; allowed are {', '.join(VERDICTS)}")
    called, neither = words == "fake", ~words.isin(("fake", "real"))
    unclear = neither & videos["score"].notna()
    return others.assign(**{CALLED: called.astype(np.int64), UNCLEAR: unclear.astype(np.int64)})


def _by_video_score(frames: pd.DataFrame, config: Optional[AggregateConfig]) -> pd.Series:
    """Tracks are faces, frames in order of time: what `score` gives to the same function."""
    ordered = frames.sort_values("frame_index", kind="stable")
    tracks: dict[str, list[np.ndarray]] = {}
    for (key, _), scores in ordered.groupby(["key", "track"])["score"]:
        tracks.setdefault(key, []).append(scores.to_numpy(dtype=np.float64))
    return pd.Series({key: _video_score_or_nan(parts, config) for key, parts in tracks.items()}, dtype=np.float64)


def _video_score_or_nan(tracks: list[np.ndarray], config: Optional[AggregateConfig]) -> float:
    try:
        return video_score.video_score(tracks, config=config).score
    except video_score.NoFaceError:
        return float("nan")


def _by_highest_face_mean(frames: pd.DataFrame, config: Optional[AggregateConfig]) -> pd.Series:
    per_frame = frames.groupby(["key", "frame_index"], sort=False)["score"].max()  # max skips NaN
    return per_frame.groupby("key", sort=False).mean()


RULES: dict[str, Callable[[pd.DataFrame, Optional[AggregateConfig]], pd.Series]] = {
    PRODUCT_RULE: _by_video_score,
    HIGHEST_FACE_MEAN: _by_highest_face_mean,
}


def load_labels(path: Path) -> pd.DataFrame:
    """A normalised video table without scores: the columns of this module but `score`; `path` may stand for `video`.

    Raises:
        TableError: a column is missing, or two rows are one video.
    """
    table = read_csv(Path(path))
    if "video" not in table and "path" in table:
        table["video"] = [PurePath(str(name)).stem for name in table["path"]]
    answers = [name for name in ("probability", CALLED, UNCLEAR, VERDICT) if name in table]
    videos = normalise(table.drop(columns=answers).assign(score=np.nan), str(path))
    if not videos["key"].is_unique:
        twice = videos.loc[videos["key"].duplicated(), "key"].iloc[0]
        raise TableError(f"{path}: {twice} stands twice; add dataset, method, compression")
    return videos


def load_foreign(path: Path, reference: pd.DataFrame) -> pd.DataFrame:
    """Another detector's video scores, one row for each of `reference` (a normalised video table), in its order.

    Args:
        path: CSV with `video` or `path` (a key, a path that holds the key's parts, or a name that fits one video),
            `score` or `probability`, or both, and optionally `state` and `verdict` or `called_fake`; videos.csv of
            `score` is one.
    Returns:
        columns score (NaN where there is none), state ("missing" where the file does not list the video); probability,
        called_fake and unclear if the file has them.
    Raises:
        TableError: a column is missing, a video is unknown, ambiguous or scored twice.
    """
    table = read_csv(Path(path))
    name = next((column for column in ("video", "path") if column in table), None)
    values = [column for column in ("score", "probability") if column in table]
    if name is None or not values:
        raise TableError(f"{path}: needs the columns video and score; found {', '.join(map(str, table.columns))}")
    for column in values:
        try:
            table[column] = pd.to_numeric(table[column]).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise TableError(f"{path}: column {column} holds something that is not a number ({error})") from error
    keys = list(reference["key"])
    try:
        table.index = pd.Index([resolve_video(video, keys) for video in table[name]])
    except AmbiguousVideo as error:
        raise TableError(f"{path}: {error}") from error
    if table.index.has_duplicates:
        raise TableError(f"{path}: {table.index[table.index.duplicated()][0]} is scored twice")
    table["score"] = table[values[0]]
    if "state" not in table:
        table["state"] = np.where(table["score"].isna(), UNDECIDED_STATE, "ok")
    table = with_verdicts(table, str(path))
    own = [column for column in (CALLED, UNCLEAR) if column in table]
    found = table[["score", "state", *values[1:], *own]].reindex(keys)
    found["state"] = found["state"].fillna(MISSING_STATE)
    found[own] = found[own].fillna(0)
    return found.set_axis(reference.index)
