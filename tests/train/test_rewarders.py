"""Rewards by name: metrics, numbers, JSON and programs that are run; their settings, what enters a key, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate import sandbox
from tuneladder.ladder.tree import foretell, key_of, splits_digest
from tuneladder.prompt.search import Search
from tuneladder.recipe import load
from tuneladder.train.rewarders import Asked, check_reward, reward_named, rewarding
from tuneladder.tune.grpo import Grpo
from tuneladder.tune.lora import Lora
from tuneladder.types import Base, Cost, Decoding, Example, Pace, Prompt, Rung, Split, Task, Turn

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PLAIN = Prompt(decoding=Decoding(max_new_tokens=4))
TESTS = "pass_at_k {sandbox: none, seconds: 20}"


def row(id: str, reference: str, **meta: str) -> Example:
    return Example(id, (Turn("user", f"Write {id}."),), (reference,), source=id, meta=meta)


def task_of(*rows: Example, prompt: Prompt = PLAIN, **facts: Any) -> Task:
    return Task("t", "generate", examples=Split(rows, rows, rows), prompt=prompt, **facts)


def rewarded(reward: str, task: Task, *texts: str) -> list[float]:
    rows = [task.examples.train[at % len(task.examples.train)] for at in range(len(texts))]
    shelf: Any = SimpleNamespace()
    with rewarding(reward, task, task.prompt, shelf, None) as rewarder:
        return rewarder([Asked(own, own.turns, "") for own in rows], texts)


def refusal(reward: str, task: Task, base: Base) -> str:
    rung = Rung("r", base.name, (Grpo(reward=reward),))
    return foretell(rung, base, task, Pace(1e9), Cost(), splits_digest(task), 0).refused


def test_a_number_is_compared_exactly() -> None:
    task = task_of(row("sum", "6 * 7 = 1,012"), row("half", "2/4"))
    assert rewarded("number", task, "1012.0", "1/2", "1,013", "2/4") == [1, 1, 0, 0]
    several = task_of(replace(row("sum", "1"), references=("1", "2")))
    assert rewarded("number", several, "it is 2", "3") == [1, 0]


def test_json_is_held_to_the_schema_that_is_given_or_else_the_rows() -> None:
    texts = ('{"name": "Ana"}', '{"name": 3}', "[]", "{name: 1}")
    assert rewarded("json", task_of(row("a", "{}")), *texts) == [1, 1, 1, 0]
    given = reward_named({"json": {"schema": PERSON}})
    assert rewarded(given, task_of(row("a", "{}")), *texts) == [1, 0, 0, 0]
    tasks = task_of(row("a", "{}"), prompt=replace(PLAIN, schema=json.dumps(PERSON)))
    assert rewarded("json", tasks, *texts) == [1, 0, 0, 0]
    own = task_of(row("a", "{}", schema=json.dumps({**PERSON, "properties": {"name": {"type": "integer"}}})), prompt=tasks.prompt)
    assert rewarded("json", own, *texts) == [0, 1, 0, 0]


def test_a_program_earns_by_its_rows_tests() -> None:
    task = task_of(row("square", "def square(x):\n    return x * x", tests="assert square(3) == 9"))
    texts = ("```python\ndef square(x):\n    return x ** 2\n```", "def square(x):\n    return x", "raise SystemExit(0)")
    assert rewarded(TESTS, task, *texts) == [1, 0, 0]
    whole = replace(task.examples.train[0], turns=(Turn("user", "def square(x):"),))
    onward = reward_named({"pass_at_k": {"sandbox": "none", "program": "{{ input }}{{ answer }}\n{{ tests }}"}})
    assert rewarded(onward, task_of(whole), "\n    return x * x") == [1]  # with the blanks that it was written with
    own = replace(task, metric=TESTS)
    assert rewarded("metric", own, *texts) == [1, 0, 0]


def test_a_program_may_earn_by_the_share_of_its_rows_tests() -> None:
    tests = "assert square(3) == 9\nassert square(1) == 1"
    task = task_of(row("square", "def square(x):\n    return x * x", tests=tests))
    texts = ("def square(x):\n    return x ** 2", "def square(x):\n    return x", "def square(x):\n    return 0")
    assert rewarded(TESTS, task, *texts) == [1, 0, 0]
    share = reward_named({"pass_at_k": {"sandbox": "none", "seconds": 20, "credit": "share"}})
    assert rewarded(share, task, *texts) == [1, 0.5, 0]


def test_any_metric_of_a_row_rewards_the_higher_the_better() -> None:
    task = task_of(row("a", "one two"))
    assert rewarded("length {at_most: 2}", task, "one two", "one two three") == [1, 0]
    assert rewarded("exact_match", task, "one two", "one") == [1, 0]
    worse, better = rewarded("forbidden_words {words: [one]}", task, "one", "two")
    assert worse < better
    assert rewarded("cut_rate", task, '{"a": 1', '{"a": 1}') == [-1, 0]


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("tests", "no reward 'tests'"), ("jason", "no reward 'jason': did you mean 'json'"),
        ("number {of: 2}", "takes no settings"), ("json {shema: x}", "did you mean 'schema'"),
        ("pass_at_k {seconds: 0}", "seconds is 0"), ("length {at_mots: 2}", "at_most"),
    ],
)  # fmt: skip
def test_names_and_settings_that_there_are_not(reward: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        check_reward(reward)
    assert error.value.hint


def test_what_a_reward_cannot_tell_is_refused_in_the_plan(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = task_of(row("square", "def square(x): return x"))
    assert "row square has no tests to try a program with" in refusal(TESTS, bare, tiny_base)
    tried = task_of(row("square", "def square(x): return x", tests="assert square(1) == 1"))
    assert refusal(TESTS, tried, tiny_base) == ""
    assert "of all rows together" in refusal("bleu", bare, tiny_base)
    assert "asked once all answers are given" in refusal("judge {by: pocket-decoder}", bare, tiny_base)
    compared = replace(bare, kind="prefer", metric="preference")
    assert "a reward is of one answer" in refusal("metric", compared, tiny_base)
    assert refusal("rouge_l", compared, tiny_base) == ""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    sandbox._no_sandbox.cache_clear()
    try:
        said = refusal("pass_at_k", tried, tiny_base)
    finally:
        sandbox._no_sandbox.cache_clear()
    assert "bubblewrap is not installed" in said
    assert "pass_at_k: {sandbox: none}" in said


def test_what_a_reward_reads_is_in_the_key(tiny_base: Base, tiny_task: Task, tmp_path: Any) -> None:
    """A schema by what its file says; the metric of the task, which it may go by, by its name."""

    def key(reward: str, task: Task = tiny_task) -> str:
        return key_of(Grpo(reward=reward), "", splits_digest(task), tiny_base, 0)

    path, keys = tmp_path / "person.json", []
    for kind in ("string", "integer"):
        path.write_text(json.dumps({**PERSON, "properties": {"name": {"type": kind}}}))
        keys.append(key(reward_named({"json": {"schema": str(path)}})))
    keys += [key("json"), key("metric"), key("metric", replace(tiny_task, metric="accuracy"))]
    assert len(set(keys)) == len(keys)


def test_a_recipe_gives_a_reward_its_settings(tiny_folder: Any, tmp_path: Any) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"q": f"Add one to {n}.", "a": f"x = {n} + 1", "t": f"assert x == {n + 1}"}) + "\n" for n in range(40))
    )
    task = {"kind": "generate", "data": str(tmp_path / "rows.jsonl"), "input": "q", "target": "a", "tests": "t"}
    rungs = [{"grpo": {"reward": {"pass_at_k": {"sandbox": "none"}}}}]
    first = load({"task": task, "base": str(tiny_folder), "rungs": rungs})
    (step,) = first.rungs[-1].steps
    assert step == Grpo(reward="pass_at_k {sandbox: none}")
    assert first.rungs[-1].name == "grpo(reward={pass_at_k: {sandbox: none}})"
    again = load({"task": task, "base": str(tiny_folder), "rungs": json.loads(json.dumps(first.resolved["rungs"]))})
    assert again.rungs[-1].steps == first.rungs[-1].steps
    with pytest.raises(BadInput, match="reward is"):
        load({"task": task, "base": str(tiny_folder), "rungs": [{"grpo": {"reward": {"pass_at_k": 3}}}]})


def test_what_goes_by_the_metric_is_made_anew_for_another(
    tiny_base: Base, tiny_task: Task, tmp_path: Any, monkeypatch: Any
) -> None:
    """And what does not is not; a metric of the user's own is known by its source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["macro_f1", "accuracy"]
    for number in (1, 2):
        (tmp_path / f"own_metric_{number}.py").write_text(f"def same(answer, reference):\n    return {number}.0\n")
        names.append(f"own_metric_{number}:same")
    for step, different in ((Grpo(), 4), (Search(), 4), (Lora(), 1)):
        keys = {key_of(step, "", splits_digest(replace(tiny_task, metric=name)), tiny_base, 0) for name in names}
        assert len(keys) == different
