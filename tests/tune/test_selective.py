"""Selective tuning: what learns and what does not, and that what is computed once is what would have been computed each time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.shapes import BART
from transformers import (
    AlbertConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BertConfig,
    BloomConfig,
    GPT2Config,
    OPTConfig,
)

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.inspect import inspect, skeleton
from tuneladder.model.memory import skeleton_of
from tuneladder.train import supervised
from tuneladder.train.loop import read_log
from tuneladder.tune.selective import Selective
from tuneladder.types import Pace

PACE = Pace(1e9)
TOP = Selective(top=1, epochs=3, learning_rate=2e-3, batch_size=8)
FAMILIES = ("decoder", "encoder", "seq2seq")


@pytest.fixture(scope="module")
def bases(tiny_folder, tiny_encoder, tiny_seq2seq):
    return {"decoder": inspect(str(tiny_folder)), "encoder": tiny_encoder, "seq2seq": tiny_seq2seq}


def changed(variant):
    """Names of the base's weights that are others now."""
    before, after = (load_file(f"{place}/model.safetensors") for place in (variant.base.location, variant.weights))
    return {name for name in before if name in after and not torch.equal(before[name].float(), after[name].float())}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_was_chosen_learns(family, bases, tiny_task, lend):
    root = root_of(bases[family], tiny_task)
    heads = ("head.", "classifier.")  # what stands on an encoder learns too
    own = {name for name in changed(TOP.apply(root, tiny_task, lend("top"))) if not name.startswith(heads)}
    last = {"decoder": "layers.1.", "encoder": "layers.1.", "seq2seq": "decoder.block.1."}[family]
    assert own
    assert all(last in name or "norm" in name for name in own), own
    assert not any("layers.0" in name or "block.0" in name for name in own)
    kinds = {"norms": "norm", "embeddings": "emb"} | ({"embeddings": "shared"} if family == "seq2seq" else {})
    for part, word in kinds.items():
        step = Selective(train=part, epochs=1, learning_rate=1e-2, batch_size=8)
        own = {name for name in changed(step.apply(root, tiny_task, lend(part))) if not name.startswith(heads)}
        assert own
        assert all(word in name for name in own), own


@pytest.mark.parametrize("family", FAMILIES)
def test_the_frozen_part_is_asked_once_and_nothing_else_changes(family, bases, tiny_task, lend, monkeypatch):
    root = root_of(bases[family], tiny_task)
    kit = lend("kept")
    made = TOP.apply(root, tiny_task, kit)
    with monkeypatch.context() as patch:
        patch.setattr(
            supervised, "_from_states", lambda core, variant, kit, rows, pad, lay, loss, **_: _as_ever(pad, lambda own: own)
        )
        plain_kit = lend("plain")
        plain = TOP.apply(root, tiny_task, plain_kit)
    losses, others = ([tick.loss for tick in read_log(own.folder)] for own in (kit, plain_kit))
    assert losses == pytest.approx(others, rel=1e-4)
    weights, others = (load_file(f"{own.weights}/model.safetensors") for own in (made, plain))
    for name, weight in weights.items():
        assert torch.allclose(weight.float(), others[name].float(), atol=2e-3), name
    # another rung that asks the same is told at once
    monkeypatch.setattr(supervised, "reached", lambda *_, **__: pytest.fail("asked again"))
    replace(TOP, learning_rate=1e-3).apply(root, tiny_task, replace(lend("again"), store=kit.store))


class _as_ever:
    def __init__(self, *given):
        self.given = given

    def __enter__(self):
        return self.given

    def __exit__(self, *_):
        return None


def test_what_makes_no_sense_is_refused(bases, tiny_task):
    root = root_of(bases["decoder"], tiny_task)
    assert Selective()._chosen(skeleton_of(bases["decoder"]), "decoder") == TOP._chosen(skeleton_of(bases["decoder"]), "decoder")
    with pytest.raises(BadInput, match="biasses"):
        Selective(train="biasses")
    with pytest.raises(Refused, match="more than the 2 layers"):
        Selective(top=3).plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="has no biases"):
        Selective(train="biases").plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="ModernBertModel has no biases"):  # its head has, which learns anyway
        Selective(train="biases").plan(root_of(bases["encoder"], tiny_task), tiny_task, PACE)


def learns(config, family, **settings):
    return {name for name, _ in Selective(**settings)._chosen(skeleton(config, family), family)}


BERT = BertConfig(
    architectures=["BertForMaskedLM"],
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
)


def test_biases_and_norms_are_those_of_the_body():
    biases, norms = (learns(BERT, "encoder", train=part) for part in ("biases", "norms"))
    assert all(name.startswith("bert.") for name in biases | norms)
    assert {name for name in biases if "LayerNorm" not in name} > {"bert.encoder.layer.0.attention.self.query.bias"}
    assert norms > {f"bert.embeddings.LayerNorm.{one}" for one in ("weight", "bias")}
    assert all("LayerNorm" in name for name in norms)


@pytest.mark.parametrize(
    ("config", "family", "behind"),
    [
        (GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4), "decoder", "transformer.ln_f"),
        (
            OPTConfig(
                vocab_size=50, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48
            ),
            "decoder",
            "model.decoder.final_layer_norm",
        ),
        (BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=4), "decoder", "transformer.ln_f"),
        (BERT, "encoder", ""),
        (BART, "seq2seq", ""),
    ],
    ids=lambda own: getattr(own, "model_type", None),
)
def test_the_norm_behind_the_last_layer_learns_with_it(config, family, behind):
    """And not that of the embeddings, nor a head's."""
    apart = {name for name in learns(config, family, top=1) if not any(part.isdigit() for part in name.split("."))}
    assert apart == ({f"{behind}.weight", f"{behind}.bias"} if behind else set())


def test_a_bart_learns_in_its_decoder(tiny_seq2seq, tiny_task, lend, tmp_path):
    folder = tmp_path / "bart"
    tokenizer = AutoTokenizer.from_pretrained(tiny_seq2seq.location)
    tokenizer.save_pretrained(folder)
    own = {"bos_token_id": None, "decoder_start_token_id": tokenizer.pad_token_id, "forced_eos_token_id": None}
    config = BartConfig(**{**BART.to_dict(), **own, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id})
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    root = root_of(inspect(str(folder)), tiny_task)
    with pytest.raises(Refused, match="more than the 3 layers"):
        Selective(top=4).plan(root, tiny_task, PACE)
    TOP.plan(root, tiny_task, PACE)
    learned = changed(TOP.apply(root, tiny_task, lend()))
    assert learned
    assert all(name.startswith("model.decoder.layers.2.") for name in learned), learned


def test_layers_that_are_one_are_no_stack():
    config = AlbertConfig(
        vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48
    )
    with pytest.raises(Refused, match="selective finds no last layers: AlbertModel has 0 stacks of 3 layers"):
        learns(config, "encoder", top=1)
    assert learns(config, "encoder", train="norms")
