"""Subpackages: no circle, nothing beside them, and tests that mirror them. (Direction of imports: test_packaging.py)"""

import ast
import subprocess

import pytest

from tests.helpers.documents import PACKAGES, ROOT, files, folders
from tools import structure

TOP_LEVEL = {
    *("unet_industrial", "mask_generation", "runtime", "tests", "docs", "benchmarks", "tools", "examples"),
    *("README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "setup.py", "pyproject.toml"),
    *("constraints.txt", "constraints.hashes.txt", "Dockerfile", "launch.sh"),
}


@pytest.fixture(scope="module")
def known():
    return structure.modules(ROOT)


def test_no_module_imports_itself_through_others(known):
    assert structure.circle(structure.arrows(known)) == []


def test_no_subpackage_imports_itself_through_others(known):
    assert structure.circle(set(structure.between_subpackages(known))) == []


def test_a_circle_would_be_found(tmp_path):
    """Imports inside functions count, and so does `from package import module`."""
    (tmp_path / "runtime/a").mkdir(parents=True)
    (tmp_path / "runtime/b").mkdir()
    (tmp_path / "runtime/a/one.py").write_text("from runtime.b import two\n")
    (tmp_path / "runtime/b/two.py").write_text("def f():\n    import runtime.a.one\n")
    known = structure.modules(tmp_path)
    assert structure.circle(structure.arrows(known)) == ["runtime.a.one", "runtime.b.two", "runtime.a.one"]
    known["runtime.a"] = tmp_path / "runtime/a/__init__.py"
    assert structure.subpackage("runtime.a.one", known) == structure.subpackage("runtime.a", known) == "runtime.a"


@pytest.mark.parametrize("outside", ["tools", "benchmarks", "tests"])
def test_no_product_module_imports_what_is_not_installed(outside, known):
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            targets += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert outside not in {target.split(".")[0] for target in targets}, name


def test_only_known_entries_stand_at_the_top():
    """Asked of git where this is a clone, as a working folder also holds what runs leave there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else files()
    assert {name.split("/")[0] for name in names if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_subpackages(package):
    """Each folder of tests/PACKAGE is a subpackage."""
    subpackages = {folder for folder in folders() if folder == package or folder.startswith(package + "/")}
    for folder in folders():
        if folder.startswith(f"tests/{package}/"):
            assert folder.removeprefix("tests/") in subpackages, folder


def test_a_subpackage_has_a_docstring():
    for folder in folders():
        modules = [name for name in files() if name.rpartition("/")[0] == folder and name.endswith(".py")]
        if folder.split("/")[0] in PACKAGES and modules:
            init = ROOT / folder / "__init__.py"
            assert init.read_text("utf-8").startswith('"""'), folder


def test_tools_and_benchmarks_are_run_as_modules():
    """`python -m tools.NAME` needs no search path; two scripts once set it after the imports that needed it."""
    for name in files():
        if name.startswith(("tools/", "benchmarks/")) and name.endswith(".py"):
            assert "sys.path" not in (ROOT / name).read_text("utf-8"), name


def test_no_test_imports_another():
    """What two tests share stands in tests/helpers or tests/conftest.py."""
    for name in files():
        if name.startswith("tests/") and name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert ".test_" not in f".{node.module}", name
                    assert not [alias for alias in node.names if alias.name.startswith("test_")], name
