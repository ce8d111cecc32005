"""Variants as a store keeps them: `variant.json` in a node's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.store import thaw
from tuneladder.types import Variant

FILE = "variant.json"
PLACES = ("weights", "adapter", "probe", "made")


def read_variant(folder: Path) -> Variant:
    """The variant that a node's folder holds. Raises BadInput where its file says none."""
    try:
        kept = json.loads((folder / FILE).read_text("utf-8"))
        for name in PLACES:
            if isinstance(kept.get(name), str):
                kept[name] = kept[name].replace("{node}", str(folder)).replace("{store}", str(folder.parent))
        return replace(thaw(Variant, kept), stamp=folder.name)
    except (ValueError, AttributeError) as error:  # ValidationError is a ValueError
        said = "; ".join(str(error).splitlines()[:2])
        raise BadInput(f"{folder / FILE} is broken: {said}", "remove the folder, and climb again: it is made anew") from error


def portable(variant: Mapping[str, Any], part: Path, store: Path) -> dict[str, Any]:
    """Places inside the node and the store are named by `{node}` and `{store}`, so that a store can be moved."""
    moved = dict(variant)
    for name in PLACES:
        place = moved[name]
        if isinstance(place, str):
            moved[name] = place.replace(str(part), "{node}").replace(str(store), "{store}")
    return moved
