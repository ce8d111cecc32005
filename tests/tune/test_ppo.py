"""PPO: its loss against the formulas, estimates worked by hand, what it learns, its price of KL, and what stops it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.train.loop import read_log
from tuneladder.train.rollouts import Valued, Written, read_rollouts
from tuneladder.tune import ppo
from tuneladder.tune.ppo import Ppo, earned, estimated, missed, priced, whitened
from tuneladder.types import Cost, Pace, Rung, Split

PPO = Ppo(reward="tests.rewards:letters", phases=3, prompts=3, samples=4, tokens=8, updates=1, learning_rate=1e-2, r=2)


def drawn():
    """Log-probabilities and values as they are now, and the pass of four answers that they are of."""
    torch.manual_seed(0)
    sizes = torch.tensor([3, 5, 1, 4])
    logs, old, reference = (-torch.rand(13) for _ in range(3))
    values, before, returns, advantages = (torch.randn(13) for _ in range(4))
    micro = Valued(
        ids=torch.zeros(4, 6, dtype=torch.long), rows=None, targets=torch.zeros(13), of=torch.arange(4).repeat_interleave(sizes),
        sizes=sizes, logs=old, reference=reference, advantages=advantages, values=before, returns=returns,
    )  # fmt: skip
    return logs, values, micro


def test_the_loss_is_the_papers(monkeypatch):
    """TRL has no PPO any more: arXiv:1707.06347, equations 7 and 9, a token after another, and the mean of them."""
    logs, values, micro = drawn()
    monkeypatch.setattr(ppo, "logs_and_values", lambda *_, **__: (logs, values))
    losses = []
    for own, old, gain, value, before, came in zip(
        *(part.double().tolist() for part in (logs, micro.logs, micro.advantages, values, micro.values, micro.returns)), strict=True
    ):
        ratio = math.exp(own - old)
        surrogate = min(ratio * gain, min(max(ratio, 0.7), 1.3) * gain)
        near = min(max(value, before - 0.4), before + 0.4)
        losses.append(0.5 * 0.25 * max((value - came) ** 2, (near - came) ** 2) - surrogate)
    step = Ppo(reward="json", clip=0.3, clip_value=0.4, value_weight=0.25)
    each = step._loss(None, micro, SimpleNamespace(bare=True))
    assert micro.learned == 13
    assert each.tolist() == pytest.approx(losses, abs=1e-6)
    assert float(each.sum() / micro.learned) == pytest.approx(sum(losses) / 13, abs=1e-6)


def test_a_value_that_was_clipped_has_no_gradient():
    values = torch.tensor([0.1, 0.5, 0.5], requires_grad=True)
    micro = SimpleNamespace(values=torch.zeros(3), returns=torch.tensor([1.0, 1.0, -1.0]))
    found = missed(values, micro, clip=0.2)
    assert found.tolist() == pytest.approx([0.405, 0.32, 1.125])
    (gradient,) = torch.autograd.grad(found.sum(), values)
    # inside; beyond it on the way to what came; beyond it on the way from there
    assert gradient.tolist() == pytest.approx([-0.9, 0.0, 1.5])


def test_advantages_are_estimated_as_by_hand():
    rewards, values = [0.0, 0.0, 1.0], (0.5, 0.6, 0.8)
    # 1 - 0.8; 0.9 * 0.8 - 0.6 + 0.45 * 0.2; 0.9 * 0.6 - 0.5 + 0.45 * 0.21
    assert estimated(rewards, values, gamma=0.9, lam=0.5) == pytest.approx([0.1345, 0.21, 0.2])
    assert estimated(rewards, values, gamma=1.0, lam=1.0) == pytest.approx([0.5, 0.4, 0.2])
    assert estimated(rewards, values, gamma=1.0, lam=0.0) == pytest.approx([0.1, 0.2, 0.2])


def test_a_token_earns_its_own_kl_and_the_last_one_the_reward():
    row = SimpleNamespace(logs=(-1.0, -2.0, -0.5), reference=(-1.5, -1.0, -0.5), reward=2.0)
    assert earned(row, 0.1) == pytest.approx([-0.05, 0.1, 2.0])


def test_white_is_a_mean_of_0_and_a_variance_of_1():
    assert whitened([1.0, 2.0, 3.0, 6.0]) == pytest.approx([(value - 3) / math.sqrt(3.5) for value in (1, 2, 3, 6)])
    assert whitened([0.7, 0.7]) == [0.0, 0.0]


def test_answers_are_taught_what_came():
    step = Ppo(reward="json", gamma=0.9, lam=0.5)
    row = Written([1, 2, 3, 4], [False, True, True, True], 0, reward=1.0, logs=(-1.0,) * 3, reference=(-1.0,) * 3)
    taught = step._taught([replace(row, values=(0.5, 0.6, 0.8)), replace(row, values=(0.0, 0.0, 1.0))], 0.3)
    assert taught[0].returns == pytest.approx((0.6345, 0.81, 1.0))
    assert [value for own in taught for value in own.advantages] == pytest.approx(
        whitened([0.1345, 0.21, 0.2, *estimated([0, 0, 1], (0, 0, 1), gamma=0.9, lam=0.5)])
    )


def test_the_price_of_kl_moves_towards_its_target():
    assert priced(0.1, [], target=6.0) == 0.1
    assert priced(0.1, [12.0], target=6.0) == pytest.approx(0.1 * 1.02)  # no more than a fifth of the target counts
    assert priced(0.1, [12.0, -1.0, 6.6, 6.0], target=6.0) == pytest.approx(0.1 * 1.02 * 0.98 * 1.01)


def learned(step, base, task, kit):
    step.apply(root_of(base, task), task, kit)
    return read_rollouts(kit.folder)


def test_what_earns_more_becomes_likelier(tiny_base, tiny_task, lend):
    """Of many answers of one token to one prompt, for what two layers drawn at random can learn of few is little."""
    task = replace(tiny_task, examples=Split(tiny_task.examples.train[:1]))
    step = replace(PPO, phases=6, prompts=1, samples=96, tokens=1, updates=2, beta=0.0, learning_rate=5e-2)
    along = learned(step, tiny_base, task, lend())
    assert (along[-1].reward + along[-2].reward) / 2 > 1.5 * along[0].reward
    assert along[0].kl == pytest.approx(0, abs=1e-5)
    assert along[-1].kl > 0.1
    assert all(own.samples[1].reward >= own.samples[0].reward for own in along)


def test_a_high_price_of_kl_keeps_the_policy_near(tiny_base, tiny_task, lend):
    steps = {beta: replace(PPO, phases=4, beta=beta, learning_rate=1.5e-2) for beta in (0.0, 40.0)}
    ends = [learned(step, tiny_base, tiny_task, lend(str(beta)))[-1].kl for beta, step in steps.items()]
    assert ends[1] < ends[0]


def test_the_price_is_that_of_the_phases_before(tiny_base, tiny_task, lend):
    step = replace(PPO, phases=4, target_kl=0.01, beta=0.3)
    along = learned(step, tiny_base, tiny_task, lend())
    kls = [own.kl for own in along]
    assert along[0].price == 0  # what writes first is the reference
    spread = along[0].spread
    assert [own.price for own in along[1:]] == pytest.approx([spread * priced(0.3, kls[:at], target=0.01) for at in (1, 2, 3)])
    assert along[1].price == pytest.approx(spread * 0.3 * 0.98)  # nothing had been learned yet


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_critic_learns_what_answers_earn(weight, tiny_base, tiny_task, lend, monkeypatch):
    foretold, own = [], Ppo._taught

    def noting(self, rows, price):
        foretold.append([value for row in rows for value in row.values])
        return own(self, rows, price)

    monkeypatch.setattr(Ppo, "_taught", noting)
    step = replace(
        PPO, reward="tests.rewards:always", phases=8, updates=2, beta=0.0, lam=1.0, learning_rate=1e-1, value_weight=weight
    )
    learned(step, tiny_base, tiny_task, lend())
    assert set(foretold[0]) == {0.0}
    mean = sum(foretold[-1]) / len(foretold[-1])
    assert (0.5 < mean < 1.5) if weight else mean == 0.0


def test_it_stops_on_kl_and_on_entropy(tiny_base, tiny_task, lend):
    for settings, why in (({"most_kl": 1e-4}, "kl"), ({"least_entropy": 50.0}, "entropy")):
        kit = lend(why)
        learned(replace(PPO, phases=9, **settings), tiny_base, tiny_task, kit)
        log = read_log(kit.folder)
        assert log[-1].stopped == why
        assert len(log) < 9


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("nothing", "returned nan for a completion to the prompt"), ("words", "returned 'good', a str"),
        ("few", "returned 1 numbers for 12 completions, the first to the prompt"),
    ],
)  # fmt: skip
def test_a_reward_that_is_none_names_the_prompt(reward, says, tiny_base, tiny_task, lend):
    with pytest.raises(BadInput, match=says):
        learned(replace(PPO, reward=f"tests.rewards:{reward}"), tiny_base, tiny_task, lend())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"reward": "luck"}, "luck"), ({"samples": 0}, "samples 0"), ({"r": -1}, "rank r -1"), ({"clip": 0.0}, "clip 0.0"),
        ({"clip_value": 0.0}, "clip_value 0.0"), ({"lam": 1.5}, "lam 1.5"), ({"gamma": -0.1}, "gamma -0.1"),
        ({"value_weight": -1.0}, "value_weight -1.0"), ({"updates": 0}, "updates 0"), ({"beta": math.nan}, "beta nan"),
        ({"beta": 0.0, "target_kl": 6.0}, "price of 0 towards target_kl 6.0"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(BadInput, match=says) as error:
        Ppo(**settings)
    assert error.value.hint


def test_what_is_refused_before_any_work(tiny_base, tiny_task):
    def planned(step, task):
        return foretell(Rung("r", tiny_base.name, (step,)), tiny_base, task, Pace(1e9), Cost(), splits_digest(task), 0).refused

    assert planned(PPO, tiny_task) == ""
    assert "this task has none" in planned(PPO, replace(tiny_task, examples=Split(), comparisons=Split()))
    assert "tokens leave too little" in planned(replace(PPO, tokens=400), tiny_task)
