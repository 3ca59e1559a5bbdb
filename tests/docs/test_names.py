"""Every path, module, flag and subcommand that the documents, docstrings and messages name exists."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from pathlib import Path

from mask_generation.__main__ import main as mask_main
from runtime.__main__ import main as runtime_main
from tests.helpers.documents import (
    ROOT,
    docstrings,
    documents,
    exists,
    files,
    folders,
    messages,
    names_in,
    spans,
    usage,
    words_of,
)

# Flags of commands that are not ours but stand in our documents.
FOREIGN_FLAGS = {
    *("no-build-isolation", "build-arg", "mount", "user", "gpus", "rm", "network", "read-only", "tmpfs"),  # pip, docker
    *("cap-drop", "security-opt", "memory", "pids-limit", "env"),
    *("gloo", "min-np", "host-discovery-script", "network-interfaces", "check-build"),  # horovodrun
    *("nodes", "ntasks-per-node", "gpus-per-node", "requeue", "open-mode", "signal", "mpi"),  # Slurm
    *("help", "flag", "helpfull", "helpshort"),  # every program's
}
FOREIGN_FILES = {
    *("kernel_utils.py", "hosts.sh", "SECURITY.md"),  # the DFDC winner's, the reader's own, TensorFlow's
    *("main.py", "datasets/core.py", "datasets/dagm2007.py", "model/unet.py"),  # NVIDIA's original
    *("runtime/runner.py", "utils/image_processing.py", "utils/cmdline_helper.py"),  # the same
}
FOREIGN_MODULES = {"tf", "np", "sys", "compat", "result", "flags"}  # `result` is what README's example calls its answer
PLACEHOLDERS = {"idX_NNNN", "dfdc_train_part_N", "A_B"}  # how names in data sets are put together
WRITTEN = re.compile(r"\.(json|jsonl|csv|html|png|npz|mp4|txt|parquet|log|xml|onnx)$")  # files that a run writes

COMMAND = re.compile(
    r"(?P<program>\./launch\.sh|deepfake-unet|python -m runtime|python -m mask_generation)[ ]+(?P<rest>[^\n`|;#&]*)"
)
FLAG = re.compile(r"(?<![\w-])--(?:\[no\])?(?P<name>[A-Za-z]\w*(?:-\w+)*)(?:=(?P<value>[\w+-]+)(?![\w./]))?")


def report(problems):
    assert not problems, f"{len(problems)} names that nothing has:\n" + "\n".join(sorted(problems))


def asked(main, *words):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(list(words)) in (0, 2)
    return output.getvalue()


@functools.cache
def subcommands():
    """Subcommand, with "mask " before those of the mask stage → {flag: its values, or None where any will do}."""
    found = {}
    for prefix, main in (("", runtime_main), ("mask ", mask_main)):
        listed = re.findall(r"^  ([a-z_-]+)  ", asked(main, "--help").split("Commands:")[-1], re.M)
        for name in listed:
            if name == "mask":  # hands over to the other program
                continue
            taken = {}
            for negated, flag, value in re.findall(
                r"^  --(\[no\])?(\w+)(?:=(.*))?$", asked(main, name, "--help"), re.M
            ):
                taken[flag] = set(value.split("|")) if "|" in value else None
                if negated:
                    taken["no" + flag] = None
            assert taken, name
            found[prefix + name] = taken
    return found


@functools.cache
def other_flags():
    """Flags of launch.sh, the tools, benchmarks and examples, and those of other programs."""
    found = set(FOREIGN_FLAGS) | set(re.findall(r"^ +--(\w+)[)=]", (ROOT / "launch.sh").read_text("utf-8"), re.M))
    for name in files():
        if name.startswith(("tools/", "benchmarks/", "examples/")) and name.endswith(".py"):
            source = (ROOT / name).read_text("utf-8")
            found |= set(re.findall(r'add_argument\(\s*"--(\w+)"', source))
            found |= set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
    return found


def command_of(program, rest):
    """(subcommand as in `subcommands`, its words), or (None, words) where the words are not for us to judge."""
    words = rest.split()
    first = words[0] if words else ""
    if program == "python -m mask_generation":
        return "mask " + first, words[1:]
    if first == "mask" and program != "python -m runtime":
        if len(words) < 2 or not re.fullmatch(r"[a-z_]+", words[1]):
            return "mask generate", words[1:]
        return "mask " + words[1], words[2:]
    if program == "./launch.sh" and first in ("test", "setup", "docker"):
        return None, words
    return first, words[1:]


def commands(passage):
    """(offset, subcommand, words after it) of each of our command lines, and of spans that begin with a subcommand."""
    joined = passage.text.replace("\\\n", "  ")
    for match in COMMAND.finditer(joined):
        rest = match["rest"]
        if not re.match(r"[a-z-]", rest):  # SUBCOMMAND, {command}, …
            continue
        name, words = command_of(match["program"], rest)
        if name is not None:
            yield match.start(), name, words
    for offset, text in spans(passage):
        words = text.split()
        if len(words) > 1 and words[0] in subcommands() and words[1].startswith("--"):
            yield offset, words[0], words[1:]
        if len(words) > 1 and " ".join(words[:2]) in subcommands():
            yield offset, " ".join(words[:2]), words[2:]


@functools.cache
def everything():
    return [*documents(), *docstrings(), *messages(), usage()]


def test_subcommands_exist():
    report(
        [
            f"{passage.at(offset)}: {name}"
            for passage in everything()
            for offset, name, _ in commands(passage)
            if not name.startswith("--") and name not in subcommands()
        ]
    )


def test_flags_stand_beside_a_subcommand_that_has_them():
    problems = []
    for passage in everything():
        for offset, name, words in commands(passage):
            known = subcommands().get(name, {})
            for match in FLAG.finditer(" ".join(words)):
                flag, value = match["name"], match["value"]
                if flag in ("help", "np") or flag in FOREIGN_FLAGS:
                    continue
                if flag not in known:
                    problems.append(f"{passage.at(offset)}: {name} --{flag}")
                elif value and known[flag] and value.islower() and value not in known[flag]:
                    problems.append(f"{passage.at(offset)}: {name} --{flag}={value}")
    report(problems)


def test_every_flag_that_is_named_anywhere_is_one_of_some_command():
    values = {}
    for flags in subcommands().values():
        for flag, allowed in flags.items():
            values.setdefault(flag, []).append(allowed)
    problems = []
    for passage in everything():
        for match in FLAG.finditer(passage.text):
            flag, value = match["name"], match["value"]
            if flag in other_flags():
                continue
            if flag not in values:
                problems.append(f"{passage.at(match.start())}: --{flag}")
            elif value and value.islower() and not any(allowed is None or value in allowed for allowed in values[flag]):
                problems.append(f"{passage.at(match.start())}: --{flag}={value}")
    report(problems)


def test_links_and_pictures_lead_somewhere():
    problems = []
    for passage in documents():
        for match in re.finditer(r"\]\(([^)\s]+)\)", passage.text):
            target, _, anchor = match[1].partition("#")
            if "://" in target:
                continue
            path = (passage.path.parent / target).resolve() if target else passage.path
            if not path.is_file():
                problems.append(f"{passage.at(match.start())}: {match[1]}")
            elif anchor and anchor not in anchors(path):
                problems.append(f"{passage.at(match.start())}: no heading for #{anchor}")
    report(problems)


def anchors(path):
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_source_files_and_folders_exist():
    """`module.py`, `docs/page.md`, `runtime/scoring/`: by whole path, or the end of one."""
    endings = {"/".join(path.split("/")[-n:]) for path in files() for n in range(1, path.count("/") + 2)}
    endings |= {"/".join(path.split("/")[-n:]) for path in folders() for n in range(1, path.count("/") + 2)}
    problems = []
    for passage in [*documents(), *docstrings(), usage()]:
        named = [
            (match.start(), match[0])
            for match in re.finditer(
                r"(?<![\w/.:$~-])(?:[\w.-]+/)*[\w-]+\.(?:py|md|sh|conf|toml|yml|cfg)\b(?![/.]\w)", passage.text
            )
        ]
        named += [
            (offset, text)
            for offset, text in spans(passage)
            if re.fullmatch(r"[\w.-]+(/[\w.*-]+)*/?", text)
            and text.split("/")[0] in (*folders(), "docs")
            and "/" in text
        ]
        for offset, name in named:
            name = name.rstrip("/").removeprefix("./").removesuffix("/*")
            if passage.path.suffix == ".py" and f'"{name}"' in passage.path.read_text("utf-8"):
                continue  # a file that this module writes
            if name not in endings and name not in FOREIGN_FILES and not name.startswith(".work"):
                problems.append(f"{passage.at(offset)}: {name}")
    for passage in messages():
        for match in re.finditer(r"(?<![\w/.*{}-])(?:\w+/)*\w+\.(?:py|md)\b", passage.text):
            if match[0] not in endings and match[0] != passage.text:  # alone: a file that the module writes
                problems.append(f"{passage.at(match.start())}: {match[0]}")
    report(problems)


def test_dotted_names_exist():
    """`runtime.scoring.scorer`, `python -m benchmarks.speed`, `mask_generation.cli.run`: read from the sources."""
    pattern = re.compile(
        r"(?<![\w/.-])(?:unet_industrial|mask_generation|runtime|benchmarks|tools|tests)(?:\.[A-Za-z_]\w*)+"
    )
    problems = []
    for passage in [*documents(), *docstrings(), *messages()]:
        for match in pattern.finditer(passage.text):
            if not exists(match[0]) and not re.search(r"\.(py|sh|md)$", match[0]):
                problems.append(f"{passage.at(match.start())}: {match[0]}")
    report(problems)


def test_members_of_modules_and_classes_exist():
    """`metrics.image_scores`, `RecordSource.batches` between backticks: some module or class of that name has it."""
    owners = {}
    for name in files():
        if name.endswith(".py"):
            inner = names_in(ROOT / name)
            stem = Path(name).parent.name if name.endswith("__init__.py") else Path(name).stem
            owners.setdefault(stem, set()).update(inner)
            for owner, members in inner.items():
                owners.setdefault(owner, set()).update(members)
    problems = []
    for passage in [*documents(), *docstrings()]:
        for offset, text in spans(passage):
            match = re.fullmatch(r"([A-Za-z_]\w*)\.([A-Za-z_]\w*)(\(.*\))?", text)
            if not match or match[1] in FOREIGN_MODULES or WRITTEN.search(text) or text.endswith((".py", ".md", ".sh")):
                continue
            owner, member = match[1], match[2]
            if passage.path.suffix == ".py" and owner in words_of(passage.path) - names_in(passage.path).keys():
                continue  # an argument or variable
            if member not in owners.get(owner, ()) and not exists(f"{owner}.{member}"):
                problems.append(f"{passage.at(offset)}: {text}")
    report(problems)


def test_names_of_code_are_in_the_code():
    """`filled_table`, `MtcnnDetector` between backticks are words of the sources."""
    known = set().union(*(words_of(ROOT / name) for name in files() if name.endswith((".py", ".sh"))))
    known |= {Path(name).stem for name in files()} | PLACEHOLDERS
    problems = []
    for passage in [*documents(), *docstrings()]:
        for offset, text in spans(passage):
            if re.fullmatch(r"[A-Za-z]+(_[A-Za-z0-9]+)+|([A-Z][a-z0-9]+){2,}", text) and text not in known:
                problems.append(f"{passage.at(offset)}: {text}")
    report(problems)
