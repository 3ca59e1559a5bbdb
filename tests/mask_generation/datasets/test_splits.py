"""Nobody on two sides: components of people and sources, shares, and what `strict` drops."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mask_generation.datasets.base import ClipGroup, FakeClip, Inventory, Options
from mask_generation.datasets.registry import find
from mask_generation.datasets.splits import assign_splits, components, connected, leaks, share_out
from tests.helpers import drawn_trees


def group(name, who, fakes=(), split=""):
    members = tuple(
        FakeClip(f"{name}-{i}", f"{name}-{i}.mp4", "swap", "c0", frozenset((who, by))) for i, by in enumerate(fakes)
    )
    return ClipGroup(name, "drawn", "real", "c0", f"{name}.mp4", members, frozenset((who,)), split)


def test_components_join_all_who_share_a_clip():
    root = components([group("1", "a", ["b"]), group("2", "c", ["b"]), group("3", "d", ["e"])])
    assert root["a"] == root["b"] == root["c"]
    assert root["d"] == root["e"] != root["a"]


@given(st.lists(st.frozensets(st.sampled_from("abcdefgh"), max_size=3), max_size=8))
def test_a_component_is_named_by_its_smallest_member(sets):
    found = connected(sets)
    assert set(found) == set().union(*sets)
    for name, root in found.items():
        reached = {name}
        while (more := reached.union(*(each for each in sets if each & reached))) != reached:
            reached = more
        assert root == min(reached)


def test_a_leak_names_who_where_and_through_which_clips():
    found = leaks([group("1", "a", split="train"), group("2", "b", ["a"], split="test"), group("3", "c", split="val")])
    assert found == [{"identity": "a", "splits": ["train", "test"], "clips": {"train": ["1"], "test": ["2-0"]}}]


def test_strict_keeps_the_most_held_out_side_of_a_component():
    groups = [group("1", "a", split="train"), group("2", "b", ["a"], split="test"), group("3", "c", split="train")]
    found = assign_splits(Inventory("drawn", groups), Options(split_policy="strict"))
    assert [(each.name, each.split) for each in found.groups] == [("2", "test"), ("3", "train")]
    (problem,) = found.problems
    assert (problem.name, problem.state, problem.label) == ("1", "split_leak", 0)
    assert "test" in problem.reason


def test_faceforensics_official_split_leaks_through_youtube_and_strict_does_not(tmp_path):
    """Clips 755 and 756 come from one YouTube video, and the official split has them on two sides."""
    drawn_trees.faceforensics(tmp_path, [("755", "750"), ("756", "760"), ("000", "003")])
    drawn_trees.split_files(tmp_path / "splits", train=[("756", "760"), ("000", "003")], test=[("755", "750")])
    official = find(str(tmp_path), "auto", Options())
    assert [row["identity"] for row in leaks(official.groups)] == ["ffpp:youtube:755"]
    strict = find(str(tmp_path), "auto", Options(split_policy="strict"))
    assert not leaks(strict.groups)
    assert {each.name[-3:]: each.split for each in strict.groups} == {
        "000": "train",
        "003": "train",
        "750": "test",
        "755": "test",
    }
    assert {problem.name.rsplit("/", 1)[-1] for problem in strict.problems} == {"756", "760", "756_760", "760_756"}


def test_one_giant_component_is_split_by_person_and_crossing_fakes_are_dropped(tmp_path):
    """As in DeepFakeDetection, where 28 actors swap faces with each other."""
    names = [f"{a:02d}_{b:02d}__s__{a:02d}{b:02d}WXYZ" for a in range(12) for b in range(12) if a != b]
    found = find(str(drawn_trees.dfd(tmp_path, names)), "auto", Options())
    assert not leaks(found.groups)
    assert {group.split for group in found.groups} == {"train", "val", "test"}
    kept = sum(len(group.fakes) for group in found.groups)
    assert kept + len(found.problems) == len(names)
    assert kept > 0
    assert {problem.state for problem in found.problems} == {"split_leak"}


def test_shares_are_kept_and_small_sets_still_have_something_to_test_on():
    split_of = share_out([str(number) for number in range(1000)], (0.72, 0.14, 0.14))
    counts = {split: list(split_of.values()).count(split) for split in ("train", "val", "test")}
    assert counts == {"train": 720, "val": 140, "test": 140}
    assert sorted(share_out("ab", (0.72, 0.14, 0.14)).values()) == ["train", "val"]
    assert sorted(share_out("abc", (0.72, 0.14, 0.14)).values()) == ["test", "train", "val"]
    assert set(share_out("abcdef", (1, 0, 0)).values()) == {"train"}


people = st.sampled_from("abcdefghijkl")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(people, st.lists(people, max_size=3), st.sampled_from(["", "train", "val", "test"])), max_size=14
    ),
    st.booleans(),
)
def test_whoever_swaps_with_whomever_strict_never_leaks(clips, given_splits):
    groups = [group(str(n), who, by, split if given_splits else "") for n, (who, by, split) in enumerate(clips)]
    found = assign_splits(Inventory("drawn", groups), Options(split_policy="strict"))
    assert not leaks(found.groups)
    kept = sum(1 + len(each.fakes) for each in found.groups)
    assert kept + len(found.problems) == sum(1 + len(each.fakes) for each in groups)  # nobody is lost silently
    assert all(each.identity for each in found.groups)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(people, st.lists(people, max_size=3)), max_size=14))
def test_splits_we_make_ourselves_never_leak(clips):
    groups = [group(str(number), who, by) for number, (who, by) in enumerate(clips)]
    assert not leaks(assign_splits(Inventory("drawn", groups), Options()).groups)
