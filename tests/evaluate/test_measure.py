from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.compare import compare
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold, doubts
from tuneladder.evaluate.measure import confusion, mark, measure, rate
from tuneladder.types import Answer, Bar, Decoding, Example, Marked, Prompt, Split, Task, Turn, Turns

LABELS = ("sport", "money", "weather")


def rows(*pairs: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(Example(f"r{k}", (Turn("user", text),), (answer,)) for k, (text, answer) in enumerate(pairs))


EXAMPLES = rows(("a goal", "sport"), ("a bank", "money"), ("a cloud", "weather"), ("a match", "sport"))
TASK = Task("news", "classify", Split(dev=EXAMPLES), labels=LABELS, metric="macro_f1", prompt=Prompt(ask="score", parse="label"))


class Keywords:
    """An engine that knows a word of each label."""

    name = "keywords"

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        return [["no idea"] for _ in asks]

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        knows = {"goal": "sport", "bank": "money", "cloud": "weather", "match": "money"}
        told = [next(label for word, label in knows.items() if word in ask[-1].text) for ask in asks]
        return [[0.0 if ending == label else -3.0 for ending in row] for label, row in zip(told, endings, strict=True)]


def test_measure_asks_marks_and_keeps_every_answer() -> None:
    measured = measure(Keywords(), TASK.prompt, TASK, EXAMPLES, seed=0)
    assert next(iter(measured.quality)) == "macro_f1"
    assert set(measured.quality) == {"macro_f1", "accuracy", "micro_f1", "matthews"}
    assert measured.quality["accuracy"].value == 0.75
    assert measured.quality["accuracy"].interval == "wilson"
    assert [marked.correct for marked in measured.answers] == [True, True, True, False]
    assert measured.answers[3].input == "a match"
    assert measured.answers[3].answer.text == "money"
    assert measured.engine == "keywords"
    assert measured.forgetting is None
    assert not measured.probes
    assert 0 < measured.per_answer.seconds * 4 <= measured.spent.seconds


def test_answers_that_do_not_parse_are_wrong() -> None:
    measured = measure(Keywords(), Prompt(ask="generate", parse="label"), TASK, EXAMPLES, seed=0)
    assert measured.quality["macro_f1"].value == 0
    assert [marked.correct for marked in measured.answers] == [False] * 4
    assert confusion(measured.answers, LABELS) == [[0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_confusion_is_true_by_said() -> None:
    measured = measure(Keywords(), TASK.prompt, TASK, EXAMPLES, seed=0)
    assert confusion(measured.answers, LABELS) == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_generated_text_is_right_or_wrong_only_where_exact_match_marks_it() -> None:
    examples, answers = rows(("x", "a b"), ("y", "c")), [Answer("a  b"), Answer("d")]
    free = Task("free", "generate", Split(dev=examples), metric="rouge_l")
    exact = Task("exact", "generate", Split(dev=examples), metric="exact_match")
    assert [m.correct for m in mark(free, examples, answers, seconds=1, engine="", seed=0).answers] == [None, None]
    marked = mark(exact, examples, answers, seconds=1, engine="", seed=0)
    assert [m.correct for m in marked.answers] == [True, False]
    assert {"rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "bleu", "chrf", "exact_match"} == set(marked.quality)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(BadInput, match="news has no rows"):
        mark(TASK, (), (), seconds=0, engine="", seed=0)


def test_intervals_are_named_and_hold_the_value() -> None:
    answers = ["sport", "money", "money", "weather"] * 25
    truth = [["sport"], ["weather"], ["money"], ["weather"]] * 25
    for name in ("accuracy", "macro_f1", "micro_f1", "matthews"):
        score = rate(find_metric(name), answers, truth, LABELS, seed=0)
        assert score.interval == ("wilson" if name == "accuracy" else "bootstrap")
        assert score.count == 100
        assert score.low < score.value < score.high


@pytest.mark.parametrize(("name", "best"), [("macro_f1", 1.0), ("bleu", 100.0)])
def test_few_perfect_rows_are_no_certainty(name: str, best: float) -> None:
    answers = ["sport"] * 5 if name == "macro_f1" else ["one two three four five"] * 5
    score = rate(find_metric(name), answers, [[answer] for answer in answers], LABELS, seed=0)
    assert score.value == pytest.approx(best)
    assert score.high == pytest.approx(best)
    assert score.low == pytest.approx(0.5655 * best, abs=0.01 * best)
    assert score.interval == "wilson"


def marked(*rights: bool | None) -> list[Marked]:
    return [Marked(f"r{k}", "", "", Answer(""), right) for k, right in enumerate(rights)]


def test_compare_counts_items_won_and_lost() -> None:
    found = compare(marked(True, True, False, False, True, None), marked(True, False, True, False, False, True)[::-1])
    assert [mine.id for mine, _ in found.won] == ["r1", "r4"]
    assert [mine.id for mine, _ in found.lost] == ["r2"]
    assert (found.both, found.neither, found.p) == (1, 1, 1.0)


def test_compare_needs_common_items_that_are_right_or_wrong() -> None:
    with pytest.raises(BadInput, match="no item in common"):
        compare(marked(True), [])
    with pytest.raises(BadInput, match="not simply right or wrong"):
        compare(marked(None), marked(True))


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "micro_f1", "matthews"])
def test_gold_labels_are_perfect(metric: str) -> None:
    check_gold(metric, TASK)


@pytest.mark.parametrize("metric", ["rouge_1", "rouge_l", "rouge_lsum", "bleu", "chrf", "exact_match"])
def test_gold_sentences_are_perfect(metric: str) -> None:
    check_gold(metric, Task("say", "generate", Split(test=rows(("x", "one two three four five"), ("y", "no")))))


@pytest.mark.parametrize(
    ("metric", "answers", "says"),
    [
        ("rouge_l", ("good day", "你好"), r"rouge_l scores the gold answers of say 0.5, not 1; row r1 \('你好'\) is off by 1"),
        ("rouge_2", ("good", "good day"), "rouge_2 scores the gold answers"),
        ("bleu", ("two words", "a b c"), "bleu scores the gold answers of say 0, not 100"),
        ("pearson", ("3", "3"), "pearson scores the gold answers of say 0, not 1"),
        ("my_lengths:words", ("a b", "c"), "my_lengths:words scores the gold answers of say 1.5, not 1"),
    ],
)
def test_a_metric_that_doubts_the_gold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, answers: tuple[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lengths.py").write_text("def words(answer, reference):\n    return len(answer.split())\n")
    with pytest.raises(BadInput, match=says) as error:
        check_gold(metric, Task("say", "generate", Split(dev=rows(*(("x", answer) for answer in answers)))))
    assert error.value.hint


def beside(metric: str, *answers: str) -> Task:
    return Task("say", "generate", Split(dev=rows(*(("x", answer) for answer in answers))), metric="rouge_1", also=(metric,))


def test_a_metric_beside_the_tasks_own_may_doubt_some_of_the_gold_and_not_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lengths.py").write_text("def words(answer, reference):\n    return len(answer.split())\n")
    assert doubts(beside("rouge_l", "good", "good day"), Bar()) == ()
    (said,) = doubts(beside("rouge_2", "good", "good day"), Bar("rouge_2", 0.5))
    assert said == "rouge_2 scores the gold answers of say 0.5, not 1; row r0 ('good') is off by 1: no rung can do better there"
    with pytest.raises(BadInput, match=r"nothing can clear the bar of rouge_2 0\.6: rouge_2 scores the gold answers of say 0\.5"):
        doubts(beside("rouge_2", "good", "good day"), Bar("rouge_2", 0.6))
    for metric, answers in (("rouge_2", ("good", "day")), ("my_lengths:words", ("a b", "c"))):
        with pytest.raises(BadInput, match="scores the gold answers"):
            doubts(beside(metric, *answers), Bar())
    with pytest.raises(BadInput, match="rouge_2 scores the gold answers"):
        doubts(replace(beside("rouge_1", "good", "good day"), metric="rouge_2"), Bar())


def test_a_task_names_metrics_beside_its_own() -> None:
    examples = tuple(replace(row, references=(*row.references, "b")) for row in rows(("x", "a c"), ("y", "c")))
    task = Task("free", "generate", Split(dev=examples), metric="rouge_l", also=("cider", "meteor"))
    measured = mark(task, examples, [Answer("a c"), Answer("b")], seconds=1, engine="", seed=0)
    assert list(measured.quality)[:3] == ["rouge_l", "cider", "meteor"]
    assert measured.quality["meteor"].value == 1
    assert [marked.others for marked in measured.answers] == [("b",), ("b",)]


def test_each_set_of_a_mixture_is_measured_apart() -> None:
    sets = tuple(replace(example, set="one" if at < 1 else "two") for at, example in enumerate(EXAMPLES))
    task = replace(TASK, kind="extract", metric="exact_match", labels=())
    answers = [Answer("sport"), Answer("money"), Answer("sport"), Answer("sport")]
    quality = mark(task, sets, answers, seconds=1.0, engine="e", seed=0).quality
    assert next(iter(quality)) == "exact_match"
    assert (quality["exact_match[one]"].value, quality["exact_match[one]"].count) == (1.0, 1)
    assert (quality["exact_match[two]"].value, quality["exact_match[two]"].count) == (pytest.approx(2 / 3), 3)
    whole = mark(task, EXAMPLES, answers, seconds=1.0, engine="e", seed=0).quality
    assert quality["exact_match"] == whole["exact_match"]
    assert not [name for name in whole if "[" in name]
