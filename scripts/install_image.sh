#!/usr/bin/env bash
# Installs what a container image lacks. TensorFlow and Horovod of the base image are kept where they are there:
# NVIDIA's are built for its CUDA, and replacing either breaks both.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { python -c "import $1" 2>/dev/null; }

constraints=$(mktemp)
cp constraints.txt "$constraints"
if have tensorflow; then
  python - <<'PY'
import sys
import tensorflow as tf

if not tf.__version__.startswith("2.15."):
    sys.exit(f"the base image has TensorFlow {tf.__version__}; this product needs 2.15: choose another BASE_IMAGE")
PY
  # NVIDIA's builds carry local versions and their own NumPy and protobuf: keep what the image has
  python -m pip freeze --exclude-editable | cut -d= -f1 | tr 'A-Z_' 'a-z-' | sort -u >/tmp/present
  grep -E '^[A-Za-z0-9]' constraints.txt | while IFS= read -r line; do
    name=$(printf '%s' "${line%%[<=>]*}" | tr 'A-Z_' 'a-z-')
    grep -qx "$name" /tmp/present || printf '%s\n' "$line"
  done >"$constraints"
  python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | grep -viE '^(tensorflow|horovod)' >>"$constraints" || true
  rm /tmp/present
fi

python -m pip install -c "$constraints" "setuptools<70" wheel
have tensorflow || python -m pip install -c "$constraints" tensorflow==2.15.1
python -m pip install -c "$constraints" --no-deps tensorflow-addons typeguard mtcnn
python -m pip install -c "$constraints" absl-py av cffi cloudpickle joblib jsonschema lz4 matplotlib "numpy<2" \
  opencv-python-headless pandas "protobuf<5" psutil pyarrow pyyaml scikit-image scikit-learn tqdm
if ! have horovod.tensorflow; then
  if ! command -v cmake >/dev/null; then
    apt-get update && apt-get install -y --no-install-recommends cmake g++ make
    rm -rf /var/lib/apt/lists/*
  fi
  HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
    python -m pip install --no-build-isolation -c "$constraints" horovod==0.28.1
fi
rm -f "$constraints"
python - <<'PY'
import horovod.tensorflow as hvd
import tensorflow as tf
import tensorflow_addons as tfa

import numpy

assert tf.__version__.startswith("2.15."), tf.__version__
assert numpy.__version__.startswith("1."), numpy.__version__
print("TensorFlow", tf.__version__, "TensorFlow Addons", tfa.__version__, "Horovod", hvd.__name__)
PY
