"""The `limit: money` of a run's recipe, where its rungs are asked outside of a climb."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint import Server, serving

from tuneladder import api
from tuneladder.errors import Failed
from tuneladder.model.addressed import remote
from tuneladder.store import freeze
from tuneladder.types import Prompt, Variant

PEOPLE = {"prompt": "Where?", "chosen": "Here.", "rejected": "There."}


def chat() -> Any:
    with api.chat("runs/own") as talk:
        return "".join(talk.answer("Where?"))


ASKING: dict[str, Callable[[], Any]] = {
    "chat": chat,
    "judge": lambda: api.judge(by="runs/own", people="people.jsonl"),
    "judge of answers to questions": lambda: api.judge("runs/own", by="runs/richer", questions="questions.jsonl"),
    "sample": lambda: api.sample("questions.jsonl", ["runs/richer", "runs/own"], "items.jsonl"),
}


@pytest.mark.parametrize("asking", ASKING)
def test_no_more_is_spent_than_the_recipe_of_a_run_allows(asking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        for run, money in (("own", 100), ("richer", 1e9)):
            made(server, run, money)
        Path("people.jsonl").write_text(json.dumps(PEOPLE), "utf-8")
        Path("questions.jsonl").write_text("\n".join(json.dumps({"prompt": f"Where is {n}?"}) for n in range(3)), "utf-8")
        with pytest.raises(Failed, match=r"limit: money is 100: 0\.00 is spent"):
            ASKING[asking]()
        assert not server.seen


def made(server: Server, run: str, money: float) -> None:
    """A run that climbed nothing but a dear endpoint."""
    base = remote({"url": server.url, "model": run, "prices": {"input": 1e6, "output": 1e6}})
    rung = {"name": "zero_shot", "node": run, "failure": ""}
    task = {"kind": "generate", "labels": [], "template": None, "instruction": None, "system": None}
    for file, said in (
        (f".store/{run}/variant.json", freeze(Variant(base, Prompt()))),
        (f"{run}/results.json", {"task": task, "rungs": [rung], "pick": {"rung": "zero_shot"}}),
        (f"{run}/recipe.yaml", {"task": task, "limit": {"money": money}}),
    ):
        (Path("runs") / file).parent.mkdir(parents=True, exist_ok=True)
        (Path("runs") / file).write_text(json.dumps(said), "utf-8")  # JSON is YAML
