"""Self-consistency: samples, their vote, its share as confidence, and what it may stand on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.measure import measure
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask
from tuneladder.prompt.chain_of_thought import ChainOfThought
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.self_consistency import SelfConsistency
from tuneladder.tune.lora import Lora
from tuneladder.types import Decoding, Pace, Prompt, Thought

PACE = Pace(1e9)


def test_samples_reason_and_vote(tiny_base, tiny_task, lend):
    kit = lend()
    root = root_of(tiny_base, tiny_task)
    made = SelfConsistency(samples=5, tokens=6, temperature=2.0, top_k=0).apply(root, tiny_task, kit)
    assert made.prompt.think == Thought(tokens=6)
    rows = tiny_task.examples.dev
    with kit.shelf.engine(made) as engine:
        answers = ask(engine, made.prompt, rows, tiny_task.labels)
        assert answers == ask(engine, made.prompt, rows, tiny_task.labels)  # the seed's
        other = replace(made.prompt, decoding=replace(made.prompt.decoding, seed=9))
        others = ask(engine, other, rows, tiny_task.labels)
        assert [answer.raw for answer in answers] != [answer.raw for answer in others]
    assert all(answer.text in tiny_task.labels for answer in answers)
    assert {answer.confidence for answer in answers} <= {0.4, 0.6, 0.8, 1.0}


def test_a_prompt_that_reasons_already_is_left_to(tiny_base, tiny_task, lend):
    below = ChainOfThought(invitation="Think.", tokens=3).apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    for think in (True, False):
        made = SelfConsistency(samples=3, think=think, tokens=50).apply(below, tiny_task, lend())
        assert made.prompt.think == Thought("Think.", tokens=3)
        assert (made.prompt.vote, made.prompt.ask) == (3, "score")
    assert made.steps == ("chain_of_thought", "self_consistency")


def test_without_thinking_the_answer_itself_is_sampled(tiny_base, tiny_task, lend):
    made = SelfConsistency(samples=4, think=False, temperature=0.5, top_k=3).apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    prompt = made.prompt
    assert (prompt.think, prompt.ask, prompt.parse, prompt.vote) == (None, "generate", "label", 4)
    assert (prompt.decoding.temperature, prompt.decoding.top_k) == (0.5, 3)


def test_an_endpoint_is_told_how_many_tokens_to_draw_from_only_where_that_is_asked_for(tiny_base, tiny_task, lend):
    there = replace(tiny_base, source="url")
    found = [
        SelfConsistency(top_k=given).apply(root_of(base, tiny_task), tiny_task, lend()).prompt.decoding.top_k
        for base in (tiny_base, there)
        for given in (None, 7, 0)
    ]
    assert found == [40, 7, 0, 0, 7, 0]


def test_an_answer_costs_as_many_times_more(tiny_base, tiny_task, lend):
    """By what the engine has to do: the tokens that it writes for a row."""
    root = root_of(tiny_base, tiny_task)
    prompts = {n: SelfConsistency(samples=n, tokens=5, top_k=0).apply(root, tiny_task, lend()).prompt for n in (2, 8)}
    kit, written, price = lend(), {}, {}
    with kit.shelf.engine(root) as engine:
        for count, prompt in prompts.items():
            before = engine.calls.new_tokens
            found = measure(engine, prompt, tiny_task, tiny_task.examples.dev, seed=0)
            written[count], price[count] = engine.calls.new_tokens - before, found.per_answer.seconds
    assert written[8] == pytest.approx(4 * written[2], rel=0.1)
    assert price[8] > price[2]


def test_what_cannot_vote_is_refused(tiny_base, tiny_task):
    prose = replace(tiny_task, kind="generate", metric="rouge_l", labels=(), prompt=Prompt())
    with pytest.raises(Refused, match="counts answers that are the same, and those of rouge_l seldom are"):
        SelfConsistency().plan(root_of(tiny_base, prose), prose, PACE)
    exact = replace(prose, metric="exact_match")
    assert SelfConsistency().plan(root_of(tiny_base, exact), exact, PACE)
    numbers = replace(prose, prompt=Prompt(parse="number"))
    assert SelfConsistency().plan(root_of(tiny_base, numbers), numbers, PACE)
    root = root_of(tiny_base, tiny_task)
    with pytest.raises(Refused, match="what is calibrated is ranked"):
        SelfConsistency().plan(FewShot(calibrate=True).plan(root, tiny_task, PACE)[0], tiny_task, PACE)
    with pytest.raises(Refused, match="plain text has none"):
        SelfConsistency().plan(root, replace(tiny_task, kind="text"), PACE)
    several = replace(tiny_task, prompt=replace(tiny_task.prompt, decoding=Decoding(temperature=1.0, samples=5)))
    with pytest.raises(Refused, match="comes to one answer for each row, and 5 samples are asked for"):
        SelfConsistency().plan(root_of(tiny_base, several), several, PACE)


def test_a_step_that_learns_comes_first(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    below = SelfConsistency(think=False).plan(root, tiny_task, PACE)[0]
    with pytest.raises(Refused, match="learns one answer a row, and the prompt asks for 10"):
        Lora().plan(below, tiny_task, PACE)


def test_settings_that_make_no_sense():
    for wrong in ({"samples": 1}, {"temperature": 0.0}, {"temperature": float("nan")}, {"top_k": -1}, {"tokens": 0}):
        with pytest.raises(BadInput, match=f"self_consistency cannot use {next(iter(wrong))}"):
            SelfConsistency(**wrong)
