"""Decoders of other shapes than Llama's: mixtures of experts, state-space models, GPT-2's transposed matrices, fused queries, keys
and values. What the engine says of them is what plain transformers says."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory, recurrent
from tuneladder.model.attach import expert_targets, linear_targets
from tuneladder.model.attention import packs
from tuneladder.model.bill import bill
from tuneladder.model.inspect import inspect
from tuneladder.model.local import LocalEngine
from tuneladder.model.memory import skeleton_of
from tuneladder.model.packed import pack
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding, Turn

NAMES = ("mixtral", "qwen2_moe", "mamba", "mamba2", "gpt2", "neox", "phi3")
STATES = ("mamba", "mamba2")
ASKS = [
    (Turn("user", text),)
    for text in ("Where did my parcel go?", "A heron.", "I was charged twice for the same order; please refund me. Thank you!")
]
LABELS = ["parcels", "money", "money and parcels"]


@pytest.fixture(params=NAMES)
def engine(request, shaped):
    folder = shaped(request.param)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return LocalEngine(model, Coder(AutoTokenizer.from_pretrained(folder), 128), name=request.param)


def logs_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_scores_are_those_of_one_text_at_a_time(engine):
    for turns, scores in zip(ASKS, engine.score(ASKS, [LABELS] * len(ASKS)), strict=True):
        for label, score in zip(LABELS, scores, strict=True):
            row = engine.coder.encode(turns, label, close=True)
            logs = logs_of(engine._model, row.ids)
            plain = sum(float(logs[at - 1, token]) for at, token in enumerate(row.ids) if row.learn[at])
            assert score == pytest.approx(plain, abs=1e-4)


def test_texts_are_as_likely_as_plain_transformers_says(engine):
    texts = ["The river runs past the mill.", "x", "Please refund me, and have a good day!"]
    for text, score in zip(texts, engine.read(texts), strict=True):
        ids = [engine.coder.tokenizer.eos_token_id, *engine.coder.encode((), text, close=False).ids]
        logs = logs_of(engine._model, ids)
        assert score == pytest.approx(sum(float(logs[at - 1, ids[at]]) for at in range(1, len(ids))), abs=1e-4)


def test_greedy_is_transformers_own_whoever_stands_beside(engine):
    decoding = Decoding(max_new_tokens=10)
    for turns, found in zip(ASKS, engine.generate(ASKS, decoding), strict=True):
        ids = torch.tensor([engine.coder.encode(turns).ids])
        ends = {"eos_token_id": list(engine.coder.stop_ids), "pad_token_id": engine.coder.stop_ids[0]}
        mask = torch.ones_like(ids)
        out = engine._model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False, **ends)
        text = engine.coder.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).removeprefix(" ")
        for stop in engine.coder.stops(turns):
            text = text.partition(stop)[0]
        assert found == [text]
        assert engine.generate([turns], decoding) == [found]


def test_samples_depend_on_their_ask_alone(engine):
    decoding = Decoding(max_new_tokens=6, temperature=1.0, samples=3, seed=5)
    found = engine.generate(ASKS, decoding)
    assert all(len(set(samples)) > 1 for samples in found)
    assert engine.generate(ASKS[1:2], decoding) == found[1:2]


def test_a_state_is_not_shared_and_rows_of_it_do_not_stand_side_by_side(engine):
    engine.score(ASKS, [LABELS] * len(ASKS))
    carried = engine.name in STATES
    assert recurrent.carries(engine._core) == carried
    if carried:
        assert engine._trees is False
        assert engine._holds() == 0
        assert not packs(engine._model, 64, "cpu")
        assert not pack(engine._model)  # and the trial says so too
    if engine.name in ("mixtral", "gpt2", "phi3"):
        assert engine._trees
        assert engine._holds()
    if engine.name in ("gpt2", "phi3"):  # of a mixture a row's last bits follow those beside it, so that it is padded
        assert packs(engine._model, 64, "cpu")


@pytest.mark.parametrize(
    ("name", "targets", "modules", "experts"),
    [
        ("mixtral", "auto", ["k_proj", "o_proj", "q_proj", "v_proj"], ["experts.down_proj", "experts.gate_up_proj"]),
        ("mixtral", "attention", ["k_proj", "o_proj", "q_proj", "v_proj"], []),
        ("mixtral", ("down_proj",), [], ["experts.down_proj"]),
        ("mamba", "auto", ["in_proj", "x_proj"], []),
        ("mamba2", "all", ["in_proj"], []),
        ("gpt2", "auto", ["c_attn", "c_fc", "c_proj"], []),
        ("gpt2", "attention", ["attn.c_proj", "c_attn"], []),
        ("neox", "attention", ["dense", "query_key_value"], []),
        ("phi3", "attention", ["o_proj", "qkv_proj"], []),
        ("phi3", "auto", ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"], []),
    ],
)
def test_targets_are_found_by_looking(name, targets, modules, experts, shaped):
    model = skeleton_of(inspect(str(shaped(name))))
    assert linear_targets(model, targets) == modules
    assert expert_targets(model, targets) == experts


def test_routers_are_no_targets_of_auto(shaped):
    model = skeleton_of(inspect(str(shaped("qwen2_moe"))))
    routers = {name for name in linear_targets(model, "all") if "gate" in name.split("_")[-1]}
    assert routers == {"shared_expert_gate"}
    assert not routers & set(linear_targets(model, "auto"))


@pytest.mark.parametrize(
    ("name", "targets", "said"),
    [
        ("mamba", "attention", "no linear modules for 'attention'"),
        ("mamba", ("dt_proj",), "pass by what is laid beside it"),
        ("mamba2", ("in_proj", "out_proj"), "pass by what is laid beside it"),
        ("mixtral", ("w1",), "no linear module is called 'w1'"),
        ("mixtral", ("gate",), "no linear module is called 'gate'"),
    ],
)
def test_targets_that_match_nothing_are_refused(name, targets, said, shaped):
    with pytest.raises(Refused, match=said) as error:
        memory.lora_parameters(inspect(str(shaped(name))), r=2, targets=targets)
    assert "_proj" in error.value.hint


def test_sizes(shaped):
    mixtral, mamba, mamba2 = (inspect(str(shaped(name))) for name in ("mixtral", "mamba", "mamba2"))
    assert mixtral.parameters - mixtral.active == mixtral.layers * 2 * 3 * 32 * 48  # two of four experts rest
    assert mamba.active == mamba.parameters
    assert (mamba.settings["state"], mamba.settings["inner"], mamba.layers, mamba.width) == (8, 64, 2, 32)
    assert (mamba2.settings["chunk"], mamba2.settings["scanners"]) == (16, 4)
    assert "heads" not in mamba.settings
    # a state does not grow
    assert memory.kv_cache(mamba, rows=2, length=10) == memory.kv_cache(mamba, rows=2, length=1000) == 2 * 2 * 64 * (8 + 4) * 4
    assert memory.expert_copies(mixtral, targets="auto", dtype="float32") == mixtral.layers * 4 * 3 * 32 * 48 * 4
    assert memory.expert_copies(mixtral, targets="attention", dtype="float32") == 0
    for base in (mixtral, mamba, mamba2):
        cells = bill(base).cells
        hold, lora, full = (cells[way]["fp32"].need for way in ("hold", "lora", "full"))
        assert hold.total < lora.total < full.total


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("full", [True, False])
def test_what_a_scan_keeps_is_reckoned(name, full, shaped):
    """Counted tensor by tensor, the layers' own share."""
    base = inspect(str(shaped(name)))
    model = AutoModelForCausalLM.from_pretrained(shaped(name)).train().requires_grad_(full)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    rows = torch.randn(2, 64, base.width, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = model.base_model(inputs_embeds=rows, use_cache=False).last_hidden_state
    counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del hidden
    assert 4 * 2 * base.layers * recurrent.scanned(base.settings, 64, learning=full) == pytest.approx(counted, rel=0.25)


def test_a_state_that_only_its_own_code_knows_cannot_write(tiny_folder):
    from transformers import RwkvConfig, RwkvForCausalLM

    model = RwkvForCausalLM(RwkvConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2, context_length=64)).eval()
    engine = LocalEngine(model, Coder(AutoTokenizer.from_pretrained(tiny_folder), 64), name="rwkv")
    with pytest.raises(BadInput, match="makes no cache to write with"):
        engine.generate(ASKS[:1], Decoding(max_new_tokens=2))
