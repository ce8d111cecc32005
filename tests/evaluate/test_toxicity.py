"""A classifier of words, what it is worth, and what it says of answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.toxicity import check, classifier, label_of_toxic, toxicity
from tuneladder.task.build import build
from tuneladder.types import Answer, Detector, Example, Marked, Split, Task, Turn

RUDE = ("you stupid fool number {n}", "shut up, idiot {n}", "what a stupid idiot {n}")
KIND = ("thank you for day {n}", "what a lovely idea {n}", "see you at {n}, my friend")


def texts(start: int, count: int) -> tuple[Example, ...]:
    made = [
        (said.format(n=n), label)
        for n in range(start, start + count)
        for label, own in (("bad", RUDE), ("fine", KIND))
        for said in own
    ]
    return tuple(Example(f"t{at}", (Turn("user", text),), (label,)) for at, (text, label) in enumerate(made))


DETECTOR = Detector(Task("t", "classify", Split(texts(0, 8), (), texts(20, 5)), labels=("bad", "fine")), "bad", "rude.csv")


def answers(*pairs: tuple[str, str]) -> list[Marked]:
    return [Marked(f"r{n}", "Say it.", reference, Answer(said), None) for n, (said, reference) in enumerate(pairs)]


def test_it_says_what_it_is_worth() -> None:
    by = classifier(DETECTOR, seed=0).by
    assert (by.source, by.learned) == ("rude.csv", 48)
    assert (by.accuracy.value, by.accuracy.count) == (1, 30)
    assert (by.found.count, by.alarms.count) == (15, 15)
    assert (by.found.value, by.alarms.value) == (1, 0)
    assert by.alarms.high > 0.1  # fifteen rows without a false alarm are no proof


def test_the_share_of_answers_stands_beside_that_of_the_references() -> None:
    judge = classifier(DETECTOR, seed=0)
    given = answers(*[("you idiot", "thank you")] * 6, *[("a lovely day", "stupid fool")] * 2, *[("thank you", "lovely")] * 12)
    found = toxicity(judge, given, seed=0)
    assert found.answers.value == pytest.approx(0.3)
    assert found.references.value == pytest.approx(0.1)
    assert found.more.value == pytest.approx(0.2)
    assert found.more.low < 0.2 < found.more.high
    assert found.answers.count == found.references.count == found.more.count == 20
    assert found.answers.low < 0.3 < found.answers.high
    assert [marked.answer.text for marked in found.flagged] == ["you idiot"] * 3
    assert found == toxicity(judge, given, seed=0)


def test_an_answer_of_unknown_words_is_called_nothing() -> None:
    """Without a word that it knows a regression says what it says of an empty text, whatever that is."""
    judge = classifier(DETECTOR, seed=0)
    found = toxicity(judge, answers(("zebra quartz", "thank you"), ("", "thank you"), ("you idiot", "thank you")), seed=0)
    assert found.blank == 2
    assert found.answers.value == pytest.approx(1 / 3)
    calm = toxicity(judge, answers(*[("thank you", "lovely")] * 9), seed=0)
    assert calm.more.low < calm.more.value == 0 < calm.more.high


def test_the_label_of_toxic_texts_is_told_or_named() -> None:
    assert label_of_toxic(("Not Toxic", "Toxic")) == "Toxic"
    assert label_of_toxic(("0", "1")) == "1"
    assert label_of_toxic(("fine", "rude", "toxic")) == "toxic"
    with pytest.raises(BadInput, match="which of 1, 2, 3 are toxic texts called"):
        label_of_toxic(("1", "2", "3"))
    assert label_of_toxic(("clean", "insult"), "insult") == "insult"
    with pytest.raises(BadInput, match="which of clean, insult are toxic texts called"):
        label_of_toxic(("clean", "insult"))
    with pytest.raises(BadInput, match="toxic is 'insults', which no row has"):
        label_of_toxic(("clean", "insult"), "insults")


def test_too_few_rows_held_out_are_refused() -> None:
    check(DETECTOR)
    few = Split(DETECTOR.task.examples.train, (), DETECTOR.task.examples.test[:12])
    with pytest.raises(BadInput, match=r"6 toxic texts of rude.csv are held out"):
        check(Detector(Task("t", "classify", few, labels=("bad", "fine")), "bad", "rude.csv"))
    one = Split(tuple(row for row in DETECTOR.task.examples.train if row.references[0] == "bad"), (), DETECTOR.task.examples.test)
    with pytest.raises(BadInput, match="are all of one sort"):
        check(Detector(Task("t", "classify", one, labels=("bad", "fine")), "bad", "rude.csv"))


def test_on_toxicity_surge_it_is_right_more_often_than_not(shared: Path) -> None:
    folder = shared / "data" / "classification" / "toxicity_surge"
    task, _ = build(name="t", kind="classify", data={"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")})
    detector = Detector(task, label_of_toxic(task.labels), "toxicity_surge")
    check(detector)
    by = classifier(detector, seed=0).by
    assert by.accuracy.low > 0.6
    assert by.found.value > by.alarms.value + 0.3
