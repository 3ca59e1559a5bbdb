"""Modules, lines and import arrows of the three packages, for this tree or another: the standard library only.

    python tools/structure.py [TREE]

A subpackage is a folder of a package; the package's own folder is one too. An arrow A → B: some module of A imports
one of B, wherever in the module the import stands, inside functions too.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("unet_industrial", "mask_generation", "runtime")


def modules(root: Path) -> dict[str, Path]:
    """Dotted name → file of every module of the packages; a package stands for its `__init__.py`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of `known` that a file imports; `from a import b` is a.b where that is a module, else a."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else node.module


def arrows(known: dict[str, Path]) -> set[tuple[str, str]]:
    """(importer, imported) of modules. That a package is imported with each of its modules is no arrow."""
    return {(name, other) for name, path in known.items() for other in imported(path, known) if other != name}


def subpackage(name: str, known: dict[str, Path]) -> str:
    """The folder a module lies in, dotted."""
    return name if known[name].name == "__init__.py" else name.rpartition(".")[0]


def between_subpackages(known: dict[str, Path]) -> Counter[tuple[str, str]]:
    """(subpackage, subpackage) → how many module arrows lead from the one to the other."""
    pairs = ((subpackage(a, known), subpackage(b, known)) for a, b in arrows(known))
    return Counter((a, b) for a, b in pairs if a != b)


def circle(edges: set[tuple[str, str]]) -> list[str]:
    """Some names that lead back to the first, or nothing where no arrows go round."""
    onward: dict[str, set[str]] = {}
    for a, b in edges:
        onward.setdefault(a, set()).add(b)
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for following in sorted(onward.get(name, ())):
            found = walk(following, [*trail, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(onward) for found in [walk(name, [])] if found), [])


def main(root: Path) -> None:
    known = modules(root)
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in known.items()}
    module_arrows, subpackage_arrows = arrows(known), between_subpackages(known)
    print("package          modules   lines  subpackages  arrows between modules  arrows between subpackages")
    for package in (*PACKAGES, ""):
        inside = [name for name in known if not package or name.split(".")[0] == package]
        subpackages = {subpackage(name, known) for name in inside}
        own = sum(a in inside and b in inside for a, b in module_arrows)
        across = sum(a in subpackages and b in subpackages for a, b in subpackage_arrows)
        total = sum(lines[name] for name in inside)
        print(f"{package or 'all':16} {len(inside):7} {total:7} {len(subpackages):12} {own:23} {across:27}")
    print("\nsubpackage                        modules   lines  imports from")
    for name in sorted({subpackage(module, known) for module in known}):
        inside = [module for module in known if subpackage(module, known) == name]
        targets = ", ".join(f"{b} {count}" for (a, b), count in sorted(subpackage_arrows.items()) if a == name)
        print(f"{name:33} {len(inside):7} {sum(lines[module] for module in inside):7}  {targets or '–'}")
    print("\nlargest:", ", ".join(f"{name} {lines[name]}" for name in sorted(lines, key=lines.__getitem__)[:-6:-1]))
    print("circle of modules:    ", " → ".join(circle(module_arrows)) or "none")
    print("circle of subpackages:", " → ".join(circle(set(subpackage_arrows))) or "none")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
