"""Splits by identity: who shares a face or a source with whom, and no component on two sides."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable

import numpy as np

from mask_generation.datasets.base import SPLITS, ClipGroup, FakeClip, Inventory, Options, Problem


def connected(sets: Iterable[Collection[str]]) -> dict[str, str]:
    """{name: the smallest name that it is connected with}: all names of a set are connected, and so are sets that
    share a name."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number: dict[str, int] = {}
    edges: list[tuple[int, int]] = []
    for names in sets:
        members = [number.setdefault(name, len(number)) for name in names]
        edges += [(members[0], other) for other in members[1:]]
    if not number:
        return {}
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(number), len(number)))
    labels = connected_components(graph, directed=False)[1].tolist()
    smallest: dict[int, str] = {}
    for name, place in number.items():
        smallest[labels[place]] = min(name, smallest.get(labels[place], name))
    return {name: smallest[labels[place]] for name, place in number.items()}


def components(groups: Iterable[ClipGroup]) -> dict[str, str]:
    """{identity: name of its connected component}, over everyone who shares a clip."""
    sets = []
    for group in groups:
        sets += [group.identities, *(fake.identities | group.identities for fake in group.fakes)]
    return connected(sets)


def leaks(groups: Iterable[ClipGroup]) -> list[dict[str, object]]:
    """Identities that appear in more than one split, through any clip.

    Returns:
        one row an identity: `identity`, `splits` (sorted as in `SPLITS`), `clips` (up to three of each split).
    """
    seen: dict[str, dict[str, list[str]]] = {}
    for group in groups:
        for who in group.identities:
            seen.setdefault(who, {}).setdefault(group.split, []).append(group.name)
        for fake in group.fakes:
            for who in fake.identities - group.identities:
                seen.setdefault(who, {}).setdefault(group.split, []).append(fake.name)
    return [
        {
            "identity": who,
            "splits": sorted(splits, key=_rank),
            "clips": {split: sorted(clips)[:3] for split, clips in splits.items()},
        }
        for who, splits in sorted(seen.items())
        if len(splits) > 1
    ]


def _rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else -1


def _order(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def share_out(names: Iterable[str], shares: tuple[float, float, float]) -> dict[str, str]:
    """{name: split}: names in a fixed random order, cut at the shares. Two names or more leave one for validation,
    three or more one for testing as well, as long as those shares are above 0."""
    ordered = sorted(set(names), key=_order)
    total = sum(shares)
    counts = [round(len(ordered) * share / total) for share in shares]
    for place, needed in ((1, 2), (2, 3)):
        if shares[place] > 0 and not counts[place] and len(ordered) >= needed:
            counts[place] = 1
    counts[0] = max(len(ordered) - counts[1] - counts[2], 0)
    labels = [split for split, count in zip(SPLITS, counts) for _ in range(count)]
    return dict(zip(ordered, labels + [SPLITS[0]] * (len(ordered) - len(labels))))


def assign_splits(found: Inventory, options: Options) -> Inventory:
    """Give every group a split and the name of its component.

    Groups that have a split keep it (with `strict`, minus what leaks). The others are shared out by component; where
    one component holds most of the groups, by the person in the original instead, and fakes made from a person of
    another split are dropped, with a row each.
    """
    open_groups = [group for group in found.groups if not group.split]
    fixed = [group for group in found.groups if group.split]
    problems = list(found.problems)
    if open_groups:
        open_groups, dropped = _share_out_groups(open_groups, options)
        problems += dropped
    groups = fixed + open_groups
    if options.split_policy == "strict":
        groups, dropped = _drop_leaks(groups)
        problems += dropped
    root = components(groups)
    named = [
        dataclasses.replace(group, identity=root[min(group.identities)] if group.identities else group.name)
        for group in sorted(groups, key=lambda group: group.name)
    ]
    return dataclasses.replace(found, groups=named, problems=problems)


def _share_out_groups(groups: list[ClipGroup], options: Options) -> tuple[list[ClipGroup], list[Problem]]:
    root = components(groups)
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[_component(group, root)] = sizes.get(_component(group, root), 0) + 1
    if len(groups) < 10 or max(sizes.values()) <= 0.6 * len(groups):
        split_of = share_out(sizes, options.shares)
        return [dataclasses.replace(g, split=split_of[_component(g, root)]) for g in groups], []
    split_of = share_out((who for group in groups for who in group.all_identities), options.shares)
    kept, problems = [], []
    for group in groups:
        sides = {split_of[who] for who in group.identities}
        if len(sides) > 1:
            problems += [_crossing(group, None, "shows people of several splits")]
            problems += [_crossing(group, fake, "its original shows people of several splits") for fake in group.fakes]
            continue
        split = sides.pop()
        here = tuple(f for f in group.fakes if all(split_of[who] == split for who in f.identities))
        problems += [
            _crossing(group, fake, f"made from a person of another split than {split}")
            for fake in group.fakes
            if fake not in here
        ]
        kept.append(dataclasses.replace(group, fakes=here, split=split))
    return kept, problems


def _component(group: ClipGroup, root: dict[str, str]) -> str:
    return root[min(group.identities)] if group.identities else group.name


def _drop_leaks(groups: list[ClipGroup]) -> tuple[list[ClipGroup], list[Problem]]:
    """Keep, of each component, only the groups of its most held-out split."""
    root = components(groups)
    held_out: dict[str, str] = {}
    for group in groups:
        name = _component(group, root)
        held_out[name] = max(held_out.get(name, group.split), group.split, key=_rank)
    kept, problems = [], []
    for group in groups:
        keep = held_out[_component(group, root)]
        if group.split == keep:
            kept.append(group)
            continue
        reason = f"in {group.split}, but shares a person or a source with clips of {keep} (--split_policy=strict)"
        if group.original is not None:
            problems.append(_crossing(group, None, reason))
        problems += [_crossing(group, fake, reason) for fake in group.fakes]
    return kept, problems


def _crossing(group: ClipGroup, fake: FakeClip | None, reason: str) -> Problem:
    if fake is None:
        return Problem(group.name, group.original or "", group.method, group.compression, "split_leak", reason, label=0)
    return Problem(fake.name, fake.path, fake.method, fake.compression, "split_leak", reason)
