"""KTO: its loss against the formula and TRL's own, what is measured against what, and what each setting does."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.model.ask import turns_of_all
from tuneladder.task.comparing import asked, one_by_one
from tuneladder.train import loop
from tuneladder.train.loop import read_log
from tuneladder.train.unpaired import strangers
from tuneladder.tune.dpo import Dpo
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.kto import Kto, prospect
from tuneladder.tune.lora import Lora
from tuneladder.types import Comparison, Cost, Pace, Rung, Split, Turn

PACE = Pace(1e9)
KTO = Kto(epochs=1, batch_size=8, learning_rate=1e-2, r=2)
WANTED = (True, False, False, True, True, False)


@pytest.fixture
def few(tiny_task):
    """Answers one by one: wanted ones to some prompts, unwanted ones to others."""
    rows = one_by_one(tiny_task.comparisons.train[:20])
    alone = tuple(row for at, row in enumerate(rows) if at % 4 in (0, 3))
    return replace(tiny_task, comparisons=Split(alone[:16], alone[16:], ()))


def drawn():
    torch.manual_seed(0)
    policy, reference = -20 * torch.rand(6), -20 * torch.rand(6)
    return policy, reference, SimpleNamespace(wanted=torch.tensor(WANTED), baseline=torch.tensor([1.25]))


def test_the_loss_is_the_papers():
    policy, reference, judged = drawn()
    found = prospect(policy, reference, judged, beta=0.3, desirable=1.5, undesirable=0.5)
    for at, (own, before) in enumerate(zip(policy.tolist(), reference.tolist(), strict=True)):
        gain = 0.3 * (own - before - 1.25)
        worth = 1.5 / (1 + math.exp(-gain)) if WANTED[at] else 0.5 / (1 + math.exp(gain))
        assert float(found[at]) == pytest.approx((1.5 if WANTED[at] else 0.5) - worth, rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
@pytest.mark.parametrize("shift", [-3.0, 2.0])
def test_the_loss_is_trls(shift):
    """Its trainer's own, up to where it begins to log; the mean by which the policy has gone is never below 0."""
    from trl import KTOTrainer

    policy, reference, judged = drawn()
    strange = -20 * torch.rand(6)
    settings = {"loss_type": "kto", "beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda own: own),
        calculate_KL=True,
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        _compute_kl_logps=lambda model, batch: strange + shift,
        _metrics={"train": {"kl": []}},
        **settings,
    )
    inputs = {
        "label": judged.wanted,
        "input_ids": torch.zeros(6, 2, dtype=torch.long),
        "completion_mask": torch.ones(6, 2, dtype=torch.long),
        "ref_logps": reference,
        "ref_KL_logps": strange,
    }
    with pytest.raises(AttributeError) as logging:
        KTOTrainer._compute_loss(trainer, lambda **given: SimpleNamespace(log_probs=policy[:, None]), inputs, False)
    theirs = logging.traceback[-1].frame.f_locals["losses"]
    judged.baseline = torch.tensor([max(0.0, shift)])
    ours = prospect(policy, reference, judged, beta=0.3, desirable=1.5, undesirable=0.5)
    order = [at for good in (True, False) for at, own in enumerate(WANTED) if own == good]  # all wanted ones first
    assert ours[order].tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_the_first_loss_is_that_of_no_preference(tiny_base, few, lend):
    root, kit = root_of(tiny_base, few), lend("kto")
    KTO.apply(root, few, kit)
    assert read_log(kit.folder)[0].loss == pytest.approx(0.5, abs=1e-6)
    lora = Lora(r=2, epochs=2, batch_size=5, learning_rate=1e-2).apply(root, few, lend("lora"))
    onward = lend("onward")
    made = replace(KTO, r=0).apply(lora, few, onward)
    assert made.steps == ("lora", "kto")
    assert read_log(onward.folder)[0].loss == pytest.approx(0.5, abs=1e-6)


def test_the_baseline_is_the_whole_batchs_and_asked_anew_in_every_step(tiny_base, few, lend, monkeypatch):
    """However the batch is cut into passes, each is told the same; and it is what the policy says of the strangers."""
    seen = []
    gradients = loop.Passes.gradients

    def noting(self, micros, *given):
        seen.append([float(micro.baseline) for micro in micros])
        return gradients(self, micros, *given)

    monkeypatch.setattr(loop.Passes, "gradients", noting)
    wide, kit = replace(KTO, epochs=3, learning_rate=5e-2), lend("wide")
    wide.apply(root_of(tiny_base, few), few, kit)
    assert len(seen) == 6
    assert all(len(set(step)) == 1 for step in seen)
    assert seen[0] == [0.0] * len(seen[0])
    assert max(step[0] for step in seen) > 0
    before, losses = [step[0] for step in seen], [tick.loss for tick in read_log(kit.folder)]
    seen.clear()
    monkeypatch.setattr("tuneladder.train.preference.room_for", lambda *_, **__: (1, 1))  # a row to a pass
    wide.apply(root_of(tiny_base, few), few, lend("narrow"))
    assert all(len(step) == 8 for step in seen)
    assert [step[0] for step in seen] == pytest.approx(before, abs=1e-3)
    assert [tick.loss for tick in read_log(lend("narrow").folder)] == pytest.approx(losses, abs=1e-4)


def test_strangers_answer_other_prompts():
    asks = [(Turn("user", text),) for text in "aabcaa"]
    assert strangers(asks, list("123456")) == ["3", "3", "4", "5", "3", "3"]


def test_it_learns_what_was_wanted(tiny_base, few, lend):
    root, kit = root_of(tiny_base, few), lend()
    train = replace(few, comparisons=Split(few.comparisons.train, (), ()))
    made = replace(KTO, epochs=8).apply(root, train, kit)
    rows = train.comparisons.train
    asks = turns_of_all(root.prompt, [asked(own) for own in rows])
    said = []
    for variant in (root, made):
        with kit.shelf.engine(variant) as engine:
            said.append([value for (value,) in engine.weigh(asks, [(own.chosen or own.rejected,) for own in rows])])
    gained = {
        good: [now - was for now, was, own in zip(*said[::-1], rows, strict=True) if bool(own.chosen) == good] for good in (0, 1)
    }
    assert sum(gained[1]) / len(gained[1]) > sum(gained[0]) / len(gained[0]) + 1


def test_pairs_are_an_answer_of_each_sort(tiny_base, tiny_task, lend):
    pairs = tiny_task.comparisons.train[:6]
    tie = replace(pairs[0], rejected=pairs[0].chosen)
    task = replace(tiny_task, comparisons=Split((*pairs, tie), (), ()))
    kit = lend("pairs")
    KTO.apply(root_of(tiny_base, task), task, kit)
    counted = json.loads((kit.folder / "rows.json").read_text())
    assert (counted["kept"], counted["dropped"]) == (12, 1)
    apart = replace(task, comparisons=Split(tuple(one_by_one(pairs)), (), ()))
    KTO.apply(root_of(tiny_base, apart), apart, lend("apart"))
    one, other = ((lend(name).folder / "adapter_model.safetensors").read_bytes() for name in ("pairs", "apart"))
    assert one == other


def test_weights_of_answers_count(tiny_base, few, lend):
    heavy = tuple(replace(own, weight=3.0 if at < 5 else 1.0) for at, own in enumerate(few.comparisons.train))
    for name, rows in (("plain", few.comparisons.train), ("heavy", heavy)):
        KTO.apply(root_of(tiny_base, few), replace(few, comparisons=replace(few.comparisons, train=rows)), lend(name))
    one, other = ((lend(name).folder / "adapter_model.safetensors").read_bytes() for name in ("plain", "heavy"))
    assert one != other


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"beta": 0.0}, "beta 0.0"),
        ({"desirable": 0.0}, "desirable 0.0"),
        ({"undesirable": -1.0}, "undesirable -1.0"),
        ({"r": -1}, "rank -1"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(BadInput, match=says) as error:
        Kto(**settings)
    assert error.value.hint


def test_what_is_refused_before_any_work(tiny_base, tiny_encoder, few):
    def refusal(*steps, rows=few.comparisons.train, base=tiny_base):
        task = replace(few, comparisons=Split(tuple(rows), (), ()))
        return foretell(Rung("r", base.name, steps), base, task, PACE, Cost(), splits_digest(task), 0).refused

    assert refusal(KTO) == ""
    assert "learns from comparisons, and this task has none" in refusal(KTO, rows=())
    assert "no answer of the task is unwanted" in refusal(KTO, rows=[own for own in few.comparisons.train if own.chosen])
    assert "no answer of the task is wanted" in refusal(KTO, rows=[own for own in few.comparisons.train if own.rejected])
    turns = (Turn("user", "Hello?"),)
    assert "kto needs two prompts" in refusal(KTO, rows=[Comparison("1", turns, "Hi", ""), Comparison("2", turns, "", "No")])
    assert "every pair of the task is a tie" in refusal(KTO, rows=[Comparison("1", turns, "Hi", "Hi")])
    assert "answers were judged one by one" in refusal(Dpo())
    assert "makes no sense for a base of the encoder family" in refusal(KTO, base=tiny_encoder)
    assert "learns on in a LoRA, and ia3 is none" in refusal(Ia3(), KTO)
    assert "has its own rank, and r is 2" in refusal(Lora(), KTO)
