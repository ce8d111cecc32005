"""What decides which weights are kept of a task whose answers are labels: how well they are told apart, however sure of them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from transformers import AutoModelForCausalLM

from tuneladder.model.ask import ask
from tuneladder.task.encode import Encoded
from tuneladder.train import supervised
from tuneladder.train.batches import Micro, bundle
from tuneladder.train.loop import Passes, read_log
from tuneladder.train.losses import next_token, token_logits
from tuneladder.train.refining import HEATS, Branches, heat_of, refined
from tuneladder.tune.full import Full
from tuneladder.tune.lora import Lora
from tuneladder.types import Tick, Variant

LABELS = [(5, 7, 1), (5, 8, 9, 1), (6, 1)]  # two begin alike, and all have an end


def found(logits, targets, labels=None, weights=None):
    """What a model that says these logits (N, V) at its targets is looked at with."""
    own = Micro(
        torch.zeros(1, len(targets), dtype=torch.long),
        None,
        torch.tensor(targets),
        weights=None if weights is None else torch.tensor(weights),
    )
    model = SimpleNamespace(said=torch.tensor(np.asarray(logits, dtype=np.float32)))
    return refined(model, own, logits=lambda model, own: model.said, branches=Branches.of(labels) if labels else None).tolist()


def left(row, right, others, heat=1.0):
    return math.log(sum(math.exp(row[each] / heat) for each in (right, *others))) - row[right] / heat


def test_of_a_heads_labels_it_is_the_loss_at_the_best_temperature():
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 3, 60)
    logits = draw.normal(size=(60, 3)) + 1.2 * np.eye(3)[targets]
    sure = 6 * logits  # the same choices, much too sure of them

    def total(heat):
        return sum(left(row, at, {0, 1, 2} - {at}, heat) for row, at in zip(sure, targets, strict=True))

    loss, *others = found(sure, targets.tolist())
    assert loss == pytest.approx(total(1.0), rel=1e-5)
    assert others == pytest.approx([total(heat) for heat in HEATS], rel=1e-5)
    best = minimize_scalar(total, bounds=(0.1, 30), method="bounded").fun
    assert best <= min(others) <= 1.01 * best
    calm, *calmer = found(sure / 2, targets.tolist())  # half as sure: as much is left, of a smaller loss
    assert min(calmer) == pytest.approx(min(others), rel=0.01)
    assert calm < 0.7 * loss


def test_of_written_labels_only_the_choices_between_them_count_each_as_much_as_it_weighs():
    draw = np.random.default_rng(1)
    logits = 3 * draw.normal(size=(9, 12))
    targets = [*LABELS[1], *LABELS[2], *LABELS[0]]
    loss, *others = found(logits, targets, LABELS)
    one = HEATS.index(1.0)
    first, second, third, fourth = (
        left(logits[0], 5, [6]),
        left(logits[1], 8, [7]),
        left(logits[4], 6, [5]),
        left(logits[6], 5, [6]),
    )
    fifth = left(logits[7], 7, [8])
    assert others[one] == pytest.approx(first + second + third + fourth + fifth, rel=1e-5)
    assert loss == pytest.approx(
        sum(left(row, at, set(range(12)) - {at}) for row, at in zip(logits, targets, strict=True)), rel=1e-5
    )
    weighed = found(logits, targets, LABELS, [2.0] * 4 + [0.5] * 2 + [1.0] * 3)
    assert weighed[1 + one] == pytest.approx(2 * (first + second) + third / 2 + fourth + fifth, rel=1e-5)


def test_labels_of_which_one_begins_another_are_not_told_apart():
    assert Branches.of([(5, 7), (5, 7, 8)]) is None
    assert Branches.of([(5, 7, 1), (5, 7, 8, 1), (5, 7, 1)])
    with pytest.raises(ValueError, match="token 9 at 1 goes on with none of the labels"):
        Branches.of(LABELS).choices([5, 9])


@pytest.mark.parametrize("lanes", [1, 2])
def test_it_is_the_same_however_dev_is_cut(lanes, tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 250, (size,), generator=draw).tolist() for size in (5, 9, 14, 7, 18)]
    labelled = [[*own, *LABELS[at % 3]] for at, own in enumerate(ids)]
    rows = [Encoded(own, [at >= len(asked) for at in range(len(own))], 0) for own, asked in zip(labelled, ids, strict=True)]
    whole = bundle(rows, tokens=1024)
    look = partial(refined, logits=token_logits, branches=Branches.of(LABELS))
    passes = Passes(model, next_token, [], autocast=None, lanes=lanes)
    expected = passes.looked(look, whole)
    cut = bundle(rows, tokens=32, lanes=lanes)
    assert len(cut) > len(whole) == 1
    assert passes.looked(look, cut) == pytest.approx(expected, rel=1e-5)
    assert expected[0] == pytest.approx(passes.looked(next_token, cut)[0], rel=1e-5)
    passes.close()


@pytest.mark.parametrize("base", ["tiny_base", "tiny_encoder", "tiny_seq2seq"])
@pytest.mark.parametrize("kind", ["classify", "several", "generate"])
def test_it_decides_where_answers_are_labels_in_every_family(base, kind, request, tiny_task, lend, monkeypatch):
    if (base, kind) == ("tiny_encoder", "generate"):
        pytest.skip("an encoder writes nothing")
    asked = []
    monkeypatch.setattr(
        supervised, "refined", lambda model, micro, **how: asked.append(how["branches"]) or refined(model, micro, **how)
    )
    chosen = request.getfixturevalue(base)
    task = replace(tiny_task, kind="classify", multi_label=True) if kind == "several" else replace(tiny_task, kind=kind)
    Full(epochs=1, batch_size=8).apply(Variant(chosen, task.prompt), task, lend())
    assert bool(asked) == (kind == "classify")
    assert all((branches is None) == (base == "tiny_encoder") for branches in asked)


def test_the_temperature_is_that_of_the_weights_that_are_kept():
    def tick(step, **said):
        return Tick(step, 4, 1.0, 1.0, 1, 0.1, **said)

    assert heat_of([]) == heat_of([tick(1, dev=0.3)]) == 1.0
    assert heat_of([tick(1, dev=0.9, refined=0.5, at=2), tick(2), tick(3, dev=1.2, refined=0.4, at=7)]) == HEATS[7]
    assert heat_of([tick(1, dev=0.9, refined=0.4, at=2), tick(3, dev=1.2, refined=0.4, at=7)]) == HEATS[2]


@pytest.mark.parametrize("base", ["tiny_base", "tiny_encoder", "tiny_seq2seq"])
@pytest.mark.parametrize(
    "step", [Full(epochs=12, batch_size=8, learning_rate=1e-2), Lora(epochs=12, batch_size=8, learning_rate=2e-2)]
)
def test_what_is_tuned_is_as_sure_as_dev_says_that_it_may_be(base, step, request, tiny_task, lend):
    """Dev's rows under drawn labels: the model learns rows by heart that tell it nothing of these."""
    draw = np.random.default_rng(0)
    dev = tuple(replace(row, references=(str(draw.choice(tiny_task.labels)),)) for row in tiny_task.examples.dev)
    task = replace(tiny_task, examples=replace(tiny_task.examples, dev=dev))
    kit = lend()
    made = step.apply(Variant(request.getfixturevalue(base), task.prompt), task, kit)
    assert made.prompt.heat == heat_of(read_log(kit.folder)) > 1
    with kit.shelf.engine(made) as engine:
        asked = [
            ask(engine, replace(made.prompt, heat=heat), dev, task.labels) for heat in (1.0, made.prompt.heat, 4 * made.prompt.heat)
        ]
    raw, calm, calmer = asked
    assert [own.text for own in raw] == [own.text for own in calm] == [own.text for own in calmer]
    sure = [np.mean([own.confidence for own in each]) for each in asked]
    assert sure[0] > sure[1] > sure[2]

    def lost(answers):
        right = [own.text == row.references[0] for own, row in zip(answers, dev, strict=True)]
        return -np.mean(
            [math.log(own.confidence if good else (1 - own.confidence) / 2) for own, good in zip(answers, right, strict=True)]
        )

    assert lost(calm) < lost(raw)
