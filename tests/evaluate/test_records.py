"""Metrics of objects: pairs, parsed answers, and what stands beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tuneladder.evaluate.baselines import baselines
from tuneladder.evaluate.find import find_metric, metrics_of
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.measure import measure
from tuneladder.evaluate.metrics.entity_f1 import pairs_of
from tuneladder.model.ask import turns_of
from tuneladder.model.fake import FakeEngine
from tuneladder.types import Example, Prompt, Split, Task, Turn

SCHEMA = '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}}}'


def score(answer: Any, *references: Any) -> float:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in (answer, *references)]
    return find_metric("entity_f1").score(texts[:1], [texts[1:]])


def test_a_worked_example() -> None:
    # of four pairs that are true three are said, and one that is not: 2 * 3 / (4 + 4)
    true = {"name": "Ann Lee", "born": 1980, "cities": ["Rome", "Oslo"]}
    assert score({"name": "ann  lee", "born": "1980", "cities": ["Oslo", "Bonn"]}, true) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ({"a": 3.0}, {"a": 3}, 1.0),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, 1.0),  # a list has no order
        ({"a": ["x", "x"]}, {"a": ["x"]}, 2 / 3),  # what is said twice counts twice
        ({"a": {"b": "x", "c": "y"}}, {"a": {"b": "x", "c": "z"}}, 0.5),  # a field inside is a field
        ({"a": [{"b": "x", "c": "y"}]}, {"a": [{"b": "x", "c": "z"}]}, 0.0),  # an object in a list is one item
        ({"a": [{"c": "Y", "b": "x"}]}, {"a": [{"b": "x", "c": "y"}]}, 1.0),
        ({"a": None, "b": "", "c": []}, {}, 1.0),  # nothing to find, nothing said
        ({"a": "x"}, {"b": "x"}, 0.0),
        ("", {"a": "x"}, 0.0),
        ("[1]", {"a": "x"}, 0.0),
        ({"a": True}, {"a": "true"}, 1.0),
    ],
)
def test_what_is_a_pair(answer: Any, reference: Any, value: float) -> None:
    assert score(answer, reference) == pytest.approx(value)


def test_of_several_references_the_nearest_counts() -> None:
    assert score({"a": "x"}, {"a": "y"}, {"a": "x"}) == 1.0
    assert sum(pairs_of('{"a": [1, {"b": 2}]}').values()) == 2


def example(name: str, age: int) -> Example:
    reference = json.dumps({"name": name, "age": age})
    return Example(name, (Turn("user", f"{name} is {age}."),), (reference,), source=name)


TASK = Task(
    "people",
    "extract",
    examples=Split((example("Ann", 3), example("Bo", 3)), (), (example("Cy", 3), example("Di", 5))),
    prompt=Prompt(instruction="Who?", parse="json", schema=SCHEMA),
    metric="entity_f1",
)


def test_answers_are_parsed_repaired_or_counted_as_failures() -> None:
    engine = FakeEngine({"Cy is 3.": "```\n{'age': 3, 'name': 'Cy',}\n```", "Di is 5.": "Di, who is five."})
    found = measure(engine, TASK.prompt, TASK, TASK.examples.test, seed=0)
    assert {name: score.value for name, score in found.quality.items()} == {
        "entity_f1": pytest.approx(2 * 2 / (4 + 2)),
        "exact_match": 0.5,
        "parse_rate": 0.5,
        "cut_rate": 0.0,
    }
    assert [row.answer.text for row in found.answers] == ['{"name": "Cy", "age": 3}', ""]
    assert found.answers[1].answer.raw == "Di, who is five."  # the failure stands there
    assert [row.correct for row in found.answers] == [True, False]
    assert {metric.name for metric in metrics_of("record")} == {"entity_f1", "exact_match", "parse_rate", "cut_rate"}


def test_what_was_cut_off_is_counted_under_its_own_name() -> None:
    strict = SCHEMA[:-1] + ',"required":["name","age"]}'
    prompt = replace(TASK.prompt, schema=strict)
    said = {"Cy is 3.": '{"name": "Cy", "ag', "Di is 5.": '{"name": "Di", "age": 5'}
    found = measure(FakeEngine(said), prompt, replace(TASK, prompt=prompt), TASK.examples.test, seed=0)
    assert [row.answer.text for row in found.answers] == ["", '{"name": "Di", "age": 5}']  # the end of the second is known
    assert found.quality["parse_rate"].value == 0.5
    assert (found.quality["cut_rate"].value, found.quality["cut_rate"].interval) == (1.0, "wilson")
    assert found.quality["entity_f1"].value == pytest.approx(2 * 2 / (4 + 2))
    loose = measure(FakeEngine(said), TASK.prompt, TASK, TASK.examples.test, seed=0)  # nothing is required
    assert (loose.quality["parse_rate"].value, loose.quality["cut_rate"].value) == (1.0, 1.0)
    whole = {"Cy is 3.": 'So: {"name": "Cy"}', "Di is 5.": "five, {no"}
    free = measure(FakeEngine(whole), prompt, replace(TASK, prompt=prompt), TASK.examples.test, seed=0)
    assert free.quality["cut_rate"].value == 0.5  # one was ended, and lacks its age; the other began and did not end


def test_rows_of_two_schemas_have_baselines_of_their_own() -> None:
    def of(name: str, field: str, value: int) -> Example:
        schema = f'{{"type":"object","properties":{{"{field}":{{"type":"integer"}}}}}}'
        return Example(name, (Turn("user", name),), (f'{{"{field}": {value}}}',), source=name, meta={"schema": schema}, set=field)

    train = (of("1", "age", 3), of("2", "age", 3), of("3", "sum", 8))
    task = replace(TASK, examples=Split(train, (), (of("4", "sum", 8), of("5", "age", 4))))
    found = baselines(task, "test", seed=0)["frequent_values"]
    assert [row.answer.text for row in found.answers] == ['{"sum": 8}', '{"age": 3}']
    assert set(found.quality) >= {"entity_f1[age]", "entity_f1[sum]"}


def test_the_prompt_shows_the_schema_whatever_the_instruction() -> None:
    assert turns_of(TASK.prompt, TASK.examples.test[0])[0] == Turn("system", f"Who?\n\nJSON schema: {SCHEMA}")


def test_gold_and_baseline() -> None:
    for metric in ("entity_f1", "parse_rate", "exact_match", "cut_rate"):
        check_gold(metric, TASK)
    found = baselines(TASK, "test", seed=0)["frequent_values"]
    assert {row.answer.text for row in found.answers} <= {'{"name": "Ann", "age": 3}', '{"name": "Bo", "age": 3}'}
    assert found.quality["entity_f1"].value == 0.25


def test_what_options_give_away_stands_beside_a_choice() -> None:
    def question(id: str, right: int) -> Example:
        options = ("a", "a long one", "b")
        return Example(id, (Turn("user", id),), (options[right],), options, source=id)

    train, test = tuple(question(f"q{n}", 2) for n in range(4)), (question("t1", 1), question("t2", 2), question("t3", 0))
    task = Task("q", "choose", examples=Split(train, (), test), prompt=Prompt(ask="score", parse="label"), metric="accuracy")
    found = baselines(task, "test", seed=0)
    assert {name: [row.answer.text for row in each.answers] for name, each in found.items()} == {
        "longest": ["a long one"] * 3,
        "frequent_place": ["b"] * 3,
    }
    assert found["longest"].quality["accuracy"].interval == "wilson"
