"""The catalogue of bases: well-formed facts, and parameters that are those of their shapes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tuneladder.model import catalogue
from tuneladder.model.bill import parts_of
from tuneladder.model.catalogue import Entry
from tuneladder.model.inspect import _count, config_of, inspect, skeleton
from tuneladder.model.precision import held
from tuneladder.model.suggest import parts_near

EVERY = (*catalogue.bases(), *catalogue.shapes())
# papers and model cards: total parameters, and how far a figure that is rounded may be off
PUBLISHED = {
    "bert-large": (340e6, 0.02),  # arXiv:1810.04805, section 3
    "gpt2-xl": (1.5e9, 0.04),  # 1542M in its paper, without the positions; the checkpoint's is 1558M
    "llama-2-7b": (6.74e9, 0.001),
    "llama-2-13b": (13.02e9, 0.001),
    "llama-2-70b": (68.98e9, 0.001),
    "gpt-3-175b": (175e9, 0.003),  # arXiv:2005.14165, table 2.1
    "palm-540b": (540.35e9, 0.0001),  # arXiv:2204.02311, table 1
    "mixtral-8x7b": (46.7e9, 0.001),
}


def test_every_entry_is_well_formed() -> None:
    facts = [*catalogue._file()["bases"], *catalogue._file()["shapes"]]
    needed = {"name", "family", "parameters", "shape", "config"}
    shape = {*catalogue.NAMES, "decoder_layers"}
    for each in facts:
        assert needed <= set(each) <= {*needed, "hub", "active", "licence", "gated", "good_at"}, each["name"]
        assert set(each["shape"]) <= shape, each["name"]
        assert {"layers", "width", "heads", "mlp", "vocabulary", "context", "tie"} <= set(each["shape"]), each["name"]
        assert ("decoder_layers" in each["shape"]) == (each["family"] == "seq2seq"), each["name"]
    for entry in catalogue.bases():
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.hub) or entry.base.name.startswith("pocket-"), entry.base.name
        assert entry.base.licence, entry.base.name
        assert 10 <= len(entry.good_at) <= 70, entry.base.name
    names = [each.base.name for each in EVERY]
    assert len(set(names)) == len(names)
    sizes = [each.base.parameters for each in catalogue.bases()]
    assert len(sizes) >= 25
    assert min(sizes) < 12e6
    assert max(sizes) > 70e9
    assert {each.base.family for each in catalogue.bases()} == {"encoder", "decoder", "seq2seq"}


def built(entry: Entry, layers: int) -> tuple[Any, Any]:
    """The base with so many layers, and its skeleton."""
    decoder = dict.fromkeys(catalogue.DECODER, layers) if entry.base.family == "seq2seq" else {}
    depth = {"num_hidden_layers": layers} | decoder
    settings = {**entry.base.settings, "config": {**entry.base.settings["config"], **depth}}
    if entry.base.family == "seq2seq":
        settings["decoder_layers"] = layers
    base = replace(entry.base, layers=layers, settings=settings)
    config = config_of(base)
    model = skeleton(config, base.family)
    parameters, active = _count(model, config)
    if base.settings["architecture"] == "t5" and not base.settings["tie"]:
        # transformers ties a T5's head until a checkpoint brings another
        parameters, active = (count + base.vocabulary * base.width for count in (parameters, active))
    return replace(base, parameters=parameters, active=active), model


def test_parameters_are_those_of_the_shape() -> None:
    """Layers are alike, so that two skeletons say what all of them have; the estimate without a skeleton is near each."""
    for entry in EVERY:
        name = entry.base.name
        (one, _), (two, model) = built(entry, 1), built(entry, 2)
        for fact in ("parameters", "active"):
            first, second = getattr(one, fact), getattr(two, fact)
            assert first + (entry.base.layers - 1) * (second - first) == getattr(entry.base, fact), (name, fact)
        seen, guessed = parts_of(two, model), parts_near(two)
        assert held(two, "nf4", guessed.linear) == pytest.approx(held(two, "nf4", seen.linear), rel=0.05), name
        assert held(two, "int8", guessed.linear) == pytest.approx(held(two, "int8", seen.linear), rel=0.05), name
        assert guessed.added["lora"] == pytest.approx(seen.added["lora"], rel=0.25), name


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_lectures_models_have_their_published_sizes(name: str) -> None:
    size, off = PUBLISHED[name]
    found = catalogue.find(name)
    assert found is not None
    assert found.base.parameters == pytest.approx(size, rel=off)


def test_a_mixture_says_what_is_active() -> None:
    found = catalogue.find("mixtral-8x7b")
    assert found is not None
    assert found.base.active == pytest.approx(12.9e9, rel=0.002)  # arXiv:2401.04088, section 2.1


def test_the_pocket_bases_are_as_they_lie_there() -> None:
    for name in ("pocket-encoder", "pocket-decoder"):
        entry, found = catalogue.find(name), inspect(name)
        assert entry is not None
        for fact in ("family", "parameters", "layers", "width", "vocabulary", "context", "licence"):
            assert getattr(entry.base, fact) == getattr(found, fact), (name, fact)
        for key in ("heads", "kv_heads", "mlp", "tie", "masked"):
            assert entry.base.settings.get(key, found.settings.get(key)) == found.settings.get(key), (name, key)


def test_a_base_is_found_by_name_and_by_hub_id() -> None:
    found = catalogue.find("Llama-2-7B")
    assert found is not None
    assert found.gated
    assert catalogue.find("meta-llama/Llama-2-7b-hf") is found
    assert catalogue.find("llama-2-8b") is None
