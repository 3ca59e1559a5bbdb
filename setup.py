"""Packaging: what is installed with the three packages, and what only some users need."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "unet_industrial/__init__.py").read_text("utf-8")).group(1)

setup(
    name="deepfake-unet-industrial",
    version=VERSION,
    description="Deepfake detector for video that shows which pixels are fake: a TensorFlow 2 port of UNet Industrial",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.9,<3.12",
    packages=find_packages(include=["unet_industrial*", "mask_generation*", "runtime*"]),
    package_data={
        "runtime": ["model/weights/*", "scoring/schemas/*.json", "scoring/templates/*", "evaluation/templates/*"],
        "mask_generation": ["masks/weights/*"],
    },
    entry_points={"console_scripts": ["deepfake-unet = runtime.__main__:main"]},
    install_requires=[
        "absl-py",
        "av>=14",  # time stamps, rotation, corrupt flags and x264, which OpenCV's reader lacks
        "joblib",
        "lz4",
        "jinja2",
        "jsonschema",
        "matplotlib",
        # mtcnn 1.0.0 declares Python >= 3.10 but runs on 3.9; launch.sh installs it there with --ignore-requires-python
        "mtcnn>=1.0.0; python_version >= '3.10'",
        "numpy<2",
        "opencv-python-headless",  # the same cv2 as opencv-python without windows, which need an X server's libraries
        "pandas",
        "protobuf<5",
        "pyarrow",
        "scikit-image",
        "scikit-learn",
        "scipy",
        "tensorflow>=2.15,<2.16",
        "tensorflow-addons>=0.23",
        "tqdm",
    ],
    extras_require={
        "horovod": ["horovod==0.28.1"],
        "dev": ["hypothesis", "mypy", "psutil", "pytest", "pytest-timeout", "pytest-xdist", "ruff"],
        # tf2onnx 1.17 is the first that takes this protobuf; it wants Python 3.10
        "onnx": ["onnx>=1.16,<1.18", "onnxruntime", "tf2onnx>=1.17; python_version >= '3.10'"],
        "ray": ["ray"],
    },
)
