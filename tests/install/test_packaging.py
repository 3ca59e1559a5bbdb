"""What is installed is what is imported; imports go one way; the heavy and optional ones stay where they belong."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("unet_industrial", "mask_generation", "runtime")
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "absl": "absl-py",
}
EXTRAS = {"horovod", "ray", "onnxruntime", "tf2onnx"}


def imports(path):
    """(top-level module, line) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], node.module


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", OURS)
def test_every_third_party_import_is_declared(package):
    declared = set(re.findall(r'^\s+"([A-Za-z0-9_-]+)', (ROOT / "setup.py").read_text("utf-8"), re.M)) | EXTRAS
    for path in modules(package):
        for top, _ in imports(path):
            if top in OURS or top in sys.stdlib_module_names or top == "__future__":
                continue
            name = DISTRIBUTIONS.get(top, top.replace("_", "-"))
            assert name in declared, f"{path.relative_to(ROOT)} imports {top}, which setup.py does not install"


@pytest.mark.parametrize("package, above", [("unet_industrial", OURS[1:]), ("mask_generation", OURS[2:])])
def test_imports_go_one_way(package, above):
    for path in modules(package):
        assert not {top for top, _ in imports(path)} & set(above), path


@pytest.mark.parametrize(
    "library, home",
    [("horovod", "runtime/training/distributed.py"), ("tensorflow_addons", "unet_industrial/tfa_ops.py")],
)
def test_libraries_that_may_go_away_are_imported_in_one_file(library, home):
    users = {
        str(path.relative_to(ROOT)) for package in OURS for path in modules(package) if library in dict(imports(path))
    }
    assert users == {home}


def test_importing_the_runtime_starts_neither_tensorflow_nor_horovod():
    code = "import sys, runtime; print([m for m in ('tensorflow', 'horovod', 'cv2') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


def test_onednn_is_on_before_tensorflow_is_imported():
    name = "TF_ENABLE_ONEDNN_OPTS"
    code = f"import os; os.environ.pop('{name}', None); import runtime; print(os.environ['{name}'])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "1"


def test_constraints_pin_every_dependency_exactly():
    pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for name in (
        "tensorflow",
        "tensorflow-addons",
        "horovod",
        "mtcnn",
        "numpy",
        "protobuf",
        "ml-dtypes",
        "av",
        "pandas",
    ):
        assert name in pins, name
    assert pins["numpy"] < "2"
    assert pins["protobuf"] < "5"
    assert pins["tensorflow"].startswith("2.15.")


def test_package_data_is_declared():
    """Files that are not Python but shipped in a package must match a pattern in setup.py, or pip leaves them out."""
    setup = (ROOT / "setup.py").read_text("utf-8")
    for package in OURS:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                folder = path.parent.relative_to(ROOT / package).as_posix()
                assert f'"{folder}/*' in setup, f"{path.relative_to(ROOT)} is not in package_data"
