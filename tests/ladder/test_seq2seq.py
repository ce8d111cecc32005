"""A ladder of generation on a seq2seq: what is refused stands in the table, what costs no model beside it, and the card's code."""

from __future__ import annotations

import csv
import re
import runpy
from dataclasses import replace

import pytest

from tuneladder import api
from tuneladder.evaluate import forgetting
from tuneladder.ladder.report import write_card
from tuneladder.types import Pick

LORA, FULL = {"lora": {"epochs": 1, "batch_size": 8}}, {"full": {"epochs": 1, "batch_size": 8}}
OVER = [
    {"prompt_tuning": {"epochs": 1}},
    {"prefix_tuning": {"epochs": 1}},
    {"adapter": {"epochs": 1}},
    {"qlora": {"form": "int8", "epochs": 1}},
]
RUNGS = ["zero_shot", {"few_shot": {"shots": 2}}, LORA, FULL, *OVER, "linear_probe", "sentence_distil", "pretrain"]


@pytest.fixture(scope="module")
def ladder(tiny_seq2seq, tiny_task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("climb")
    rows = [row for part in (tiny_task.examples.train, tiny_task.examples.dev) for row in part]
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "gist"), *((row.turns[0].text, row.references[0]) for row in rows)])
    task = {"kind": "generate", "data": str(folder / "rows.csv"), "input": "text", "target": "gist", "instruction": "Sum up."}
    task |= {"decoding": {"max_new_tokens": 6}, "rows": {"dev": 4, "test": 5}}
    rows_of = forgetting._rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "_rows", lambda name: rows_of(name)[:4])
        return api.climb({"task": task, "base": tiny_seq2seq.location, "rungs": RUNGS}, out=folder / "run")


def test_what_makes_no_sense_is_refused_with_the_reason(ladder):
    failures = {result.rung.name: result.failure for result in ladder.results if result.failure}
    assert failures.keys() == {"linear_probe", "sentence_distil", "pretrain"}
    assert "makes no sense for a base of the seq2seq family" in failures["sentence_distil"]
    assert "linear_probe learns labels" in failures["linear_probe"]
    assert "pretrain needs plain text" in failures["pretrain"]


def test_what_costs_no_model_stands_beside_it(ladder):
    assert list(ladder.baselines) == ["lead", "copy"]
    assert all(each.quality["rouge_l"].count == 5 for each in ladder.baselines.values())


def test_forgetting_is_told_of_each(ladder):
    lost = {result.rung.name.partition("(")[0]: result.dev.forgetting for result in ladder.results if result.dev}
    assert lost["zero_shot"] == lost["few_shot"] == 0
    assert lost["lora"] not in (0, None)
    assert lost["full"] not in (0, None)


@pytest.mark.parametrize("step", ["lora", "full", "prompt_tuning", "prefix_tuning", "adapter", "qlora"])
def test_the_card_says_how_plain_transformers_answers_the_same(ladder, step, tmp_path, monkeypatch, capsys):
    result = next(result for result in ladder.results if result.rung.name.startswith(step))
    card = write_card(replace(ladder, pick=Pick(result.rung.name, "", True, True)), tmp_path).read_text("utf-8")
    assert "pipeline_tag: text2text-generation" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    assert "AutoModelForSeq2SeqLM" in code
    monkeypatch.chdir(tmp_path)
    right = 0
    for marked in result.test.answers[:3]:
        (tmp_path / "use.py").write_text(code.replace("YOUR TEXT", marked.input))
        runpy.run_path(str(tmp_path / "use.py"))
        right += capsys.readouterr().out.strip() == marked.answer.text
    assert right >= 2  # what was measured in bfloat16 may fall the other way in a close call
