from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneladder.errors import BadInput
from tuneladder.task.build import build
from tuneladder.task.guess import guess

DESKS = Path(__file__).parents[2] / "src/tuneladder/assets/desks/messages.csv"


def table(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def text(n: int, length: int = 8) -> str:
    return " ".join(f"w{n * k % 97}" for k in range(1, length + 1)) + f" {n}"


def test_a_text_column_and_a_column_of_few_values() -> None:
    recipe, why = guess(str(DESKS))
    assert recipe["task"] == {"kind": "classify", "data": str(DESKS), "input": "message", "target": "desk", "metric": "macro_f1"}
    assert recipe["base"] == "pocket-encoder"
    assert recipe["rungs"][:2] == ["zero_shot", "linear_probe"]
    assert any("6 different values" in sentence for sentence in why)
    assert yaml.safe_load(yaml.safe_dump(recipe)) == recipe


@pytest.mark.parametrize(
    ("row", "kind", "input", "target"),
    [
        (lambda n: {"id": n, "topic": "ab"[n % 2], "body": text(n), "paid": "yn"[n % 2]}, "classify", "body", "topic"),
        (lambda n: {"title": text(n), "body": text(n, 20), "y": n % 2}, "classify", "{{ title }}\n\n{{ body }}", "y"),
        (lambda n: {"answer": text(n), "question": text(n + 1)}, "generate", "question", "answer"),
        (lambda n: {"de": text(n), "en": text(n + 1)}, "generate", "de", "en"),
        (lambda n: {"dialogue": text(n, 30), "summary": text(n), "section": "ab"[n % 2]}, "generate", "dialogue", "summary"),
        (lambda n: {"word": f"w{n}", "gender": "mf"[n % 2]}, "classify", "word", "gender"),
    ],
)
def test_columns_are_told_apart(tmp_path: Path, row: Any, kind: str, input: str, target: str) -> None:
    data = table(tmp_path, [row(n) for n in range(80)])
    recipe, why = guess(data)
    assert (recipe["task"]["kind"], recipe["task"]["input"], recipe["task"]["target"]) == (kind, input, target)
    assert len(why) >= 3
    task, _ = build(name="t", **recipe["task"])
    assert len(task.examples.train) > 40


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"instruction": "Add", "input": "{}", "output": "x{}"}, "generate"),
        ({"messages": [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "x"}]}, "chat"),
        ({"prompt": "{}", "completion": "x"}, "generate"),
        ({"prompt": "{}", "chosen": "x", "rejected": "y"}, "generate"),
    ],
)
def test_known_formats_need_no_columns(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    data = table(tmp_path, [json.loads(json.dumps(row).replace("{}", f"number {n}")) for n in range(40)])
    recipe, _ = guess(data)
    assert set(recipe["task"]) == {"kind", "data", "metric"}
    assert recipe["task"]["kind"] == kind
    assert build(name="t", **recipe["task"])[1].rows["train"] > 20


def test_what_is_given_is_kept(tmp_path: Path) -> None:
    data = table(tmp_path, [{"topic": "ab"[n % 2], "body": text(n), "paid": "yn"[n % 2]} for n in range(80)])
    recipe, _ = guess(data, input="Read: {{ body }}", target="paid")
    assert (recipe["task"]["input"], recipe["task"]["target"]) == ("Read: {{ body }}", "paid")
    assert guess(data, input="topic", target="body", kind="extract")[0]["task"]["kind"] == "extract"
    assert guess(data, kind="text")[0]["task"]["data"] == [{"data": data, "text": "body"}]
    with pytest.raises(BadInput, match="did you mean 'topic'"):
        guess(data, target="topc")
    with pytest.raises(BadInput, match="did you mean 'classify'"):
        guess(data, kind="classfy")


def test_numbers_for_labels_are_said(tmp_path: Path) -> None:
    assert any("give each a word" in s for s in guess(table(tmp_path, [{"text": text(n), "label": n % 2} for n in range(40)]))[1])


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": str(n)} for n in range(20)],
        [{"a": n, "b": n + 1} for n in range(20)],
        [{"a": "x"}],
        [{"chosen": text(n), "rejected": text(n + 1)} for n in range(20)],
    ],
)
def test_nothing_to_guess_from(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput) as caught:
        guess(table(tmp_path, rows))
    assert caught.value.hint


def test_the_base_is_of_the_family_that_the_task_wants(tmp_path: Path) -> None:
    labels = table(tmp_path, [{"text": text(n), "label": "ab"[n % 2]} for n in range(40)])
    recipe, why = guess(labels)
    assert (recipe["base"], recipe["rungs"][1]) == ("pocket-encoder", "linear_probe")
    assert any("an encoder reads best" in sentence for sentence in why)
    recipe, why = guess(labels, kind="generate", target="label")
    assert (recipe["base"], list(recipe["rungs"][1])) == ("pocket-seq2seq", ["few_shot"])
    assert any("a seq2seq reads all" in sentence for sentence in why)
    assert guess(labels, kind="choose")[0]["base"] == "pocket-decoder"


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("One.\n\nTwo.", encoding="utf-8")
    assert guess(str(path))[0]["task"]["kind"] == "text"
    path.write_text("word " * 100_000, encoding="utf-8")
    recipe, why = guess(str(path))
    assert recipe["rungs"] == ["zero_shot", {"pretrain": {"tokens": 499_999, "learning_rate": 5e-4}}]
    assert any("4.0 times" in sentence for sentence in why)


def test_a_column_of_tags_may_be_named(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ann", "runs", str(n)], "ner_tags": ["B-PER", "O", "O"], "pos_tags": ["N", "V", "M"]} for n in range(40)]
    data = table(tmp_path, rows)
    for target, metric in ((None, "span_f1"), ("ner_tags", "span_f1"), ("pos_tags", "tag_accuracy")):
        recipe, _ = guess(data, target=target)
        assert (recipe["task"]["kind"], recipe["task"]["metric"], recipe["base"]) == ("tag", metric, "pocket-encoder")
        assert recipe["rungs"] == [{"lora": {"r": 8}}, "full"]  # the encoder has no head that tags words before
        assert recipe["task"].get("target") == target
        assert build(name="t", **recipe["task"])[0].kind == "tag"


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ({"chosen": "Yes.", "rejected": "No."}, ["lora", "dpo"]),
        ({"completion": "Yes.", "label": True}, ["lora", "kto"]),
        ({"completion": "Yes.", "score": 3.5}, {"reward": {"loss": "scores"}}),
    ],
    ids=["pairs", "labels", "scores"],
)
def test_what_people_preferred_is_learned_by_what_reads_it(said: dict[str, Any], last: Any, tmp_path: Path) -> None:
    recipe, why = guess(table(tmp_path, [{"prompt": text(n), **said} for n in range(12)]), kind="prefer")
    assert recipe["task"]["kind"] == "prefer"
    assert recipe["rungs"][-1] == last
    assert why
    with pytest.raises(BadInput, match="holds no comparisons"):
        guess(str(DESKS), kind="prefer")


def test_labels_that_say_neither_true_nor_false_are_told_of(tmp_path: Path) -> None:
    for labels, told in (("yes no", True), ((True, False), False)):
        own = labels.split() if isinstance(labels, str) else labels
        rows = [{"prompt": text(n), "completion": f"Yes, {n}.", "label": own[n % 2]} for n in range(40)]
        recipe, why = guess(table(tmp_path, rows))
        assert recipe["task"]["kind"] == "generate"
        assert any("make it true and false" in said for said in why) == told


def test_preferences_that_hold_the_conversation_itself_are_known_for_what_they_are(tmp_path: Path) -> None:
    asked = "\n\nHuman: {}\n\nAssistant: "
    rows = [{"chosen": f"{asked.format(text(n))}Yes.", "rejected": f"{asked.format(text(n))}No."} for n in range(12)]
    recipe, why = guess(table(tmp_path, [{"rejected": "What?"}, *rows]))
    assert recipe["task"]["kind"] == "prefer"
    assert recipe["rungs"][-1] == ["lora", "dpo"]
    assert "`chosen` and `rejected` hold whole conversations" in " ".join(why)
