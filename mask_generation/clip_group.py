"""One original and its manipulated copies → face groups with masks, and a row for every clip.

Faces are found on the original only, and the same squares are cut from every copy, so that the crops of a pair line up
pixel for pixel. Nothing of a clip is held but boxes and the crops of the sampled frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import numpy as np

from mask_generation.clip_align import FakeWork, common_length, find_windows, measure_all, realign
from mask_generation.clip_result import ClipOutcome, GroupConfig, GroupResult, Note, Stations, new_outcome
from mask_generation.clip_samples import Sample, Samples, collect, find_people
from mask_generation.datasets import ClipGroup
from mask_generation.faces import FaceDetector
from mask_generation.video import VideoError, sample_indices
from unet_industrial.records import FaceGroup, FaceImage

UNTOUCHED_AREA = 0.003  # mean faked share of a person's crops below which that person was left alone


def process_group(
    group: ClipGroup,
    config: GroupConfig,
    detector: FaceDetector,
    given_up: Optional[Mapping[str, tuple[str, str]]] = None,
    note: Note = lambda name: None,
) -> GroupResult:
    """All stations for one group. Bad clips become rows; anything else that goes wrong is a bug and is raised.

    Args:
        given_up: {clip's name: (state, reason)} of clips not to be opened.
        note: told the name of the clip that is about to be decoded.
    """
    stations = Stations()
    original = new_outcome(group)
    fakes = [FakeWork(clip, new_outcome(group, clip)) for clip in group.fakes]
    outcomes = [original, *(fake.outcome for fake in fakes)]
    for outcome in outcomes:
        if given_up and outcome.name in given_up:
            outcome.fail(*given_up[outcome.name])
    samples: Samples = {}
    if original.usable:
        try:
            samples = _samples(original, fakes, config, detector, stations, note)
        except VideoError as error:  # only the original's: those of fakes end at the fake
            original.fail(error.state, error.reason)
    if not original.usable:
        samples = {}
        for fake in fakes:
            if fake.outcome.usable:
                state = "no_face" if original.state == "no_face" else "original_failed"
                fake.outcome.fail(state, f"original: {original.reason}")
    return GroupResult(_face_groups(group, config, original, fakes, samples), outcomes, stations.seconds)


def _samples(
    original: ClipOutcome,
    fakes: list[FakeWork],
    config: GroupConfig,
    detector: FaceDetector,
    stations: Stations,
    note: Note,
) -> Samples:
    with stations("align"):
        usable, fps = measure_all(original, fakes, config.limits, note)
        if original.frames < config.min_frames:
            reason = f"{original.frames} frames, {config.min_frames} are needed (--min_frames)"
            raise VideoError(original.path, "too_short", reason)
        usable = find_windows(original, usable, config.limits, note)
    indices = sample_indices(common_length(original.frames, usable), config.frames)
    note(original.name)
    tracks = find_people(original, config, detector, indices, fps, stations)
    if not tracks:
        original.fail("no_face", f"no face in {len(indices)} sampled frames")
        return {}
    numbers = {id(fake): number for number, fake in enumerate(fakes)}
    samples = collect(original, config, {numbers[id(f)]: f for f in usable}, indices, tracks, stations, note)
    with stations("align"):
        moved = {numbers[id(fake)]: fake for fake in realign(original, usable, config.limits, note)}
    if moved:
        for number, fake in moved.items():
            fake.same_frames = fake.seen_frames = fake.no_mask_frames = 0
            for faces in samples.values():
                for sample in faces:
                    sample.fakes.pop(number, None)
        _merge(samples, collect(original, config, moved, indices, tracks, stations, note))
    return samples


def _merge(samples: Samples, more: Samples) -> None:
    """Add the fakes of other samples of the same faces and frames."""
    for track, faces in more.items():
        known = {sample.frame_index: sample for sample in samples[track]}
        for sample in faces:
            if sample.frame_index in known:
                known[sample.frame_index].fakes.update(sample.fakes)


def _altered_people(fake: FakeWork, number: int, original: ClipOutcome, samples: Samples, recipe: str) -> set[int]:
    """People whose faces the fake changes; where there are none, its row says why."""
    areas = {track: [s.fakes[number].fake_area for s in faces if number in s.fakes] for track, faces in samples.items()}
    altered = {track for track, shares in areas.items() if shares and np.mean(shares) >= UNTOUCHED_AREA}
    outcome = fake.outcome
    if altered or not outcome.usable or not original.usable:
        return altered
    if fake.seen_frames and fake.same_frames == fake.seen_frames:
        outcome.fail("identical", "its pixels are the original's: nothing visible is faked")
    elif any(areas.values()):
        outcome.fail("untouched", f"the recipe {recipe} finds no altered face in it")
    elif fake.no_mask_frames:
        outcome.fail("no_mask", "its mask video is shorter, or of another size, than itself")
    else:
        outcome.fail("no_face", "no sampled frame of it shows the original's face")
    return altered


def _face_groups(
    group: ClipGroup, config: GroupConfig, original: ClipOutcome, fakes: list[FakeWork], samples: Samples
) -> list[FaceGroup]:
    """Put the samples into groups, each with the fakes that altered this person."""
    altered = [_altered_people(fake, number, original, samples, config.recipe) for number, fake in enumerate(fakes)]
    results = []
    for track, faces in samples.items():
        for sample in faces:
            images = [_untouched(group, sample)]
            original.examples += 1
            for number, image in sorted(sample.fakes.items()):
                if track in altered[number] and fakes[number].outcome.usable:
                    images.append(image)
                    fakes[number].outcome.examples += 1
            results.append(
                FaceGroup(
                    key=f"{group.name}/{sample.frame_index:06d}/{track}",
                    dataset=group.dataset,
                    split=group.split,
                    identity=group.identity,
                    frame_index=sample.frame_index,
                    time_s=sample.time_s,
                    track=track,
                    box=(sample.box.x0, sample.box.y0, sample.box.x1, sample.box.y1),
                    images=tuple(images),
                )
            )
    return results


def _untouched(group: ClipGroup, sample: Sample) -> FaceImage:
    blank = np.zeros(sample.original.shape[:2], np.uint8)
    return FaceImage(sample.original, blank, 0, group.name, group.method, sample.frame_index)
