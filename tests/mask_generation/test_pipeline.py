"""Many groups → shards: what is counted, what is kept, what is refused. Jobs run inside the test's own process here;
`test_pipeline_kill.py` has real ones."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from mask_generation import __main__ as command
from mask_generation import pipeline, shards
from mask_generation.datasets.base import Options
from mask_generation.datasets.registry import find
from mask_generation.parallel import processes
from mask_generation.parallel.processes import Answer
from mask_generation.pipeline import GenerateConfig, PipelineError, clear, generate, plan_jobs
from tests.helpers import drawn_pairs
from tests.helpers.drawn_work import inline
from unet_industrial.dataset import find_files
from unet_industrial.record_files import RecordReader, index_files, read_all
from unet_industrial.records import decode_group


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(processes, "run", inline)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Five good pairs, one whose fake is no video, one whose original is missing (a row of its own)."""
    folder = tmp_path_factory.mktemp("pairs")
    table = drawn_pairs.pairs_csv(folder, 6, splits=("train", "train", "test"))
    (folder / "04_fake.mp4").write_bytes(b"\0" * 500)
    with table.open("a") as stream:
        stream.write("00_fake.mp4,gone.mp4,lost,train\n")
    return table


def run(pairs, folder, progress=lambda clips, states, resumed: None, **changes):
    config = GenerateConfig(drawn_pairs.CONFIG, Path(folder), shard_groups=2)
    inventory = find(str(pairs), "pairs_csv", Options())
    return generate(inventory, dataclasses.replace(config, **changes), progress, drawn_pairs.build_quick)


@pytest.fixture(scope="module")
def done(pairs, tmp_path_factory):
    """A finished run; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("done") / "records"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", inline)
        totals = run(pairs, folder)
    return folder, totals


@pytest.fixture
def copy(done, tmp_path):
    import shutil

    return Path(shutil.copytree(done[0], tmp_path / "records"))


def records(folder, split):
    return list(map(decode_group, read_all(find_files(str(folder), split))))


def test_every_clip_found_is_written_skipped_or_failed_and_says_why(done):
    folder, totals = done
    assert (totals.found, totals.written, totals.skipped, totals.failed) == (14, 11, 2, 1)
    assert totals.found == totals.written + totals.skipped + totals.failed
    assert totals.reasons == {"ok": 11, "missing": 1, "original_missing": 1, "unreadable": 1}
    clips = pd.read_csv(folder / "clips.csv", keep_default_na=False)
    assert len(clips) == 14
    assert clips["name"].is_unique
    bad = clips[clips["state"] != "ok"].set_index("state")
    assert bad.loc["unreadable", "name"] == "pairs/mouth/native/04_fake"
    assert bad.loc["original_missing", "reason"]
    assert clips["examples"].sum() == totals.examples == 4 * 11
    assert totals.records == 4 * 6
    assert json.loads((folder / "summary.json").read_text())["written"] == 11
    assert {"align", "decode", "faces", "masks", "encode"} == set(totals.seconds)


def test_training_finds_the_shards_and_reads_whole_groups(done):
    folder, _ = done
    assert sorted(path.name for path in folder.glob("*.tfrecord")) == [
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    train, test = records(folder, "train"), records(folder, "test")
    assert {each.split for each in train} == {"train"}
    assert {each.identity for each in train}.isdisjoint(each.identity for each in test)
    assert sorted(len(each.images) for each in train) == [1] * 4 + [2] * 12
    assert all(each.images[0].image.shape == (64, 64, 3) for each in train + test)


def test_the_table_of_examples_says_what_the_records_hold(done):
    folder, totals = done
    table = pd.read_csv(folder / "examples.csv", keep_default_na=False)
    assert len(table) == totals.examples
    for shard, rows in table.groupby("shard"):
        index = index_files([str(folder / shard)])
        reader = RecordReader(index)
        for row in rows.itertuples():
            each = decode_group(reader.read(row.record))
            image = each.images[row.member]
            assert (row.key, row.clip, row.method, row.label) == (each.key, image.clip, image.method, image.label)
            assert row.frame_index == image.frame_index
            assert row.fake_area == pytest.approx(image.fake_area, rel=1e-4)
            assert (row.x0, row.y1) == pytest.approx((each.box[0], each.box[3]), rel=1e-4)


def test_what_a_killed_run_left_unfinished_is_removed(copy, pairs, tmp_path):
    """Before, it lay there for ever; and a run killed at its very first file could not be started again."""
    (copy / ".examples.123.partial.csv").write_text("half a ta")
    run(pairs, copy)
    assert not list(copy.glob(".*partial*"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".generate.123.partial.json").write_text("{")
    assert run(pairs, tmp_path / "new").written == 11


def test_only_the_results_are_left_in_the_folder(done):
    folder, _ = done
    kinds = {path.name.split("-")[0] if path.suffix in (".tfrecord",) else path.name for path in folder.iterdir()}
    kinds = {kind for kind in kinds if "-of-" not in kind}
    assert kinds == {".lock", "generate.json", "summary.json", "examples.csv", "clips.csv", "train", "test"}


def test_the_same_command_again_does_nothing_and_says_the_same(pairs, copy, done, monkeypatch):
    def never(*arguments):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(processes, "run", never)
    seen = []
    totals = run(pairs, copy, lambda clips, states, resumed: seen.append((clips, resumed)))
    assert dataclasses.replace(totals, wall_s=0, resumed_groups=0) == dataclasses.replace(done[1], wall_s=0)
    assert totals.resumed_groups == 6
    assert sum(clips for clips, _ in seen) == 12
    assert all(resumed for _, resumed in seen)


def test_lost_tables_are_made_again_from_the_shards(pairs, copy, done):
    for name in ("examples.csv", "clips.csv", "summary.json"):
        (copy / name).unlink()
    run(pairs, copy)
    for name in ("examples.csv", "clips.csv"):
        assert (copy / name).read_bytes() == (done[0] / name).read_bytes()


def test_a_shard_that_was_damaged_or_lost_is_made_again(pairs, copy, done):
    first, second = sorted(copy.glob("train-*.tfrecord"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    totals = run(pairs, copy)
    assert totals.resumed_groups == 2
    for path in (first, second):
        assert path.read_bytes() == (done[0] / path.name).read_bytes()


def test_records_made_otherwise_are_not_mixed(pairs, copy):
    before = sorted(path.name for path in copy.iterdir())
    other = dataclasses.replace(drawn_pairs.CONFIG, frames=5)
    with pytest.raises(PipelineError, match="frames 4 → 5"):
        run(pairs, copy, group=other)
    with pytest.raises(PipelineError, match="shard_groups"):
        run(pairs, copy, shard_groups=7)
    assert sorted(path.name for path in copy.iterdir()) == before


def test_clips_that_changed_since_are_noticed(pairs, copy):
    target = pairs.parent / "05.mp4"
    status = target.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    try:
        with pytest.raises(PipelineError, match="clips on disk"):
            run(pairs, copy)
    finally:
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_folder_of_somebody_else_is_left_alone(pairs, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(PipelineError, match=r"thesis\.tex"):
        run(pairs, tmp_path)
    with pytest.raises(PipelineError, match="nothing is deleted"):
        clear(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_overwrite_deletes_our_files_only(copy):
    (copy / "notes.txt").write_text("mine")
    (copy / "train-notes.tfrecord").write_text("mine as well")
    clear(copy)
    assert sorted(path.name for path in copy.iterdir()) == [".lock", "notes.txt", "train-notes.tfrecord"]


def test_two_runs_do_not_work_in_one_folder(pairs, copy):
    with open(copy / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(PipelineError, match="another run"):
            run(pairs, copy)


def test_a_part_damaged_on_the_disk_is_noticed_and_its_group_done_again(pairs, tmp_path, done):
    def stops_early(jobs, work, count, limit_s, again):
        for done_jobs, answer in enumerate(inline(jobs, work, count, limit_s, again)):
            if done_jobs == 1:
                raise processes.ParallelError("the plug was pulled")
            yield answer

    folder = tmp_path / "records"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", stops_early)
        with pytest.raises(PipelineError, match="plug was pulled(.|\n)*goes on from here"):
            run(pairs, folder)
    part = next(path for path in sorted(folder.glob(".work/*/*.tfrecord")))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    run(pairs, folder)
    for path in done[0].glob("*.tfrecord"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_an_unexpected_error_costs_its_group_and_is_logged(pairs, tmp_path, monkeypatch):
    from mask_generation.pairs import groups

    real = groups.process

    def breaks(group, *arguments):
        if group.name.endswith("/02"):
            raise IndexError("off by one")
        return real(group, *arguments)

    monkeypatch.setattr(groups, "process", breaks)
    totals = run(pairs, tmp_path / "records")
    assert totals.reasons["crashed"] == 2
    clips = pd.read_csv(tmp_path / "records" / "clips.csv", keep_default_na=False).set_index("name")
    assert "off by one" in clips.loc["pairs/original/native/02", "reason"]
    assert "Traceback" in (tmp_path / "records" / "errors.log").read_text()


def test_the_same_error_again_and_again_is_a_bug_of_ours_and_ends_the_run(pairs, tmp_path, monkeypatch):
    from mask_generation.pairs import groups

    def breaks(*arguments):
        raise IndexError("off by one")

    monkeypatch.setattr(groups, "process", breaks)
    with pytest.raises(PipelineError, match="not the videos: IndexError: off by one"):
        run(pairs, tmp_path / "records")


def test_the_same_error_in_clips_that_do_not_follow_each_other_costs_those_clips_alone(pairs, tmp_path, monkeypatch):
    from mask_generation.pairs import groups

    real, calls = groups.process_group, []

    def breaks_every_other_time(group, *arguments):
        calls.append(group.name)
        if len(calls) % 2:
            raise IndexError("off by one")
        return real(group, *arguments)

    monkeypatch.setattr(groups, "process_group", breaks_every_other_time)
    monkeypatch.setattr(pipeline, "SAME_BUG_LIMIT", 2)
    totals = run(pairs, tmp_path / "records")
    assert len(calls) == 6
    assert totals.reasons["crashed"] == 6  # three groups of two clips
    assert totals.written + totals.skipped + totals.failed == totals.found


def test_a_clip_that_kills_its_process_is_left_out_and_its_group_kept(pairs, tmp_path, monkeypatch):
    deadly = "pairs/mouth/native/01_fake"
    deaths = []

    def with_deaths(jobs, work, count, limit_s, again):
        built = work.build()
        for job in jobs:
            while deadly in {fake.name for fake in job.group.fakes} - {name for name, _, _ in job.given_up}:
                job.part.parent.mkdir(parents=True, exist_ok=True)
                job.part.with_name(job.part.name + ".at").write_bytes(deadly.encode() + b"\nrest of a longer name")
                deaths.append(job)
                job = again(job, Answer(processes.DIED, "signal SIGSEGV"))
            yield job, Answer(*processes.attempt(work, built, job))

    monkeypatch.setattr(processes, "run", with_deaths)
    totals = run(pairs, tmp_path / "records")
    assert len(deaths) == pipeline.ATTEMPTS
    clips = pd.read_csv(tmp_path / "records" / "clips.csv", keep_default_na=False).set_index("name")
    assert clips.loc[deadly, "state"] == "crashed"
    assert "SIGSEGV" in clips.loc[deadly, "reason"]
    assert clips.loc["pairs/original/native/01", "examples"] == 4
    assert totals.failed == 2


def test_a_clip_that_takes_too_long_is_left_out_at_once(pairs, tmp_path):
    inventory = find(str(pairs), "pairs_csv", Options())
    config = GenerateConfig(drawn_pairs.CONFIG, tmp_path, clip_limit_s=7)
    job = plan_jobs(inventory.groups, tmp_path, 2)[0]
    fake = job.group.fakes[0].name
    job.part.parent.mkdir(parents=True)
    job.part.with_name(job.part.name + ".at").write_bytes(fake.encode() + b"\n")
    again = pipeline._Run(config, [job])._again(job, Answer(processes.LATE, ""))
    ((name, state, reason),) = again.given_up
    assert (name, state) == (fake, "timeout")
    assert "14 s" in reason  # two clips


def test_shards_depend_on_the_clips_alone(pairs, tmp_path):
    groups = find(str(pairs), "pairs_csv", Options()).groups
    forward, backward = (plan_jobs(order, tmp_path, 2) for order in (groups, groups[::-1]))
    assert forward == backward
    assert len({job.part for job in forward}) == len(groups)


def test_damaged_shards_are_found(copy):
    assert shards.check_shard(copy / "train-00000-of-00002") is None
    path = copy / "train-00000-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in shards.check_shard(copy / "train-00000-of-00002")


@pytest.fixture
def ovals(monkeypatch):
    monkeypatch.setattr(pipeline, "build_detector", lambda device: drawn_pairs.build_quick())


def test_the_command_writes_records_and_says_so(ovals, pairs, tmp_path, capsys):
    folder = tmp_path / "records"
    arguments = ["generate", f"--pairs_csv={pairs}", f"--output={folder}", "--frames=2", "--mask_recipe=article"]
    assert command.main([*arguments, "--crop_size=32"]) == 1  # a clip failed
    out, err = capsys.readouterr()
    assert "14 clips found = 11 written + 2 skipped + 1 failed" in out
    assert "1 missing, 11 ok, 1 original_missing, 1 unreadable" in out
    assert "clip" in err
    assert records(folder, "test")[0].images[0].image.shape == (32, 32, 3)
    assert command.main([*arguments, "--crop_size=48"]) == 1
    assert "crop_size 32 → 48" in capsys.readouterr().err
    assert command.main([*arguments, "--crop_size=48", "--overwrite"]) == 1
    assert records(folder, "test")[0].images[0].image.shape == (48, 48, 3)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "output"),
        (["--output={out}"], 2, "--data_dir=FOLDER or --pairs_csv=FILE.csv"),
        (["--output={out}", "--pairs_csv=a.csv", "--data_dir=b"], 2, "either"),
        (["--output={out}", "--pairs_csv={out}/none.csv"], 1, "no such file"),
        (["--output={out}", "--data_dir={out}"], 1, "no known layout"),
        (["--output={out}", "--data_dir={out}", "--shares=1,2"], 2, "--shares"),
        (["--output={out}", "--data_dir={out}", "--mask_recipe=magic"], 2, "recipe"),
        (["--output={out}", "--data_dir={out}", "--frams=3"], 2, "did you mean --frames"),
    ],
)
def test_wrong_commands_are_refused_in_a_line(tmp_path, capsys, arguments, code, message):
    (tmp_path / "out").mkdir()
    assert command.main(["generate", *(word.format(out=tmp_path / "out") for word in arguments)]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not any((tmp_path / "out").iterdir())


def test_tables_are_made_again_without_the_videos(copy, done, capsys):
    for name in ("examples.csv", "clips.csv"):
        (copy / name).unlink()
    assert command.main(["manifest", f"--records={copy}"]) == 0
    assert "14 clips, 44 examples in 3 shards" in capsys.readouterr().out
    for name in ("examples.csv", "clips.csv"):
        assert (copy / name).read_bytes() == (done[0] / name).read_bytes()
    (copy / "train-00000-of-00002.json").unlink()
    (copy / "generate.json").unlink()
    assert command.main(["manifest", f"--records={copy}"]) == 0
    assert "train-00000-of-00002.json was lost" in capsys.readouterr().out
    assert (copy / "examples.csv").read_bytes() == (done[0] / "examples.csv").read_bytes()
    assert shards.check_shard(copy / "train-00000-of-00002") is None


def test_tables_of_nothing_are_refused(tmp_path, capsys):
    assert command.main(["manifest", f"--records={tmp_path}"]) == 1
    assert "no records" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_and_what_is_done_is_kept(pairs, tmp_path, monkeypatch, done):
    real, calls = shards.write_part, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", "/data/part")
        return real(*arguments)

    def inline_as_processes_do(jobs, work, count, limit_s, again):
        for job, answer in inline(jobs, work, count, limit_s, again):
            if answer.kind == processes.FATAL:
                raise processes.ParallelError(answer.content)
            yield job, answer

    folder = tmp_path / "records"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", inline_as_processes_do)
        patch.setattr(shards, "write_part", full)
        with pytest.raises(PipelineError, match="No space left on device"):
            run(pairs, folder)
    totals = run(pairs, folder)
    assert totals.resumed_groups == 2
    for path in done[0].glob("*.tfrecord"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
