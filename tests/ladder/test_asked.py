"""A proposer and a critic behind an endpoint are paid for as a base and a judge are: on the bill, within the limit, and once."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.endpoint import Server

from tuneladder import api
from tuneladder.cli import app
from tuneladder.errors import BadInput
from tuneladder.ladder.results import results
from tuneladder.recipe import load

PRICES = {"input": 1.0, "output": 5.0}
Write = Callable[..., Path]


class Brief(Server):
    """Writes no more than it is asked for."""

    def written(self, body: dict[str, Any]) -> dict[str, Any]:
        said = f"A: {body['seed']}"
        read = sum(len(turn["content"]) for turn in body["messages"])
        return {"choices": [{"message": {"content": said}}], **self.usage(read, body["max_tokens"])}


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Brief()) as made:
        yield made


@pytest.fixture
def write(recipe: Path, server: Server, tmp_path: Path) -> Write:
    """The small recipe with one rung of a local base that asks a model at the endpoint."""
    tempting = tmp_path / "tempting.jsonl"
    tempting.write_text("\n".join(json.dumps({"prompt": f"Say {word}."}) for word in ("yes", "no", "both")))
    learning = {"prompts": str(tempting), "tokens": 4, "r": 2, "epochs": 1, "batch_size": 2, "learning_rate": 1e-2}
    steps = {"search": {"candidates": 3, "shown": 2, "rows": 2, "tokens": 6}, "constitution": learning}

    def write(step: str, setting: str, asked: Any = None, **keys: Any) -> Path:
        made = yaml.safe_load(recipe.read_text()) | keys
        made["task"]["data"] = str(recipe.parent / "small.csv")
        asked = asked or {"url": server.url, "model": "author", "prices": PRICES}
        made["rungs"] = {"zero_shot": ["zero_shot"], "asking": [{step: steps[step] | {setting: asked}}]}
        (tmp_path / "asked.yaml").write_text(yaml.safe_dump(made))
        return tmp_path / "asked.yaml"

    return write


ASKING = pytest.mark.parametrize(("step", "setting"), [("search", "proposer"), ("constitution", "critic")])


def billed(server: Server) -> float:
    """By what the endpoint read and wrote, a token a character."""
    usages = [server.written(body)["usage"] for _, body, _ in server.seen]
    read, written = (sum(usage[name] for usage in usages) for name in ("prompt_tokens", "completion_tokens"))
    return (read * PRICES["input"] + written * PRICES["output"]) / 1e6


@ASKING
def test_what_a_step_asks_stands_on_the_bill_and_in_its_rungs_cost(
    step: str, setting: str, write: Write, server: Server, tmp_path: Path, capsys: Any
) -> None:
    recipe = write(step, setting)
    app(["plan", str(recipe)], standalone_mode=False)
    assert "money" in capsys.readouterr().out
    read = load(recipe)
    (foretold,) = (each for each in api.plan(read) if each.rung.name == "asking")
    assert (foretold.refused, foretold.cost.money > 0) == ("", True)
    ladder = api.climb(read, out=tmp_path / "run")
    found, asked, money = results(ladder), len(server.seen), billed(server)
    assert asked
    rungs = {rung["name"]: rung for rung in found["rungs"]}
    assert not rungs["asking"]["failure"]
    assert rungs["asking"]["cost_alone"]["money"] == rungs["asking"]["cost_here"]["money"] == pytest.approx(money)
    assert rungs["zero_shot"]["cost_alone"]["money"] == 0
    assert [(part["for"], part["money"]) for part in found["billed"]["parts"]] == [("asking", pytest.approx(money))]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What this climb was billed" in page
    again = api.climb(read, out=tmp_path / "run")
    assert len(server.seen) == asked
    assert again.billed == ladder.billed


@ASKING
def test_a_step_stops_before_the_limit_and_goes_on_within_a_higher_one(
    step: str, setting: str, write: Write, server: Server, tmp_path: Path
) -> None:
    api.climb(load(write(step, setting)), out=tmp_path / "whole" / "run")
    whole, asked = billed(server), len(server.seen)
    server.seen.clear()
    found = results(api.climb(load(write(step, setting, limit={"money": 0.9 * whole})), out=tmp_path / "run"))
    (failed,) = (rung for rung in found["rungs"] if rung["name"] == "asking")
    assert re.search("limit: money is .* is spent, and the next answer may cost more than is left", failed["failure"])
    assert found["billed"]["money"] == pytest.approx(billed(server))
    assert 0 < billed(server) <= 0.9 * whole
    first = len(server.seen)
    found = results(api.climb(load(write(step, setting, limit={"money": 10.0})), out=tmp_path / "run"))
    assert not any(rung["failure"] for rung in found["rungs"])
    assert first < len(server.seen) == asked  # nothing is asked twice
    assert found["billed"]["money"] == pytest.approx(billed(server)) == pytest.approx(whole)


def test_killed_after_it_asked_a_step_is_billed_as_if_it_never_was(door: Any, write: Write, server: Server, tmp_path: Path) -> None:
    recipe = write("constitution", "critic", limit={"money": 10.0})
    calm, rough = tmp_path / "calm" / "run", tmp_path / "rough" / "run"
    code, command = door.run("climb", recipe, "--out", calm)
    assert code == 0, command.said
    asked = len(server.seen)
    code, command = door.run("climb", recipe, "--out", rough, moment="SIGKILL constitution 1")  # it learns what was revised
    assert code == -signal.SIGKILL
    assert asked < len(server.seen) < 2 * asked
    code, command = door.run("climb", recipe, "--out", rough)
    assert code == 0, command.said
    assert len(server.seen) == 2 * asked
    bills = [json.loads((run / "results.json").read_text())["billed"] for run in (calm, rough)]
    assert bills[0] == bills[1]
    assert bills[0]["money"] == pytest.approx(billed(server) / 2)


@ASKING
def test_a_limit_of_money_wants_prices_before_any_work(step: str, setting: str, write: Write, server: Server) -> None:
    for unpriced in (f"{server.url} author", {"url": server.url, "model": "author"}):
        with pytest.raises(BadInput, match="limit: money is 1, and nothing says what author costs"):
            load(write(step, setting, unpriced, limit={"money": 1.0}))
        assert load(write(step, setting, unpriced))
    assert load(write(step, setting, "pocket-decoder", limit={"money": 1.0}))
    assert not server.seen


@ASKING
def test_keys_of_an_endpoint_are_checked_before_any_work(step: str, setting: str, write: Write) -> None:
    with pytest.raises(BadInput, match=r"no key of a remote base 'price': did you mean 'prices'\?"):
        load(write(step, setting, {"url": "http://x/v1", "model": "m", "price": PRICES}))


@ASKING
@pytest.mark.parametrize(
    "secret",
    [{"key_env": "sk-live-abc"}, {"url": "http://me:sk-live-abc@localhost/v1"}, {"url": "http://localhost/v1?key=sk-live-abc"}],
)
def test_a_secret_that_is_written_in_place_of_a_name_is_refused_and_not_repeated(
    step: str, setting: str, secret: dict[str, Any], write: Write, server: Server
) -> None:
    with pytest.raises(BadInput) as error:
        load(write(step, setting, {"url": server.url, "model": "author"} | secret))
    assert "sk-live-abc" not in f"{error.value.message} {error.value.hint}"
