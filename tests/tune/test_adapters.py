"""The steps that lay something over a frozen base: that others open what PEFT has a form for and answer the same, that a base is
itself at the start, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import turns_of
from tuneladder.model.attach import head_modules, mlp_ends
from tuneladder.model.bottleneck import attach_bottlenecks, places
from tuneladder.model.inspect import inspect
from tuneladder.model.memory import skeleton_of
from tuneladder.model.shelf import Shelf
from tuneladder.model.soft import attach_prefix, attach_prompt
from tuneladder.store import Store
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.full import Full
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.pretrain import Pretrain
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.types import Head, Kit, Pace

PACE = Pace(1e9)
STEPS = {
    "adapter": Adapter(r=4, epochs=2, learning_rate=1e-2, batch_size=8),
    "ia3": Ia3(epochs=2, learning_rate=5e-2, batch_size=8),
    "prefix_tuning": PrefixTuning(tokens=4, epochs=2, learning_rate=1e-1, batch_size=8),
    "prompt_tuning": PromptTuning(tokens=4, epochs=2, learning_rate=1e-1, batch_size=8),
    "dora": Lora(dora=True, epochs=2, learning_rate=1e-2, batch_size=8),
    "rslora": Lora(rslora=True, epochs=2, learning_rate=1e-2, batch_size=8),
}


@pytest.fixture(scope="module")
def bases(tiny_folder, tiny_encoder, tiny_seq2seq):
    return {"decoder": inspect(str(tiny_folder)), "encoder": tiny_encoder, "seq2seq": tiny_seq2seq}


@pytest.fixture(scope="module")
def made(bases, tiny_task, tmp_path_factory):
    """Each step on each family, made once."""
    shelf, found = Shelf("cpu", dtype=torch.float32), {}

    def of(name, family):
        if (name, family) not in found:
            kit = Kit(tmp_path_factory.mktemp(name), Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, shelf)
            found[name, family] = STEPS[name].apply(root_of(bases[family], tiny_task), tiny_task, kit)
        return found[name, family]

    return of


def scores(variant, task):
    with Shelf("cpu", dtype=torch.float32).engine(variant) as engine:
        return engine.score([turns_of(variant.prompt, row) for row in task.examples.dev[:5]], [task.labels] * 5)


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning", "ia3", "dora", "rslora"])
def test_peft_opens_a_decoders_adapter_and_answers_the_same(name, made, tiny_task):
    variant = made(name, "decoder")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(variant.base.location), variant.adapter).eval()
    ours = scores(variant, tiny_task)
    with Shelf("cpu", dtype=torch.float32).live(variant) as live:
        coder = replace(live, soft=()).coder
    for row, own in zip(tiny_task.examples.dev[:5], ours, strict=True):
        for label, score in zip(tiny_task.labels, own, strict=True):
            encoded = coder.encode(turns_of(variant.prompt, row), label, close=False)
            ids = torch.tensor([encoded.ids])
            with torch.no_grad():
                logs = torch.log_softmax(plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0], -1)
            logs = logs[-len(encoded.ids) :]
            theirs = sum(float(logs[at - 1, ids[0, at]]) for at, learn in enumerate(encoded.learn) if learn)
            assert score == pytest.approx(theirs, abs=2e-4)


@pytest.mark.parametrize("name", ["prompt_tuning", "ia3", "dora"])
def test_peft_opens_an_encoders_adapter_and_answers_the_same(name, made, tiny_task):
    variant = made(name, "encoder")
    labels = {"id2label": dict(enumerate(tiny_task.labels)), "label2id": {own: at for at, own in enumerate(tiny_task.labels)}}
    base = AutoModelForSequenceClassification.from_pretrained(variant.base.location, **labels)
    plain, tokenizer = PeftModel.from_pretrained(base, variant.adapter).eval(), AutoTokenizer.from_pretrained(variant.base.location)
    for row, own in zip(tiny_task.examples.dev[:5], scores(variant, tiny_task), strict=True):
        with torch.no_grad():
            logits = plain(**tokenizer(row.turns[-1].text, return_tensors="pt")).logits[0]
        assert own == pytest.approx(torch.log_softmax(logits, -1).tolist(), abs=2e-4)


@pytest.mark.parametrize("name", ["prompt_tuning", "ia3", "dora"])
def test_peft_opens_a_seq2seqs_adapter_and_answers_the_same(name, made, tiny_task):
    variant = made(name, "seq2seq")
    plain = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(variant.base.location), variant.adapter).eval()
    with Shelf("cpu", dtype=torch.float32).live(variant) as live:
        coder = replace(live, soft=()).pairs
    for row, own in zip(tiny_task.examples.dev[:5], scores(variant, tiny_task), strict=True):
        asked = turns_of(variant.prompt, row)
        for label, score in zip(tiny_task.labels, own, strict=True):
            ids = torch.tensor([coder.sources([asked])[0][0]])
            target = [*coder.opening, *coder.targets([label], close=False)[0]]
            answers = torch.tensor([[coder.start, *target[:-1]]])
            with torch.no_grad():
                said = plain(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=answers).logits[0]
            logs = torch.log_softmax(said, -1)
            theirs = sum(float(logs[at, token]) for at, token in enumerate(target) if at >= len(coder.opening))
            assert score == pytest.approx(theirs, abs=2e-4)


@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_is_saved_is_what_was_trained(name, family, made, tiny_task):
    """A fresh shelf reads the adapter from disk and answers as a second one does, and otherwise than the base."""
    variant = made(name, family)
    first, again = scores(variant, tiny_task), scores(variant, tiny_task)
    bare = replace(variant, adapter=None)
    assert first == again
    if family != "encoder":  # whose bare base has no head yet
        assert first != scores(bare, tiny_task)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
def test_bottlenecks_start_as_the_base_and_stand_where_they_should(placement, family, bases, tiny_task):
    root = root_of(bases[family], tiny_task)
    with Shelf("cpu", dtype=torch.float32).live(root) as live:
        ids = torch.arange(5, 17)[None]
        inputs = {"input_ids": ids} | ({"decoder_input_ids": ids.flip(1)} if family == "seq2seq" else {})
        with torch.no_grad():
            before = live.model(**inputs)[0]
            attached = attach_bottlenecks(live.model, r=4, placement=placement, seed=0)
            after = attached.model(**inputs)[0]
        learned = [name for name, weight in attached.model.named_parameters() if weight.requires_grad]
    assert torch.equal(before, after)
    found = len(places(skeleton_of(bases[family]), placement))
    assert len(learned) == 4 * found
    mlps = root.base.layers * (2 if family == "seq2seq" else 1)
    attentions = root.base.layers * (3 if family == "seq2seq" else 1)
    assert found == mlps + (attentions if placement == "houlsby" else 0)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("electra", {"embedding_size": 16}),
        ("albert", {"embedding_size": 16, "num_hidden_groups": 2}),
        ("opt", {"word_embed_proj_dim": 16, "ffn_dim": 64}),
    ],
)
def test_what_widens_narrow_embeddings_is_no_mlp(kind, settings):
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 64}
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, **settings))
    names = [name for name, _ in mlp_ends(model)]
    assert len(names) == 2
    assert all(name.rpartition(".")[2] in ("dense", "ffn_output", "fc2") for name in names)


@pytest.mark.parametrize("way", ["prompt", "prefix"])
@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
def test_soft_tokens_start_as_the_tokens_that_they_were_made_of(way, family, bases, tiny_task):
    """A prompt of the first tokens of a text says at first what they say, and so does a prefix where they see nothing behind
    them."""
    if way == "prefix" and family != "decoder":
        pytest.skip("the tokens of a text that is read both ways are not the same without what follows")
    head = Head("classes", tiny_task.labels) if family == "encoder" else None
    root, ahead = replace(root_of(bases[family], tiny_task), head=head), [7, 9, 11, 8]
    with Shelf("cpu", dtype=torch.float32).live(root) as live, torch.no_grad():
        ids = torch.tensor([[5, 12, 14, 6, 30]])
        other = {"decoder_input_ids": ids.flip(1)} if family == "seq2seq" else {}
        before = live.model(input_ids=torch.cat([torch.tensor([ahead]), ids], 1), **other)[0]
        outside = head_modules(live.model, live.fresh) if head else ()
        made = attach_prompt(live.model, ahead, seed=0, head=outside) if way == "prompt" else attach_prefix(live.model, ahead)
        after = made.model(input_ids=torch.cat([torch.tensor([list(made.soft)]), ids], 1), **other)[0]
    assert torch.allclose(before[:, -5:], after[:, -5:], atol=1e-5)


def test_what_cannot_be_merged_is_refused(made, bases, tiny_task, lend):
    for name in ("prompt_tuning", "prefix_tuning", "adapter"):
        for step in (Full(), Pretrain(tokens=100)):
            with pytest.raises(Refused, match=f"{name} cannot be merged"):
                step.plan(made(name, "decoder"), tiny_task, PACE)
    Full().plan(made("ia3", "decoder"), tiny_task, PACE)
    for step in STEPS.values():
        with pytest.raises(Refused, match="another adapter"):
            step.plan(made("ia3", "decoder"), tiny_task, PACE)


def test_settings_that_make_no_sense_are_refused(bases, tiny_task):
    root = root_of(bases["decoder"], tiny_task)
    with pytest.raises(Refused, match=f"leaves too little of {root.base.context}"):
        PromptTuning(tokens=root.base.context // 2 + 1).plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="rank 500 is above the width"):
        Lora(r=500).plan(root, tiny_task, PACE)
    for kind in (Adapter, Ia3, PrefixTuning, PromptTuning):
        with pytest.raises(BadInput, match="cannot use epochs"):
            kind(epochs=-1)


def test_an_adapter_of_another_base_is_told_apart(made, bases, tiny_task, tmp_path):
    variant = made("adapter", "decoder")
    with (
        pytest.raises(BadInput, match="which this base has not"),
        Shelf("cpu").live(replace(root_of(bases["seq2seq"], tiny_task), adapter=variant.adapter)),
    ):
        pass
    with pytest.raises(BadInput, match="holds no adapter"), Shelf("cpu").live(replace(variant, adapter=str(tmp_path))):
        pass


def test_alpha_is_the_same_at_all_ranks(monkeypatch):
    found = []
    monkeypatch.setattr("tuneladder.tune.lora.learn_low_rank", lambda *_, alpha, **__: found.append(alpha))
    for step in (Lora(), Lora(r=64), Lora(r=2), Lora(alpha=3.0)):
        step.apply(None, None, None)
    assert found == [16.0, 16.0, 16.0, 3.0]


def test_alpha_of_rslora_is_the_same_at_rank_eight(made):
    config = json.loads((Path(made("rslora", "decoder").adapter) / "adapter_config.json").read_text())
    assert config["use_rslora"]
    assert config["lora_alpha"] / 8**0.5 == pytest.approx(2)
    weights = load_file(f"{made('dora', 'decoder').adapter}/adapter_model.safetensors")
    assert any("magnitude" in name for name in weights)
