"""GRPO: its loss against the paper's and TRL's own, what it learns, what stops it, and rewards that are none."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import foretell, key_of, root_of, splits_digest
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.task.prefer import build_preferences
from tuneladder.train import loop
from tuneladder.train.loop import read_log
from tuneladder.train.rewarders import Asked, prompted, rewarding
from tuneladder.train.rollouts import Policy, Rollouts, read_rollouts
from tuneladder.tune.grpo import Grpo, advantages, of_answers, surrogate
from tuneladder.tune.lora import Lora
from tuneladder.tune.ppo import Ppo
from tuneladder.tune.rest import Rest
from tuneladder.tune.reward import Reward
from tuneladder.types import Cost, Kit, Pace, Rung, Split

PACE = Pace(1e9)
GRPO = Grpo(reward="tests.rewards:letters", phases=3, prompts=3, samples=4, tokens=8, learning_rate=1e-2, r=2)


def drawn():
    torch.manual_seed(0)
    sizes = torch.tensor([3, 5, 1, 4])
    of = torch.arange(4).repeat_interleave(sizes)
    logs, old, reference = (-3 * torch.rand(13) for _ in range(3))
    return logs, SimpleNamespace(of=of, sizes=sizes, logs=old, reference=reference, advantages=torch.randn(4)[of])


def test_the_loss_is_the_papers():
    logs, micro = drawn()
    found = surrogate(logs, micro, clip=0.2, beta=0.1).tolist()
    for at in range(13):
        ratio, gain = math.exp(float(logs[at] - micro.logs[at])), float(micro.advantages[at])
        kept = min(ratio * gain, min(max(ratio, 0.8), 1.2) * gain)
        apart = float(micro.reference[at] - logs[at])
        assert found[at] == pytest.approx(0.1 * (math.exp(apart) - apart - 1) - kept, rel=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
@pytest.mark.parametrize(("kind", "most"), [("grpo", None), ("dr_grpo", 7)])
def test_the_loss_is_trls(kind, most):
    """Its trainer's own, up to where it begins to log."""
    from trl import GRPOTrainer

    logs, micro = drawn()
    mask = torch.arange(5) < micro.sizes[:, None]

    def grid(values):
        return torch.zeros(4, 5).masked_scatter(mask, values)

    prompts = {"prompt_ids": torch.zeros(4, 1, dtype=torch.long), "prompt_mask": torch.ones(4, 1, dtype=torch.long)}
    answers = {"completion_ids": torch.zeros(4, 5, dtype=torch.long), "completion_mask": mask.long()}
    known = {"old_per_token_logps": grid(micro.logs), "ref_per_token_logps": grid(micro.reference)}
    first = torch.tensor([0, 3, 8, 9])
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (grid(logs), torch.zeros(4, 5), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token",
        beta=0.1, args=SimpleNamespace(use_bias_correction_kl=False, delta=None), loss_type=kind, epsilon_low=0.2,
        epsilon_high=0.2, use_vllm=False, model=SimpleNamespace(training=False), max_completion_length=most,
    )  # fmt: skip
    with pytest.raises(AttributeError) as logging:
        GRPOTrainer._compute_loss(trainer, None, {**prompts, **answers, **known, "advantages": micro.advantages[first]})
    theirs = logging.traceback[-1].frame.f_locals["loss"]
    ours = of_answers(surrogate(logs, micro, clip=0.2, beta=0.1), micro, most).mean()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_advantages_are_relative_to_their_group():
    assert advantages([1, 3, 5, 5], 2, scale=False) == [-1, 1, 0, 0]
    assert advantages([1, 3, 5, 5], 2, scale=True) == pytest.approx([-1 / 1.4143136, 1 / 1.4143136, 0, 0], rel=1e-5)


def test_what_earns_more_becomes_likelier(tiny_base, tiny_task, lend):
    kit = lend()
    made = replace(GRPO, phases=10, samples=16, beta=0.0, r=8, learning_rate=1e-1).apply(
        root_of(tiny_base, tiny_task), tiny_task, kit
    )
    along = read_rollouts(kit.folder)
    assert made.steps == ("grpo",)
    assert len(along) == 10
    assert along[-1].reward > along[0].reward + along[0].spread
    assert along[0].kl == pytest.approx(0, abs=1e-5)
    assert along[-1].kl > 0.1
    assert all(own.samples[1].reward >= own.samples[0].reward for own in along)


@pytest.mark.parametrize("reward", ["tests.rewards:letters", "exact_match"])
def test_answers_end_where_those_that_are_measured_do(reward, tiny_base, tiny_task, lend, monkeypatch):
    """A text is rewarded up to the task's `stop`."""
    decoding = replace(tiny_task.prompt.decoding, stop=("e", "a"))
    task, seen = replace(tiny_task, prompt=replace(tiny_task.prompt, decoding=decoding)), []
    write = Policy.write
    monkeypatch.setattr(Policy, "write", lambda *given, **more: seen.append(write(*given, **more)) or seen[-1])
    replace(GRPO, reward=reward, phases=2).apply(root_of(tiny_base, task), task, lend("stopped"))
    assert seen
    assert not any(letter in row.text for rows in seen for row in rows for letter in "ea")
    assert any(len([own for own in row.learn if own]) < GRPO.tokens for rows in seen for row in rows)
    plain = len(seen)
    replace(GRPO, reward=reward, phases=2).apply(root_of(tiny_base, tiny_task), tiny_task, lend("plain"))
    assert any(letter in row.text for rows in seen[plain:] for row in rows for letter in "ea")


def test_a_schema_that_only_what_is_measured_is_held_to_is_refused(tiny_base, tiny_task):
    schema = json.dumps({"type": "object", "properties": {"name": {"type": "string"}}})
    asked = replace(tiny_task.prompt, schema=schema)
    held = replace(asked, decoding=replace(asked.decoding, schema=schema))
    for step in (replace(GRPO, reward="json"), Ppo(reward="json"), Rest(reward="json")):
        assert planned(step, tiny_base, replace(tiny_task, prompt=asked)) == ""
        refused = planned(step, tiny_base, replace(tiny_task, prompt=held))
        assert "held to a schema as they are written" in refused
        assert "constrain: false" in refused


def test_a_high_price_of_kl_keeps_the_policy_near(tiny_base, tiny_task, lend):
    ends = []
    for name, beta in (("free", 0.0), ("dear", 5.0)):
        kit = lend(name)
        replace(GRPO, phases=4, beta=beta, learning_rate=1.5e-2).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        ends.append(read_rollouts(kit.folder)[-1].kl)
    assert ends[1] < ends[0]


def test_the_reference_is_the_lora_below(tiny_base, tiny_task, lend):
    """And not the bare base: at first nothing lies between them."""
    below = Lora(r=2, epochs=1, learning_rate=1e-2).apply(root_of(tiny_base, tiny_task), tiny_task, lend("lora"))
    kit = lend("grpo")
    made = replace(GRPO, r=0, phases=2).apply(below, tiny_task, kit)
    assert made.steps == ("lora", "grpo")
    assert read_rollouts(kit.folder)[0].kl == pytest.approx(0, abs=1e-5)


def test_it_stops_on_kl_and_on_entropy(tiny_base, tiny_task, lend):
    for settings, why in (({"most_kl": 1e-4}, "kl"), ({"least_entropy": 50.0}, "entropy")):
        kit = lend(why)
        replace(GRPO, phases=9, **settings).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        log = read_log(kit.folder)
        assert log[-1].stopped == why
        assert len(log) < 9
        assert not list(kit.folder.glob("*.pt"))


def ranked(folder, prompts, **settings):
    """What a recipe makes of four answers to each prompt, all of them compared."""
    answers = ("Soon.", "Now.", "Never.", "Ask again.")
    rows = [
        {"prompt": f"When does parcel {number} arrive?", "chosen": better, "rejected": worse}
        for number in range(prompts)
        for better, worse in itertools.combinations(answers, 2)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return build_preferences(name="pairs", data=str(folder / "pairs.jsonl"), **settings)[0]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_prompts_of_comparisons_are_answered(split, tmp_path):
    """Each once, in order, whatever was said of how many answers to it."""
    task = ranked(tmp_path, 20)
    rows, pairs = prompted(task, split), getattr(task.comparisons, split)
    assert len(pairs) == 6 * len(rows)
    assert [row.turns for row in rows] == list(dict.fromkeys(own.turns for own in pairs))
    assert rows == prompted(replace(task, examples=Split()), split)


def test_a_prompt_that_a_phase_has_twice_is_answered_anew(tiny_base, tmp_path, lend, monkeypatch):
    """Where it begins with what is left of one turn and ends in the next; and after a kill as without."""
    task, phases = ranked(tmp_path, 5, rows={"dev": 6, "test": 6}), []
    assert len(prompted(task, "train")) == 3
    teach = Grpo._taught
    monkeypatch.setattr(Grpo, "_taught", lambda self, rows, price: phases.append(rows) or teach(self, rows, price))
    step, root, true = replace(GRPO, prompts=2, samples=2, phases=6), root_of(tiny_base, task), loop.Passes.gradients
    step.apply(root, task, lend("straight"))
    with monkeypatch.context() as patch:
        ran = itertools.count()
        patch.setattr(loop.Passes, "gradients", lambda *given: die() if next(ran) == 3 else true(*given))
        with pytest.raises(Killed):
            step.apply(root, task, lend("cut"))
    step.apply(root, task, lend("cut"))
    assert adapter_bytes(lend("cut")) == adapter_bytes(lend("straight"))
    written = [[(tuple(row.ids[: row.learn.index(True)]), row.text) for row in rows] for rows in phases[:6]]
    assert any(len({prompt for prompt, _ in rows}) == 1 for rows in written)  # else nothing is shown
    assert all(len(set(rows)) == 4 for rows in written)


def test_a_reward_model_rewards(tiny_base, tiny_task, lend):
    """It stands on the policy's weights: they are in memory once."""
    from tuneladder.model.nodes import portable
    from tuneladder.store import freeze, write_json

    root, kit = root_of(tiny_base, tiny_task), lend("reward")
    judge = Reward(r=2, epochs=1).apply(root, tiny_task, kit)
    write_json(kit.folder / "variant.json", portable(freeze(judge), kit.folder, kit.store.root))
    step = replace(GRPO, reward=str(kit.folder), phases=1)
    assert planned(step, tiny_base, tiny_task) == ""
    policy = lend("policy")
    step.apply(root, tiny_task, policy)
    assert read_rollouts(policy.folder)[0].spread > 0
    with policy.shelf.live(root) as live, rewarding(step.reward, tiny_task, root.prompt, policy.shelf, live.model):
        pass
    with policy.shelf.live(root) as live, type(policy.shelf)("cpu", dtype=torch.float32).live(judge, beside=live.model) as other:
        own = live.model.get_input_embeddings().weight.data_ptr()
        assert other.model.get_input_embeddings().weight.data_ptr() == own


def planned(step, base, task):
    return foretell(Rung("r", base.name, (step,)), base, task, PACE, Cost(), splits_digest(task), 0).refused


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("nothing", "returned nan for a completion to the prompt"), ("words", "returned 'good', a str"),
        ("few", "returned 1 numbers for 12 completions, the first to the prompt"), ("broken", "raised KeyError: 'label'"),
        ("leaves", "raised SystemExit: done"),
    ],
)  # fmt: skip
def test_a_reward_that_is_none_names_the_prompt(reward, says, tiny_base, tiny_task, lend):
    with pytest.raises(BadInput, match=says) as error:
        replace(GRPO, reward=f"tests.rewards:{reward}").apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    assert "(row " in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"reward": "luck"}, "luck"), ({"reward": "tests.rewards:none"}, "none"), ({"reward": "no.such.module:f"}, "cannot import"),
        ({"samples": 1}, "samples 1"), ({"r": -1}, "rank r -1"), ({"clip": 0.0}, "clip 0.0"), ({"tokens": 0}, "tokens 0"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(BadInput, match=says) as error:
        Grpo(**settings)
    assert error.value.hint


def test_what_is_refused_before_any_work(tiny_base, tiny_task):
    none = replace(tiny_task, examples=Split(), comparisons=Split())
    assert "this task has none" in planned(GRPO, tiny_base, none)
    pairs = replace(tiny_task, examples=Split(), metric="preference")
    assert "have no right one" in planned(replace(GRPO, reward="metric"), tiny_base, pairs)
    assert "holds none" in planned(replace(GRPO, reward="number"), tiny_base, tiny_task)
    assert "tokens leave too little" in planned(replace(GRPO, tokens=400), tiny_base, tiny_task)


def test_a_function_is_keyed_by_its_source(tiny_base, tiny_task, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for number in (1, 2):
        (tmp_path / "my_reward.py").write_text(f"def f(prompts, completions):\n    return [{number}.0] * len(completions)\n")
        keys.append(key_of(Grpo(reward="my_reward:f"), "", splits_digest(tiny_task), tiny_base, 0))
    assert keys[0] != keys[1]


def rewarded(name, task, rows, texts):
    with rewarding(name, task, task.prompt, SimpleNamespace(), None) as rewarder:
        return rewarder([Asked(row, row.turns, "") for row in rows], texts)


def test_the_tasks_own_metric(tiny_task):
    rows = tiny_task.examples.train[:2]
    assert rewarded("metric", tiny_task, rows, [f"The {rows[0].references[0]} desk", "no desk"]) == [1, 0]


def test_rollouts_are_kept_as_lines(tiny_base, tiny_task, lend):
    kit = lend()
    replace(GRPO, phases=2, updates=2).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    lines = [json.loads(line) for line in (kit.folder / "rollouts.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2]
    assert {"reward", "kl", "entropy", "samples"} <= set(lines[0])


def learned_before_each_step(monkeypatch, learned):
    """The weights that learn, as they are before each step that is computed."""
    true = loop.Passes.gradients

    def gradients(self, *given):
        learned.append([weight.detach().clone() for weight in self.weights])
        return true(self, *given)

    monkeypatch.setattr(loop.Passes, "gradients", gradients)


def adapter_of(folder):
    return load_file(folder / "adapter_model.safetensors")


def adapter_bytes(kit):
    return (kit.folder / "adapter_model.safetensors").read_bytes()


def said_of(folder):
    return json.loads((folder / "notes.json").read_text())


FAR = replace(GRPO, phases=6, learning_rate=2e-2)


@pytest.fixture(scope="module")
def went(tiny_base, tiny_task, tmp_path_factory):
    """A phase at which a policy that nothing stops is further from its reference than before, a limit between, and the folder of
    one that was stopped by it."""
    shelf, root = Shelf("cpu", dtype=torch.float32), root_of(tiny_base, tiny_task)

    def apply(step):
        folder, store = (tmp_path_factory.mktemp(name) for name in ("went", "store"))
        step.apply(root, tiny_task, Kit(folder, Store(store), 0, "cpu", None, None, shelf))
        return folder

    along = [own.kl for own in read_rollouts(apply(FAR))]
    at = next(at for at in range(2, len(along)) if along[at] > max(along[:at]))
    limit = (along[at] + max(along[:at])) / 2
    return at, limit, apply(replace(FAR, most_kl=limit))


def test_what_went_too_far_is_put_back(went, tiny_base, tiny_task, lend, monkeypatch):
    """To the very weights before the step that crossed the limit, and the log, the notes and the answers say so."""
    at, limit, _ = went
    learned, kit = [], lend()
    learned_before_each_step(monkeypatch, learned)
    replace(FAR, most_kl=limit).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert [tick.stopped for tick in read_log(kit.folder)] == [""] * (at - 1) + ["kl"]
    assert len(learned) == at
    made = adapter_of(kit.folder)
    before, after = (sorted(float(weight.double().sum()) for weight in own) for own in (learned[at - 1], learned[0]))
    kept = sorted(float(weight.double().sum()) for weight in made.values())
    assert kept == pytest.approx(before, abs=1e-9)
    assert kept != pytest.approx(after, abs=1e-9)
    along = read_rollouts(kit.folder)
    assert along[-1].kl > limit > max(own.kl for own in along[:-1])
    (said,) = said_of(kit.folder)
    assert f"the KL after step {at} was {along[-1].kl:.3g} nats an answer, above most_kl {limit:g}" in said
    assert f"the weights of step {at - 1} are kept, at {along[-2].kl:.3g}" in said


@pytest.mark.parametrize("killed", ["in the step that crosses", "after it, with its checkpoint", "when all is learned"])
def test_put_back_after_a_kill_as_without(killed, went, tiny_base, tiny_task, lend, monkeypatch):
    at, limit, there = went
    step, root = replace(FAR, most_kl=limit), root_of(tiny_base, tiny_task)
    monkeypatch.setattr(loop.Course, "save_every", property(lambda self: 0.0, lambda self, seconds: None))
    with monkeypatch.context() as patch:
        true, ran = loop.Passes.gradients, itertools.count(1)

        def gradients(self, *given):
            count = next(ran)
            if count == at and killed == "in the step that crosses":
                raise Killed
            if count == at and killed == "after it, with its checkpoint":
                patch.setattr(loop._Interrupt, "asked", True)
            return true(self, *given)

        patch.setattr(loop.Passes, "gradients", gradients)
        if killed == "when all is learned":
            patch.setattr(Rollouts, "settle", lambda *given: die())
        with pytest.raises((Killed, KeyboardInterrupt)):
            step.apply(root, tiny_task, lend("cut"))
    step.apply(root, tiny_task, lend("cut"))
    here = lend("cut").folder
    assert (here / "adapter_model.safetensors").read_bytes() == (there / "adapter_model.safetensors").read_bytes()
    assert said_of(here) == said_of(there)
    assert [(own.step, own.stopped) for own in read_log(here)] == [(own.step, own.stopped) for own in read_log(there)]
    assert not list(here.glob("*.pt"))


class Killed(BaseException):
    """Nothing of ours catches it."""


def die():
    raise Killed


def test_what_was_not_measured_is_not_kept(tiny_base, tiny_task, lend):
    """A budget cuts a phase in its middle: nobody knows how far the policy has gone since it last wrote."""
    kit, root = lend(deadline=0.0), root_of(tiny_base, tiny_task)
    step = replace(GRPO, phases=2, updates=2, most_kl=1e6)
    step.apply(root, tiny_task, kit)
    assert [tick.stopped for tick in read_log(kit.folder)] == ["budget"]
    (said,) = said_of(kit.folder)
    assert said.startswith("the KL after step 1 was not measured: the weights of step 0 are kept, at ")
    assert all(not weight.any() for name, weight in adapter_of(kit.folder).items() if "lora_B" in name)
    more = lend()
    step.apply(root, tiny_task, more)  # and with more of it goes on from where it was cut
    step.apply(root, tiny_task, lend("straight"))
    assert (more.folder / "adapter_model.safetensors").read_bytes() == (
        lend("straight").folder / "adapter_model.safetensors"
    ).read_bytes()
    assert said_of(more.folder) == []
    assert [own.step for own in read_rollouts(more.folder)] == [0, 2, 4]  # what is kept was measured too


@pytest.mark.parametrize(("most_kl", "updates"), [(0.0, 1), (0.0, 2), (1e6, 1), (1e6, 2)])
def test_a_cut_run_shows_nothing_of_a_try_that_was_killed_further_on(most_kl, updates, tiny_base, tiny_task, lend, monkeypatch):
    """And keeps nothing of it: no checkpoint knows of what it learned and wrote."""
    step, root = replace(GRPO, updates=updates, most_kl=most_kl), root_of(tiny_base, tiny_task)
    with monkeypatch.context() as patch:
        true, ran = loop.Passes.gradients, itertools.count()
        patch.setattr(loop.Passes, "gradients", lambda *given: die() if next(ran) == 2 * updates else true(*given))
        with pytest.raises(Killed):
            step.apply(root, tiny_task, lend("cut"))
    assert [own.step for own in read_rollouts(lend("cut").folder)] == [0, updates, 2 * updates]
    for deadline in (0.0, None):  # and with more of the budget it goes on
        for name in ("cut", "straight"):
            step.apply(root, tiny_task, lend(name, deadline=deadline))
        here, there = lend("cut").folder, lend("straight").folder
        assert read_rollouts(here) == read_rollouts(there)
        assert (here / "adapter_model.safetensors").read_bytes() == (there / "adapter_model.safetensors").read_bytes()
        assert [own.step for own in read_log(here)] == [own.step for own in read_log(there)]
        assert not most_kl or said_of(here) == said_of(there)


def test_no_more_weights_within_the_limit_are_kept_than_a_kill_may_ask_for(tiny_base, tiny_task, lend, monkeypatch):
    monkeypatch.setattr(loop.Course, "save_every", property(lambda self: 0.0, lambda self, seconds: None))
    true, ran = loop.Passes.gradients, itertools.count()
    monkeypatch.setattr(loop.Passes, "gradients", lambda *given: die() if next(ran) == 5 else true(*given))
    kit = lend()
    with pytest.raises(Killed):
        replace(GRPO, phases=6, updates=1, most_kl=1e6).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    # its checkpoint may be of the step before, for that is taken after its tick was written down
    assert sorted(path.name for path in kit.folder.glob("within-*.pt")) == ["within-4.pt", "within-5.pt"]
