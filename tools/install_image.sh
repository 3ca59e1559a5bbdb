#!/usr/bin/env bash
# Installs what a container image lacks. TensorFlow and Horovod of the base image are kept where they are there:
# NVIDIA's are built for its CUDA, and replacing either breaks both.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${IMAGE_VENV:-/opt/venv} # the Dockerfile has its bin folder in PATH

have() { python -c "import $1" 2>/dev/null; }

apt_install() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  rm -rf /var/lib/apt/lists/*
}

if ! command -v python >/dev/null; then # plain Debian: its python3 wants a virtual environment
  apt_install python3 python3-dev python3-venv
  python3 -m venv "$VENV"
fi
command -v sshd >/dev/null || apt_install openssh-client openssh-server # horovodrun -H and MPIJobs reach workers by it

constraints=$(mktemp)
cp constraints.txt "$constraints"
if have tensorflow; then
  python - <<'PY'
import sys
import tensorflow as tf

if not tf.__version__.startswith("2.15."):
    sys.exit(f"the base image has TensorFlow {tf.__version__}; this product needs 2.15: choose another BASE_IMAGE")
PY
  # NVIDIA's builds carry local versions and their own NumPy and protobuf: what the image has stays as it is.
  # `pip list`, since `pip freeze` hides the versions of packages that were installed from files.
  present=$(mktemp)
  python -m pip list --format=freeze --exclude-editable >"$present"
  names=$(cut -d= -f1 "$present" | tr 'A-Z_' 'a-z-' | sort -u)
  while IFS= read -r line; do
    grep -qx "$(printf '%s' "${line%%[<=>]*}" | tr 'A-Z_' 'a-z-')" <<<"$names" || printf '%s\n' "$line"
  done < <(grep -E '^[A-Za-z0-9]' constraints.txt) >"$constraints"
  grep -viE '^(tensorflow|horovod|setuptools|wheel|pip)[-_=]' "$present" >>"$constraints" || true
  rm -f "$present"
fi

python -m pip install -c "$constraints" "setuptools<70" wheel
have tensorflow || python -m pip install -c "$constraints" tensorflow==2.15.1
python -m pip install -c "$constraints" --no-deps tensorflow-addons typeguard mtcnn
python -m pip install -c "$constraints" absl-py av cffi cloudpickle jinja2 joblib jsonschema lz4 matplotlib "numpy<2" \
  opencv-python-headless packaging pandas "protobuf<5" psutil pyarrow pyyaml scikit-image scikit-learn scipy tqdm
if ! have horovod.tensorflow; then
  tools=()
  for tool in cmake g++ make; do command -v "$tool" >/dev/null || tools+=("$tool"); done
  [ ${#tools[@]} -eq 0 ] || apt_install "${tools[@]}"
  HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
    python -m pip install --no-build-isolation -c "$constraints" horovod==0.28.1
  if [ ${#tools[@]} -gt 0 ]; then # only what was installed for the build
    apt-get purge -y -qq --auto-remove "${tools[@]}"
  fi
fi
rm -f "$constraints"
python - <<'PY'
import horovod.tensorflow as hvd
import numpy
import tensorflow as tf
import tensorflow_addons as tfa

assert tf.__version__.startswith("2.15."), tf.__version__
assert numpy.__version__.startswith("1."), numpy.__version__
print("TensorFlow", tf.__version__, "TensorFlow Addons", tfa.__version__, "Horovod", hvd.__name__)
PY
