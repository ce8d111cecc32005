"""DPO: its losses against the formulas and TRL's own, the reference that is asked once, and what each setting does."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.model.ask import turns_of_all
from tuneladder.task.comparing import asked, encode_sides
from tuneladder.train.loop import read_log
from tuneladder.tune.dpo import Dpo, identity, sigmoid
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.types import Cost, Pace, Rung, Split

PACE = Pace(1e9)
DPO = Dpo(epochs=1, batch_size=5, learning_rate=1e-2, r=2)


@pytest.fixture
def few(tiny_task):
    pairs = tiny_task.comparisons
    return replace(tiny_task, comparisons=Split(pairs.train[:10], pairs.dev[:3], ()))


def drawn():
    torch.manual_seed(0)
    policy, reference = -20 * torch.rand(6, 2), -20 * torch.rand(6, 2)
    return policy, reference, torch.randint(1, 30, (12,))


def test_losses_are_the_papers():
    policy, reference, sizes = drawn()
    micro = SimpleNamespace(sizes=sizes)
    for at, (own, before) in enumerate(zip(policy.tolist(), reference.tolist(), strict=True)):
        chosen, rejected = own[0] - before[0], own[1] - before[1]
        h = 0.3 * (chosen - rejected)
        plain = -math.log(1 / (1 + math.exp(-h)))
        assert float(sigmoid(policy, reference, micro, beta=0.3)[at]) == pytest.approx(plain, rel=1e-5)
        smooth = 0.8 * plain - 0.2 * math.log(1 / (1 + math.exp(h)))
        assert float(sigmoid(policy, reference, micro, beta=0.3, label_smoothing=0.2)[at]) == pytest.approx(smooth, rel=1e-5)
        gap = chosen / int(sizes[2 * at]) - rejected / int(sizes[2 * at + 1])
        assert float(identity(policy, reference, micro, tau=0.3)[at]) == pytest.approx((gap - 1 / 0.6) ** 2, rel=1e-5)


def trls(kind, policy, reference, sizes, smoothing=0.0):
    """The loss of TRL's trainer, up to where it begins to log."""
    from trl import DPOTrainer

    flat = torch.cat([sizes[0::2], sizes[1::2]])  # TRL's batch is all chosen, then all rejected
    mask = (torch.arange(int(sizes.max()) + 1) > 0) & (torch.arange(int(sizes.max()) + 1) <= flat[:, None])
    logs = mask[:, 1:] * (torch.cat([policy[:, 0], policy[:, 1]]) / flat)[:, None]
    inputs = {
        "input_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask.long(),
        "ref_chosen_logps": reference[:, 0],
        "ref_rejected_logps": reference[:, 1],
    }
    facts = {"ld_alpha": None, "precompute_ref_logps": True, "f_divergence_type": "reverse_kl", "aux_loss_enabled": False}
    settings = {"loss_types": [kind], "loss_weights": [1.0], "beta": 0.3, "label_smoothing": smoothing, "use_weighting": False}
    device = SimpleNamespace(device="cpu")
    trainer = SimpleNamespace(model=SimpleNamespace(training=False), accelerator=device, **facts, **settings)
    with pytest.raises(AttributeError) as logging:
        DPOTrainer._compute_loss(trainer, lambda **given: SimpleNamespace(log_probs=logs), inputs, False)
    return float(logging.traceback[-1].frame.f_locals["loss"])


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_losses_are_trls():
    policy, reference, sizes = drawn()
    micro = SimpleNamespace(sizes=sizes)
    plain = float(sigmoid(policy, reference, micro, beta=0.3).mean())
    assert plain == pytest.approx(trls("sigmoid", policy, reference, sizes), abs=1e-6)
    squared = float(identity(policy, reference, micro, tau=0.3).mean())
    assert squared == pytest.approx(trls("ipo", policy, reference, sizes), abs=1e-6)
    # its sigmoid smooths no labels; its aot, which puts a batch in order, does, and one pair is in order
    smooth = sigmoid(policy, reference, micro, beta=0.3, label_smoothing=0.2)
    for at, own in enumerate(smooth.tolist()):
        one, both = slice(at, at + 1), slice(2 * at, 2 * at + 2)
        assert own == pytest.approx(trls("aot", policy[one], reference[one], sizes[both], 0.2), abs=1e-6)


def test_the_first_loss_is_that_of_no_preference(tiny_base, few, lend):
    """The reference is the policy as it begins, of a new LoRA and of one that learns on."""
    root, kit = root_of(tiny_base, few), lend("dpo")
    DPO.apply(root, few, kit)
    assert read_log(kit.folder)[0].loss == pytest.approx(math.log(2), abs=1e-6)
    lora = Lora(r=2, epochs=2, batch_size=5, learning_rate=1e-2).apply(root, few, lend("lora"))
    onward = lend("onward")
    made = replace(DPO, r=0).apply(lora, few, onward)
    assert made.steps == ("lora", "dpo")
    assert read_log(onward.folder)[0].loss == pytest.approx(math.log(2), abs=1e-6)
    before, after = (load_file(f"{own.adapter}/adapter_model.safetensors") for own in (lora, made))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    kept = [path for path in kit.store.root.glob("reference-*") if path.is_dir()]
    assert len(kept) == 2  # the base's, and the LoRA's


def test_a_policy_over_a_lora_that_drops_out_is_read_whole(tiny_base, few, lend):
    """As its reference was: what dropout alone would move is no preference."""
    root = root_of(tiny_base, few)
    lora = Lora(r=2, epochs=2, batch_size=5, learning_rate=1e-2, dropout=0.5).apply(root, few, lend("lora"))
    kit = lend("dpo")
    replace(DPO, r=0).apply(lora, few, kit)
    assert read_log(kit.folder)[0].loss == pytest.approx(math.log(2), abs=1e-6)


def test_the_reference_is_asked_once_and_is_what_the_variant_says(tiny_base, few, lend):
    root, kit = root_of(tiny_base, few), lend("a")
    DPO.apply(root, few, kit)
    replace(DPO, beta=0.5, r=4, epochs=2).apply(root, few, lend("b"))
    (kept,) = [path for path in kit.store.root.glob("reference-*") if path.is_dir()]
    pairs = (*few.comparisons.train, *few.comparisons.dev)
    with kit.shelf.engine(root) as engine:
        said = engine.weigh(turns_of_all(root.prompt, [asked(own) for own in pairs]), [(own.chosen, own.rejected) for own in pairs])
    assert json.loads((kept / "reference.json").read_text()) == [pytest.approx(own, abs=1e-3) for own in said]
    shorter = replace(few, comparisons=Split(few.comparisons.train[:6], few.comparisons.dev, ()))
    DPO.apply(root, shorter, lend("c"))
    assert len([path for path in kit.store.root.glob("reference-*") if path.is_dir()]) == 2


def test_it_learns_what_was_preferred(tiny_base, few, lend):
    root, kit = root_of(tiny_base, few), lend()
    train = replace(few, comparisons=Split(few.comparisons.train, (), ()))
    made = replace(DPO, epochs=6).apply(root, train, kit)
    asks = turns_of_all(root.prompt, [asked(own) for own in train.comparisons.train])
    sides = [(own.chosen, own.rejected) for own in train.comparisons.train]
    gaps = []
    for variant in (root, made):
        with kit.shelf.engine(variant) as engine:
            gaps.append([chosen - rejected for chosen, rejected in engine.weigh(asks, sides)])
    assert sum(after > before for before, after in zip(*gaps, strict=True)) >= 9


@pytest.fixture
def plain(tiny_base, few, lend):
    kit = lend("plain")
    DPO.apply(root_of(tiny_base, few), few, kit)
    return (kit.folder / "adapter_model.safetensors").read_bytes()


def test_weights_of_pairs_count(plain, tiny_base, few, lend):
    pairs = few.comparisons
    heavy = tuple(replace(own, weight=3.0 if at < 5 else 1.0) for at, own in enumerate(pairs.train))
    kit = lend("heavy")
    DPO.apply(root_of(tiny_base, few), replace(few, comparisons=replace(pairs, train=heavy)), kit)
    assert (kit.folder / "adapter_model.safetensors").read_bytes() != plain


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"beta": 0.0}, "beta 0.0"), ({"beta": -1.0}, "beta -1.0"), ({"label_smoothing": 0.5}, "label_smoothing 0.5"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "of the sigmoid loss"), ({"r": -1}, "rank -1"), ({"epochs": 0}, "epochs 0"),
        ({"learning_rate": -1e-3}, "learning_rate -0.001"), ({"warmup": 1.5}, "warmup 1.5"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(BadInput, match=says) as error:
        Dpo(**settings)
    assert error.value.hint


def test_what_is_refused_before_any_work(tiny_base, tiny_encoder, few):
    def refusal(*steps, task=few, base=tiny_base):
        return foretell(Rung("r", base.name, steps), base, task, PACE, Cost(), splits_digest(task), 0).refused

    none = replace(few, comparisons=Split())
    assert "learns from comparisons, and this task has none" in refusal(DPO, task=none)
    ties = Split(tuple(replace(own, rejected=own.chosen) for own in few.comparisons.train), (), ())
    assert "every pair of the task is a tie" in refusal(DPO, task=replace(few, comparisons=ties))
    assert "makes no sense for a base of the encoder family" in refusal(DPO, base=tiny_encoder)
    assert "learns on in a LoRA, and ia3 is none" in refusal(Ia3(), DPO)
    assert "has its own rank, and r is 2" in refusal(Lora(), DPO)
    assert refusal(Lora(), replace(DPO, r=0)) == ""
    assert "max_length 9999" in refusal(replace(DPO, max_length=9999))


def test_equal_answers_and_answers_that_do_not_fit_are_counted(tiny_base, few, lend):
    train = list(few.comparisons.train)
    train[0] = replace(train[0], rejected=train[0].chosen)
    train[1] = replace(train[1], rejected="word " * 600)
    kit = lend()
    DPO.apply(root_of(tiny_base, few), replace(few, comparisons=Split(tuple(train), (), ())), kit)
    counted = json.loads((kit.folder / "rows.json").read_text())
    assert (counted["kept"], counted["dropped"]) == (8, 2)
    long = tuple(replace(own, rejected="word " * 600) for own in train)
    with pytest.raises(BadInput, match="no pair of 10 fits in 512 tokens"):
        DPO.apply(root_of(tiny_base, few), replace(few, comparisons=Split(long, (), ())), lend("long"))


def test_a_prompt_cut_for_the_longer_answer_is_cut_alike(tiny_base, few, lend):
    """Else the two would answer unlike prompts."""
    with lend().shelf.live(root_of(tiny_base, few)) as live:
        turns = (replace(few.comparisons.train[0].turns[0], text="one two three four five six seven eight nine ten"),)
        [own, none] = encode_sides(live.coder, [(turns, ("yes", "no no no no")), (turns, ("yes", "no " * 99))], limit=40)
        assert none is None
        prompts = [[token for token, learned in zip(row.ids, row.learn, strict=True) if not learned] for row in own]
        assert prompts[0] == prompts[1]
        assert max(len(row.ids) for row in own) == 40
