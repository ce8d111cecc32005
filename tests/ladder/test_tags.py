"""A ladder that tags words: from a file to a table, a baseline and a card that plain transformers follows."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace

import pytest

from tuneladder import api
from tuneladder.ladder.report import write_card
from tuneladder.types import Pick

NAMES = {"Ada": "B-PER", "Heron": "B-PER", "May": "B-LOC"}
RUNGS = [{"lora": {"epochs": 3, "batch_size": 8}}, {"full": {"epochs": 3, "batch_size": 8}}]
LORA, FULL = "lora(epochs=3,batch_size=8)", "full(epochs=3,batch_size=8)"


@pytest.fixture(scope="module")
def run(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("climb")
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(40):
            words = f"number {number} : {list(NAMES)[number % 3]} stands past the mill".split()
            file.write(json.dumps({"tokens": words, "ner_tags": [NAMES.get(word, "O") for word in words]}) + "\n")
    recipe = {
        "task": {"kind": "tag", "data": str(folder / "rows.jsonl"), "rows": {"dev": 6, "test": 8}},
        "base": tiny_encoder.location,
        "bar": {"span_f1": 0.5},
        "rungs": RUNGS,
    }
    return api.climb(recipe, out=folder / "run"), folder / "run"


def test_the_table(run):
    ladder, folder = run
    assert [result.rung.name for result in ladder.results] == [LORA, FULL]  # the base alone has no head that tags words
    assert not any(result.failure for result in ladder.results)
    assert list(ladder.baselines) == ["frequent_tag"]
    assert ladder.baselines["frequent_tag"].quality["span_f1"].value == 1
    found = json.loads((folder / "results.json").read_text())
    assert set(found["rungs"][0]["test"]) == {"span_f1", "tag_accuracy"}
    assert found["pick"]
    page = (folder / "report.html").read_text("utf-8")
    assert "span F1" in page
    assert "the most frequent tag of each word" in page.lower()
    assert all(result.dev.forgetting not in (None, 0) for result in ladder.results)


def test_two_rungs_are_compared(run):
    _, folder = run
    compared = api.compare(f"{folder}:{LORA}", f"{folder}:{FULL}")
    assert compared.difference.metric == "span_f1"
    assert compared.contest is not None


@pytest.mark.parametrize("name", [LORA, FULL])
def test_the_card_says_how_plain_transformers_answers_the_same(run, name, tmp_path, monkeypatch, capsys):
    ladder, _ = run
    result = next(result for result in ladder.results if result.rung.name == name)
    card = write_card(replace(ladder, pick=Pick(name, "", True, True)), tmp_path).read_text("utf-8")
    assert "pipeline_tag: token-classification" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    monkeypatch.chdir(tmp_path)
    right = []
    for marked in result.test.answers[:3]:
        (tmp_path / "use.py").write_text(code.replace("YOUR TEXT", marked.input))
        runpy.run_path(str(tmp_path / "use.py"))
        said = [line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines()]
        assert [word for word, _ in said] == marked.input.split(" ")
        right += [tag == own for (_, tag), own in zip(said, marked.answer.text.split(" "), strict=True)]
    assert sum(right) > 0.9 * len(right)  # what was measured in bfloat16 may fall the other way in a close call
