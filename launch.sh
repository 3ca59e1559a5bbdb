#!/usr/bin/env bash
# The command of a checkout: sets up .venv once, then runs `deepfake-unet SUBCOMMAND` in it. `./launch.sh --help` lists them.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=${DEEPFAKE_VENV:-$ROOT/.venv}
STAMP=$VENV/.deepfake-ready

usage() {
  cat <<'TEXT'
Usage: ./launch.sh SUBCOMMAND [flags]    SUBCOMMAND --help lists its flags

  demo       the whole pipeline on clips drawn from public-domain faces, on a CPU
  mask       pairs of videos -> face crops and masks as TFRecords
             (mask audit, mask preview, mask ...: the rest of that stage; mask --help lists it)
  train      TFRecords -> checkpoints; --np N trains on N Horovod processes
  evaluate   checkpoints or SavedModel -> numbers
  export     checkpoint -> SavedModel
  score      a video or a folder -> scores, masks, report
             any other subcommand of `deepfake-unet`, which is in the environment's bin/
  test       the test suite (flags go to pytest)
  setup      only install
  docker S   the same subcommand S in a container with GPUs (DRY_RUN=1 prints the commands)

Environment: HOROVOD=0 installs without Horovod (training on one device only);
DEEPFAKE_VENV names another virtual environment; PYTHON names the interpreter to use.
TEXT
}

say() { printf 'launch.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

find_python() { # the first interpreter that really is CPython 3.9-3.11 (pyenv's shims may exist and not run)
  local name
  for name in ${PYTHON:-python3.11 python3.10 python3.9 python3 python}; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "no Python 3.9, 3.10 or 3.11 with the venv module found. On Debian 12: apt-get install python3 python3-venv;" \
    "on Ubuntu 22.04: apt-get install python3.10-venv; elsewhere install one with pyenv or uv, then PYTHON=/path/to/python3.11 ./launch.sh ..."
}

fingerprint() { # what an installation depends on; a change of any re-installs
  { cat "$ROOT/constraints.txt" "$ROOT/setup.py"; echo "$1 horovod=${HOROVOD:-1}"; } | cksum | tr -d ' \n'
}

install_horovod() {
  if "$VENV/bin/python" -c 'import horovod.tensorflow' 2>/dev/null; then return; fi
  local tool
  for tool in cmake g++ make; do
    if ! command -v "$tool" >/dev/null; then
      say "$tool is missing, so Horovod is not built: training runs on one device, everything else is complete."
      say "To add it: apt-get install cmake g++ make, then run ./launch.sh setup again."
      return 1
    fi
  done
  say "step 3 of 3: building Horovod from source, about 4 minutes on 2 cores (HOROVOD=0 skips it)"
  # shellcheck disable=SC2097,SC2098
  HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
    MAKEFLAGS="-j$(nproc)" "$VENV/bin/python" -m pip install -q --no-build-isolation -c "$ROOT/constraints.txt" horovod==0.28.1 \
    >"$VENV/horovod-build.log" 2>&1 || die "Horovod did not build; see $VENV/horovod-build.log, or go on without it: HOROVOD=0 ./launch.sh ..."
}

install() {
  local python=$1 want=$2 started=$SECONDS
  local pip=("$VENV/bin/python" -m pip --disable-pip-version-check)
  say "first call: setting up $VENV with $python (about 3 minutes, and 4 more to build Horovod)"
  say "step 1 of 3: virtual environment"
  if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then # absent, or left half made by an interrupted call
    "$python" -m venv --clear "$VENV"
  fi
  "${pip[@]}" install -q -c "$ROOT/constraints.txt" setuptools wheel
  say "step 2 of 3: TensorFlow 2.15 and the rest of the pinned set"
  "${pip[@]}" install -q -c "$ROOT/constraints.txt" -e "${ROOT}[dev]" cffi cloudpickle pyyaml
  if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    "${pip[@]}" install -q --no-deps --ignore-requires-python -c "$ROOT/constraints.txt" mtcnn
  fi
  local complete=1
  if [ "${HOROVOD:-1}" != 0 ]; then install_horovod || complete=0; fi
  "$VENV/bin/python" -c 'import tensorflow, tensorflow_addons, mtcnn, cv2, av' 2>/dev/null ||
    die "the installed packages do not import; delete $VENV and run again"
  if [ $complete = 1 ]; then printf '%s' "$want" >"$STAMP.tmp" && mv "$STAMP.tmp" "$STAMP"; fi
  say "ready after $((SECONDS - started)) s"
}

setup() {
  local python want
  python=$(find_python) || exit 2
  want=$(fingerprint "$("$python" -V 2>&1) $python")
  if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$want" ]; then return; fi
  mkdir -p "$VENV"
  exec 9>"$VENV.lock" # two first calls at once: the second waits and finds the work done
  flock 9
  if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$want" ]; then return; fi
  install "$python" "$want" 9>&-
  exec 9>&-
}

train() { # --np N is ours: how many processes; the rest goes to the subcommand
  local np=1 args=()
  while [ $# -gt 0 ]; do
    case $1 in
      --np) [ $# -gt 1 ] || die "--np needs a number"; np=$2; shift 2 ;;
      --np=*) np=${1#--np=}; shift ;;
      *) args+=("$1"); shift ;;
    esac
  done
  [[ $np =~ ^[1-9][0-9]*$ ]] || die "--np takes a whole number of processes, not '$np'"
  if [ "$np" = 1 ]; then exec "$PROGRAM" train ${args[@]+"${args[@]}"}; fi
  export PATH=$VENV/bin:$PATH
  command -v horovodrun >/dev/null ||
    die "--np $np needs Horovod, which is not installed: apt-get install cmake g++ make, then ./launch.sh setup"
  exec horovodrun --gloo -np "$np" "$PROGRAM" train ${args[@]+"${args[@]}"}
}

docker_run() {
  local image=${DEEPFAKE_IMAGE:-deepfake-unet-industrial} run=()
  [ $# -gt 0 ] || die "docker needs a subcommand: ./launch.sh docker train --np 8 ..."
  if [ "${DRY_RUN:-0}" = 1 ]; then run=(echo); else command -v docker >/dev/null || die "docker is not installed"; fi
  local build=(docker build -t "$image")
  if [ -n "${BASE_IMAGE:-}" ]; then build+=(--build-arg "BASE_IMAGE=$BASE_IMAGE"); fi
  ${run[@]+"${run[@]}"} "${build[@]}" "$ROOT"
  local results=${RESULTS:-$PWD/results}
  mkdir -p "$results"
  (umask 077 && mkdir -p "$results/.home") # of the user inside: what it caches and trusts is kept with the results
  ${run[@]+"${run[@]}"} docker run --rm --gpus "${GPUS:-all}" --shm-size "${SHM_SIZE:-8g}" --ulimit memlock=-1 --ulimit stack=67108864 \
    --user "$(id -u):$(id -g)" -v "${DATA:-$PWD/data}:/data:ro" -v "$results:/results" --env HOME=/results/.home "$image" "$@"
}

main() {
  local subcommand=${1:-}
  case $subcommand in
    "" | -h | --help | help) usage; exit 0 ;;
  esac
  shift
  if [ "$subcommand" = docker ]; then docker_run "$@"; return; fi
  if [ "${DEEPFAKE_IN_IMAGE:-0}" = 1 ]; then # pip's scripts need not lie beside a base image's python
    VENV=$(dirname "$(dirname "$(command -v python)")")
    PROGRAM=$(command -v deepfake-unet) || die "deepfake-unet is not installed in this image"
  else
    setup
    PROGRAM=$VENV/bin/deepfake-unet
  fi
  case $subcommand in
    setup) say "everything is installed in $VENV" ;;
    test) cd "$ROOT" && exec "$VENV/bin/python" -m pytest "$@" ;;
    train) train "$@" ;;
    *) exec "$PROGRAM" "$subcommand" "$@" ;;
  esac
}

main "$@"
