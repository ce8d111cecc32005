"""Mixtures of experts: the loss that makes routers even is transformers' own, and what experts were sent is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from tuneladder.ladder.tree import root_of
from tuneladder.model import routing
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import pad
from tuneladder.train.losses import next_token, next_token_evenly
from tuneladder.tune.full import Full
from tuneladder.types import Split

ROWS = [Encoded(ids, [place >= 3 for place in range(len(ids))], 0) for ids in ([5, 9, 7, 11, 30, 12], [8, 6, 40, 41])]


@pytest.fixture
def asking(shaped, tmp_path):
    """A mixture whose config asks for even routers, and much."""
    model = AutoModelForCausalLM.from_pretrained(shaped("mixtral"))
    model.config.output_router_logits, model.config.router_aux_loss_coef = True, 0.5
    return model


def test_the_loss_is_transformers_own_and_padding_is_no_part_of_it(asking):
    micro, (whole, short) = pad(ROWS), ROWS
    length = micro.ids.shape[1]
    labels = torch.full_like(micro.ids, -100)
    labels[0, 3 : len(whole.ids)] = torch.tensor(whole.ids[3:])
    labels[1, 3 : len(short.ids)] = torch.tensor(short.ids[3:])
    mask = torch.arange(length) < torch.tensor([[len(whole.ids)], [len(short.ids)]])
    asking.router_aux_loss_coef = 0.5
    theirs = asking.train()(input_ids=micro.ids, attention_mask=mask.long(), labels=labels).loss
    ours = next_token_evenly(asking, micro, even=0.5, picks=2) / micro.learned
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    asking.eval()
    evenly, plainly = next_token_evenly(asking, micro, even=0.5, picks=2), next_token(asking, micro)
    assert evenly.item() == pytest.approx(plainly.item(), rel=1e-6)


def test_full_tuning_evens_the_routers_where_the_config_asks_for_it(shaped, asking, tiny_task, tmp_path, lend):
    few = replace(tiny_task, examples=Split(tiny_task.examples.train[:10], tiny_task.examples.dev[:5], ()))
    asking.config.router_aux_loss_coef = 20.0
    folder = tmp_path / "asking"
    asking.save_pretrained(folder)
    for path in shaped("mixtral").glob("tokenizer*"):
        (folder / path.name).write_bytes(path.read_bytes())
    step, shelf = Full(epochs=6, learning_rate=5e-3, batch_size=5), Shelf("cpu", dtype=torch.float32)
    variation = {}
    for name, place in (("plain", shaped("mixtral")), ("asking", folder)):
        kit = lend(name, shelf=shelf)
        step.apply(root_of(inspect(str(place)), few), few, kit)
        found = routing.read_shares(kit.folder)
        assert (len(found), len(found[0])) == (2, 4)
        assert all(sum(layer) == pytest.approx(1, abs=1e-5) for layer in found)
        variation[name] = sum(routing.variations(found))
    assert variation["asking"] < variation["plain"]


def test_shares_are_counted_token_by_token(shaped):
    model = AutoModelForCausalLM.from_pretrained(shaped("mixtral")).eval()
    found = routing.shares(model, model, [row.ids for row in ROWS])
    seen: list[torch.Tensor] = []
    hooks = [layer.mlp.gate.register_forward_hook(lambda own, given, made: seen.append(made[2])) for layer in model.model.layers]
    for row in ROWS:
        model(input_ids=torch.tensor([row.ids]))
    for hook in hooks:
        hook.remove()
    for layer, own in enumerate(found):
        picks = torch.cat(seen[layer::2]).flatten()
        assert own == pytest.approx([float((picks == expert).float().mean()) for expert in range(4)], abs=1e-6)


def test_variation():
    assert routing.variations(((0.25, 0.25, 0.25, 0.25), (1.0, 0.0, 0.0, 0.0))) == (0.0, pytest.approx(3**0.5, abs=1e-4))


def test_what_is_no_mixture_has_no_routers(shaped):
    for name in ("gpt2", "mamba"):
        assert not routing.mixes(AutoModelForCausalLM.from_pretrained(shaped(name)))
