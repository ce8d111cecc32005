"""Bases that are known without a network: public ones that suit a task, and shapes that lectures speak of. The facts lie in
assets/bases.yaml; a configuration of transformers, and from it a skeleton, is made of them where modules have to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tuneladder.model.pocket import shelf
from tuneladder.store import digest
from tuneladder.types import Base

# what transformers calls the parts of a shape; architectures with names of their own know these too
NAMES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "mlp": "intermediate_size",
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
    "tie": "tie_word_embeddings",
}
DECODER = ("num_decoder_layers", "decoder_layers")  # T5's name and BART's


@dataclass(frozen=True)
class Entry:
    """A base of the catalogue. `hub` is its id on the hub, empty where it is not there; `gated`, whether terms must be accepted
    before it can be fetched."""

    base: Base
    hub: str
    gated: bool
    good_at: str


@cache
def bases() -> tuple[Entry, ...]:
    """Public bases, as the file has them: by family and size."""
    return tuple(_entry(facts) for facts in _file()["bases"])


@cache
def shapes() -> tuple[Entry, ...]:
    """Shapes that were published, and of which nothing is to be suggested."""
    return tuple(_entry(facts) for facts in _file()["shapes"])


def find(name: str) -> Entry | None:
    """The entry of this name or hub id, whatever its capitals."""
    wanted = name.casefold()
    every = (*bases(), *shapes())
    return next((each for each in every if wanted in (each.base.name.casefold(), each.hub.casefold())), None)


def _file() -> dict[str, list[dict[str, Any]]]:
    import yaml

    found: dict[str, list[dict[str, Any]]] = yaml.safe_load((shelf() / "bases.yaml").read_text("utf-8"))
    return found


def _entry(facts: Mapping[str, Any]) -> Entry:
    shape, config = facts["shape"], facts["config"]
    written = {NAMES[key]: value for key, value in shape.items() if key in NAMES} | config
    if "decoder_layers" in shape:
        written |= dict.fromkeys(DECODER, shape["decoder_layers"])
    settings = {key: value for key, value in shape.items() if key not in ("layers", "width", "vocabulary", "context")}
    settings |= {"architecture": config["model_type"], "config": written}
    if facts["family"] == "encoder":
        settings["masked"] = any(str(one).endswith("ForMaskedLM") for one in config["architectures"])
    if facts["family"] == "seq2seq":
        settings["sentinels"] = config["model_type"] == "t5"
    base = Base(
        name=facts["name"],
        source="shape",
        location="",
        family=facts["family"],
        parameters=facts["parameters"],
        active=facts.get("active", facts["parameters"]),
        layers=shape["layers"],
        width=shape["width"],
        vocabulary=shape["vocabulary"],
        context=shape["context"],
        licence=facts.get("licence", ""),
        content=digest("config", written),
        settings=settings,
    )
    return Entry(base, facts.get("hub", ""), facts.get("gated", False), facts.get("good_at", ""))
