"""What this machine and installation can do."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from tuneladder.model import pocket
from tuneladder.model.hardware import hardware, peak_how

Fact = tuple[str, str, bool]
NEEDED = ("torch", "transformers", "peft", "tokenizers", "datasets", "safetensors", "scikit-learn")


def examine() -> list[Fact]:
    """Facts: what, how it stands, and whether that is good (False is a note, with what to do)."""
    machine = hardware()
    facts: list[Fact] = [
        ("tuneladder", f"{metadata.version('tuneladder')}, Python {sys.version.split()[0]}", sys.version_info >= (3, 11))
    ]
    for name in NEEDED:
        try:
            facts.append((name, metadata.version(name), True))
        except metadata.PackageNotFoundError:
            facts.append((name, "not installed: pip install tuneladder", False))
    facts.append(("cores", f"{machine.cores}", machine.cores >= 2))
    facts.append(("memory", f"{machine.memory / 1e9:.1f} GB, {machine.available / 1e9:.1f} GB free", machine.available > 4e9))
    facts.append(
        ("bfloat16", "in hardware" if machine.bf16 else "not in hardware: training and scoring run in float32", machine.bf16)
    )
    facts.append(
        (
            "GPU",
            f"{machine.gpu}, {machine.gpu_memory / 1e9:.0f} GB" if machine.gpu else "none: a CPU is enough for small bases",
            bool(machine.gpu),
        )
    )
    facts.append(("peak memory", f"read by {peak_how()}", True))
    free = shutil.disk_usage(Path.cwd()).free
    facts.append(("disk", f"{free / 1e9:.1f} GB free in {Path.cwd()}", free > 2e9))
    facts.append(
        ("OpenMP", f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '')}", os.environ.get("OMP_WAIT_POLICY") == "PASSIVE")
    )
    names = pocket.names()
    facts.append(("pocket bases", ", ".join(names) or "none in this installation", bool(names)))
    compiler = shutil.which("cc") is not None
    facts.append(
        (
            "C compiler",
            "found: long pretraining is compiled" if compiler else "none: pretraining runs uncompiled, about 1.5 times slower",
            compiler,
        )
    )
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    facts.append(("hub", "offline by HF_HUB_OFFLINE" if offline else "asked only for ids that a recipe names", True))
    return facts
