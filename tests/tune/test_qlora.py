"""QLoRA: what is held in fewer bits, that others open its adapter, and that it merges into the base's own weights."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import turns_of
from tuneladder.model.attach import merged
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.model.precision import QUANTISED
from tuneladder.model.quantized import settings_of, settle
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.train.supervised import held_in
from tuneladder.tune.full import Full
from tuneladder.tune.lora import Lora
from tuneladder.tune.qlora import Qlora
from tuneladder.types import Head, Kit, Pace

PACE = Pace(1e9)
HELD = {"nf4": torch.uint8, "int8": torch.int8}


@pytest.fixture(scope="module")
def bases(tiny_folder, tiny_encoder, tiny_seq2seq):
    return {"decoder": inspect(str(tiny_folder)), "encoder": tiny_encoder, "seq2seq": tiny_seq2seq}


@pytest.fixture(scope="module")
def made(bases, tiny_task, tmp_path_factory):
    """A QLoRA of each form on the decoder."""
    shelf = Shelf("cpu", dtype=torch.float32)

    def of(form):
        kit = Kit(tmp_path_factory.mktemp(form), Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, shelf)
        return Qlora(form=form, epochs=2, learning_rate=1e-2, batch_size=8).apply(
            root_of(bases["decoder"], tiny_task), tiny_task, kit
        )

    return {form: of(form) for form in QUANTISED}


@pytest.mark.parametrize("form", QUANTISED)
@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
def test_the_bodys_matrices_are_held_in_fewer_bits_and_nothing_else(family, form, bases, tiny_task):
    head = Head("classes", tiny_task.labels) if family == "encoder" else None
    root = replace(root_of(bases[family], tiny_task), head=head)
    shelf = Shelf("cpu", dtype=torch.float32)
    with shelf.live(root) as live:
        plain = {name: weight.clone() for name, weight in live.model.named_parameters()}
        linears = [(name, module) for name, module in live.model.named_modules() if isinstance(module, torch.nn.Linear)]
        # whose rows are whole blocks: others bitsandbytes writes wrongly on a CPU
        body = {f"{name}.weight" for name, module in linears if form == "int8" or module.in_features % 64 == 0}
        assert body
    # heads stay, and transformers keeps the end of a T5's MLP in float32 whatever it is asked
    body -= {name for name in body if any(part in name.split(".") for part in ("classifier", "head", "lm_head", "wo"))}
    with shelf.live(replace(root, format=form)) as live:
        held = dict(live.model.named_parameters())
        assert {name for name, weight in held.items() if weight.dtype == HELD[form]} == body
        assert all(held[name].dtype == torch.float32 for name in set(held) - body)
        for name in body:
            module = live.model.get_submodule(name.removesuffix(".weight"))
            with torch.no_grad():
                own = module(torch.eye(module.in_features)).T - (0 if module.bias is None else module.bias[:, None])
            off = float((own - plain[name]).norm() / plain[name].norm())
            assert 0 < off < (0.12 if form == "nf4" else 0.02), name
    with shelf.live(root) as live:  # and the base is itself again
        assert all(torch.equal(weight, plain[name]) for name, weight in live.model.named_parameters() if "classifier" not in name)


@pytest.mark.parametrize("form", QUANTISED)
@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
def test_what_is_held_is_counted(family, form, bases, tiny_task):
    root = replace(root_of(bases[family], tiny_task), format=form)
    with Shelf("cpu", dtype=torch.float32).live(root) as live:
        found = sum(weight.nbytes for weight in live.model.parameters())
    assert found <= held_in(root, "float32") <= 1.06 * found  # constants are no parameters


@pytest.mark.parametrize("form", QUANTISED)
def test_what_is_held_stays_what_it_is(form, bases, tiny_task):
    """Answering, and then learning and answering again, changes no bit of it: what is learned depends on no look before."""
    root = replace(root_of(bases["decoder"], tiny_task), format=form)
    ids = torch.arange(5, 37)[None]
    shelf = Shelf("cpu", dtype=torch.float32)
    with shelf.live(root) as live:
        before = {name: weight.detach().clone() for name, weight in live.model.named_parameters()}
        with torch.no_grad():
            first = live.model(ids).logits
        states = live.model.get_input_embeddings()(ids).requires_grad_()
        live.model.train()(inputs_embeds=states).logits.sum().backward()
        live.model.eval()
        with torch.no_grad():
            assert torch.equal(live.model(ids).logits, first)
        assert all(torch.equal(weight, before[name]) for name, weight in live.model.named_parameters())


@pytest.mark.parametrize("form", QUANTISED)
def test_peft_opens_it_over_the_same_bits_and_answers_the_same(form, made, tiny_task):
    variant = made[form]
    assert variant.format == form
    base = AutoModelForCausalLM.from_pretrained(
        variant.base.location,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(**settings_of(form, AutoModelForCausalLM, variant.base.location)),
        device_map={"": "cpu"},
    )
    settle(base)  # what bitsandbytes lays out anew is for wider matrices than these
    plain = PeftModel.from_pretrained(base, variant.adapter).eval()
    asked = [turns_of(variant.prompt, row) for row in tiny_task.examples.dev[:5]]
    with Shelf("cpu", dtype=torch.float32).engine(variant) as engine:
        ours = engine.score(asked, [tiny_task.labels] * 5)
    with Shelf("cpu", dtype=torch.float32).live(variant) as live:
        coder = live.coder
    for turns, own in zip(asked, ours, strict=True):
        for label, score in zip(tiny_task.labels, own, strict=True):
            encoded = coder.encode(turns, label, close=False)
            ids = torch.tensor([encoded.ids])
            with torch.no_grad():
                logs = torch.log_softmax(plain(input_ids=ids).logits[0].float(), -1)
            theirs = sum(float(logs[at - 1, ids[0, at]]) for at, learn in enumerate(encoded.learn) if learn)
            # its products are rounded to fewer bits, and otherwise for rows that stand side by side
            assert score == pytest.approx(theirs, abs=0.1 if form == "int8" else 2e-2)


def test_what_learns_afterwards_learns_from_the_bases_own_weights(made, tiny_task, lend):
    variant = made["nf4"]
    with Shelf("cpu", dtype=torch.float32).live(replace(variant, adapter=None), dtype=torch.float32) as live:
        own = {name: weight.clone() for name, weight in live.model.named_parameters()}
    with Shelf("cpu", dtype=torch.float32).live(variant, dtype=torch.float32) as live:
        both = dict(merged(live.model).named_parameters())
    changed = {name for name in own if not torch.equal(own[name], both[name])}
    assert changed
    for name in changed:
        few = torch.linalg.svdvals(both[name].double() - own[name].double())
        assert few[8] < 1e-4 * few[0]  # the adapter's rank, and no rounding to four bits
    planned, _ = Full().plan(variant, tiny_task, PACE)
    assert (planned.format, planned.adapter) == ("transformers", None)
    full = Full(epochs=1, batch_size=8, learning_rate=1e-3).apply(variant, tiny_task, lend())
    assert full.format == "transformers"


def test_what_it_refuses(monkeypatch, bases, made, tiny_task):
    root = root_of(bases["decoder"], tiny_task)
    with pytest.raises(BadInput, match="nf3"):
        Qlora(form="nf3")
    with pytest.raises(BadInput, match="rank 0"):
        Qlora(r=0)
    with pytest.raises(Refused, match="rank 500 is above"):
        Qlora(r=500).plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="another adapter"):
        Lora().plan(made["nf4"], tiny_task, PACE)
    narrow = from_shape("narrow", {"layers": 1, "width": 32, "heads": 2, "mlp": 48, "vocabulary": 300})
    with pytest.raises(Refused, match="no matrix of narrow has rows of whole blocks of 64"):
        Qlora().plan(replace(root, base=narrow), tiny_task, PACE)
    Qlora(form="int8").plan(replace(root, base=narrow), tiny_task, PACE)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else found(name, *rest))
    with pytest.raises(Refused, match="bitsandbytes is missing") as refused:
        Qlora().plan(root, tiny_task, PACE)
    assert "tuneladder[quant]" in refused.value.hint


def test_it_is_planned_smaller_than_lora(bases, tiny_task):
    root = root_of(bases["decoder"], tiny_task)
    # weights that outweigh what is kept beside them, of which quantised layers keep more
    large = from_shape("large", {"layers": 12, "width": 1024, "heads": 16, "mlp": 4096, "vocabulary": 8192})
    memory = [step.plan(replace(root, base=large), tiny_task, PACE)[1].memory for step in (Lora(), Qlora(form="int8"), Qlora())]
    assert memory == sorted(memory, reverse=True)
    assert memory[2] < memory[1] < memory[0]
