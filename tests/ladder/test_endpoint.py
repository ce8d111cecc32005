"""A whole climb on an endpoint that misbehaves, killed in the middle: no answer is paid for twice, and the end is the same."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.endpoint import Fault, Server

from tuneladder.ladder import words

SPORTS = re.compile(r"\b(team|ran|Match)\b")  # of the texts in conftest.py
TOKENS, ANSWER = 10, 2  # billed for each message and each answer
PRICES = {"input": 1.0, "output": 5.0}
VOLUME = 100_000


class Unruly(Server):
    """Knows the labels once it was shown some, and ranks nothing. The first try of each of the next questions meets with a fault of
    `trouble`; at its `last` answer it kills `victim`. `answered` are the questions whose answers it billed, as often as it did."""

    def __init__(self) -> None:
        super().__init__()
        self.ranks = False
        self.trouble: list[Fault] = []
        self.answered: list[str] = []
        self.victim = self.last = 0
        self._met: set[str] = set()
        self._own = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> Fault:
        if path != "/v1/chat/completions":
            return super().answer(path, body)
        asked = json.dumps(body, sort_keys=True)
        with self._own:
            if self.trouble and asked not in self._met:
                self._met.add(asked)
                return self.trouble.pop(0)
            self.answered.append(asked)
            if len(self.answered) == self.last:
                os.kill(self.victim, signal.SIGKILL)
        return super().answer(path, body)

    def written(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = body["messages"]
        shown = any(message["role"] == "assistant" for message in messages)
        said = "sports" if not shown or SPORTS.search(messages[-1]["content"]) else "market"
        return {"choices": [{"message": {"content": said}}], **self.usage(TOKENS * len(messages), ANSWER)}


TROUBLE = (
    Fault(429, headers={"Retry-After": "0.2"}),
    Fault(500),
    Fault(body='{"choices": [1, 2, 3]}', sent=9),
    Fault(body='{"choices": [{"message"'),
    Fault(body="<html>hello</html>", kind="text/html"),
    Fault(after=2.5),
)


@pytest.fixture
def server() -> Iterator[Unruly]:
    with contextlib.closing(Unruly()) as made:
        yield made


@pytest.fixture
def remote(recipe: Path, server: Unruly, tmp_path: Path) -> Path:
    """The small recipe on the endpoint."""
    made = yaml.safe_load(recipe.read_text())
    made["task"]["data"] = str(recipe.parent / "small.csv")
    made["base"] = {"url": server.url, "model": "some-model", "timeout": 2.0, "prices": PRICES}
    made |= {"rungs": ["zero_shot", {"few_shot": {"shots": 4}}], "bar": {"macro_f1": 0.999, "volume": VOLUME}}
    (tmp_path / "remote.yaml").write_text(yaml.safe_dump(made))
    return tmp_path / "remote.yaml"


def test_an_endpoint_that_misbehaves_is_climbed_on_through_a_kill(
    door: Any, remote: Path, server: Unruly, outcome: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    calm, rough = tmp_path / "calm" / "run", tmp_path / "rough" / "run"
    code, command = door.run("climb", remote, "--out", calm)
    assert code == 0, command.said
    every = set(server.answered)
    assert len(every) == len(server.answered) == 32  # 6 rows of dev and 10 of test, by two rungs

    server.answered, server.trouble = [], list(TROUBLE)
    command = door.start("climb", remote, "--out", rough)
    server.victim, server.last = command.pid, 9
    assert command.wait() == -signal.SIGKILL
    kept = sum(path.read_text().count('"reply"') for path in (rough.parent / ".store").glob("answers-*.jsonl"))
    assert 0 < kept <= server.last
    assert not (rough / "results.json").exists()

    first, server.answered, server.trouble, server.last = set(server.answered), [], list(TROUBLE), 0
    code, command = door.run("climb", remote, "--out", rough)
    assert code == 0, command.said
    assert not server.trouble
    again = set(server.answered)
    assert len(again) == len(server.answered) == len(every) - kept  # what was kept is not asked again
    assert first | again == every
    assert outcome(rough) == outcome(calm)
    is_billed(rough)


def is_billed(run: Path) -> None:
    """Tokens and money stand in the results and on the report."""
    results = json.loads((run / "results.json").read_text())
    for rung, messages in zip(results["rungs"], (2, 10), strict=True):  # each shot is asked and answered
        assert rung["per_answer"]["tokens"] == TOKENS * messages + ANSWER
        one = rung["per_answer"]["money"]
        assert one == pytest.approx((TOKENS * messages * PRICES["input"] + ANSWER * PRICES["output"]) / 1e6)
        assert rung["cost_alone"]["money"] == 0  # neither rung asks anything before it is measured
    assert results["pick"]["rung"] == "few_shot(shots=4)"
    billed, per_answer = results["billed"], [rung["per_answer"] for rung in results["rungs"]]
    assert [(part["for"], part["kind"]) for part in billed["parts"]] == [("few_shot(shots=4)", "rung"), ("zero_shot", "rung")]
    for part, own in zip(billed["parts"], reversed(per_answer), strict=True):  # 16 rows of dev and test
        assert (part["money"], part["tokens"]) == (pytest.approx(16 * own["money"]), 16 * own["tokens"])
    assert billed["money"] == pytest.approx(16 * sum(own["money"] for own in per_answer))
    page = (run / "report.html").read_text()
    tile = f"<span>Money for an answer</span><b>{words.money(one)}</b><span>{words.money(one * VOLUME)} for 100,000 answers</span>"
    assert tile in page
    assert f"paid in this ladder; all of it was billed {words.money(billed['money'])}</span>" in page
    assert "What this climb was billed" in page
    assert f"<td><b>{billed['tokens']:,.0f}</b></td>" in page
    assert f"<small>{words.money(one)}, 102 tokens</small>" in page
    assert "of a size that nobody here knows; a million tokens cost 1.00 to read and 5.00 to write" in page
    card = (run / "README.md").read_text()
    assert 'OpenAI(base_url="http://127.0.0.1' in card
    assert "from_pretrained" not in card


def test_answers_that_an_endpoint_cut_or_held_back_are_noted(door: Any, remote: Path, server: Unruly, tmp_path: Path) -> None:
    honest, said = server.written, []

    def written(body: dict[str, Any]) -> dict[str, Any]:
        reply = honest(body)
        said.append(body)
        reply["choices"][0]["finish_reason"] = {1: "length", 2: "content_filter"}.get(len(said), "stop")
        return reply

    server.written = written  # type: ignore[method-assign]
    code, command = door.run("climb", remote, "--out", tmp_path / "run", "--rung", "zero_shot")
    assert code == 0, command.said
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert "zero_shot: 1 answers of dev ended at the most tokens that they may have: raise" in page
    assert "zero_shot: 1 answers of dev were cut or held back by the endpoint's content filter" in page
