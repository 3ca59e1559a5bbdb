"""Tracks of one video → its people: what is no face is left out, and one person's tracks are joined.

A tracker links faces from one frame to the next, and begins anew where a person was out of sight, the camera panned, or
the picture changed too much between two frames. Afterwards, with all frames seen, more can be said: how sure the
detector was of a face over many frames, who was in sight at the same time, and who looks alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mask_generation.faces import appearance
from mask_generation.faces.tracker import Track

MIN_CERTAINTY = 0.92  # median over a track; docs/masks.md has the table it was chosen by
SAME_PERSON = 0.43  # distance of appearance below which two tracks that are never in sight together are one person
LOOKS_EACH = 8  # appearances of a track that are compared
MOST_JOINED = 300  # tracks that are compared, the longest first: a crowd's many short ones stay what they are


def is_face(track: Track) -> bool:
    """Whether a track is a face, by the median of the detector's certainty over it."""
    return track.certainty >= MIN_CERTAINTY


def people(tracks: Sequence[Track]) -> list[list[Track]]:
    """The tracks of each person in order of time, the person seen first at the head; tracks that are no face are left
    out. No two tracks of a person share a frame."""
    faces = [track for track in tracks if is_face(track)]
    persons = [sorted((faces[at] for at in group), key=_begins) for group in _joined(faces)]
    return sorted(persons, key=lambda person: _begins(person[0]))


def _begins(track: Track) -> tuple[int, int]:
    return track.indices[0], track.id


def _joined(tracks: Sequence[Track]) -> list[list[int]]:
    """Positions of the tracks of each person. The two that look most alike are joined first, and so on up to
    SAME_PERSON; that two people are in sight together keeps them apart, whatever they look like."""
    groups = [[at] for at in range(len(tracks))]
    compared = sorted(range(len(tracks)), key=lambda at: (-len(tracks[at]), at))[:MOST_JOINED]
    compared = sorted(at for at in compared if tracks[at].looks)
    if len(compared) < 2:
        return groups
    looks = [_spread(tracks[at].looks) for at in compared]
    between = appearance.distance(np.concatenate(looks), np.concatenate(looks))
    edges = np.cumsum([0, *map(len, looks)])
    rows = [np.arange(a, b) for a, b in zip(edges, edges[1:])]
    frames = [set(tracks[at].indices) for at in compared]
    members = [[at] for at in compared]
    far = np.full((len(compared), len(compared)), np.inf)

    def measure(a: int, b: int) -> None:
        together = not frames[a].isdisjoint(frames[b])
        far[min(a, b), max(a, b)] = np.inf if together else _apart(between[np.ix_(rows[a], rows[b])])

    for a in range(len(compared)):
        for b in range(a + 1, len(compared)):
            measure(a, b)
    while far.min() < SAME_PERSON:
        a, b = (int(at) for at in np.unravel_index(int(far.argmin()), far.shape))
        rows[a], members[a] = np.concatenate([rows[a], rows[b]]), members[a] + members[b]
        frames[a] |= frames[b]
        members[b] = []
        far[b, :] = far[:, b] = np.inf
        for other in range(len(compared)):
            if other != a and members[other]:
                measure(a, other)
    rest = set(range(len(tracks))) - set(compared)
    return [group for group in members if group] + [[at] for at in rest]


def _apart(between: np.ndarray) -> float:
    """How far (A,B) distances set two people apart: the median of each one's nearest on the other side, from the side
    that is nearer (a brief track is like some moment of a long one, not like all of it)."""
    return float(min(np.median(between.min(axis=1)), np.median(between.min(axis=0))))


def _spread(looks: Sequence[np.ndarray]) -> np.ndarray:
    """At most LOOKS_EACH of them, evenly chosen: (n, LENGTH)."""
    chosen = np.unique(np.linspace(0, len(looks) - 1, min(LOOKS_EACH, len(looks))).round().astype(int))
    return np.stack([looks[at] for at in chosen])
