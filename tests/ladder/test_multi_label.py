"""A ladder over rows with several labels: from a file to a table, baselines, a page and a card that plain transformers follows."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace

import pytest

from tuneladder import api
from tuneladder.ladder.climb import Climb
from tuneladder.ladder.report import write_card
from tuneladder.ladder.tree import splits_digest
from tuneladder.types import Bar, Cost, Pick

WORDS = {"water": "river", "animal": "heron", "place": "mill"}
RUNGS = ["zero_shot", {"linear_probe": {"strength": 3}}, {"lora": {"epochs": 3, "batch_size": 8}}]
PROBE, LORA = "linear_probe(strength=3)", "lora(epochs=3,batch_size=8)"


@pytest.fixture(scope="module")
def run(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("climb")
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(48):
            own = [label for bit, label in enumerate(WORDS) if number >> bit & 1]
            text = f"number {number} : it stands past {' and '.join(WORDS[label] for label in own) or 'nobody'} today"
            file.write(json.dumps({"text": text, "labels": own}) + "\n")
    recipe = {
        "task": {
            "kind": "classify",
            "data": str(folder / "rows.jsonl"),
            "input": "text",
            "target": "labels",
            "rows": {"dev": 6, "test": 8},
        },
        "base": tiny_encoder.location,
        "bar": {"micro_f1": 0.2},
        "rungs": RUNGS,
    }
    return api.climb(recipe, out=folder / "run"), folder / "run"


def test_the_table(run):
    ladder, folder = run
    failures = {result.rung.name: result.failure for result in ladder.results if result.failure}
    assert failures.keys() == {"zero_shot"}
    assert "not say which of several a text has" in failures["zero_shot"]
    assert list(ladder.baselines) == ["frequent_set", "tfidf"]
    found = json.loads((folder / "results.json").read_text())
    assert found["task"]["multi_label"]
    assert set(found["rungs"][1]["test"]) == {"micro_f1", "macro_f1", "accuracy", "hamming_loss"}
    assert found["pick"]
    assert all(result.dev.forgetting is not None for result in ladder.results[1:])


def test_the_page_says_how_each_label_is_found_and_has_no_confusion_matrix(run):
    ladder, folder = run
    page = re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text("utf-8"))
    assert "Which labels" in page
    assert "There is no confusion matrix" in page
    assert "Most confused" not in page
    assert "Hamming loss" in page
    assert "the most frequent set of labels" in page.lower()
    answers = next(result for result in ladder.results if result.rung.name == ladder.pick.rung).test.answers
    for label in WORDS:
        true, said = (sum(label in text for text in texts) for texts in zip(*((m.reference, m.answer.text) for m in answers)))
        right = sum(label in m.reference and label in m.answer.text for m in answers)
        if true + said:
            assert re.search(rf"{label}\s+{true}\s+{said}\s+{right}\s", page)


def test_two_rungs_are_compared(run):
    _, folder = run
    compared = api.compare(f"{folder}:{PROBE}", f"{folder}:{LORA}")
    assert compared.difference.metric == "micro_f1"
    assert compared.contest is not None


@pytest.mark.parametrize("name", [PROBE, LORA])
def test_the_card_says_how_plain_transformers_answers_the_same(run, name, tmp_path, monkeypatch, capsys):
    ladder, _ = run
    result = next(result for result in ladder.results if result.rung.name == name)
    card = write_card(replace(ladder, pick=Pick(name, "", True, True)), tmp_path).read_text("utf-8")
    assert "pipeline_tag: text-classification" in card
    assert "Labels, of which a row has any number: `animal`, `place`, `water`" in card
    assert "always answers with one of its labels" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    assert ('problem_type="multi_label_classification"' in code) == (name == LORA)
    monkeypatch.chdir(tmp_path)
    right = []
    for marked in result.test.answers[:4]:
        (tmp_path / "use.py").write_text(code.replace("YOUR TEXT", marked.input))
        runpy.run_path(str(tmp_path / "use.py"))
        said = capsys.readouterr().out.strip()
        own = [] if marked.answer.text == "none" else marked.answer.text.split(", ")
        right += [(label in said) == (label in own) for label in WORDS]
    assert sum(right) > 0.9 * len(right)  # what was measured in bfloat16 may fall the other way in a close call


def test_rows_of_one_label_each_are_another_task_than_sets_of_one(tiny_task, tmp_path):
    """What was measured of the one is not taken for the other's: the same rows, references and labels."""
    sets = replace(tiny_task, multi_label=True)
    assert splits_digest(sets) != splits_digest(tiny_task)
    given = {"bar": Bar(), "limit": Cost(), "seed": 0, "folder": tmp_path / "run", "device": "cpu"}
    assert Climb(sets, [], [], **given).test_digest != Climb(tiny_task, [], [], **given).test_digest
