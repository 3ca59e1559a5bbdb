"""What the documents say they say once; their versions are the pinned ones, and their Python uses names that exist."""

import ast
import dataclasses
import re

from runtime.scoring.result import VideoResult
from tests.helpers.documents import ROOT, documents


def test_no_sentence_stands_in_two_documents():
    first, twice = {}, []
    for passage in documents():
        prose = re.sub(r"```.*?```|^\|.*$|^    .*$|!\[[^]]*\]", "\n\n", passage.text, flags=re.S | re.M)
        for sentence in re.split(r"(?<=[.:;])\s+|\n\s*\n", prose):
            words = re.sub(r"\W+", " ", sentence).strip().lower()
            if len(words) >= 60 and first.setdefault(words, passage.path) != passage.path:
                twice.append(f"{first[words].name}, {passage.path.name}: {words}")
    assert not twice, "\n".join(twice)


def test_the_python_of_the_documents_uses_fields_that_exist():
    fields = {field.name for field in dataclasses.fields(VideoResult)}
    used = set()
    for passage in documents():
        for source in re.findall(r"```python\n(.*?)```", passage.text, re.S):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "result":
                    used.add(node.attr)
    assert used
    assert used <= fields
    assert "import runtime" in (ROOT / "README.md").read_text("utf-8")


def test_versions_are_those_that_are_pinned():
    """Of what is tried in one version only; TensorFlow stands in other versions too, where compatibility was tried."""
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    for name, pin in {"Ray": "ray", "ONNX Runtime": "onnxruntime", "Horovod": "horovod", "horovod": "horovod"}.items():
        for passage in documents():
            for match in re.finditer(rf"\b{name}[ =]+(\d[\d.]*\d)", passage.text):
                assert match[1] == pins[pin], passage.at(match.start())
