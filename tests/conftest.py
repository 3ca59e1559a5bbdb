"""Shared by several subpackages. Examples may take as long as a busy machine needs and are always the same."""

import pytest
from hypothesis import settings

settings.register_profile("any_machine", deadline=None, derandomize=True)
settings.load_profile("any_machine")


@pytest.fixture(scope="module")
def face_bank_file(tmp_path_factory):
    """A face bank of six drawn people."""
    from tests.helpers import drawn_faces

    return drawn_faces.face_bank_file(tmp_path_factory.mktemp("faces") / "faces.npz")
