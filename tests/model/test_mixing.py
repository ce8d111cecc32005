"""Several LoRAs answering in one batch: each row gets what its own variant answers by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tuneladder.errors import BadInput
from tuneladder.model import local
from tuneladder.model.attach import attach_lora, linear_targets, save_adapter
from tuneladder.model.shelf import Shelf
from tuneladder.types import Base, Decoding, Prompt, Turn, Variant

SAID = (
    "Where did my parcel go?",
    "The lamp is broken.",
    "Why was I charged twice for one chair?",
    "It",
    "Please call me back soon.",
)
ENDINGS = ("late", "broken on the way", "gone")
WRITTEN = Decoding(max_new_tokens=9)


@pytest.fixture(scope="module")
def variants(tiny_folder, tiny_base, tmp_path_factory) -> dict[str, Variant]:
    """The base, and two LoRAs of unlike rank and targets that say something else."""
    found = {"plain": Variant(tiny_base, Prompt())}
    for name, r, targets in (("first", 2, ["q_proj", "v_proj"]), ("second", 4, None)):
        folder = tmp_path_factory.mktemp("adapters") / name
        model = AutoModelForCausalLM.from_pretrained(tiny_folder)
        tuned = attach_lora(model, r=r, alpha=16, dropout=0.0, targets=targets or linear_targets(model, "auto"), seed=len(found))
        torch.manual_seed(len(found))
        for weight_name, weight in tuned.named_parameters():
            if "lora_B" in weight_name:
                torch.nn.init.normal_(weight, std=0.5)
        save_adapter(tuned, folder, base=str(tiny_folder))
        found[name] = replace(found["plain"], adapter=str(folder))
    return found


@pytest.fixture
def shelf(settled) -> Shelf:
    return Shelf("cpu", dtype=torch.float32)


def asks(variants: dict[str, Variant]) -> list[tuple[str, tuple[Turn, ...]]]:
    return [(name, (Turn("user", said),)) for said in SAID for name in (*variants, *list(variants)[:1])]


def alone(shelf: Shelf, variants: dict[str, Variant], decoding: Decoding) -> tuple[list[list[str]], list[list[float]]]:
    """What each variant answers when it is asked by itself."""
    texts, scores = {}, {}
    for name, variant in variants.items():
        own = [at for at, (asked, _) in enumerate(asks(variants)) if asked == name]
        turns = [asks(variants)[at][1] for at in own]
        with shelf.engine(variant) as engine:
            texts |= dict(zip(own, engine.generate(turns, decoding), strict=True))
            scores |= dict(zip(own, engine.score(turns, [ENDINGS] * len(own)), strict=True))
    return [texts[at] for at in sorted(texts)], [scores[at] for at in sorted(scores)]


@pytest.mark.parametrize("able", [True, False])
def test_each_row_is_answered_as_its_variant_answers(shelf, variants, monkeypatch, able):
    if not able:  # a model whose rows cannot lie side by side
        monkeypatch.setattr(local.held, "trial", lambda model, core: 0)
    texts, scores = alone(shelf, variants, WRITTEN)
    assert len({tuple(own) for own in texts}) > len(SAID)  # or the adapters would say nothing of their own
    with shelf.mixed(variants) as engine:
        assert engine.generate(asks(variants), WRITTEN) == texts
        for found, wanted in zip(engine.score(asks(variants), [ENDINGS] * len(texts)), scores, strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)


def test_samples_and_lone_variants(shelf, variants):
    drawn = replace(WRITTEN, temperature=1.0, samples=3)
    texts, _ = alone(shelf, variants, drawn)
    with shelf.mixed(variants) as engine:
        assert engine.generate(asks(variants), drawn) == texts
        for name in variants:  # all of one: what they begin with is read once
            own = [ask for ask in asks(variants) if ask[0] == name]
            wanted = [text for text, ask in zip(texts, asks(variants), strict=True) if ask[0] == name]
            assert engine.generate(own, drawn) == wanted
        assert engine.generate([], drawn) == []


def test_one_pass_holds_rows_of_several_adapters(shelf, variants, monkeypatch):
    seen = []
    real = local.held.reading

    def reading(lengths, **options):
        seen.append(len(lengths))
        return real(lengths, **options)

    with shelf.mixed(variants) as engine:
        engine.generate(asks(variants)[:1], WRITTEN)  # what is tried once has been tried
        monkeypatch.setattr("tuneladder.model.held.reading", reading)
        engine.generate(asks(variants)[:8], WRITTEN)
    assert max(seen) > 2  # of three variants no pass could hold more than two rows by itself


def test_the_base_is_whole_afterwards(shelf, variants, fingerprint):
    before = fingerprint(shelf, variants["plain"])
    with shelf.mixed(variants) as engine:
        engine.generate(asks(variants), WRITTEN)
    assert fingerprint(shelf, variants["plain"]) == before


def test_what_cannot_stand_side_by_side_is_refused(shelf, variants, tiny_base: Base, tmp_path: Path):
    with shelf.mixed(variants) as engine, pytest.raises(BadInput, match="nothing here answers as 'third'"):
        engine.generate([("third", (Turn("user", "x"),))], WRITTEN)
    for other, said in (
        (replace(variants["plain"], weights=str(tmp_path)), "does not stand on the weights of plain"),
        (replace(variants["plain"], base=replace(tiny_base, family="encoder")), "is not a decoder"),
        (replace(variants["plain"], probe=str(tmp_path)), "is not a decoder"),
    ):
        with pytest.raises(BadInput, match=said), shelf.mixed({**variants, "other": other}):
            pass
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    odd = replace(variants["plain"], adapter=str(tmp_path))
    with pytest.raises(BadInput, match="only LoRAs are worn row by row"), shelf.mixed({**variants, "odd": odd}):
        pass


def test_a_dora_is_refused(shelf, variants, tiny_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    tuned = attach_lora(model, r=2, alpha=4, dropout=0.0, targets=["q_proj"], seed=0, dora=True)
    save_adapter(tuned, tmp_path / "dora", base=str(tiny_folder))
    dora = replace(variants["plain"], adapter=str(tmp_path / "dora"))
    with pytest.raises(BadInput, match="is a DoRA"), shelf.mixed({**variants, "dora": dora}):
        pass
