"""Training and inference of the product against a plain Keras script of the same network, in turns.

python -m benchmarks.speed                                # all cases; half an hour on two busy cores
python -m benchmarks.speed --cases training-256-8         # one of them
python -m benchmarks.speed --write                        # and put the tables into docs/training.md
python -m benchmarks.speed --scaling                      # two processes of one thread against one, through Horovod

Each contestant is a process of its own. They take turns step by step, so that whatever else the machine does meets all
of them; ratios are medians over turns, of wall time and of CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from tqdm import tqdm

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "training.md"
CASES = [f"{mode}-{size}-{batch}" for mode in ("inference", "training") for size in (256, 512) for batch in (1, 8)]
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
CONTESTANTS: dict[str, tuple[str, list[str], dict[str, str]]] = {  # script, arguments after the case, environment
    "product": ("speed_product.py", [], {}),
    "plain": ("plain_keras.py", [], {}),
    "plain, oneDNN on": ("plain_keras.py", [], {ONEDNN: "1"}),
    "plain, oneDNN off": ("plain_keras.py", [], {ONEDNN: "0"}),
    "product, bf16": ("speed_product.py", ["bf16"], {}),
}
# With one of these, TensorFlow 2.15 switches oneDNN on by itself (tensorflow/core/util/util.cc, IsMKLEnabled).
ONEDNN_BY_DEFAULT = ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16")
SCALING_SIZE, SCALING_BATCH = 256, 8


class Contestant:
    """One process, waiting for its turn."""

    def __init__(self, name: str, case: str) -> None:
        script, arguments, extra = CONTESTANTS[name]
        environment = {name: value for name, value in os.environ.items() if name != ONEDNN}
        environment.update({"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **extra})
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "benchmarks" / script), *case.split("-"), *arguments],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with exit code {self._process.wait()}")
        return line

    def wait_until_ready(self) -> None:
        while self._read().strip() != "ready":  # Keras may print too
            pass

    def turn(self, steps: int) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return dict(json.loads(self._read()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def cpu_flags() -> set[str]:
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split())
    return set()


def default_contestants() -> list[str]:
    """All that make a difference on this machine."""
    flags = cpu_flags()
    same = {"plain, oneDNN on"} if flags & set(ONEDNN_BY_DEFAULT) else {"plain, oneDNN off"}
    slow = set() if flags & {"avx512_bf16", "amx_bf16"} else {"product, bf16"}
    return [name for name in CONTESTANTS if name not in same | slow]


def measure(case: str, turns: int, names: list[str]) -> dict[str, dict[str, float]]:
    """{contestant: medians per image "wall_s" and "cpu_s"; their ratios to the product's; "peak_gb"} of one case."""
    size, batch = map(int, case.split("-")[1:])
    steps = max(1, 8 * 256**2 // (batch * size**2))  # short turns measure the scheduler
    contestants: dict[str, Contestant] = {}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    try:
        for name in names:  # one at a time, so that warming up disturbs nobody
            contestants[name] = Contestant(name, case)
            contestants[name].wait_until_ready()
        for _ in tqdm(range(turns), desc=case, file=sys.stderr, disable=not sys.stderr.isatty()):
            for name, contestant in contestants.items():
                rows[name].append(contestant.turn(steps))
    finally:
        for contestant in contestants.values():
            contestant.close()
    found = {}
    for name, of_one in rows.items():
        found[name] = {"peak_gb": max(row["peak_gb"] for row in of_one)}
        for kind in ("wall_s", "cpu_s"):
            ratios = [theirs[kind] / ours[kind] for theirs, ours in zip(of_one, rows["product"])]
            found[name][kind] = statistics.median(row[kind] for row in of_one) / (steps * batch)
            found[name][f"{kind}_ratio"] = statistics.median(ratios)
    return found


def table(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    # Here, after the measuring: importing `runtime` sets TensorFlow's environment, which contestants would inherit.
    from runtime.evaluation import markdown

    names = list(next(iter(measured.values())))
    others = [name for name in names if name != "product"]
    default = "on" if cpu_flags() & set(ONEDNN_BY_DEFAULT) else "off"
    lines = [
        f"TensorFlow as pinned, {platform.machine()}, {os.cpu_count()} cores that others use too; on this processor "
        f"TensorFlow has oneDNN {default} by itself. CPU-s: processor seconds per image. The ratios are of time per "
        "image, wall and CPU: theirs to the product's, so above 1 the product is faster.",
        "",
    ]
    rows = []
    for case, of in measured.items():
        mode, size, batch = case.split("-")
        ratios = [f"{of[name]['wall_s_ratio']:.2f}, {of[name]['cpu_s_ratio']:.2f}" for name in others]
        peaks = "; ".join(f"{of[name]['peak_gb']:.2f}" for name in names)
        ours = (f"{of['product']['cpu_s']:.3f}", f"{1 / of['product']['wall_s']:.2f}")
        rows.append((f"{mode} {size}², batch {batch}", *ours, *ratios, peaks))
    headings = ("case", "product CPU-s", "images/s", *others, "peak GB: " + "; ".join(names))
    return "\n".join([*lines, markdown.table(headings, rows).rstrip()])


def scaling(turns: int) -> str:
    """Two processes of one thread each against one of one thread, in turns."""
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    horovodrun = pathlib.Path(sys.executable).with_name("horovodrun")
    for _ in range(turns):
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as results:
                launcher = [str(horovodrun), "-np", "2", "--gloo"] if workers == 2 else []
                command = [
                    sys.executable, "-m", "runtime", "train", "--exec_mode=training_benchmark",
                    f"--output={results}", f"--input_size={SCALING_SIZE}", f"--batch_size={SCALING_BATCH}",
                    "--num_iter=10", "--warmup_step=2", "--threads=1",
                ]  # fmt: skip
                subprocess.run([*launcher, *command], cwd=ROOT, check=True, capture_output=True)
                found[workers].append(json.loads((pathlib.Path(results) / "training_benchmark.json").read_text()))
    rates = [(one["images_per_s"], two["images_per_s"]) for one, two in zip(found[1], found[2])]
    cpu = [(one["cpu_s_per_image"], two["cpu_s_per_image"]) for one, two in zip(found[1], found[2])]
    wall = statistics.median(two / (2 * one) for one, two in rates)
    processor = statistics.median(one / two for one, two in cpu)
    turns_text = ", ".join(f"{two:.1f} / 2×{one:.1f}" for one, two in rates)
    return (
        f"Two processes of one thread each (Horovod, Gloo) against twice one process of one thread, training "
        f"{SCALING_SIZE}², batch {SCALING_BATCH} each: {wall:.2f} of twice its rate by wall time (turns: {turns_text} "
        f"images/s), {processor:.2f} by CPU seconds per image."
    )


def write(name: str, text: str) -> None:
    """Put a text between its marks in docs/training.md."""
    from unet_industrial import files  # here for the same reason as in `table`

    begin, end = f"<!-- benchmarks/speed.py {name}: begin -->", f"<!-- {name}: end -->"
    document = DOCUMENT.read_text(encoding="utf-8")
    before, rest = document.split(begin)
    files.write_text(DOCUMENT, f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES, metavar="MODE-SIZE-BATCH")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--contestants", nargs="*", default=default_contestants(), choices=list(CONTESTANTS))
    parser.add_argument("--scaling", action="store_true", help="measure two processes against one instead")
    parser.add_argument("--write", action="store_true", help="put the result into docs/training.md")
    arguments = parser.parse_args()
    if arguments.scaling:
        name, text = "scaling", scaling(arguments.turns)
    else:
        name, text = (
            "speed",
            table({case: measure(case, arguments.turns, arguments.contestants) for case in arguments.cases}),
        )
    print(text)
    if arguments.write:
        write(name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
