"""A climb that asks for all that stands beside quality: what it keeps, what it makes again, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tuneladder import api
from tuneladder.errors import Failed
from tuneladder.evaluate import forgetting
from tuneladder.ladder import climb as climbing
from tuneladder.ladder import words
from tuneladder.ladder.efficiency import by, efficiency
from tuneladder.types import Axes, Cost, Energy, Measurement, Result, Rung


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    before, rows = torch.get_num_threads(), forgetting._rows
    torch.set_num_threads(1)
    monkeypatch.setattr(forgetting, "_rows", lambda name: rows(name)[:3])  # the probes are not what is tested
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
    for drop in rung["robustness"].values():
        assert drop["metric"] == "rouge_l"
        assert drop["worse"]["count"] == 16
        assert drop["worse"]["low"] <= drop["worse"]["value"] <= drop["worse"]["high"]
        assert drop["worse"]["value"] == pytest.approx(drop["before"]["value"] - drop["after"]["value"])
        assert drop["before"]["value"] == pytest.approx(rung["test"]["rouge_l"]["value"])
    groups = rung["fairness"]["groups"]
    assert sum(group["count"] for group in groups.values()) == 16
    assert {rung["fairness"]["gap"]["best"], rung["fairness"]["gap"]["worst"]} == {"north", "south"} == set(groups)
    toxicity = rung["toxicity"]
    assert toxicity["references"]["value"] == 1
    assert toxicity["by"]["source"].endswith("rude.jsonl")
    assert toxicity["by"]["rows"] + toxicity["by"]["accuracy"]["count"] <= 120
    spent = rung["efficiency"]
    assert spent["intensity"] == 473
    assert spent["answer"]["joules"] > 0
    assert spent["measuring"]["grams"] == pytest.approx(spent["measuring"]["joules"] / 3.6e6 * 473)
    assert spent["memory"] == rung["cost_alone"]["memory"]


def test_all_of_it_stands_on_the_page(run: Path) -> None:
    page = (run / "report.html").read_text()
    for title in ("When rows are written carelessly", "For whom it works", "Toxic answers", "What it takes"):
        assert f"<h2>{title}</h2>" in page
    assert "one typo in 10 % of the words" in page
    assert "3 rewordings by rule" in page
    assert "a TF-IDF classifier trained on" in page


def test_a_second_climb_measures_nothing(run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("made again")

    for name in ("measure", "measure_perturbed", "classifier"):
        monkeypatch.setattr(climbing, name, refuse)
    before, kept = stored(run), rung_of(run)
    # a group, an intensity and watts are looked at when the answers are there
    api.climb(recipe, "evaluate.fairness.by={{ text|length }}", "evaluate.energy={intensity: 20, watts: 5}", out=run)
    assert stored(run) == before
    again = rung_of(run)
    assert again["robustness"] == kept["robustness"]
    assert again["toxicity"] == kept["toxicity"]
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
    (drop,) = rung_of(run)["robustness"].values()
    assert drop["worse"]["count"] == 5
    assert drop["how"] == "1 instruction of the recipe's"


def test_nothing_is_asked_that_was_not_asked_for(run: Path, recipe: Path) -> None:
    before = stored(run)
    off = ("evaluate.robustness=false", "evaluate.fairness=false", "evaluate.toxicity=false")
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
    assert "the engine is gone" in (run / "report.html").read_text()


def test_where_joules_come_from_is_said() -> None:
    plain, own = Axes(), Axes(watts=30.0)
    assert by(Energy(1, 5, "RAPL"), plain) == by(Energy(1, 5, "RAPL"), own) == "read by RAPL"
    assert by(Energy(1, 0, "", 21.44), plain) == "21.4 W by makers' figures, an estimate: no meter could be read"
    assert by(Energy(1, 0, "", 21.44), own) == "30 W as the recipe says: no meter could be read"
    assert by(Energy(1, 5, "NVML", 21.44), plain) == "read by NVML, and for the rest 21.4 W by makers' figures, an estimate"


def test_an_endpoints_energy_is_not_known() -> None:
    measured = Measurement({}, {}, None, Cost(), Cost(seconds=0.5), "remote")
    found = efficiency(Result(Rung("r", "b", ()), None, Cost(), dev=measured), Axes())
    assert found
    assert (found.seconds, found.answer, found.climbing, found.measuring, found.by) == (0.5, None, None, None, "")


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.0, "0 mJ"), (0.0123, "12 mJ"), (3.44, "3.4 J"), (47_100.0, "47 kJ"), (1.2e6, "1.2 MJ"), (999.9, "1.0 kJ")],
)
def test_energy_in_words(value: float | None, said: str) -> None:
    assert words.energy(value) == said


@pytest.mark.parametrize(("value", "said"), [(4e-5, "40 µg"), (0.0034, "3.4 mg"), (12.0, "12 g"), (1200.0, "1.2 kg")])
def test_grams_in_words(value: float, said: str) -> None:
    assert words.mass(value) == said
