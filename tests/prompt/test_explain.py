"""A reason for each answer, asked for once it is given; and the reasoning of prompts that think."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask
from tuneladder.model.fake import FakeEngine
from tuneladder.prompt.chain_of_thought import ChainOfThought
from tuneladder.prompt.explain import Explain
from tuneladder.prompt.self_consistency import SelfConsistency
from tuneladder.tune.lora import Lora
from tuneladder.types import Head, Pace, Turn, Why

PACE = Pace(1e9)


def reasoner(turns):
    return "It speaks of a parcel." if turns[-1].text == "What for?" else "parcels"


def test_the_reason_is_asked_for_after_the_answer(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    made = Explain(question="What for?", tokens=9).apply(root, tiny_task, lend())
    assert (made.prompt.why, made.steps) == (Why("What for?", 9), ("explain",))
    rows = tiny_task.examples.dev[:3]
    for way in ("score", "generate"):
        engine = FakeEngine(reasoner)
        answers = ask(engine, replace(made.prompt, ask=way), rows, tiny_task.labels)
        plain = ask(FakeEngine(reasoner), replace(root.prompt, ask=way), rows, tiny_task.labels)
        assert [answer.reason for answer in answers] == ["It speaks of a parcel."] * 3
        assert [replace(answer, reason="") for answer in answers] == plain
        assert engine.asked[-1][-2:] == (Turn("assistant", "parcels"), Turn("user", "What for?"))


def test_an_answer_that_says_nothing_has_no_reason(tiny_base, tiny_task, lend):
    made = Explain().apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    engine = FakeEngine({}, default="nonsense")
    (answer,) = ask(engine, replace(made.prompt, ask="generate"), tiny_task.examples.dev[:1], tiny_task.labels)
    assert (answer.text, answer.reason, len(engine.asked)) == ("", "", 1)


def test_a_model_explains_itself_in_so_many_tokens(tiny_base, tiny_task, lend):
    kit, written = lend(), {}
    for tokens in (2, 6):
        made = Explain(tokens=tokens).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        with kit.shelf.engine(made) as engine:
            before = engine.calls.new_tokens
            assert all(answer.reason for answer in ask(engine, made.prompt, tiny_task.examples.dev[:4], tiny_task.labels))
            written[tokens] = engine.calls.new_tokens - before
    assert written[6] > written[2] > 0


def test_what_reasons_first_has_its_reason(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    thinking = ChainOfThought(invitation="Think.", conclusion="So:").apply(root, tiny_task, lend())
    engine = FakeEngine(lambda turns: "A parcel is late." if turns[-1].text.endswith("Think.") else "parcels")
    (answer,) = ask(engine, thinking.prompt, tiny_task.examples.dev[:1], tiny_task.labels)
    assert (answer.text, answer.reason, answer.raw) == ("parcels", "A parcel is late.", "A parcel is late.\nSo: parcels")
    voting = SelfConsistency(samples=3).apply(thinking, tiny_task, lend())
    (answer,) = ask(engine, voting.prompt, tiny_task.examples.dev[:1], tiny_task.labels)
    assert (answer.reason, answer.confidence) == ("A parcel is late.", 1.0)
    with pytest.raises(Refused, match="that is its reason"):
        Explain().plan(thinking, tiny_task, PACE)
    explaining = Explain().plan(root, tiny_task, PACE)[0]
    for step in (ChainOfThought(), SelfConsistency(samples=3)):
        with pytest.raises(Refused, match="asks for a reason after the answer") as error:
            step.plan(explaining, tiny_task, PACE)
        assert "leave `explain` out" in error.value.hint
    voting, _ = SelfConsistency(samples=3, think=False).plan(explaining, tiny_task, PACE)
    (answer,) = ask(FakeEngine({}, default="parcels"), voting.prompt, tiny_task.examples.dev[:1], tiny_task.labels)
    assert (answer.text, answer.confidence, answer.reason) == ("parcels", 1.0, "parcels")  # which is asked why


def test_what_cannot_explain_is_refused(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    with pytest.raises(Refused, match="plain text has none"):
        Explain().plan(root, replace(tiny_task, kind="text"), PACE)
    with pytest.raises(Refused, match="a head answers here"):
        Explain().plan(replace(root, head=Head("classes", tiny_task.labels)), tiny_task, PACE)
    with pytest.raises(Refused, match="asks for a reason too"):
        Lora().plan(Explain().plan(root, tiny_task, PACE)[0], tiny_task, PACE)
    with pytest.raises(BadInput, match="explain cannot use tokens 0"):
        Explain(tokens=0)
    with pytest.raises(BadInput, match="has to ask for the reason"):
        Explain(question=" ")
