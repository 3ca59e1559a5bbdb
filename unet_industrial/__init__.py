"""TinyUNet, its losses, optimizer, metrics and input pipeline: tensors in, tensors out."""

from __future__ import annotations

import importlib
import os
from typing import Any

# TF 2.15 leaves oneDNN off on CPUs with AVX2 only, 1.7 times slower; it reads this when first imported,
# and every entry point of the product imports this package before TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors about CUDA plugins registered twice mean nothing

__version__ = "0.1.0"
__all__ = ["__version__", "build_unet"]
_MODULES = ("config", "losses", "metrics", "optimizers", "records", "reference_mode", "unet")


def __getattr__(name: str) -> Any:
    """Import TensorFlow only when something that needs it is asked for, so that `--help` stays instant."""
    if name == "build_unet":
        from unet_industrial.unet import build_unet

        return build_unet
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
