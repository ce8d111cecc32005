"""Ladders of a choice and of objects: every rung asks, learns and is measured by the kind's own rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder import api
from tuneladder.evaluate import forgetting
from tuneladder.types import Base, Ladder, Task

RUNGS = ["zero_shot", {"few_shot": {"shots": 2}}, {"lora": {"r": 1, "epochs": 1, "batch_size": 8}}]


def climbed(task: dict[str, Any], rows: list[dict[str, Any]], base: Base, folder: Path) -> Ladder:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"data": str(folder / "rows.jsonl"), "input": "text", "rows": {"dev": 4, "test": 5}, **task}
    rows_of = forgetting._rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "_rows", lambda name: rows_of(name)[:4])
        return api.climb({"task": task, "base": base.location, "rungs": RUNGS}, out=folder / "run")


def test_a_choice_is_climbed(tiny_base: Base, tiny_task: Task, tmp_path: Path) -> None:
    rows = [
        {
            "text": row.turns[0].text,
            "choices": ["about money", "about a parcel or else"],
            "answer": int(row.references[0] != "money"),
        }
        for row in tiny_task.examples.train
    ]
    ladder = climbed({"kind": "choose", "target": "answer"}, rows, tiny_base, tmp_path)
    assert [result.failure for result in ladder.results] == ["", "", ""]
    assert all(list(result.test.quality) == ["accuracy"] for result in ladder.results if result.test)
    assert list(ladder.baselines) == ["longest", "frequent_place"]
    assert "the longest option" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_objects_are_climbed(tiny_base: Base, tiny_task: Task, tiny_encoder: Base, tmp_path: Path) -> None:
    rows = [{"text": row.turns[0].text, "what": {"desk": row.references[0]}} for row in tiny_task.examples.train]
    also: list[Any] = [{"length": {"at_most": 40}}, {"bert_score": {"encoder": tiny_encoder.location}}]
    ladder = climbed({"kind": "extract", "target": "what", "constrain": False, "also": also}, rows, tiny_base, tmp_path)
    assert [result.failure for result in ladder.results] == ["", "", ""]
    for result in ladder.results:
        assert result.test
        assert set(result.test.quality) == {"entity_f1", "exact_match", "parse_rate", "cut_rate", *ladder.task.also}
        assert all(row.answer.raw and row.answer.text == "" for row in result.test.answers if not row.answer.text.startswith("{"))
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "parse rate" in page
    assert f"BERTScore (encoder: {Path(tiny_encoder.location).resolve()}, layer: 2)" in page


def test_programs_are_compared_by_what_came_of_them(tiny_base: Base, tiny_task: Task, tmp_path: Path) -> None:
    rows = [
        {"text": row.turns[0].text, "code": f"x = {number}", "tests": "assert size > 1"}
        for number, row in enumerate(tiny_task.examples.train)
    ]
    metric = {"pass_at_k": {"sandbox": "none", "program": "size = {{ answer|length }}\n{{ tests }}"}}
    ladder = climbed({"kind": "generate", "target": "code", "tests": "tests", "metric": metric}, rows, tiny_base, tmp_path)
    first, second = ladder.results[:2]
    assert first.test
    assert second.test
    values = [each.test.quality[ladder.task.metric].value for each in (first, second)]
    assert values[0] > 0  # whatever a model says is longer than a letter
    variants = [f"{tmp_path / 'run'}:{each.rung.name}" for each in (first, second)]
    told = [row.told for row in first.test.answers]
    assert "1/1" in told
    assert [row.told for row in api.answers_of(variants[0])] == told
    found = api.compare(*variants)
    assert found.contest is None
    assert found.difference
    assert found.difference.value == pytest.approx(values[1] - values[0])
