"""What this machine has, and the peak memory of a stretch of work.

A container's limits count, not the host's size: cgroup v2 and v1 are read where they exist. The peak is the stretch's own:
on Linux the kernel's high-water mark (VmHWM), reset after free memory was handed back; never `ru_maxrss`, which children
inherit. Where the mark cannot be reset, resident memory is sampled 100 times a second, and `Hardware.peak` says so.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import re
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

How = Literal["high-water mark", "sampled", "allocator"]

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Hardware:
    """`memory` and `available` are bytes this process may use in all and now; `peak` says how a peak is measured here."""

    cores: int
    memory: int
    available: int
    bf16: bool
    device: str
    gpu: str
    gpu_memory: int
    peak: How


def hardware() -> Hardware:
    import psutil

    limits = cgroup(CGROUPS, Path("/proc/self/cgroup"))
    memory = psutil.virtual_memory()
    name = device()
    gpu, gpu_memory = _gpu()
    return Hardware(
        cores=min(_affinity(), limits.cores),
        memory=min(int(memory.total), limits.memory),
        available=min(int(memory.available), limits.available),
        bf16=has_bf16(name),
        device=name,
        gpu=gpu,
        gpu_memory=gpu_memory,
        peak=peak_how(name),
    )


def device() -> str:
    """Where models run here: cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bf16(device: str) -> bool:
    """Whether bfloat16 is computed by the hardware itself, not emulated."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    facts = torch.cpu.get_capabilities()
    return any(bool(facts.get(key)) for key in ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16"))


def computed_in(device: str) -> Literal["bfloat16", "float32"]:
    """The precision that models are held and computed in there, by torch's name."""
    return "bfloat16" if has_bf16(device) else "float32"


def resident() -> int:
    """Bytes of memory this process holds now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def release() -> None:
    """Hand free memory back to the system, so that what is resident is what is used."""
    gc.collect()
    if trim := _malloc_trim():
        trim(0)


class Thrift:
    """Hands free memory back to the system now and then in a long work, whose pieces of many sizes leave holes in the heap that
    the next do not fit: after a thousand prompts to a small model the heap held as much as all else. Some 20 ms each time; from any
    thread."""

    def __init__(self, every: float = 2.0) -> None:
        self._every, self._last = every, time.monotonic()

    def __call__(self) -> None:
        if (trim := _malloc_trim()) and time.monotonic() - self._last > self._every:
            self._last = time.monotonic()  # two threads that come at once trim twice, and nothing is lost
            trim(0)


def peak_how(device: str = "cpu") -> How:
    if device.startswith("cuda"):
        return "allocator"
    return "high-water mark" if _can_reset() else "sampled"


def peak_reset(device: str = "cpu") -> int:
    """Begin a stretch of work; the bytes in use at its beginning. Stretches do not nest."""
    release()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    if _can_reset():
        CLEAR_REFS.write_text("5")
    else:
        _sampler.start()
    return resident()


def peak_read(device: str = "cpu") -> int:
    """The most bytes in use since `peak_reset` on the same device."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    if _can_reset():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        assert found, "Linux states VmHWM for every process that has memory"
        # The kernel counts pages per core in batches, so the mark may lag a little behind what is resident.
        return max(int(found[1]) * 1024, resident())
    return _sampler.read()


@cache
def _can_reset() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        CLEAR_REFS.write_text("5")
    except OSError:  # some sandboxes mount /proc read-only
        return False
    return "VmHWM:" in STATUS.read_text()


@cache
def _malloc_trim() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not


class _Sampler:
    """Resident memory, looked at 100 times a second by a thread; peaks shorter than that are missed."""

    def __init__(self) -> None:
        self.peak = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.peak = resident()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)
            self._thread.start()

    def read(self) -> int:
        self.peak = max(self.peak, resident())
        return self.peak

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(0.01):
            self.peak = max(self.peak, resident())


_sampler = _Sampler()


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1


def _gpu() -> tuple[str, int]:
    import torch

    if not torch.cuda.is_available():
        return "", 0
    properties = torch.cuda.get_device_properties(0)
    return str(properties.name), int(properties.total_memory)


@dataclass(frozen=True)
class Limits:
    """What control groups allow this process; what they leave open is as large as a machine can be."""

    cores: int
    memory: int
    available: int


def cgroup(root: Path, membership: Path) -> Limits:
    """The tightest limits from the process's group up to the root; `membership` is a /proc/<pid>/cgroup.

    A container sees its own group mounted as the root, under a path that does not exist inside it: the root counts too.
    """
    cores = memory = available = sys.maxsize
    for line in membership.read_text().splitlines() if membership.is_file() else []:
        _, controllers, path = line.split(":", 2)
        mounts = [root / name for name in (controllers, *controllers.split(","))] if controllers else [root, root / "unified"]
        for mount in mounts:
            place = mount / path.lstrip("/")
            for folder in (place, *place.parents):
                if not folder.is_relative_to(mount):
                    break
                cores = min(cores, _quota(folder))
                allowed = min(_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes"))
                if allowed < sys.maxsize:
                    memory = min(memory, allowed)
                    available = min(available, max(0, allowed - _used(folder)))
    return Limits(cores, memory, available)


def _quota(folder: Path) -> int:
    """Cores by the group's share of time, rounded up."""
    path = folder / "cpu.max"
    quota, period = path.read_text().split() if path.is_file() else ("max", "100000")
    if quota == "max":
        given, period = _number(folder / "cpu.cfs_quota_us"), str(_number(folder / "cpu.cfs_period_us"))
        if given == sys.maxsize:
            return sys.maxsize
        quota = str(given)
    return max(1, math.ceil(int(quota) / int(period)))


def _used(folder: Path) -> int:
    """Bytes in use that cannot be reclaimed: file cache that nobody read lately can."""
    used = min(_number(folder / "memory.current"), _number(folder / "memory.usage_in_bytes"))
    stat = folder / "memory.stat"
    # v1 also states a total that has the groups below in it, as its usage has
    idle = re.findall(r"^(?:total_)?inactive_file (\d+)$", stat.read_text(), re.MULTILINE) if stat.is_file() else []
    return 0 if used == sys.maxsize else used - max(map(int, idle), default=0)


def _number(path: Path) -> int:
    """The number in a control file; no file, "max", -1 and v1's page-aligned infinity are no limit."""
    text = path.read_text().strip() if path.is_file() else "max"
    value = int(text) if text.isdecimal() else sys.maxsize
    return value if value < 1 << 62 else sys.maxsize
