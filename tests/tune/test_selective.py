"""Selective tuning: what learns and what does not, and that what is computed once is what would have been computed each time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.inspect import inspect
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
    monkeypatch.setattr(supervised, "watched", lambda *_, **__: pytest.fail("asked again"))
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
