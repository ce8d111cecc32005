"""Which adapter lies in a folder, and how it is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneladder.errors import Failed
from tuneladder.model import bottleneck, soft
from tuneladder.model.attach import CONFIG, Opened

OURS = (soft.OURS, bottleneck.KIND)  # which PEFT has no form for
OPENERS: dict[str, Callable[[Any, str], Opened]] = {
    "PROMPT_TUNING": soft.open_prompt,
    "PREFIX_TUNING": soft.open_prefix,
    soft.OURS: soft.open_prefix,
    bottleneck.KIND: bottleneck.open_bottlenecks,
}


def kind_in(folder: str | Path) -> str:
    """What the adapter in a folder says it is. Raises Failed where the folder holds none."""
    try:
        found: str = json.loads((Path(folder) / CONFIG).read_text("utf-8")).get("peft_type", "")
    except (OSError, ValueError) as error:
        raise Failed(f"{folder} holds no adapter: {error}", "make it again: remove the folder") from error
    return found


def opened_by_peft(folder: str | Path) -> bool:
    """Whether plain PEFT opens the adapter in a folder; one that is not there yet is taken for such."""
    return not (Path(folder) / CONFIG).exists() or kind_in(folder) not in OURS


def open_adapter(model: Any, folder: str) -> Opened:
    """The model with a saved adapter over it, frozen, and the tokens that stand before all that it reads.

    Raises Failed where the folder holds no adapter.
    """
    if opener := OPENERS.get(kind_in(folder)):
        return opener(model, folder)
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=False), ()
