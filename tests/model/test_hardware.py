"""What the machine has, and peaks that are a stretch's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tuneladder.ladder.tree import answering
from tuneladder.model import hardware as room
from tuneladder.model.hardware import cgroup, hardware, peak_how, peak_read, peak_reset, resident
from tuneladder.model.inspect import from_shape
from tuneladder.model.memory import climbing, inference
from tuneladder.model.shelf import Shelf

MB = 1 << 20


def fill(bytes: int) -> bytearray:
    block = bytearray(bytes)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    return block


def test_the_facts_fit_together() -> None:
    import torch

    facts = hardware()
    assert 1 <= facts.cores <= (os.cpu_count() or 1)
    assert 0 < facts.available <= facts.memory
    assert facts.device == ("cuda" if torch.cuda.is_available() else facts.device)
    assert (facts.gpu_memory > 0) == bool(facts.gpu)
    assert facts.bf16 == room.has_bf16(facts.device)


def test_bf16_is_what_the_processor_says() -> None:
    import platform

    path = Path("/proc/cpuinfo")
    if not path.is_file() or platform.machine() != "x86_64":
        pytest.skip("only Linux on x86 lists a processor's flags")
    flags = path.read_text()
    assert room.has_bf16("cpu") == ("avx512_bf16" in flags or "amx_bf16" in flags)


@pytest.mark.parametrize(("able", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_what_is_computed_in_is_what_the_shelf_holds_and_plans_reckon_with(able, dtype, monkeypatch) -> None:
    monkeypatch.setattr(room, "has_bf16", lambda device: able)
    assert str(Shelf("cpu").dtype) == f"torch.{dtype}"
    base = from_shape("small", {"layers": 2, "width": 64, "heads": 4, "vocabulary": 256})
    asked = inference(base, rows=64, length=64, dtype=dtype, device=room.device()).peak
    assert answering(base) == asked + climbing(room.device())


def test_a_peak_is_the_stretch_s_own() -> None:
    """What was taken and freed before the reset does not count; what was taken and freed after it does."""
    block = fill(300 * MB)
    del block
    before = peak_reset()
    assert peak_read() - before < 50 * MB
    block = fill(100 * MB)
    del block
    assert 90 * MB < peak_read() - before < 160 * MB
    assert resident() - before < 50 * MB
    assert peak_reset() - before < 50 * MB
    assert peak_read() - before < 50 * MB


def test_free_memory_is_handed_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed, now = [], [100.0]
    monkeypatch.setattr(room, "_malloc_trim", lambda: trimmed.append)
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    thrift = room.Thrift(every=2.0)
    for at in (100.0, 101.0, 102.5, 103.0, 104.4, 104.6):
        now[0] = at
        thrift()
    assert len(trimmed) == 2
    monkeypatch.setattr(room, "_malloc_trim", lambda: None)  # where there is no such thing
    now[0] = 200.0
    thrift()


def test_where_the_mark_cannot_be_reset_memory_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(room, "_can_reset", lambda: False)
    assert peak_how() == "sampled"
    assert hardware().peak in ("sampled", "allocator")
    before = peak_reset()
    block = fill(100 * MB)
    time.sleep(0.1)
    del block
    assert 90 * MB < peak_read() - before < 160 * MB


def test_linux_resets_the_mark() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("VmHWM is Linux's")
    assert peak_how("cpu") == "high-water mark" or not os.access("/proc/self/clear_refs", os.W_OK)
    assert peak_how("cuda:0") == "allocator"


def test_a_container_s_limits_count(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    group = tmp_path / "v2" / "box" / "job"
    group.mkdir(parents=True)
    membership.write_text("0::/box/job\n")
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("1000\n")
    (group.parent / "memory.current").write_text("700\n")
    (group.parent / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    (group / "cpu.max").write_text("150000 100000\n")
    assert cgroup(tmp_path / "v2", membership) == room.Limits(2, 1000, 500)
    # inside the container the same group is the root
    root = tmp_path / "inside"
    root.mkdir()
    (root / "memory.max").write_text("2000")
    assert cgroup(root, membership) == room.Limits(sys.maxsize, 2000, 2000)


def test_the_older_control_groups(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("8:memory:/box\n3:cpu,cpuacct:/box\n0::/\n")
    group = tmp_path / "v1" / "memory" / "box"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("5000")
    (group / "memory.usage_in_bytes").write_text("3000")
    (group / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 1000\n")
    (group.parent / "memory.limit_in_bytes").write_text("9223372036854771712")
    cores = tmp_path / "v1" / "cpu,cpuacct" / "box"
    cores.mkdir(parents=True)
    (cores / "cpu.cfs_quota_us").write_text("-1")
    (cores / "cpu.cfs_period_us").write_text("100000")
    assert cgroup(tmp_path / "v1", membership) == room.Limits(sys.maxsize, 5000, 3000)
    (cores / "cpu.cfs_quota_us").write_text("250000")
    assert cgroup(tmp_path / "v1", membership).cores == 3


def test_no_control_groups(tmp_path: Path) -> None:
    assert cgroup(tmp_path, tmp_path / "none") == room.Limits(sys.maxsize, sys.maxsize, sys.maxsize)
