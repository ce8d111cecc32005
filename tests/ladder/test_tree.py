"""Keys: what a node's name depends on, and what it does not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tuneladder.errors import BadInput
from tuneladder.ladder import tree
from tuneladder.ladder.ahead import asking, remembering
from tuneladder.ladder.climb import Climb
from tuneladder.ladder.tree import foretell, key_of, root_of, splits_digest, too_large
from tuneladder.model.addressed import remote
from tuneladder.model.hardware import hardware
from tuneladder.model.nodes import read_variant
from tuneladder.prompt.chain_of_thought import ChainOfThought
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.search import Search
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.constitution import Constitution
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.types import Axes, Bar, Base, Cost, Example, Pace, Prompt, Rung, Split, Task, Turn

BASE = Base("small", "folder", "/models/small", "decoder", 30_000, 30_000, 2, 32, 320, 512, content="c0")
PACE = Pace(1e9)


def example(n, label):
    return Example(str(n), (Turn("user", f"row {n}"),), (label,), source=str(n))


def rows(first, count):
    return tuple(example(n, "ab"[n % 2]) for n in range(first, first + count))


TASK = Task(
    "t", "classify", Split(rows(0, 20), rows(20, 6), rows(30, 6)), prompt=Prompt(ask="score"), labels=("a", "b"), metric="accuracy"
)


LORA = Lora()


def test_a_remote_rung_is_foretold_in_money():
    prices = {"input": 1, "output": 2}
    there = remote({"url": "http://localhost/v1", "model": "m", "prices": prices})
    limit, splits = Cost(), splits_digest(TASK)

    def foretold(*steps, base=there):
        found = foretell(Rung("r", base.name, steps), base, TASK, PACE, limit, splits, 0)
        return replace(found, asking=asking(found.nodes[-1].variant, TASK, PACE, Axes(), seed=0))

    plain, shown = foretold(ZeroShot()), foretold(FewShot(shots=4))
    # 12 rows: `row 20` with the labels, which no instruction names, and what stands around it, and a label with its end
    asked = (len("row 20" + "\n\nOne of these:\n- a\n- b")) / 4 + 4
    assert plain.asking.tokens == pytest.approx(12 * (asked + 1.25))
    assert plain.asking.money == pytest.approx(12 * (asked * 1 + 1.25 * 2) / 1e6)
    assert shown.asking.money > 3 * plain.asking.money
    assert (plain.cost.money, shown.cost.money) == (0, 0)
    thought, searched = foretold(ChainOfThought(shots=1)), foretold(Search(candidates=2, shown=2, rows=3))
    assert thought.cost.money > 0  # rows that the model reasons about to show them
    assert searched.cost.money > 0
    assert searched.asking.money == plain.asking.money
    here = foretold(ZeroShot(), base=BASE).asking
    ranked = 12 * (6 / 4 + 4 + 1.25)  # without a list of labels; and a model that is here is not paid
    assert here == Cost(seconds=pytest.approx(2 * BASE.active * ranked / PACE.flops))


def key(step=LORA, *, task=TASK, base=BASE, seed=0):
    return key_of(step, root_of(base, task).stamp, splits_digest(task), base, seed)


def test_the_key_changes_with_all_that_changes_the_node():
    class Newer(Lora):
        version = Lora.version + 1

    Newer.__module__ = Lora.__module__
    others = {
        "setting": key(Lora(r=4)),
        "seed": key(seed=1),
        "version": key(Newer()),
        "train rows": key(task=replace(TASK, examples=replace(TASK.examples, train=rows(0, 19)))),
        "dev rows": key(task=replace(TASK, examples=replace(TASK.examples, dev=rows(20, 5)))),
        "label of a row": key(task=replace(TASK, examples=replace(TASK.examples, train=(example(0, "b"), *rows(1, 19))))),
        "instruction": key(task=replace(TASK, prompt=Prompt(instruction="Which?", ask="score"))),
        "base": key(base=replace(BASE, content="c1")),
        "step": key(Full()),
        "itself": key(),
    }
    assert len(set(others.values())) == len(others)
    assert key() == key(Lora(r=8))


def test_the_test_split_limits_and_the_clock_are_in_no_key(tiny_base):
    unseen = replace(TASK, examples=replace(TASK.examples, test=rows(40, 9)), metric="macro_f1")
    assert key(task=unseen) == key()
    rung = Rung("lora", "small", (Lora(), FewShot(shots=2)))

    def keys(task, pace, limit):
        return [node.key for node in foretell(rung, tiny_base, task, pace, limit, splits_digest(task), 0).nodes]

    assert len(keys(TASK, PACE, Cost())) == 2
    assert keys(TASK, PACE, Cost()) == keys(unseen, Pace(1e12), Cost(seconds=1e6, memory=1 << 40))


def test_a_step_that_does_not_read_dev_is_not_keyed_by_it():
    other = replace(TASK, examples=replace(TASK.examples, dev=rows(20, 5)))
    assert key(FewShot(), task=other) == key(FewShot())
    assert key(ZeroShot(), task=other) == key(ZeroShot())


def test_rungs_share_the_nodes_they_have_in_common(tiny_base):
    def nodes(*steps):
        return foretell(Rung("r", "small", steps), tiny_base, TASK, PACE, Cost(), splits_digest(TASK), 0).nodes

    alone, shots, few = nodes(Lora()), nodes(Lora(), FewShot(shots=4)), nodes(FewShot(shots=4))
    assert alone[0].key == shots[0].key
    assert shots[1].key != few[0].key


@pytest.mark.parametrize(
    ("steps", "limit", "said"),
    [
        ((Lora(),), Cost(memory=1 << 20), "the limit is 1.0 MB (raise `limit: memory`, or lower `batch_size` or `max_length`)"),
        ((FewShot(shots=999),), Cost(), "999 shots asked for, but t has 20 to show (lower `shots`"),
        ((Lora(epochs=1e6),), Cost(seconds=1.0), "the limit is 1.0 s (raise `limit: minutes`, or lower `epochs`)"),
        ((Adapter(r=100_000),), Cost(), "r is 100,000, and "),
        ((LinearProbe(),), Cost(seconds=1e-9), "the limit is 0.000 ms (raise `limit: minutes`)"),
        ((Lora(epochs=1),), Cost(seconds=600.0, memory=1 << 40), ""),
    ],
)
def test_refused_before_any_work_with_the_reason(steps, limit, said, tiny_base):
    found = foretell(Rung("r", "small", steps), tiny_base, TASK, PACE, limit, splits_digest(TASK), 0)
    assert said in found.refused
    assert bool(found.refused) == bool(said)


def test_what_no_machine_holds_is_refused_before_its_base_is_opened(tiny_base, monkeypatch):
    rung = Rung("r", "small", (Lora(),))
    assert too_large(rung, tiny_base, Cost()) is None
    limited = too_large(rung, tiny_base, Cost(memory=1 << 20))
    assert limited.refused.startswith("answering needs about ")
    assert limited.refused.endswith("and the limit is 1.0 MB (raise `limit: memory`)")
    huge = replace(tiny_base, parameters=10**15, active=10**15)
    assert re.search(
        r"^answering needs about .* and this machine has .* \(take a smaller base\)$", too_large(rung, huge, Cost()).refused
    )
    # a step that needs more than there is, without a limit
    monkeypatch.setattr(tree, "hardware", lambda: replace(hardware(), memory=1 << 20, gpu_memory=1 << 20))
    found = foretell(rung, tiny_base, TASK, PACE, Cost(), splits_digest(TASK), 0)
    assert "this machine has 1.0 MB (lower `batch_size` or `max_length`)" in found.refused


def test_other_families_and_remote_bases_are_refused():
    def refused(base, step):
        return foretell(Rung("r", "small", (step,)), base, TASK, PACE, Cost(), splits_digest(TASK), 0).refused

    assert "makes no sense for a base of the encoder family" in refused(replace(BASE, family="encoder"), FewShot())
    assert "is a remote model" in refused(replace(BASE, source="url"), Lora())
    assert refused(replace(BASE, source="url"), ZeroShot()) == ""


@pytest.mark.parametrize(("kind", "setting"), [(Search, "proposer"), (Constitution, "critic")])
def test_how_an_endpoint_is_called_does_not_change_a_key_but_which_and_what_it_costs_does(kind, setting):
    here = {"url": "http://localhost/v1", "model": "m"}

    def key(**more):
        return key_of(kind(**{setting: here | more}), "root", splits_digest(TASK), BASE, 0)

    assert key() == key(timeout=9) == key(concurrency=4) == key(key_env="MINE")
    assert len({key(), key(model="n"), key(url="http://localhost/v2"), key(prices={"input": 1, "output": 2})}) == 4


@pytest.mark.parametrize("kept", ["{", "[]", "{}"])
def test_a_node_that_says_no_variant_is_broken(kept, tmp_path):
    (tmp_path / "variant.json").write_text(kept)
    with pytest.raises(BadInput, match=r"variant\.json is broken: ") as error:
        read_variant(tmp_path)
    assert "climb again" in error.value.hint


def test_what_is_read_of_the_probe_is_foretold_once_for_each_set_of_weights(tiny_base, tiny_encoder, tmp_path):
    step = Lora(epochs=1, r=2)
    rungs = [
        Rung(name, tiny_base.name, steps)
        for name, steps in (
            ("zero", (ZeroShot(),)),
            ("few", (FewShot(shots=2),)),
            ("lora", (step,)),
            ("both", (step, FewShot(shots=2))),
        )
    ]
    made = Climb(TASK, [tiny_base], rungs, bar=Bar(), limit=Cost(), seed=0, folder=tmp_path / "run", device="cpu")
    found = made.plan_in_full()
    pace = made._pace(made.bases[tiny_base.name])
    once = remembering(tiny_base, pace).seconds
    assert once > 0
    more = [each.asking.seconds - asking(each.nodes[-1].variant, TASK, pace, Axes(), seed=0).seconds for each in found]
    assert more == pytest.approx([once, 0, once, 0])
    deaf = replace(tiny_encoder, settings={**tiny_encoder.settings, "masked": False})
    assert remembering(deaf, pace) == Cost()
