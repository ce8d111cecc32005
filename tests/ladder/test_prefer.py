"""Ladders of comparisons: every rung is measured on the same held-out pairs, beside the untouched base."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneladder import api
from tuneladder.evaluate import forgetting
from tuneladder.ladder.climb import environment
from tuneladder.train.preference import Desk
from tuneladder.types import Base, Comparison, Ladder, Split, Task, Turn

DPO = {"dpo": {"epochs": 1, "batch_size": 8, "r": 2}}
RUNGS: list[Any] = ["zero_shot", DPO, [{"lora": {"r": 2, "epochs": 1, "batch_size": 8}}, {"dpo": {"epochs": 1, "batch_size": 8}}]]


@pytest.fixture
def given(tiny_base: Base, tiny_task: Task, tmp_path: Path) -> dict[str, Any]:
    rows = [
        {"prompt": row.turns[0].text, "chosen": f"It is for {row.chosen}.", "rejected": f"Ask {row.rejected}."}
        for row in tiny_task.comparisons.train
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"kind": "prefer", "data": str(tmp_path / "pairs.jsonl"), "rows": {"dev": 5, "test": 6}}
    return {"task": task, "base": tiny_base.location, "rungs": RUNGS, "bar": {"preference": 0.99}}


def climbed(given: dict[str, Any], folder: Path) -> Ladder:
    rows_of = forgetting._rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "_rows", lambda name: rows_of(name)[:4])
        return api.climb(given, out=folder)


def test_comparisons_are_climbed(given: dict[str, Any], tmp_path: Path) -> None:
    ladder = climbed(given, tmp_path / "runs" / "run")
    assert [result.failure for result in ladder.results] == [""] * 3
    for result in ladder.results:
        assert result.test
        assert list(result.test.quality) == ["preference", "margin", "chosen_log_probability"]
        assert result.test.quality["preference"].count == 6
    assert [result.test.quality["preference"].value == 0.5 for result in ladder.results if result.test] == [True, False, False]
    assert "preference" in (tmp_path / "runs" / "run" / "report.html").read_text("utf-8")
    found = api.evaluate(f"{tmp_path / 'runs' / 'run'}:{ladder.results[1].rung.name}", given)
    assert ladder.results[1].test
    assert found.quality["margin"].value == pytest.approx(ladder.results[1].test.quality["margin"].value, abs=1e-3)


def test_the_digest_of_the_rows_is_of_what_was_compared(given: dict[str, Any], tiny_task: Task) -> None:
    own = [Comparison(str(n), (Turn("user", f"Hi {n}"),), "Good", f"Bad {n}") for n in range(4)]
    task = replace(tiny_task, comparisons=Split(tuple(own)))
    other = replace(task, comparisons=Split(tuple(replace(each, rejected="Worse") for each in own)))
    digests = [environment(each, 0, "cpu")["data"] for each in (task, other)]
    assert digests[0]["train"] != digests[1]["train"]
    assert digests[0]["test"] == digests[1]["test"]


def test_what_a_rung_costs_alone_does_not_depend_on_the_rungs_before(given: dict[str, Any], tmp_path: Path) -> None:
    """The reference is asked once, by the first; alone the second would have had to ask too, and is said to take as long."""
    dpo = {"epochs": 1, "batch_size": 8, "r": 2}
    say = Desk.say

    def slow(*given: Any) -> Any:
        time.sleep(5)
        return say(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Desk, "say", slow)
        ladder = climbed(given | {"rungs": [{"dpo": dpo}, {"dpo": {**dpo, "beta": 0.2}}]}, tmp_path / "runs" / "run")
    assert [result.failure for result in ladder.results] == [""] * len(ladder.results)
    taught = [result for result in ladder.results if result.rung.name.startswith("dpo")]
    assert len(taught) == 2
    assert all(result.alone.seconds >= 5 for result in taught)
    assert sorted(result.alone.seconds - result.here.seconds >= 5 for result in taught) == [False, True]


LABELLED = ({"label": True}, {"label": False})
SCORED = ({"score": 4.5}, {"score": 1.0})


@pytest.mark.parametrize(
    ("said", "rung"),
    [
        (LABELLED, {"kto": {"epochs": 1, "batch_size": 8, "r": 2}}),
        (SCORED, {"reward": {"loss": "scores", "epochs": 1, "batch_size": 8, "r": 2}}),
    ],
    ids=["labels", "scores"],
)
def test_answers_that_were_judged_one_by_one_are_climbed(
    said: tuple[dict[str, Any], ...], rung: dict[str, Any], given: dict[str, Any], tiny_task: Task, tmp_path: Path
) -> None:
    rows = [
        {"prompt": row.turns[0].text, "completion": answer} | own
        for row in tiny_task.comparisons.train
        for answer, own in zip((f"It is for {row.chosen}.", f"Ask {row.rejected}."), said, strict=True)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = given | {"rungs": ["zero_shot", rung]}
    given["task"]["rows"] = {"dev": 10, "test": 12}
    assert api.check(given)
    ladder = climbed(given, tmp_path / "runs" / "run")
    assert [result.failure for result in ladder.results] == ["", ""]
    last = ladder.results[1].test
    assert last
    assert last.quality["preference"].count == 6
    own = (
        {"margin", "chosen_log_probability"}
        if said is LABELLED
        else {"margin", "length_bias", "score_correlation", "score_error", "score_slope"}
    )
    assert set(last.quality) == {"preference"} | own
    if said is SCORED:
        assert last.quality["score_error"].count == 12


def test_a_policy_that_learned_from_rewards_is_shown(given: dict[str, Any], tmp_path: Path) -> None:
    settings = {"reward": "tests.rewards:letters", "phases": 3, "prompts": 2, "samples": 3, "tokens": 6, "r": 2}
    rungs = ["zero_shot", {"grpo": settings}, {"ppo": settings | {"updates": 2, "target_kl": 0.01}}]
    ladder = climbed({**given, "rungs": rungs}, tmp_path / "runs" / "run")
    assert [result.failure for result in ladder.results] == [""] * 3
    assert [[own.step for own in result.rollouts] for result in ladder.results[1:]] == [[0, 1, 2], [0, 2, 4]]
    page = (tmp_path / "runs" / "run" / "report.html").read_text("utf-8")
    assert "KL to the reference, nats an answer" in page
    assert page.count("<h2>What it earned") == 1
    assert len(re.findall(r"a nat of KL cost 0\.00\d+ to 0\.00", page)) == 1  # of the rewards' spread
