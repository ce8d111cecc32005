"""Tuneladder: climb every way to adapt a language model to a task, and take the cheapest that clears the bar.

from tuneladder import climb
ladder = climb("recipe.yaml")      # a Ladder; in a notebook it shows itself
"""

from __future__ import annotations

import os as _os

# Spinning OpenMP threads make torch 10-30 times slower on shared cores; it must be said before torch is imported.
_os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
_os.environ.setdefault("GOMP_SPINCOUNT", "0")
# torch keeps 1,024 built kernels by default, about 10 MB for each shape of batch; 32 are as fast and hold half a gigabyte less.
_os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
_os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
_os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

__version__ = "0.1.0"
__all__ = ["__version__", "check", "climb", "compare", "load", "plan"]


def __getattr__(name: str) -> object:
    """The verbs are imported when they are used: `tuneladder --help` must not wait for torch."""
    if name in ("check", "climb", "compare", "load", "plan"):
        from tuneladder import api

        return getattr(api, name)
    raise AttributeError(f"module 'tuneladder' has no attribute {name!r}")
