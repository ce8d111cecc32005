"""Templates: ours are whole, each training row has one that only its content and the seed decide, dev and test have the first."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import splits_digest
from tuneladder.model.ask import turns_of
from tuneladder.task.build import build
from tuneladder.task.wordings import WORDINGS, templates_of, with_labels
from tuneladder.types import Example, Prompt, Task, Turn

OWN = ["Note: {{ input }}", "{{ input }}\n\nWhat is it?", "Say what this is. {{ input }}"]


def asked(template: str, text: str) -> str:
    return turns_of(Prompt(), Example("1", (Turn("user", text),), ("x",), template=template))[-1].text


@pytest.mark.parametrize("name", WORDINGS)
def test_each_of_ours_shows_the_row_once_and_no_two_are_alike(name: str) -> None:
    for labels in (("yes", "no"), ('it\'s "odd"', "50 % {{ x }}\\", "%}")):
        shown = [asked(template, "THE ROW {{ 7 }}") for template in with_labels(templates_of(name, labels), labels)]
        assert len(set(shown)) == len(WORDINGS[name]) >= 6
        assert all(text.count("THE ROW {{ 7 }}") == 1 for text in shown)
        assert not [text for text in shown if text.endswith(":")]
        named = [text for text in shown if ", ".join(labels) in text]
        assert len(named) == (len(shown) if name in ("classify", "infer", "paraphrase") else 0)


@pytest.mark.parametrize("name", ["infer", "paraphrase"])
def test_pairs_without_labels_name_none(name: str) -> None:
    for template in with_labels(templates_of(name), ()):
        shown = asked(template, "a")
        assert "Answer with" not in shown
        assert not shown.endswith((" ", "()", ": ."))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sumarize", "no set of templates 'sumarize': did you mean 'summarize'?"),
        ([], "empty list"),
        (["Text: {{ input }}", "Text: {{ input }}"], "stands twice"),
        (["no row"], "never shows the row"),
        (["{{ input }} {{ titel }}"], "no variable in the prompt's template 'titel'"),
        (["{{ input }} {{ labels }}"], "no variable in the prompt's template 'labels'"),
        (["{{ input"], "is not Jinja"),
        ([7], "7 is not a text"),
        ("classify", "this task has none"),
    ],
)
def test_templates_that_cannot_be_meant(given: Any, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        templates_of(given)
    assert said in refused.value.message
    assert refused.value.hint


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    # each text stands twice, with other answers: their templates may differ, their split may not
    return [{"text": f"row {n // 2} tells of thing {n // 2 * 37 % 101} and more", "label": f"answer {n}"} for n in range(240)]


def made(data: str, **options: Any) -> Task:
    return build(**{"name": "t", "kind": "generate", "data": data, "templates": OWN, **options})[0]


def test_train_is_asked_by_all_and_dev_and_test_by_the_first(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    task = made(table(tmp_path / "rows.jsonl", rows))
    counts = Counter(example.template for example in task.examples.train)
    assert set(counts) == set(OWN)
    assert min(counts.values()) > len(task.examples.train) / 6
    assert task.prompt.template == OWN[0]
    for example in (*task.examples.dev, *task.examples.test):
        assert turns_of(task.prompt, example)[-1].text == f"Note: {example.turns[0].text}"
    for example in task.examples.train[:20]:
        assert turns_of(task.prompt, example)[-1].text == example.template.replace("{{ input }}", example.turns[0].text)


def test_a_row_has_the_same_template_wherever_it_stands(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    test = table(tmp_path / "test.jsonl", rows[200:])
    first, again, turned, other = (
        {
            (row.turns[0].text, row.references): row.template
            for row in made({"train": table(tmp_path / f"{at}.jsonl", some), "test": test}, seed=seed).examples.train  # type: ignore[arg-type]
        }
        for at, (some, seed) in enumerate([(rows[:200], 0), (rows[:200], 0), (rows[:200][::-1], 0), (rows[:200], 1)])
    )
    assert first == again
    both = first.keys() & turned.keys()
    assert len(both) > 100
    assert {key: first[key] for key in both} == {key: turned[key] for key in both}
    both = first.keys() & other.keys()
    assert {key: first[key] for key in both} != {key: other[key] for key in both}


def test_two_templates_of_one_row_never_straddle_a_split(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    task = made(table(tmp_path / "rows.jsonl", rows))
    texts = [{row.turns[0].text for row in part} for part in (task.examples.train, task.examples.dev, task.examples.test)]
    assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]
    templates: dict[str, set[str]] = {}
    for row in task.examples.train:
        templates.setdefault(row.turns[0].text, set()).add(row.template)
    assert any(len(own) > 1 for own in templates.values())


def test_what_is_learned_from_has_another_key_with_other_templates(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    data = table(tmp_path / "rows.jsonl", rows)
    plain, one, two = (splits_digest(made(data, templates=each)) for each in (None, OWN[:2], [OWN[0], OWN[2]]))
    assert len({plain["train"], one["train"], two["train"]}) == 3
    assert one["dev"] == two["dev"]


def test_a_classification_is_asked_in_words_with_its_labels(tmp_path: Path) -> None:
    data = table(tmp_path / "rows.jsonl", [{"text": f"row {n * 37 % 101}", "label": "ab"[n % 2]} for n in range(100)])
    task, findings = build(name="t", kind="classify", data=data, templates="classify")
    assert task.prompt.instruction == ""  # the templates ask
    assert all("a, b" in turns_of(task.prompt, row)[-1].text for row in task.examples.train)
    assert any("8 templates" in note for note in findings.notes)
    own, _ = build(name="t", kind="classify", data=data, templates=["{{ input }}: {{ labels }}?"], instruction="Sort.")
    assert turns_of(own.prompt, own.examples.dev[0])[0] == Turn("system", "Sort.")
    unnamed, _ = build(name="t", kind="classify", data=data, templates=["Note: {{ input }}", "{{ input }}?"])
    assert unnamed.prompt.instruction == "Which of these fits the text: a, b?"  # the labels have to be named somewhere


def test_one_template_and_several_do_not_go_together(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput, match="both given"):
        made("nowhere.jsonl", template="{{ input }}")
    with pytest.raises(BadInput, match="kind tag"):
        made("nowhere.jsonl", kind="tag")
