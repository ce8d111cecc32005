"""Rewards: their losses against the formulas and TRL's own, what plain transformers makes of what is saved, and each setting."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.preference import judged, weigh_pairs
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.model.ask import turns_of_all
from tuneladder.model.inspect import inspect
from tuneladder.model.rewarding import encode_answers
from tuneladder.model.shelf import Shelf
from tuneladder.store import digest
from tuneladder.task.comparing import asked, halved, one_by_one, unit_of
from tuneladder.task.encode import Encoded
from tuneladder.train.reward import by_pairs, pairwise, regression
from tuneladder.train.reward_model import read_learned
from tuneladder.tune.lora import Lora
from tuneladder.tune.reward import Reward
from tuneladder.types import Cost, Pace, Rung, Split

PACE = Pace(1e9)
REWARD = Reward(epochs=1, batch_size=5, learning_rate=1e-2, r=2)


@pytest.fixture
def few(tiny_task):
    pairs = tiny_task.comparisons
    scored = tuple(replace(own, scores=(1.0, float(at % 3 - 2)), margin=0.5 * (at % 2)) for at, own in enumerate(pairs.train[:10]))
    return replace(tiny_task, comparisons=Split(scored, pairs.dev[:3], pairs.test[:6]))


@pytest.fixture(params=["decoder", "encoder"])
def base(request, tiny_folder, tiny_encoder):
    return tiny_encoder if request.param == "encoder" else inspect(str(tiny_folder))


def drawn():
    torch.manual_seed(0)
    return 3 * torch.randn(6, 2), SimpleNamespace(margins=torch.rand(6), scores=torch.randn(12))


def test_losses_are_the_papers():
    rewards, micro = drawn()
    for at, (chosen, rejected) in enumerate(rewards.tolist()):
        plain = -math.log(1 / (1 + math.exp(-(chosen - rejected - float(micro.margins[at])))))
        assert float(pairwise(rewards.flatten(), micro)[at]) == pytest.approx(plain, rel=1e-5)
        both = [(own - said) ** 2 for own, said in zip((chosen, rejected), micro.scores[2 * at : 2 * at + 2].tolist(), strict=True)]
        assert regression(rewards.flatten(), micro)[2 * at : 2 * at + 2].tolist() == pytest.approx(both, rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_the_pairwise_loss_is_trls():
    from trl import RewardTrainer

    rewards, micro = drawn()
    logits = torch.cat([rewards[:, 0], rewards[:, 1]])[:, None]
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(center_rewards_coefficient=None),
        state=SimpleNamespace(num_input_tokens_seen=0),
    )
    inputs = {"input_ids": torch.zeros(12, 1), "attention_mask": torch.ones(12, 1), "margin": micro.margins}
    with pytest.raises(AttributeError) as logging:
        RewardTrainer.compute_loss(trainer, lambda **given: SimpleNamespace(logits=logits), inputs)
    theirs = logging.traceback[-1].frame.f_locals["loss"]
    assert float(pairwise(rewards.flatten(), micro).mean()) == pytest.approx(float(theirs), abs=1e-6)


def test_plain_transformers_opens_it_and_gives_the_same_rewards(base, few, lend):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    root, kit = root_of(base, few), lend()
    made = REWARD.apply(root, few, kit)
    pairs = few.comparisons.dev
    asks, answers = turns_of_all(root.prompt, [asked(own) for own in pairs]), [(own.chosen, own.rejected) for own in pairs]
    with kit.shelf.engine(made) as engine:
        ours = engine.weigh(asks, answers)
        rows = encode_answers(engine.coder, list(zip(asks, answers, strict=True)))
        assert engine.score(asks, answers) == ours  # to rank is to reward
        with pytest.raises(Refused, match="writes none"):
            engine.generate(asks, root.prompt.decoding)
    model = AutoModelForSequenceClassification.from_pretrained(base.location, num_labels=1, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, made.adapter).eval()
    with torch.no_grad():
        theirs = [[float(model(torch.tensor([row.ids])).logits[0, 0]) for row in group] for group in rows]
    assert ours == [pytest.approx(own, abs=1e-4) for own in theirs]


def test_rewards_of_a_base_in_bf16_are_told_apart(tiny_base, few, lend):
    """The head is in float32: in sixteen bits every other answer earned as much as another."""
    kit = lend(shelf=Shelf("cpu", dtype=torch.bfloat16))
    made = REWARD.apply(root_of(tiny_base, few), few, kit)
    asks = turns_of_all(made.prompt, [asked(own) for own in few.comparisons.dev[:1]])
    with kit.shelf.engine(made) as engine:
        (found,) = engine.weigh(asks, [[f"{first}{second}" for first in "abcdefgh" for second in "abcdefgh"]])
    values = torch.tensor(found)
    assert len(set(found)) >= 60
    assert not values.bfloat16().float().equal(values)


def test_it_learns_which_was_preferred(base, few, lend):
    """The desk that is right for a text is always above a wrong one, in rows that it learned from."""
    root, kit = root_of(base, few), lend()
    train = replace(few, comparisons=Split(tuple(replace(own, margin=0.0) for own in few.comparisons.train), (), ()))
    made = replace(REWARD, epochs=8).apply(root, train, kit)
    assert read_learned(kit.folder) == {digest(own.turns) for own in train.comparisons.train}
    with kit.shelf.engine(made) as engine:
        found = judged(train.comparisons.train, weigh_pairs(engine, root.prompt, train.comparisons.train), None, seed=0)
    assert found.quality["preference"].value >= 0.9
    scored = {"score_correlation", "score_error", "score_slope"}  # these pairs have scores too
    assert set(found.quality) == {"preference", "margin", "length_bias"} | scored
    assert all(row.answer.confidence is not None for row in found.answers)


def test_it_learns_scores_of_answers_one_by_one(tiny_base, few, lend):
    """As people gave them: from 2 to 8, learned and measured in standard deviations from their mean."""
    pairs = tuple(replace(own, scores=(8.0, 2.0)) for own in few.comparisons.train)
    alone = tuple(replace(own, source=own.turns[0].text) for own in one_by_one(pairs) if own.chosen or own.scores == (2.0, 0.0))
    alone = tuple(replace(own, chosen=own.chosen or own.rejected, rejected="", id=str(at)) for at, own in enumerate(alone))
    root, kit = root_of(tiny_base, few), lend()
    task = replace(few, comparisons=Split(alone, (), ()))
    made = replace(REWARD, loss="scores", epochs=10).apply(root, task, kit)
    with kit.shelf.engine(made) as engine:
        unit = unit_of(alone)
        found = judged(alone, weigh_pairs(engine, root.prompt, alone), None, seed=0, unit=unit)
    assert (unit.mean, unit.deviation) == (pytest.approx(5.0), pytest.approx(3.0))
    assert found.quality["score_error"].value < 0.5  # the mean would have 1
    assert found.quality["score_error"].count == len(alone)
    assert found.quality["score_correlation"].value > 0.7
    assert 0.5 < found.quality["score_slope"].value < 2
    assert found.quality["preference"].value > 0.9


@pytest.fixture
def plain(tiny_base, few, lend):
    kit = lend("plain")
    REWARD.apply(root_of(tiny_base, few), few, kit)
    return (kit.folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("field", ["margin", "weight"])
def test_margins_and_weights_count(field, plain, tiny_base, few, lend):
    pairs = tuple(replace(own, **{field: 2.0 + at % 2}) for at, own in enumerate(few.comparisons.train))
    kit = lend(field)
    REWARD.apply(root_of(tiny_base, few), replace(few, comparisons=replace(few.comparisons, train=pairs)), kit)
    assert (kit.folder / "adapter_model.safetensors").read_bytes() != plain


def test_no_scale_of_margins_asks_for_more_than_another(tiny_base, few, lend):
    """Gaps of a scale from 0 to 64 teach as those from 0 to 1 do, and none of them is more than a nat."""
    made = []
    for name, most in (("small", 1.0), ("large", 64.0)):
        gaps = tuple(replace(own, margin=most * (at % 5) / 4) for at, own in enumerate(few.comparisons.train))
        kit = lend(name)
        REWARD.apply(root_of(tiny_base, few), replace(few, comparisons=replace(few.comparisons, train=gaps)), kit)
        made.append((kit.folder / "adapter_model.safetensors").read_bytes())
        rows = by_pairs(
            lambda groups: [[Encoded([1], [False], 0, 1.0)] * 2 for _ in groups], root_of(tiny_base, few), gaps, widest=most
        )[0]
        assert [row.margin for row in rows] == [at % 5 / 4 for at in range(10)]
    assert made[0] == made[1]


def test_two_halves_share_no_prompt(few):
    for part in ("train", "dev"):
        halves = [getattr(halved(few, half).comparisons, part) for half in "ab"]
        assert sorted(own.id for half in halves for own in half) == sorted(own.id for own in getattr(few.comparisons, part))
    assert all(halved(few, half).comparisons.train for half in "ab")


def test_what_is_refused_before_any_work(tiny_base, tiny_encoder, few):
    def refusal(*steps, task=few, base=tiny_base):
        return foretell(Rung("r", base.name, steps), base, task, PACE, Cost(), splits_digest(task), 0).refused

    assert "learns from comparisons, and this task has none" in refusal(REWARD, task=replace(few, comparisons=Split()))
    alike = Split(tuple(replace(own, scores=(2.0, 2.0)) for own in few.comparisons.train), (), ())
    assert "every answer has the same score" in refusal(replace(REWARD, loss="scores"), task=replace(few, comparisons=alike))
    bare = replace(few, comparisons=Split(tuple(replace(own, scores=None) for own in few.comparisons.train), (), ()))
    assert "is to learn scores, and the answer of row" in refusal(replace(REWARD, loss="scores"), task=bare)
    assert refusal(REWARD, task=bare) == ""
    assert "cannot lie over another adapter" in refusal(Lora(), REWARD)
    assert "nothing goes on from a reward model" in refusal(REWARD, Lora())
    judge = replace(tiny_encoder, settings={**tiny_encoder.settings, "classes": 3})
    assert "has one already" in refusal(REWARD, base=judge)
    for settings, says in (({"r": 0}, "r 0"), ({"epochs": 0}, "epochs 0"), ({"learning_rate": -1.0}, "learning_rate -1.0")):
        with pytest.raises(BadInput, match=says):
            Reward(**settings)
