"""`face_bank`: real photographs and videos → one file of face crops, the raw material of `train --preset=sbi`."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Optional

import cv2
import numpy as np
from absl import flags
from tqdm import tqdm

from mask_generation import cli
from mask_generation.faces.detector import Detection, FaceDetector, MtcnnDetector
from mask_generation.pairs.outcome import GroupConfig
from mask_generation.synthesis import face_bank
from mask_generation.video.photo import read_picture
from mask_generation.video.reader import count_frames, read_frames, sample_indices
from mask_generation.video.types import VideoError, printable
from mask_generation.video.writer import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from unet_industrial.config import TrainConfig

MIN_SCORE = 0.95  # a wrong box would put a blend where no face is
USER_ERRORS = (face_bank.FaceBankError,)


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "source",
        None,
        "NAME=FOLDER of untouched photographs and videos, at any depth; may be given several times. Every source is "
        "drawn from in its own share.",
    )
    flags.mark_flag_as_required("source")
    cli.define_output("The face bank to write, .npz.")
    flags.DEFINE_string(
        "identities",
        None,
        "CSV with the columns path,identity: who is in a file (path relative to its source's folder). A file not "
        "listed is a person of its own, named by its stem: neutral/001.jpg and smiling/001.jpg are one person.",
    )
    cli.define(GroupConfig, "frames", frames=24)
    flags.DEFINE_float("validation_share", 0.12, "Share of each source's people held out for validation.", 0.0, 0.9)
    cli.define(TrainConfig, "seed")  # decides who is held out
    cli.define_overwrite()


def main(arguments: Sequence[str]) -> int:
    del arguments
    values = flags.FLAGS
    if os.path.exists(values.output) and not values.overwrite:
        raise cli.UsageError(f"{values.output} is already there: choose another --output, or give --overwrite")
    files = [found for text in values.source for found in list_source(text)]
    identities = read_identities(values.identities) if values.identities else {}
    problems: list[str] = []
    crops = collect(files, identities, values.frames, MtcnnDetector(), problems)
    summary = face_bank.save(values.output, crops, values.validation_share, values.seed)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(json.dumps({"face_bank": values.output, "bytes": os.path.getsize(values.output), **summary}, indent=1))
    return cli.FAILED if problems else cli.OK


def list_source(text: str) -> list[tuple[str, str, str]]:
    """`NAME=FOLDER` → (name, folder, relative path) of its photographs and videos, sorted.

    Raises:
        UsageError: not of that form, or nothing is there.
    """
    name, equals, folder = text.partition("=")
    if not name or not equals or not os.path.isdir(folder):
        raise cli.UsageError(f"--source={text}: NAME=FOLDER is needed, and FOLDER must exist")
    found = []
    for parent, _, names in os.walk(folder):
        for file in names:
            if file.lower().endswith((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)):
                found.append((name, folder, os.path.relpath(os.path.join(parent, file), folder)))
    if not found:
        raise cli.UsageError(f"--source={text}: no photograph and no video in {folder}")
    return sorted(found)


def read_identities(path: str) -> dict[str, str]:
    """{relative path: identity} of a CSV.

    Raises:
        UsageError: the file cannot be read or lacks a column.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return {row["path"]: row["identity"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise cli.UsageError(
            f"--identities={path}: a CSV with the columns path,identity is needed ({error})"
        ) from error


def collect(
    files: Sequence[tuple[str, str, str]],
    identities: dict[str, str],
    frames: int,
    detector: FaceDetector,
    problems: list[str],
) -> Iterator[face_bank.Crop]:
    """Crops of the largest face of every file; files that give none are named in `problems`."""
    for source, folder, relative in tqdm(files, unit="file", disable=not sys.stderr.isatty()):
        stem = os.path.splitext(os.path.basename(relative))[0]
        identity = f"{source}/{identities.get(relative, stem)}"
        count = 0
        try:
            for index, rgb in _pictures(os.path.join(folder, relative), frames):
                face = largest_face(rgb, detector)
                if face is None:
                    continue
                cut = face_bank.crop_face(rgb, face.box, face.landmarks)
                if cut is not None:
                    count += 1
                    yield face_bank.Crop(*cut, identity, source, relative, index)
        except VideoError as error:
            problems.append(str(error))
            continue
        if not count:
            problems.append(
                f"{printable(os.path.join(folder, relative))}: no face of 48 pixels or more inside the picture"
            )


def largest_face(rgb: np.ndarray, detector: FaceDetector) -> Optional[Detection]:
    """The largest face of a picture (H, W, 3), box and points in its pixels; None: there is none.

    MTCNN needs some surround. A picture in which nothing is found is looked at again with a border a third as wide as
    the picture, which shows the faces of crops that are nothing but a face.
    """
    for border in (0, round(max(rgb.shape[:2]) / 3)):
        seen = cv2.copyMakeBorder(rgb, border, border, border, border, cv2.BORDER_REPLICATE) if border else rgb
        faces = [face for face in detector.detect(seen) if face.score >= MIN_SCORE]
        if faces:
            face = max(faces, key=lambda found: found.box.area)
            return Detection(face.box.shifted(-border, -border), face.score, face.landmarks - np.float32(border))
    return None


def _pictures(path: str, frames: int) -> Iterator[tuple[int, np.ndarray]]:
    if path.lower().endswith(PICTURE_SUFFIXES):
        yield 0, read_picture(path)
        return
    for frame in read_frames(path, indices=sample_indices(count_frames(path), frames)):
        yield frame.index, frame.rgb
