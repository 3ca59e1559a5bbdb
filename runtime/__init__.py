"""Training, evaluation, export and scoring: everything that touches a device, a worker or a user."""

from __future__ import annotations

from typing import Any

import unet_industrial  # noqa: F401  sets the TensorFlow environment before anyone imports it

__all__ = ["score_video"]


def __getattr__(name: str) -> Any:
    """Load the scoring stack on first use only: `import runtime` must not need Horovod, nor start TensorFlow."""
    if name == "score_video":
        from runtime.scoring.scorer import score_video

        return score_video
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
