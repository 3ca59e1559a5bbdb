"""A contestant of `benchmarks.speed`: works when asked to, so that several can take turns on one busy machine.

Imports nothing but the standard library: the plain script must not see the product's settings.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Callable


def serve(step: Callable[[], None], warm_up: int = 1) -> None:
    """Run `step` `warm_up` times, say "ready", then for each number read from standard input run it so often.

    Every answer is a line of JSON: `wall_s`, `cpu_s` of this process's threads, and `peak_gb` of memory so far.
    """
    for _ in range(warm_up):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_gb": peak}), flush=True)
