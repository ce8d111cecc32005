"""The pocket bases: small models that this project pretrained and ships inside the package, one folder each."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from tuneladder.errors import BadInput, unknown

DEFAULT = "pocket-decoder"
PREFIX = "pocket-"


def shelf() -> Path:
    """The package's data folder; pocket bases lie in it beside other things."""
    return Path(str(resources.files("tuneladder"))) / "assets"


def names() -> list[str]:
    """The pocket bases that this installation holds."""
    return sorted(path.parent.name for path in shelf().glob(f"{PREFIX}*/config.json"))


def is_meant(name: str) -> bool:
    """Whether a base's name can only mean a pocket base, perhaps misspelt: no hub id looks like it."""
    bare = "/" not in name and "\\" not in name
    return bare and (name.startswith(PREFIX) or bool(difflib.get_close_matches(name, [*names(), DEFAULT], n=1, cutoff=0.7)))


def folder(name: str) -> Path:
    """Where a pocket base lies. Raises BadInput, with a did-you-mean, where there is none of that name."""
    known = names()
    if name in known:
        return shelf() / name
    if name == DEFAULT or not known:
        raise BadInput(
            f"this installation holds no '{name}'",
            "make it with `tuneladder climb recipes/pocket-decoder.yaml`, or name another base",
        )
    raise unknown("pocket base", name, known)
