"""Judges in a climb and at the door: who is set against whom, what is asked once, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.endpoint import Fault, Server, serving

from tuneladder import api
from tuneladder.cli import app
from tuneladder.errors import BadInput, Failed
from tuneladder.evaluate.measure import mark
from tuneladder.evaluate.verdicts import Judge
from tuneladder.ladder.climb import Climb
from tuneladder.ladder.hearing import cases_of
from tuneladder.ladder.results import results
from tuneladder.recipe import load, resolved_yaml
from tuneladder.store import freeze, thaw
from tuneladder.types import Answer, Example, Marked, Measurement, Pace, Prompt, Task, Turn


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, settled: None) -> Iterator[None]:
    """Without what is not tested here: the pace of this machine, what was forgotten, and what needs no model."""
    monkeypatch.setattr("tuneladder.ladder.climb.measured_pace", lambda base, shelf: Pace(1e9))
    monkeypatch.setattr(Climb, "_with_forgetting", lambda self, rung, variant, dev: dev)
    monkeypatch.setattr(Climb, "_baselines", lambda self: {})
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reply(text: str) -> Fault:
    """What an endpoint says to everything."""
    said = {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
    return Fault(body=json.dumps(said))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        made.always = reply("It says which desk it is for. [[7]]")
        yield made


def test_a_judge_reads_a_row_with_its_options_and_its_own_template() -> None:
    task = Task("towns", "choose", prompt=Prompt('{{ input }}\nOptions: {{ options|join(", ") }}'), metric="accuracy")
    rows = [
        Example("1", (Turn("user", "Capital of France?"),), ("Paris",), ("Paris", "Lyon")),
        Example("2", (Turn("user", "Capital of Peru?"),), ("Lima",), ("Lima", "Cusco"), template="Say: {{ input }}"),
    ]
    given = mark(task, rows, [Answer("Paris"), Answer("Lima")], seconds=1.0, engine="fake", seed=0)
    kept = thaw(Measurement, freeze(given))
    first, second = (case.question for case in cases_of(Judge(by="x"), kept.answers, None, task.prompt))
    assert first == "Capital of France?\nOptions: Paris, Lyon"
    assert second.startswith("Say: Capital of Peru?")
    assert "Cusco" in second  # the template does not show the options, so they stand after it


def test_answers_kept_before_rows_had_options_are_read() -> None:
    old = {"id": "1", "input": "a", "reference": "b", "answer": {"text": "b"}, "correct": True}
    assert thaw(Marked, old).options == ()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    rows = [
        {"prompt": f"Which {n}?", "response": text, "worker": who, "rating": value}
        for n in range(6)
        for text, value in ((f"better {n}", 5), (f"worse {n}", 2))
        for who in "xy"
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(recipe: Path, *judges: dict[str, Any]) -> dict[str, Any]:
    """The recipe of two rungs, each cheap, with judges of their answers."""
    made = yaml.safe_load(recipe.read_text())
    made["task"] |= {"data": str(recipe.parent / "small.csv"), "also": [{"judge": each} for each in judges]}
    rungs = {"shown": [{"few_shot": {"shots": 2}}], "zero_shot": ["zero_shot"], "explained": ["explain"]}
    return {**made, "rungs": rungs}


def test_a_climb_is_judged_once_when_its_answers_are_given(
    recipe: Path, server: Server, people: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    remote = {"url": server.url, "model": "some-model", "prices": {"input": 1.0, "output": 2.0}}
    judges = {"by": str(tiny_folder), "rank": True, "against": "explained"}, {"by": remote, "people": str(people), "pairs": 4}
    read = load(written(recipe, *judges))
    assert load(yaml.safe_load(resolved_yaml(read))).judges == read.judges
    against, marks = read.judges
    read = load({**written(recipe, *judges), "bar": {against: 0.9}})
    ladder = api.climb(read, out=tmp_path / "run")
    own = {result.rung.name: result for result in ladder.results}
    assert (set(own["shown"].dev.judged), set(own["explained"].dev.judged)) == ({against}, set())  # what is chosen by, on dev
    assert own["explained"].dev.quality[against].value == own["explained"].test.quality[against].value == 0.5
    shown = own["shown"].test
    assert set(shown.judged) == {against, marks}
    assert set(own["explained"].test.judged) == {marks}  # nobody is judged against itself
    assert shown.quality[against].count == len(shown.answers)
    assert shown.judged[against].against == "explained"
    assert shown.quality[marks].value == pytest.approx(6 / 9)
    agreed = shown.judged[marks].agreement
    assert agreed is not None
    assert (agreed.judge.value, agreed.judge.count, agreed.source) == (0.0, 4, "people.jsonl")  # marks that are all the same
    assert shown.judged[marks].spent.money == pytest.approx(len(shown.answers) * 120e-6)
    assert shown.judged[against].agreement is None
    assert own["zero_shot"].test.answers[0].answer.reason == ""
    assert own["explained"].test.answers[0].answer.reason
    assert api.answers_of(f"{tmp_path / 'run'}:explained")[0].answer.reason == own["explained"].test.answers[0].answer.reason
    found = results(ladder)
    assert found["rungs"][0]["judged"][marks]["spent"]["tokens"] > 0
    asked = len(server.seen)
    assert found["billed"]["money"] == pytest.approx(asked * 120e-6)  # what people said of answers was asked about too
    assert [(part["for"], part["kind"]) for part in found["billed"]["parts"]] == [(marks, "judge")]
    again = api.climb(read, out=tmp_path / "run")
    assert len(server.seen) == asked
    assert [result.test.judged for result in again.results] == [result.test.judged for result in ladder.results]
    assert again.billed == ladder.billed
    measured = api.evaluate(f"{tmp_path / 'run'}:shown", read)
    assert measured.judged[against].score == own["shown"].test.judged[against].score
    assert len(server.seen) == asked
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What a judge says" in page
    assert "The reasons that explained gives" in page


def test_reasons_are_judged_where_that_is_asked_for(recipe: Path, server: Server, tmp_path: Path) -> None:
    judge = {"by": {"url": server.url, "model": "m"}, "reasons": True, "rubric": "A good reason follows from the text."}
    read = load(written(recipe, judge))
    ladder = api.climb(read, rungs=["explained"], out=tmp_path / "run")
    asked = [body["messages"][0]["content"] for _, body, _ in server.seen]
    (explained,) = (result.test for result in ladder.results if result.rung.name == "explained")
    assert explained
    reasons = {f"[Answer]\n{row.answer.text}\n\nReason: {row.answer.reason}\n" for row in explained.answers if row.answer.reason}
    assert reasons
    assert all(any(reason in text for text in asked) for reason in reasons)
    assert any("Reason:" not in text for text in asked)  # zero_shot says none
    assert "mark by m, reasons read for" in (tmp_path / "run" / "report.html").read_text()
    again = len(server.seen)
    for given, shown in ((True, True), (False, False)):
        api.judge(f"{tmp_path / 'run'}:explained", by=server.url, model="other", reasons=given, rows=2)
        assert all(("Reason:" in body["messages"][0]["content"]) == shown for _, body, _ in server.seen[again:])
        again = len(server.seen)


def test_a_judge_of_nonsense_costs_a_figure_and_no_rung(recipe: Path, server: Server, tmp_path: Path) -> None:
    server.always = reply("What a nice day.")
    read = load(written(recipe, {"by": {"url": server.url, "model": "m"}}))
    ladder = api.climb(read, rungs=["shown"], out=tmp_path / "run")
    for result in ladder.results:
        assert result.failure == ""
        assert result.test is not None
        assert result.test.judged == {}
    assert len(server.seen) == len(ladder.results[0].test.answers)  # one rung's, and then it is asked no more
    assert "m is no judge" in (tmp_path / "run" / "report.html").read_text()
    assert not any("judge" in name for name in ladder.results[0].test.quality)


def test_only_what_is_wanted_and_what_it_is_judged_against_is_climbed(recipe: Path, server: Server, tmp_path: Path) -> None:
    read = load(written(recipe, {"by": {"url": server.url, "model": "m"}, "against": "shown"}))
    server.always = reply("[[A]]")
    ladder = api.climb(read, rungs=["zero_shot"], out=tmp_path / "run")
    assert [result.rung.name for result in ladder.results] == ["shown", "zero_shot"]
    judged = ladder.results[1].test.judged[next(iter(read.judges))]
    asked = [own for own in judged.verdicts if own.said]
    assert all(own.flipped and own.outcome == "tie" for own in asked)
    assert judged.bias is None or judged.bias.value == 1.0


def test_a_figure_that_only_some_rungs_have_is_left_out(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rung that others are set against ties with itself; where no other can be judged, that says nothing."""

    def ill(*given: Any, **named: Any) -> None:
        raise Failed("the judge is ill")

    monkeypatch.setattr("tuneladder.ladder.climb.with_judge", ill)
    made = written(recipe, {"by": "pocket-decoder", "against": "shown"})
    (name,) = load(made).judges
    ladder = api.climb({**made, "bar": {name: 0.4}}, rungs=["shown"], out=tmp_path / "run")
    assert [result.failure for result in ladder.results] == ["", ""]
    assert all(name not in each.quality for result in ladder.results for each in (result.dev, result.test) if each)
    assert ladder.pick is None
    assert "the judge is ill" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({}, "judge names no judge"),
        ({"by": "pocket-encoder"}, "pocket-encoder is an encoder, which writes no verdicts"),
        ({"by": "pocket-decoder", "against": "zero_shots"}, "no rung to judge against 'zero_shots': did you mean 'zero_shot'?"),
        ({"by": "pocket-decoder", "people": "nobody.jsonl"}, "there is no file"),
        ({"by": {"url": "http://x/v1"}}, "names no model"),
    ],
)
def test_a_judge_that_cannot_be_meant_is_refused_before_any_work(recipe: Path, judge: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        load(written(recipe, judge))


def test_a_judge_is_no_metric_of_its_own_and_is_paid_for(recipe: Path) -> None:
    made = written(recipe)
    made["task"]["metric"] = "judge {by: pocket-decoder}"
    with pytest.raises(BadInput, match="it cannot be the task's own metric"):
        load(made)
    unpriced = written(recipe, {"by": {"url": "http://x/v1", "model": "m"}}) | {"limit": {"money": 1.0}}
    with pytest.raises(BadInput, match="nothing says what m costs"):
        load(unpriced)


# ---- at the door ----


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Path:
    """A climbed run of two rungs, without judges."""
    made = written(recipe)
    del made["rungs"]["explained"]
    api.climb(made, out=tmp_path / "run")
    return tmp_path / "run"


def test_two_rungs_are_judged_by_their_kept_answers(
    run: Path, server: Server, people: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    server.always = reply("The first is better. [[A]]")
    pair = f"{run}:zero_shot", f"{run}:shown"
    found = api.judge(*pair, by=server.url, model="m", people=str(people), rows=8)
    assert found.judged is not None
    assert len(found.judged.verdicts) == 8
    assert found.judged.against == pair[1]
    assert found.agreement is not None
    assert found.agreement.judge.value == 0.0
    asked = len(server.seen)
    code = app(["judge", *pair, "--by", server.url, "--model", "m", "--rows", "8"], standalone_mode=False)
    assert not code
    said = capsys.readouterr().out
    assert len(server.seen) == asked  # kept
    assert "agreement with people not measured: nobody knows what these verdicts are worth" in said
    assert "share of wins by m: 0.500" in said
    app(["judge", "--by", server.url, "--model", "m", "--people", str(people), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["judged"] is None
    server.always = reply("[[7]]")
    assert api.judge(pair[0], by=server.url, model="m", rows=1).judged is not None
    # the question holds the task's own instruction, and not the row alone
    assert "[Question]\nWhich of these fits the text" in server.seen[-1][1]["messages"][0]["content"]


def test_variants_are_asked_questions_and_judged(tiny_folder: Path, server: Server, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text(
        '{"question_id": 1, "turns": ["Hello.", "Again."]}\n{"question_id": 2, "turns": ["Why?"]}\n'
    )
    found = api.judge(str(tiny_folder), by=server.url, model="m", questions="questions.jsonl", rubric="Be kind.")
    assert found.judged is not None
    assert [own.outcome for own in found.judged.verdicts] == ["7", "7"]
    (first, *_), last = server.seen[0][1]["messages"], server.seen[-1][1]["messages"][-1]["content"]
    assert "Be kind." in first["content"]
    assert "(2) Again." in first["content"] or "(2) Again." in last
    assert found.agreement is None


def test_what_cannot_be_judged_is_refused(run: Path, server: Server) -> None:
    with pytest.raises(BadInput, match="nothing is named to judge"):
        api.judge(by="pocket-decoder")
    with pytest.raises(BadInput, match="is an encoder"):
        api.judge(f"{run}:zero_shot", by="pocket-encoder")
    with pytest.raises(BadInput, match="nobody is named to judge"):
        app(["judge", f"{run}:zero_shot"], standalone_mode=False)
    server.always = reply("")
    with pytest.raises(Failed, match="is no judge"):
        api.judge(f"{run}:zero_shot", by=server.url, model="silent")
