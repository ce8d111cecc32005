"""What benchmarks side by side share: the machine and its peak, a run in a process of its own, and ratios with their interval."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def child(script: Path, what: str, **settings: Any) -> dict[str, Any]:
    """Run `script --child WHAT` with these settings in a fresh process; its last line of output is its figures."""
    command = [sys.executable, str(script), "--child", what]
    for name, value in settings.items():
        command += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed:\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def interval(ratios: list[float]) -> dict[str, float | None]:
    """Geometric mean of the pairs' ratios with its 95 % interval (Student's t on the logarithms)."""
    from scipy.stats import t

    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return {"value": math.exp(middle), "low": None, "high": None}
    half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"value": math.exp(middle), "low": math.exp(middle - half), "high": math.exp(middle + half)}


def peak() -> int:
    """The process's own highest resident memory, in bytes, from its start (Linux)."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmHWM here: this benchmark needs Linux")


def matmul_rate(dtype: str, *, tokens: int = 1024, width: int = 576, inner: int = 1536) -> float:
    """Floating-point operations a second of matrix products at a layer's shapes, one thread a core on all cores at once: what
    this machine could do at most. The best of several tries."""
    import torch

    from tuneladder.model.lanes import Lanes

    own = getattr(torch, dtype)
    work = 40

    def one(_: int) -> None:
        with torch.no_grad():
            x = torch.randn(tokens, width, dtype=own)
            up, down = torch.randn(inner, width, dtype=own), torch.randn(width, inner, dtype=own)
            for _ in range(work):
                torch.nn.functional.linear(torch.nn.functional.linear(x, up), down)

    lanes = Lanes(torch.get_num_threads())
    lanes.map(one, range(lanes.count))
    best = math.inf
    for _ in range(5):
        begun = time.perf_counter()
        lanes.map(one, range(lanes.count))
        best = min(best, time.perf_counter() - begun)
    lanes.close()
    return lanes.count * work * 4 * tokens * width * inner / best


def machine(*packages: str) -> dict[str, Any]:
    """The processor, its load, the versions and settings that a reader needs to judge the figures."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if "model name" in line), ""),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in packages},
        **{name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")},
    }
