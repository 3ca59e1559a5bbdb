"""What the documents and docstrings name, and what the repository has: read from files, nothing is imported."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("unet_industrial", "mask_generation", "runtime")
CODE = (*PACKAGES, "tools", "benchmarks")  # whose docstrings and comments are read
BUILT = re.compile(r"(^|/)(\.(?!ci/)[^/]+|__pycache__|results|demo_output|build|shared|[^/]+\.egg-info)(/|$)")


class Passage(NamedTuple):
    """A text that users or developers read, and where it begins: a document, a docstring, a run of comments."""

    path: Path
    line: int
    text: str

    def at(self, offset: int) -> str:
        """`path:line` of a place in the text."""
        return f"{self.path.relative_to(ROOT)}:{self.line + self.text.count(chr(10), 0, offset)}"


@functools.cache
def files() -> list[str]:
    """Every file of the source tree, as a path from its root; what builds and runs leave there is left out."""
    found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in found if not BUILT.search(path))


@functools.cache
def folders() -> set[str]:
    return {parent.as_posix() for path in files() for parent in Path(path).parents}


def documents() -> Iterator[Passage]:
    """README, the newest section of the changes, docs/ and the README of the reference's numbers."""
    changes = ROOT / "CHANGELOG.md"
    newest = "\n## ".join(changes.read_text("utf-8").split("\n## ")[:2])
    yield Passage(changes, 1, newest)
    for path in [ROOT / "README.md", ROOT / "tests/reference/README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield Passage(path, 1, path.read_text("utf-8"))


def usage() -> Passage:
    """What `./launch.sh --help` prints."""
    path = ROOT / "launch.sh"
    text = path.read_text("utf-8")
    begin = text.index("<<'TEXT'")
    return Passage(path, 1 + text.count("\n", 0, begin), text[begin : text.index("\nTEXT")])


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def docstrings() -> list[Passage]:
    """Docstrings and comments of the packages, tools and benchmarks."""
    return list(_docstrings())


def _docstrings() -> Iterator[Passage]:
    for path in sorted(ROOT / name for name in files() if name.endswith(".py") and name.split("/")[0] in CODE):
        source = path.read_text("utf-8")
        for node in ast.walk(parsed(path)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield Passage(path, node.body[0].lineno, text)
        comments = [
            (token.start[0], token.string)
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        ]
        while comments:  # neighbouring lines are one text
            run = 1
            while run < len(comments) and comments[run][0] == comments[0][0] + run:
                run += 1
            yield Passage(path, comments[0][0], "\n".join(text for _, text in comments[:run]))
            del comments[:run]


@functools.cache
def messages() -> list[Passage]:
    """Text constants that are no docstrings: what is printed, help texts, names of files, commands."""
    return list(_messages())


def _messages() -> Iterator[Passage]:
    for path in sorted(ROOT / name for name in files() if name.endswith(".py") and name.split("/")[0] in CODE):
        tree = parsed(path)
        kept = {id(node.body[0].value) for node in ast.walk(tree) if hasattr(node, "body") and _starts_with_text(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in kept:
                yield Passage(path, node.lineno, node.value)


def spans(passage: Passage) -> Iterator[tuple[int, str]]:
    """(offset, text) of everything between backticks, and of every line of an indented or fenced block of code."""
    fenced = False
    offset = 0
    for line in passage.text.splitlines(keepends=True):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield offset, line.strip()
        offset += len(line)
    for match in re.finditer(r"`([^`]+)`", re.sub(r"```", "   ", passage.text)):
        yield match.start(), " ".join(match.group(1).split())


@functools.cache
def module_file(dotted: str) -> Path | None:
    """The file of a module or the `__init__.py` of a package."""
    base = ROOT / dotted.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def names_in(path: Path) -> dict[str, set[str]]:
    """Every name that a module defines or imports at its top → the names defined in it, where it is a class."""
    tree = parsed(path)
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):  # walks into `if TYPE_CHECKING` and `try`
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update({(name.asname or name.name).split(".")[0]: set() for name in node.names})
    for node in tree.body:
        found.update(_defined(node))
    for node in tree.body:  # lazily loaded names stand in __all__
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            found = {**{name: set() for name in ast.literal_eval(node.value)}, **found}
    return found


def _defined(node: ast.stmt) -> dict[str, set[str]]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name: set()}
    if isinstance(node, ast.ClassDef):
        inner = {name for child in node.body for name in _defined(child)}
        own = {
            target.attr
            for child in ast.walk(node)
            for target in (child.targets if isinstance(child, ast.Assign) else ())
            if isinstance(target, ast.Attribute)
        }
        return {node.name: inner | own}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id: set()}
    if isinstance(node, ast.Assign):
        return {name.id: set() for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    if isinstance(node, (ast.If, ast.Try)):
        return {name: inner for child in node.body for name, inner in _defined(child).items()}
    return {}


def exists(dotted: str) -> bool:
    """Whether a dotted name is a package, a module, something in a module, or something in a class of a module."""
    words = dotted.split(".")
    if (ROOT / "/".join(words)).is_dir():
        return True
    for cut in range(len(words), 0, -1):
        path = module_file(".".join(words[:cut]))
        if path:
            rest = words[cut:]
            inner = names_in(path)
            return not rest or (
                rest[0] in inner and (len(rest) == 1 or not inner[rest[0]] or rest[1] in inner[rest[0]])
            )
    return False


@functools.cache
def words_of(path: Path) -> frozenset[str]:
    """Every name in a source file's code, and every word of its text constants; no comment, no docstring."""
    if path.suffix != ".py":
        return frozenset(re.findall(r"\w+", path.read_text("utf-8")))
    tree = parsed(path)
    docs = {id(node.body[0].value) for node in ast.walk(tree) if hasattr(node, "body") and _starts_with_text(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            found.update(re.findall(r"\w+", str(getattr(node, field, None) or "")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found.update(re.findall(r"\w+", node.value))
    return frozenset(found)


def _starts_with_text(node: ast.AST) -> bool:
    body = node.body if isinstance(node.body, list) else []
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
