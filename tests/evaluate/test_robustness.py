"""The same rows once more: what is asked, what they are marked by, and how much worse that is said to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import measure
from tuneladder.evaluate.robustness import PERTURBATIONS, PERTURBED, asked_with, chosen, drop, heading, measure_perturbed, said
from tuneladder.model.fake import FakeEngine
from tuneladder.types import Base, Drop, Example, Prompt, Robustness, Split, Task, Turn, Turns, Variant

LABELS = ("sport", "money")
WORDS = {"sport": "The team won its final match", "money": "The bank raised its lending rate"}
ROWS = tuple(
    Example(f"r{n}", (Turn("user", f"{WORDS[label]} on day {n}"),), (label,)) for n in range(40) for label in LABELS[n % 2 :][:1]
)
PROMPT = Prompt(instruction="Sport or money?", ask="score", parse="label")
TASK = Task("news", "classify", Split(test=ROWS), labels=LABELS, metric="accuracy", prompt=PROMPT)
BASE = Base("b", "folder", "", "decoder", 1, 1, 1, 1, 1, 1)
VARIANT = Variant(BASE, PROMPT)


def strict(turns: Turns) -> str:
    """Knows its words as they are written, and one instruction."""
    text = turns[-1].text
    if turns[0].text != PROMPT.instruction:
        return "money"
    return next((label for label, words in WORDS.items() if words in text), "money")


def dropped(way: str, asked: Robustness, *, task: Task = TASK, metric: str = "accuracy", seed: int = 0) -> Drop:
    engine = FakeEngine(strict)
    before = measure(engine, PROMPT, task, task.examples.test, seed=0).answers
    after = measure_perturbed(engine, VARIANT, task, way, asked, seed=seed).answers
    return drop(find_metric(metric), before, after, LABELS, way=way, how=said(task, VARIANT, asked, way), seed=0)


def test_every_perturbation_has_a_name_to_be_said_by() -> None:
    assert tuple(PERTURBED) == PERTURBATIONS == Robustness().perturb
    for way in PERTURBATIONS:
        assert said(TASK, VARIANT, Robustness(), way)


@pytest.mark.parametrize("way", PERTURBATIONS)
def test_what_a_strict_variant_loses(way: str) -> None:
    found = dropped(way, Robustness(share=1.0))
    assert found.before.value == 1
    assert found.after.value == pytest.approx(0.5, abs=0.13)  # all is money now; a blank may stay one
    assert found.worse.value == pytest.approx(found.before.value - found.after.value)
    assert 0 < found.worse.low < found.worse.value < found.worse.high < 1
    assert found.worse.count == len(ROWS)
    assert found.p < 0.01
    assert found.changed.value == pytest.approx(found.worse.value)
    assert 0 < len(found.lost) <= 4
    for before, after in found.lost:
        assert before.correct
        assert after.correct is False
        assert (before.id, before.reference) == (after.id, after.reference)
        assert (before.input != after.input) == (way != "instruction")


def test_a_metric_that_is_better_the_lower_gets_worse_by_rising() -> None:
    found = dropped("typos", Robustness(share=1.0), metric="hamming_loss")
    assert found.after.value > found.before.value
    assert 0 < found.worse.low <= found.worse.value <= found.worse.high


def test_answers_that_never_change_are_no_certainty() -> None:
    engine = FakeEngine(lambda turns: "money")
    before = measure(engine, PROMPT, TASK, ROWS, seed=0).answers
    after = measure_perturbed(engine, VARIANT, TASK, "typos", Robustness(), seed=0).answers
    found = drop(find_metric("accuracy"), before, after, LABELS, way="typos", how="", seed=0)
    assert found.worse.value == found.changed.value == 0
    assert found.worse.low < 0 < found.worse.high
    assert found.p == 1


def test_rows_are_drawn_and_paired_with_themselves() -> None:
    asked = Robustness(rows=10, share=1.0)
    rows = chosen(ROWS, asked, seed=0)
    assert len(rows) == 10
    assert [ROWS.index(row) for row in rows] == sorted(ROWS.index(row) for row in rows)
    assert rows == chosen(ROWS, asked, seed=0)
    assert rows != chosen(ROWS, asked, seed=1)
    assert chosen(ROWS, Robustness(rows=100), seed=0) == chosen(ROWS, Robustness(), seed=0) == ROWS
    assert dropped("typos", asked).worse.count == 10


def test_a_share_of_the_words_is_mistyped() -> None:
    engine = FakeEngine(strict)
    few, many = (measure_perturbed(engine, VARIANT, TASK, "typos", Robustness(share=share), seed=0).answers for share in (0.1, 0.9))

    def apart(one: str, other: str) -> int:
        return sum(a != b for a, b in zip(one.split(), other.split(), strict=True))

    texts = [row.turns[0].text for row in ROWS]
    assert {apart(text, row.input) for text, row in zip(texts, few, strict=True)} == {1}
    assert min(apart(text, row.input) for text, row in zip(texts, many, strict=True)) > 3


def test_each_row_is_asked_with_one_of_the_other_instructions() -> None:
    ours = asked_with(TASK, VARIANT, Robustness())
    given = Robustness(instructions=("Money or sport, which?", "Which of the two?", PROMPT.instruction))
    theirs = asked_with(TASK, VARIANT, given)
    assert theirs == given.instructions[:2]
    assert not set(ours) & set(theirs)
    assert "recipe" in said(TASK, VARIANT, given, "instruction")
    engine = FakeEngine(strict)
    found = measure_perturbed(engine, VARIANT, TASK, "instruction", given, seed=0)
    assert {turns[0].text for turns in engine.asked} == set(theirs)
    assert [marked.id for marked in found.answers] == [row.id for row in ROWS]
    assert [marked.input for marked in found.answers] == [row.turns[0].text for row in ROWS]
    assert found.spent.seconds > 0


def test_what_reads_no_instruction_is_asked_with_none() -> None:
    assert asked_with(TASK, replace(VARIANT, base=replace(BASE, family="encoder")), Robustness()) == ()
    assert asked_with(TASK, replace(VARIANT, prompt=replace(PROMPT, instruction="")), Robustness()) == ()


def test_a_metric_that_reads_rows_reads_them_as_they_were() -> None:
    rows = tuple(Example(f"r{n}", (Turn("user", f"Keane scored {n} goals"),), ("Keane",)) for n in range(30))
    task = Task("facts", "generate", Split(test=rows), metric="ungrounded", prompt=Prompt())
    echo = FakeEngine(lambda turns: turns[-1].text)  # repeats what it reads, typos too
    before = measure(echo, task.prompt, task, rows, seed=0).answers
    after = measure_perturbed(echo, Variant(BASE, task.prompt), task, "typos", Robustness(share=1.0), seed=0).answers
    assert [row.input for row in after] != [row.input for row in before]
    found = drop(find_metric("ungrounded"), before, after, (), way="typos", how="", seed=0)
    assert (found.before.value, found.after.value) == (0.0, 1.0)


def test_an_instruction_that_is_only_framed_is_called_so() -> None:
    framed = said(TASK, VARIANT, Robustness(), "instruction")  # the instruction is a person's own
    assert framed == "3 frames around it"
    assert heading("instruction", [framed]) == "the instruction framed"
    assert heading("instruction", ["2 rewordings by rule"]) == "the instruction reworded"
    assert heading("instruction", ["2 rewordings by rule", framed]) == "the instruction reworded or framed"
    assert heading("typos", [""]) == "typos"
