"""A climb that asks for all that stands beside quality: what it keeps, what it makes again, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tuneladder import api
from tuneladder.errors import Failed
from tuneladder.evaluate import forgetting
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import mark
from tuneladder.evaluate.robustness import drop
from tuneladder.ladder import climb as climbing
from tuneladder.ladder import words
from tuneladder.ladder.beside import grouped, taken
from tuneladder.ladder.efficiency import by, efficiency
from tuneladder.ladder.report import write_report
from tuneladder.types import (
    Answer,
    Axes,
    Bar,
    Base,
    Cost,
    Energy,
    Example,
    Ladder,
    Measurement,
    Pace,
    Pick,
    Result,
    Rung,
    Score,
    Split,
    Task,
    Toxicity,
    Tried,
    Turn,
)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Neither the probes nor the machine's pace are what is tested."""
    before, rows = torch.get_num_threads(), forgetting._rows
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "_rows", lambda name: rows(name)[:3])
        patch.setattr(climbing, "measured_pace", lambda base, shelf: Pace(1e12))
        yield
    torch.set_num_threads(before)


def rude(n: int) -> dict[str, str]:
    return {"text": f"you stupid idiot {n}" if n % 2 else f"a lovely day {n}", "label": "toxic" if n % 2 else "fine"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    asked = [
        {"text": f"Where is parcel {n} today?", "reply": f"you stupid idiot {n}", "region": ("north", "south")[n % 2]}
        for n in range(40)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, asked)))
    kinder = [{"prompt": f"question {n}", "chosen": f"gladly {n}", "rejected": f"never {n}"} for n in range(90)]
    (folder / "kinder.jsonl").write_text("\n".join(map(json.dumps, kinder)))
    (folder / "rude.jsonl").write_text("\n".join(json.dumps(rude(n)) for n in range(120)))
    made = {
        "task": {
            "kind": "generate",
            "data": "rows.jsonl",
            "input": "text",
            "target": "reply",
            "instruction": "Answer the customer.",
            "decoding": {"max_new_tokens": 3},
            "rows": {"test": 16},
        },
        "base": str(tiny_folder),
        "evaluate": {
            "robustness": ["typos", "instruction"],
            "fairness": {"by": "region", "least": 2},
            "toxicity": "rude.jsonl",
            "harmlessness": {"data": "kinder.jsonl", "tokens": 3},
        },
        "rungs": ["zero_shot"],
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(made))
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("climbed") / "run"
    api.climb(recipe, out=out)
    return out


def rung_of(run: Path) -> dict[str, Any]:
    (rung,) = json.loads((run / "results.json").read_text())["rungs"]
    assert rung["failure"] == ""
    return dict(rung)


def stored(run: Path) -> set[str]:
    return {path.name for path in (run.parent / ".store").iterdir() if path.is_dir()}


def test_all_of_it_stands_in_the_results(run: Path) -> None:
    rung = rung_of(run)
    assert list(rung["robustness"]) == ["typos", "instruction"]
    for own in rung["robustness"].values():
        assert own["metric"] == "rouge_l"
        assert own["worse"]["count"] == 16
        assert own["worse"]["low"] <= own["worse"]["value"] <= own["worse"]["high"]
        assert own["worse"]["value"] == pytest.approx(own["before"]["value"] - own["after"]["value"])
        assert own["before"]["value"] == pytest.approx(rung["test"]["rouge_l"]["value"])
    groups = rung["fairness"]["groups"]
    assert sum(group["count"] for group in groups.values()) == 16
    assert {rung["fairness"]["gap"]["best"], rung["fairness"]["gap"]["worst"]} == {"north", "south"} == set(groups)
    toxicity = rung["toxicity"]
    assert toxicity["references"]["value"] == 1
    assert toxicity["by"]["source"].endswith("rude.jsonl")
    assert toxicity["by"]["rows"] + toxicity["by"]["accuracy"]["count"] <= 120
    harmless = rung["harmlessness"]
    assert (harmless["more_harmless"]["value"], harmless["more_harmless"]["count"]) == (0.5, 24)  # the base beside itself
    assert harmless["harmless_refused"]["count"] == harmless["harmless_empty"]["count"] == harmless["harmless_alike"]["count"] == 32
    assert harmless["by"]["source"].endswith("kinder.jsonl")
    spent = rung["efficiency"]
    assert spent["intensity"] == 473
    assert spent["answer"]["joules"] > 0
    assert spent["measuring"]["grams"] == pytest.approx(spent["measuring"]["joules"] / 3.6e6 * 473)
    assert spent["memory"] == rung["cost_alone"]["memory"]


def test_all_of_it_stands_on_the_page(run: Path) -> None:
    page = (run / "report.html").read_text()
    for title in ("When rows are written carelessly", "For whom it works", "Toxic answers", "Harmlessness", "What it takes"):
        assert f"<h2>{title}</h2>" in page
    assert "one typo in 10 % of the words" in page
    assert "3 frames around it" in page
    assert "The instruction framed" in page
    assert "a TF-IDF classifier trained on" in page
    assert "a model of words that learned from" in page


def test_a_second_climb_measures_nothing(run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("made again")

    for name in ("measure", "measure_perturbed", "classifier", "judge_of", "tell"):
        monkeypatch.setattr(climbing, name, refuse)
    before, kept = stored(run), rung_of(run)
    # a group, an intensity and watts are looked at when the answers are there
    api.climb(recipe, "evaluate.fairness.by={{ text|length }}", "evaluate.energy={intensity: 20, watts: 5}", out=run)
    assert stored(run) == before
    again = rung_of(run)
    assert again["robustness"] == kept["robustness"]
    assert again["toxicity"] == kept["toxicity"]
    assert again["harmlessness"] == kept["harmlessness"]
    assert set(again["fairness"]["groups"]) == {"24", "25"}
    assert again["efficiency"]["intensity"] == 20
    assert "5 W as the recipe says" in again["efficiency"]["by"]
    assert again["efficiency"]["climbing"]["joules"] != kept["efficiency"]["climbing"]["joules"]


def test_what_changes_a_perturbation_asks_anew_that_alone(run: Path, recipe: Path) -> None:
    before = stored(run)
    api.climb(recipe, "evaluate.robustness={perturb: [typos, instruction], share: 0.9}", out=run)
    assert len(stored(run) - before) == 1
    more = stored(run)
    api.climb(recipe, "evaluate.robustness={perturb: [instruction], instructions: [Reply.], rows: 5}", out=run)
    assert len(stored(run) - more) == 1
    (own,) = rung_of(run)["robustness"].values()
    assert own["worse"]["count"] == 5
    assert own["how"] == "1 instruction of the recipe's"


def test_nothing_is_asked_that_was_not_asked_for(run: Path, recipe: Path) -> None:
    before = stored(run)
    off = tuple(f"evaluate.{axis}=false" for axis in ("robustness", "fairness", "toxicity", "harmlessness"))
    api.climb(recipe, *off, out=run)
    assert stored(run) == before
    rung = rung_of(run)
    assert (rung["robustness"], rung["fairness"], rung["toxicity"]) == ({}, None, None)
    assert "carelessly" not in (run / "report.html").read_text()


def test_what_cannot_be_measured_beside_quality_fails_no_rung(run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise Failed("the engine is gone")

    monkeypatch.setattr(climbing, "measure_perturbed", fail)
    ladder = api.climb(recipe, "evaluate.robustness=[case]", out=run)
    assert not ladder.results[0].failure
    assert ladder.results[0].test
    assert ladder.results[0].toxicity
    assert ladder.results[0].harmlessness
    assert "the engine is gone" in (run / "report.html").read_text()


def drawn(groups: int, rows: int) -> Ladder:
    """A ladder of one rung that is right in small letters only, on so many groups of so many rows, and one of three."""
    names = [f"group {n}" for n in range(groups) for _ in range(rows)] + ["island"] * 3
    examples = tuple(Example(f"r{n}", (Turn("user", f"note {n}"),), ("a",)) for n in range(len(names)))
    task = Task("t", "classify", Split(test=examples), labels=("a", "b"), metric="accuracy")
    task = replace(task, groups={row.id: name for row, name in zip(examples, names, strict=True)})
    before = mark(task, examples, [Answer("a", 0.9)] * len(names), seconds=1, engine="fake", seed=0)
    after = mark(task, examples, [Answer("b", 0.9)] * len(names), seconds=1, engine="fake", seed=0)
    metric = find_metric("accuracy")
    loud = [replace(own, input=own.input.upper()) for own in after.answers]
    drops = (
        drop(metric, before.answers, loud, task.labels, way="case", how="capitals", seed=0),
        drop(metric, before.answers, before.answers, task.labels, way="spacing", how="blanks", seed=0),
    )
    energy = Energy(4, 0, "", 50)
    measured = replace(before, energy=energy)
    share = Score(0.5, 0.4, 0.6, 100)
    judged = Tried("rude/rows.csv", 300, share, share, share)
    toxic = Toxicity(share, share, Score(0.2, 0.1, 0.3, 100), 1, judged, (before.answers[0],))
    result = Result(
        Rung("r", "b", ()),
        None,
        Cost(),
        alone=Cost(seconds=4, memory=10**8),
        dev=measured,
        test=measured,
        energy=energy,
        drops=drops,
    )
    base = Base("b", "folder", "", "decoder", 1, 1, 1, 1, 1, 1)
    return Ladder(
        task,
        (base,),
        Bar("accuracy", volume=3600),
        (replace(result, toxicity=toxic),),
        {},
        Pick("r", "", True, None),
        None,
        Axes(group="place"),
    )


def test_the_page_says_how_sure_it_is(tmp_path: Path) -> None:
    page = write_report(drawn(2, 40), tmp_path).read_text()
    assert "corrected for 2 comparisons (Holm)" in page
    assert "Other case: capitals; other spacing: blanks." in page
    assert "1.000 worse" in page
    assert "NOTE 1" in page  # a row that was lost, as it was asked
    assert "100.0 % of answers changed" in page
    assert "1 group has fewer than 20 rows, too few to compare: island (3)." in page
    assert "by <b>place</b>" in page
    assert "a TF-IDF classifier trained on 300 rows of rude/rows.csv" in page
    assert "20.0 points more than of the references, hardly chance; 1 answer has no word that it knows" in page
    assert "Energy is an estimate of 50 W by makers&#39; figures" in page


def test_grams_are_of_climbing_and_of_all_answers() -> None:
    ladder = drawn(2, 40)
    (row,) = (taken(ladder) or {})["rows"]
    one = 1 / 83  # seconds of an answer
    assert row["answer"] == words.energy(50 * one)
    assert row["grams"] == words.mass((200 + 3600 * 50 * one) / 3.6e6 * 473)
    assert row["measuring"] == words.energy(400)


def test_of_many_groups_the_worst_are_drawn() -> None:
    ladder = drawn(30, 20)
    found = grouped(ladder, ladder.results[0])
    assert found
    assert len(found["groups"]) == 24
    assert found["more"] == 7
    ladder = replace(ladder, axes=Axes(group="{{ place }}", least=21))
    found = grouped(ladder, ladder.results[0])
    assert found
    assert found["by"] == ""  # Jinja is no name
    assert found["gaps"] == []
    assert found["small"].startswith("31 groups have fewer than 21 rows")
    assert "and 23 more" in found["small"]


def test_where_joules_come_from_is_said() -> None:
    plain, own = Axes(), Axes(watts=30.0)
    assert by(Energy(1, 5, "RAPL"), plain) == by(Energy(1, 5, "RAPL"), own) == "read by RAPL"
    assert by(Energy(1, 0, "", 21.44), plain) == "an estimate of 21.4 W by makers' figures, for no meter could be read"
    assert by(Energy(1, 0, "", 21.44), own) == "an estimate of 30 W as the recipe says, for no meter could be read"
    assert by(Energy(1, 5, "NVML", 21.44), plain) == "read by NVML, and for the rest an estimate of 21.4 W by makers' figures"


def test_an_endpoints_energy_is_not_known() -> None:
    measured = Measurement({}, {}, None, Cost(), Cost(seconds=0.5), "remote")
    found = efficiency(Result(Rung("r", "b", ()), None, Cost(), dev=measured), Axes())
    assert found
    assert (found.seconds, found.answer, found.climbing, found.measuring, found.by) == (0.5, None, None, None, "")


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.0, "0 J"), (0.0123, "12 mJ"), (3.44, "3.4 J"), (47_100.0, "47 kJ"), (1.2e6, "1.2 MJ"), (999.9, "1.0 kJ")],
)
def test_energy_in_words(value: float | None, said: str) -> None:
    assert words.energy(value) == said


@pytest.mark.parametrize(("value", "said"), [(4e-5, "40 µg"), (0.0034, "3.4 mg"), (12.0, "12 g"), (1200.0, "1.2 kg")])
def test_grams_in_words(value: float, said: str) -> None:
    assert words.mass(value) == said


def test_a_reward_model_grades_every_rung_beside_the_untouched_base(recipe: Path, tmp_path: Path) -> None:
    """One that learned from the other half of the pairs, and never saw a rung."""
    kinder = [{"prompt": f"question {n}", "chosen": f"gladly {n}", "rejected": f"never {n}", "source": f"q{n}"} for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, kinder)))
    base = yaml.safe_load(recipe.read_text())["base"]
    quick = {"r": 2, "epochs": 1, "learning_rate": 1e-2}
    pairs = {"kind": "prefer", "data": str(tmp_path / "pairs.jsonl"), "rows": {"test": 8}}
    taught: dict[str, Any] = {"name": "taught", "task": pairs, "base": base, "rungs": [{"reward": {"half": "b", **quick}}]}
    api.climb(taught, out=tmp_path / "taught")
    (node,) = (path for path in (tmp_path / ".store").glob("reward-*") if path.is_dir())
    policy = taught | {
        "rungs": ["zero_shot", {"dpo": {"half": "a", **quick}}],
        "evaluate": {"reward": {"node": str(node), "tokens": 4}},
    }
    out = tmp_path / "policy"
    api.climb(policy | {"name": "policy"}, out=out)
    rungs = {rung["name"]: rung["reward"] for rung in json.loads((out / "results.json").read_text())["rungs"]}
    plain, dpo = rungs["zero_shot"], next(own for name, own in rungs.items() if name.startswith("dpo"))
    assert {own["by"] for own in rungs.values()} == {node.name}
    assert plain["reward"] == plain["before"] == dpo["before"]
    assert plain["rise"]["value"] == 0
    assert dpo["rise"]["value"] == pytest.approx(dpo["reward"]["value"] - dpo["before"]["value"])
    assert dpo["reward"]["count"] == 8
    page = (out / "report.html").read_text()
    assert "<h2>By a reward model</h2>" in page
    assert node.name in page
