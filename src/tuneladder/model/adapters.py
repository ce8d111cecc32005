"""Which adapter lies in a folder, and how it is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.model import bottleneck, soft
from tuneladder.model.attach import CONFIG, Opened
from tuneladder.store import is_node

OURS = (soft.OURS, bottleneck.KIND)  # which PEFT has no form for
OPENERS: dict[str, Callable[[Any, str], Opened]] = {
    "PROMPT_TUNING": soft.open_prompt,
    "PREFIX_TUNING": soft.open_prefix,
    soft.OURS: soft.open_prefix,
    bottleneck.KIND: bottleneck.open_bottlenecks,
}


def _again(folder: str | Path) -> str:
    """What to do about an adapter that is not whole. Only what a climb makes anew may be removed."""
    made = "remove the folder, and the same climb makes it again"
    return made if is_node(Path(folder)) else "restore it from where it was saved, or make it again"


def kind_in(folder: str | Path) -> str:
    """What the adapter in a folder says it is. Raises BadInput where the folder holds none."""
    return str(_config(folder).get("peft_type", ""))


def _config(folder: str | Path) -> dict[str, Any]:
    try:
        found = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{folder} holds no adapter: {error}", _again(folder)) from error
    except ValueError as error:
        raise BadInput(f"{Path(folder) / CONFIG} is broken: {error}", _again(folder)) from error
    if not isinstance(found, dict):
        raise BadInput(f"{folder} holds no adapter: {CONFIG} in it says nothing", _again(folder))
    return found


def _weights_in(folder: str | Path) -> set[str]:
    """The names of an adapter's weights, by its file's head alone. Raises BadInput for a file that is not whole, or pickled."""
    from safetensors import SafetensorError, safe_open

    name = soft.PREFIX if kind_in(folder) in ("PREFIX_TUNING", soft.OURS) else bottleneck.FILE
    path = Path(folder) / name
    if not path.is_file():
        if pickled := sorted(Path(folder).glob("*.bin")):
            said = f"{folder} keeps its weights in {pickled[0].name}, and opening such a file can run code hidden in it"
            raise BadInput(said, "convert it where you trust it: PeftModel.from_pretrained(...), then save_pretrained(...)")
        raise BadInput(f"{folder} holds no weights: there is no {name}", _again(folder))
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is broken: {error}", _again(folder)) from error


def opened_by_peft(folder: str | Path) -> bool:
    """Whether plain PEFT opens the adapter in a folder; one that is not there yet is taken for such."""
    return not (Path(folder) / CONFIG).exists() or kind_in(folder) not in OURS


def open_adapter(model: Any, folder: str) -> Opened:
    """The model with a saved adapter over it, frozen, and the tokens that stand before all that it reads.

    Raises BadInput where the folder holds no adapter, a broken one, or that of another base.
    """
    return _opened(model, folder, OPENERS.get(kind_in(folder), _opened_by_peft))


def add_adapter(model: Any, folder: str, name: str) -> None:
    """A further saved adapter of PEFT's over a model that has one, under a name of its own. Raises as `open_adapter` does."""

    def add(model: Any, folder: str) -> Opened:
        model.load_adapter(folder, adapter_name=name, is_trainable=False)
        return model, ()

    _opened(model, folder, add, name)


def _opened(model: Any, folder: str, opener: Callable[[Any, str], Opened], own: str = "default") -> Opened:
    said, weights = _config(folder), _weights_in(folder)
    name, here = (Path(str(place or "")).name for place in (said.get("base_model_name_or_path"), model.config._name_or_path))
    try:
        opened = opener(model, folder)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:300] or type(error).__name__
        why = f"{CONFIG} in it has no {error}" if isinstance(error, KeyError) else why
        misfit = f"the adapter in {folder} does not fit {here or type(model).__name__}: {why}"
        raise BadInput(misfit, _of(name, here, folder)) from error
    if missing := sorted(_asked(opened[0], own) - weights):
        raise BadInput(f"the adapter in {folder} has no {missing[0]}, which {here} asks for", _of(name, here, folder))
    # a node of a store is keyed by what its base holds, wherever that lies now
    if name and here and name != here and not is_node(Path(folder)):
        raise BadInput(f"the adapter in {folder} was made for {name}, and this is {here}", _of(name, here, folder))
    return opened


def _of(name: str, here: str, folder: str) -> str:
    if name and name == here:
        return f"it was made for {name}: {CONFIG} and the weights beside it are not of one save; {_again(folder)}"
    return f"it lies over {name}: name that base" if name else "name the base that it was made for"


def _opened_by_peft(model: Any, folder: str) -> Opened:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=False), ()


def _asked(model: Any, own: str) -> set[str]:
    """The weights of an adapter that PEFT looks for in its file: those of a larger base it makes up where there are none."""
    from peft import PeftModel, get_peft_model_state_dict

    return set(get_peft_model_state_dict(model, adapter_name=own)) if isinstance(model, PeftModel) else set()
