"""What measuring will take, by hand; and that a plan says it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneladder import api
from tuneladder.evaluate.people import Opinion
from tuneladder.evaluate.verdicts import Judge
from tuneladder.ladder.ahead import agreeing, asking, judging, remembering
from tuneladder.model.addressed import remote
from tuneladder.model.fees import tokens_of
from tuneladder.model.inspect import inspect
from tuneladder.types import Axes, Base, Cost, Example, Pace, Prompt, Robustness, Split, Task, Turn, Variant, Why

HERE = Base("b", "folder", "/b", "decoder", 500, 500, 1, 1, 1, 1)
PACE = Pace(1000.0)  # a token a second
PRICED = remote({"url": "http://localhost/v1", "model": "m", "prices": {"input": 2, "output": 10}})
ROWS = tuple(Example(str(n), (Turn("user", "x" * 40),), ("y" * 8,)) for n in range(30))
TASK = Task("t", "generate", Split((), ROWS[:10], ROWS[10:]), prompt=Prompt(instruction="Answer the customer."))


def seconds(axes: Axes, prompt: Prompt = TASK.prompt) -> float:
    return asking(Variant(HERE, prompt), replace(TASK, prompt=prompt), PACE, axes, seed=0).seconds


def test_rows_are_asked_once_and_test_again_for_each_perturbation() -> None:
    one = sum(vars(tokens_of(TASK.prompt, ROWS)).values())
    assert seconds(Axes()) == pytest.approx(30 * one)
    assert seconds(Axes(robustness=Robustness(("typos", "case")))) == pytest.approx((30 + 2 * 20) * one)
    assert seconds(Axes(robustness=Robustness(("typos", "case"), rows=5))) == pytest.approx((30 + 2 * 5) * one)
    assert seconds(Axes(robustness=Robustness(("typos", "instruction")))) == pytest.approx((30 + 2 * 20) * one)
    bare = replace(TASK.prompt, instruction="")  # which cannot be reworded
    assert seconds(Axes(robustness=Robustness(("typos", "instruction"))), bare) == pytest.approx(
        50 * sum(vars(tokens_of(bare, ROWS)).values())
    )
    assert seconds(Axes(), replace(TASK.prompt, why=Why(tokens=100))) > 30 * (2 * one + 100)


def test_an_endpoint_is_paid_for_them_and_takes_nobody_knows_how_long() -> None:
    plain = asking(Variant(PRICED, TASK.prompt), TASK, PACE, Axes(), seed=0)
    more = asking(Variant(PRICED, TASK.prompt), TASK, PACE, Axes(robustness=Robustness(("typos",))), seed=0)
    assert (plain.seconds, more.seconds) == (0, 0)
    assert more.money == pytest.approx(plain.money * 50 / 30)
    assert more.tokens == pytest.approx(plain.tokens * 50 / 30)
    assert asking(Variant(HERE, Prompt()), Task("t", "text"), PACE, Axes(), seed=0) == Cost()


def test_pairs_are_judged_in_both_orders_and_ranked_verdicts_are_not_written() -> None:
    def of(**settings: Any) -> float:
        return judging(Judge(by="b", **settings), HERE, ROWS, TASK.prompt, PACE).seconds

    assert of(tokens=512) - of(tokens=12) == pytest.approx(500 * 30)
    assert of(against="zero_shot", tokens=512) - of(against="zero_shot", tokens=12) == pytest.approx(1000 * 30)
    assert of(rank=True) < of(tokens=12)
    assert judging(Judge(by="b"), PRICED, ROWS, TASK.prompt, PACE).money > 30 * 512 * 10 / 1e6


def test_people_are_asked_after_once() -> None:
    opinions = [Opinion(str(n), "Which?", "better", "worse", (1,)) for n in range(7)]
    marks, pairs = Judge(by="b", tokens=1000, people="p"), Judge(by="b", tokens=1000, against="reference", people="p")
    for rules in (marks, pairs):  # a mark for each of two answers, or a pair in both orders
        assert 14 * 1000 < agreeing(rules, HERE, opinions, PACE).seconds < 14 * 1300
    assert agreeing(marks, HERE, [], PACE) == Cost()


def test_a_plan_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    monkeypatch.setattr("tuneladder.ladder.climb.measured_pace", lambda base, shelf: Pace(1e9))
    people = [{"question": f"Which {n}?", "chosen": "this", "rejected": "that"} for n in range(6)]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, people)))
    asked = [{"text": f"Where is parcel {n}?", "reply": f"on its way, {n}"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, asked)))
    endpoint = {"url": "http://localhost:9/v1", "model": "m", "prices": {"input": 1.0, "output": 2.0}}
    judge = {"by": endpoint, "against": "zero_shot", "people": str(tmp_path / "people.jsonl")}
    made = {
        "task": {
            "kind": "generate",
            "data": str(tmp_path / "rows.jsonl"),
            "input": "text",
            "target": "reply",
            "instruction": "Answer.",
            "also": [{"judge": judge}],
        },
        "base": str(tiny_folder),
        "evaluate": {"robustness": ["typos"]},
        "rungs": ["zero_shot", {"few_shot": {"shots": 2}}, {"few_shot": {"shots": 3}}],
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(made))
    root, two, three = api.plan(tmp_path / "r.yaml", out=tmp_path / "run")
    assert root.judging == Cost()  # nothing is judged against itself
    assert two.judging.money > three.judging.money > 0  # the first is set beside people
    probe = remembering(inspect(str(tiny_folder)), Pace(1e9)).seconds  # of the base, once
    assert 0 < root.asking.seconds - probe < two.asking.seconds < three.asking.seconds
    plain = api.plan(tmp_path / "r.yaml", "evaluate.robustness=false", out=tmp_path / "run")
    assert plain[0].asking.seconds < root.asking.seconds
