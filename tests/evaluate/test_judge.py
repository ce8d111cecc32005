"""Judges: both orders, what the order decides, what nobody can read, and how often people say the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput, CannotScore, Failed
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.judge import TOGETHER, judged
from tuneladder.evaluate.measure import mark
from tuneladder.evaluate.people import Opinion, agreement, drawn, read_people
from tuneladder.evaluate.talks import answered, read_questions
from tuneladder.evaluate.verdicts import Case, Judge, asks_of, read_mark, read_side
from tuneladder.ladder import words
from tuneladder.model.fake import FakeEngine
from tuneladder.model.kept import Kept
from tuneladder.store import Store
from tuneladder.types import Answer, Decoding, Example, Judged, Split, Task, Turn, Turns

PAIRWISE = Judge(by="fake", against="other")
ALONE = Judge(by="fake")


def shown(turns: Turns) -> tuple[str, str]:
    """The two answers in the order in which they stand."""
    found = re.search(r"\[Answer A\]\n(.*?)\n\n\[Answer B\]\n(.*?)\n\n\[End\]", turns[-1].text, re.DOTALL)
    assert found
    return found[1], found[2]


def better(good: Callable[[str, str], str]) -> FakeEngine:
    """Says of two answers, as they are shown, what `good` says: A, B, tie or nonsense."""
    return FakeEngine(lambda turns: f"They differ. [[{good(*shown(turns))}]]")


def hear(engine: Any, cases: Sequence[Case], rules: Judge = PAIRWISE, **more: Any) -> Judged:
    return judged(engine, rules, cases, name="fake", seed=0, **more)


def cases(count: int, other: str = "worse") -> list[Case]:
    return [Case(str(n), f"question {n}", f"good {n}", f"{other} {n}") for n in range(count)]


def test_a_judge_is_asked_in_both_orders() -> None:
    engine = better(lambda a, b: "A" if a.startswith("good") else "B")
    found = hear(engine, cases(10))
    assert [shown(turns) for turns in engine.asked[:2]] == [("good 0", "worse 0"), ("worse 0", "good 0")]
    assert (found.score.value, found.score.count, found.score.interval) == (1.0, 10, "wilson")
    assert found.flips is not None
    assert found.bias is not None
    assert (found.flips.value, found.bias.value) == (0.0, 0.0)
    assert found.bias.low < 0 < found.bias.high
    assert {verdict.outcome for verdict in hear(better(lambda a, b: "B" if a.startswith("good") else "A"), cases(3)).verdicts} == {
        "loss"
    }
    assert {verdict.outcome for verdict in hear(better(lambda a, b: "tie"), cases(3)).verdicts} == {"tie"}


def test_a_verdict_that_changes_with_the_order_is_a_tie_and_bias_is_told() -> None:
    found = hear(better(lambda a, b: "A"), cases(8))
    assert {(own.outcome, own.flipped, own.decided) for own in found.verdicts} == {("tie", True, "first")}
    assert found.flips is not None
    assert found.bias is not None
    assert (found.score.value, found.flips.value, found.bias.value) == (0.5, 1.0, 1.0)
    assert 0 < found.bias.low < 1
    found = hear(better(lambda a, b: "B"), cases(8))
    assert found.bias is not None
    assert found.bias.value == -1.0
    # for the first in one order and undecided in the other: a tie that no place decided
    wavering = hear(better(lambda a, b: "A" if a.startswith("good") else "tie"), cases(4))
    assert {(own.outcome, own.flipped, own.decided) for own in wavering.verdicts} == {("tie", True, "")}


def test_what_cannot_be_read_is_counted_and_is_no_tie() -> None:
    def says(a: str, b: str) -> str:
        return "perhaps" if a.endswith(" 3") else "A" if a.startswith("good") else "B"

    found = hear(better(says), cases(10))
    assert [own.outcome for own in found.verdicts].count("") == 1
    assert (found.score.value, found.score.count) == (1.0, 9)
    with pytest.raises(Failed, match=r"fake is no judge: 20 of 20 replies hold no verdict, as 'They differ. \[\[perhaps\]\]'"):
        hear(better(lambda a, b: "perhaps"), cases(10))


def test_a_judge_of_nonsense_is_found_out_early() -> None:
    engine = FakeEngine(lambda turns: turns[-1].text)  # repeats what it is asked, verdicts and all
    with pytest.raises(Failed, match="hold no verdict"):
        hear(engine, cases(200))
    assert len(engine.asked) < 4 * TOGETHER


@pytest.mark.parametrize(
    ("reply", "side"),
    [
        ("A is clearer. [[A]]", "A"),
        ("[[ b ]]", "B"),
        ("[[Tie]]", "tie"),
        ("B", "B"),
        ("**Answer A**", "A"),
        ("A is good, and so is B", ""),
        ("[[A]], [[B]], or [[tie]]", ""),
        ("[[A]] it is, as I said: [[A]]", "A"),
        ("[[C]]", ""),
        ("", ""),
    ],
)
def test_sides_are_read_by_a_rule(reply: str, side: str) -> None:
    assert read_side(reply) == side


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Well made. [[8]]", "8"),
        ("[[7/10]]", "7"),
        ("[[7.5]]", "7.5"),
        ("9", "9"),
        ("[[11]]", ""),
        ("[[0]]", ""),
        ("8 of 9 facts", ""),
    ],
)
def test_marks_are_read_by_a_rule(reply: str, value: str) -> None:
    assert read_mark(reply) == value


def test_marks_run_from_0_to_1() -> None:
    engine = FakeEngine(lambda turns: "[[1]]" if "wrong" in turns[-1].text else "[[10]]")
    found = hear(engine, [Case("1", "q", "wrong"), Case("2", "q", "fine")], ALONE)
    assert [own.outcome for own in found.verdicts] == ["1", "10"]
    assert found.score.value == 0.5
    assert found.flips is None


def test_the_same_answer_twice_is_a_tie_that_nobody_is_asked_about() -> None:
    engine = better(lambda a, b: "A")
    found = hear(engine, [Case("1", "q", "same", "same "), *cases(2)])
    assert len(engine.asked) == 4
    assert (found.verdicts[0].outcome, found.verdicts[0].said) == ("tie", ())
    assert found.flips is not None
    assert found.flips.count == 2


def test_every_setting_is_heard() -> None:
    asked = asks_of(cases(1)[0], Judge(by="x", against="y", rubric="Only rhymes count."))
    assert all("Only rhymes count." in turns[-1].text for turns in asked)
    engine = better(lambda a, b: "A" if a.startswith("good") else "B")
    budgets: list[int] = []

    class Counting(FakeEngine):
        def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
            budgets.append(decoding.max_new_tokens)
            return engine.generate(asks, decoding)

    hear(Counting({}), cases(1), Judge(by="x", against="y", tokens=7))
    assert budgets == [7]
    ranked = FakeEngine(lambda turns: "A" if shown(turns)[0].startswith("good") else "B")
    assert hear(ranked, cases(3), Judge(by="x", against="y", rank=True)).score.value == 1.0
    assert "Reply A, B or tie." in ranked.asked[0][-1].text
    marks = FakeEngine(lambda turns: "7")
    assert hear(marks, [Case("1", "", "a")], Judge(by="x", rank=True)).verdicts[0].outcome == "7"
    assert "[Question]" not in marks.asked[0][-1].text

    class Mute(FakeEngine):
        def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
            raise CannotScore("no log-probabilities")

    with pytest.raises(BadInput, match="cannot rank verdicts"):
        hear(Mute({}), cases(1), Judge(by="x", against="y", rank=True))


def test_a_killed_judge_is_not_asked_again(tmp_path: Path) -> None:
    class Dying(FakeEngine):
        heard = 0

        def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
            self.heard += 1
            if self.heard == 2:
                raise KeyboardInterrupt
            return super().generate(asks, decoding)

    says = better(lambda a, b: "A" if a.startswith("good") else "B")
    store, first = Store(tmp_path), Dying(says._answers)
    with pytest.raises(KeyboardInterrupt):
        hear(first, cases(TOGETHER), kept=Kept(store, "verdicts"))
    found = hear(says, cases(TOGETHER), kept=Kept(store, "verdicts"))
    assert len(first.asked) == len(says.asked) == TOGETHER
    assert set(first.asked).isdisjoint(says.asked)
    assert found.score.value == 1.0
    assert found.spent.seconds > 0


# ---- people ----


def rated(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ratings(folder: Path) -> str:
    """Two answers to each of ten questions, `long` rated above `short` by two people of three."""
    values = {"long answer": (9, 8, 1), "short": (2, 3, 5)}
    return rated(
        folder,
        [
            {"question": f"What is {n}?", "response": f"{text} {n}", "worker": who, "rating": value[who]}
            for n in range(10)
            for text, value in values.items()
            for who in range(3)
        ],
    )


def test_agreement_is_with_what_most_people_said(tmp_path: Path) -> None:
    opinions = read_people(ratings(tmp_path))
    assert len(opinions) == 10
    assert (opinions[0].votes, opinions[0].most, opinions[0].question) == ((1, 1, -1), 1, "What is 0?")
    found = agreement(better(lambda a, b: "A" if a.startswith("long") else "B"), PAIRWISE, opinions, source="people", seed=0)
    assert (found.judge.value, found.judge.count, found.longer, found.unread) == (1.0, 10, 1.0, 0)
    assert found.people is not None
    # of the three, two are left with one who says so and one who does not: no majority; the third with none
    assert (found.people.value, found.people.count) == (0.0, 30)
    wrong = agreement(better(lambda a, b: "B" if a.startswith("long") else "A"), PAIRWISE, opinions, source="people", seed=0)
    assert wrong.judge.value == 0.0
    always = agreement(better(lambda a, b: "A"), PAIRWISE, opinions, source="people", seed=0)
    assert always.judge.value == 0.0  # a judge that the order decides says tie, which nobody did
    assert (always.flips.value, always.flips.count, found.flips.value) == (1.0, 10, 0.0)
    assert "; the verdict changed with the order in 100.0 % of pairs (72.2 % to 100.0 %), which are ties" in words.agreement(always)


def test_marks_agree_where_the_better_answer_has_the_higher(tmp_path: Path) -> None:
    opinions = read_people(ratings(tmp_path))
    engine = FakeEngine(lambda turns: "[[9]]" if "long answer" in turns[-1].text else "[[3]]")
    found = agreement(engine, ALONE, opinions, source="people", seed=0)
    assert found.judge.value == 1.0
    assert len(engine.asked) == 20
    same = agreement(FakeEngine(lambda turns: "[[3]]"), ALONE, opinions, source="people", seed=0)
    assert same.judge.value == 0.0
    assert same.flips is None


def test_pairs_of_a_preference_file_do_not_always_begin_with_the_chosen(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Hi there"}]
    rows = [{"conversations": turns, "chosen": {"value": f"yes {n}"}, "rejected": {"value": f"no {n}"}} for n in range(4)]
    opinions = read_people(rated(tmp_path, rows))
    assert {each.most for each in opinions} == {1, -1}
    assert all((each.first if each.most == 1 else each.second).startswith("yes") for each in opinions)
    assert {each.question for each in opinions} == {"Hi there"}


def test_what_holds_no_opinions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no opinions of people: its columns are text"):
        read_people(rated(tmp_path, [{"text": "a"}]))
    with pytest.raises(BadInput, match="row 1 is rated 'good'"):
        read_people(rated(tmp_path, [{"response": "a", "rating": "good", "worker": "1"}]))
    with pytest.raises(BadInput, match=r"no two answers in .* were rated by one person"):
        read_people(rated(tmp_path, [{"response": "a", "rating": 1, "worker": 1}, {"response": "b", "rating": 2, "worker": 2}]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"rating": 1, "worker": 1}, "row 2 has no `response`"),
        ({"response": None, "rating": 1, "worker": 1}, "row 2 has no `response`"),
        ({"response": "a", "rating": math.inf, "worker": 1}, "row 2 is rated inf"),
        ({"response": "a", "rating": math.nan, "worker": 1}, "row 2 is rated None"),  # an empty cell
        ({"response": "a", "rating": None, "worker": 1}, "row 2 is rated None"),
        ({"chosen": "a"}, "row 2 has no `rejected`"),
        ({"chosen": None, "rejected": "a"}, "row 2 has no `chosen`"),
    ],
)
def test_a_row_that_lacks_something_is_named(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    whole: dict[str, Any] = {"response": "b", "rating": 2, "worker": 1} if "rating" in row else {"chosen": "b", "rejected": "c"}
    with pytest.raises(BadInput, match=said):
        read_people(rated(tmp_path, [whole, row]))


def test_a_passage_that_is_a_text_is_shown_with_its_question(tmp_path: Path) -> None:
    rows = [
        {"passage": passage, "question": question, "response": f"answer {n}", "worker": 1, "rating": n}
        for passage, question in (("A heron waits.", "What waits?"), ("A heron waits.", 0), ("p7", "Who?"), ("p7", None))
        for n in range(2)
    ]
    opinions = read_people(rated(tmp_path, rows))
    assert [each.question for each in opinions] == ["A heron waits.\n\nWhat waits?", "A heron waits.", "Who?", ""]
    found = agreement(better(lambda a, b: "A"), PAIRWISE, opinions, source="s", seed=0)
    assert found.blind == 1
    assert "; of 1 pair it saw the answers alone" in words.agreement(found)


def test_so_many_pairs_are_drawn() -> None:
    opinions = [Opinion(str(n // 3), "", f"a{n}", f"b{n}", (1,)) for n in range(30)]
    few = drawn(opinions, 7, seed=0)
    assert len(few) == 7
    assert len({each.group for each in few}) == 3
    assert few == drawn(opinions, 7, seed=0) != drawn(opinions, 7, seed=1)


def test_squality_is_read_as_its_people_rated_it(shared: Path) -> None:
    opinions = read_people(str(shared / "data/preference/squality_human_eval.jsonl"))
    assert (len(opinions), len({each.group for each in opinions})) == (300, 100)
    assert {len(each.votes) for each in opinions} == {3}
    assert {each.question for each in opinions} == {""}
    found = agreement(better(lambda a, b: "A" if len(a) > len(b) else "B"), PAIRWISE, opinions, source="s", seed=0)
    assert found.blind == 300  # the file has numbers where passages and questions would stand
    assert found.judge.value == pytest.approx(found.longer, abs=0.02)
    assert found.people is not None
    assert 0.5 < found.people.low < found.people.value < found.people.high < 0.95


# ---- questions ----


def test_questions_are_asked_turn_by_turn(tmp_path: Path) -> None:
    path = rated(tmp_path, [{"question_id": 81, "turns": ["Write.", "Shorten it."]}, {"question_id": 82, "turns": ["Hello."]}])
    engine = FakeEngine(lambda turns: f"said {len(turns)}")
    found = answered(engine, read_questions(path), Decoding())
    assert engine.asked[-1] == (Turn("user", "Write."), Turn("assistant", "said 1"), Turn("user", "Shorten it."))
    assert (found[0].input, found[0].answer.text) == ("(1) Write.\n\n(2) Shorten it.", "(1) said 1\n\n(2) said 3")
    assert (found[1].id, found[1].input, found[1].answer.text) == ("82", "Hello.", "said 1")


def test_mt_bench_is_80_questions_of_two_turns(shared: Path) -> None:
    found = read_questions(str(shared / "data/instruction/mt_bench_questions.jsonl"))
    assert (len(found), {len(each.turns) for each in found}) == (80, {2})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "holds no questions: its columns are text"),
        ([{"prompt": " "}], "row 1 of .* asks nothing in `prompt`"),
        ([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], "two questions in .* have the id 1"),
    ],
)
def test_questions_that_ask_nothing_are_refused(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_questions(rated(tmp_path, rows))


# ---- as a metric ----


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("judge", "names no judge"),
        ("judge {by: x, tokens: 0}", "tokens is 0"),
        ("judge {by: x, pairs: 0}", "pairs is 0"),
        ("judge {by: x, rubric: ' '}", "the rubric says nothing"),
        ("judge {by: x, scale: 5}", "no setting of judge 'scale'"),
    ],
)
def test_settings_that_cannot_be_meant(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        find_metric(name)


def test_a_judge_is_not_marked_with_the_rest() -> None:
    rows = (Example("1", (Turn("user", "q"),), ("a",), source="1"),)
    task = Task("t", "choose", examples=Split(test=rows), metric="accuracy", also=("judge {by: x}",))
    found = mark(task, rows, [Answer("a")], seconds=1.0, engine="fake", seed=0)
    assert set(found.quality) == {"accuracy"}
    check_gold("judge {by: x}", task)
    metric = find_metric("judge {by: x}")
    assert metric.items is not None
    assert metric.items(["win", "tie", "loss", "1", "10"], [()] * 5, ()) == [1.0, 0.5, 0.0, 0.0, 1.0]
