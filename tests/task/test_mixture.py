"""Mixtures: rates are T5's, a set is read whole before it comes again, no row stands on both sides of a split of any set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tuneladder.errors import BadInput
from tuneladder.model.ask import turns_of
from tuneladder.task.build import Findings
from tuneladder.task.encode import Coder
from tuneladder.task.lint import lint, tables
from tuneladder.task.mixture import Mixing, Set, mix, rates, shared_out
from tuneladder.types import Task

WORDS = ("river", "heron", "mill", "bridge", "stone", "market", "phone", "parcel", "refund", "goal", "vote", "minister", "chip")


def table(path: Path, count: int, *, first: int = 0) -> str:
    rows = [
        {"text": f"{n}: " + " ".join(WORDS[(n * k + k * k) % 13] for k in range(1, 9)), "short": f"item {n}", "even": n % 2 == 0}
        for n in range(first, first + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sets(tmp_path: Path) -> list[Set]:
    return [
        Set(table(tmp_path / "small.jsonl", 100), input="text", target="short", templates=("A {{ input }}", "B {{ input }}")),
        Set(table(tmp_path / "large.jsonl", 400, first=1000), input="text", target="short", template="L {{ input }}"),
    ]


def made(sets: list[Set], mixing: Mixing = Mixing(), **options: Any) -> tuple[Task, Findings]:  # noqa: B008
    return mix(sets, mixing, **{"name": "t", "kind": "generate", **options})


def test_rates_are_those_of_temperature_scaled_mixing() -> None:
    assert rates([100, 300], [1, 1], temperature=1) == pytest.approx([0.25, 0.75])
    assert rates([100, 400], [1, 1], temperature=2) == pytest.approx([1 / 3, 2 / 3])
    assert rates([100, 10**6], [1, 1], temperature=1, at_most=300) == pytest.approx([0.25, 0.75])
    assert rates([100, 10**6], [1, 1], temperature=1e9) == pytest.approx([0.5, 0.5])
    assert rates([100, 100], [3, 1], temperature=1) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("sizes", [[7, 11, 13], [1, 1, 998], [3, 3, 3]])
def test_rows_are_shared_out_whole(sizes: list[int]) -> None:
    shares = [size / sum(sizes) for size in sizes]
    assert shared_out(sum(sizes), shares) == sizes
    assert sum(shared_out(100 * sum(sizes) + 1, shares)) == 100 * sum(sizes) + 1
    assert min(shared_out(3, shares)) == 1


def test_each_set_is_split_and_asked_for_itself(sets: list[Set]) -> None:
    task, findings = made(sets)
    assert findings.rows == {"train": 340, "dev": 60, "test": 100}
    assert task.mixture == {"small": 68, "large": 272}
    for split in (task.examples.train, task.examples.dev, task.examples.test):
        assert {row.set for row in split} == {"small", "large"}
        assert all(row.id.startswith(f"{row.set}:") for row in split)
    assert {row.template for row in task.examples.train} == {"A {{ input }}", "B {{ input }}", "L {{ input }}"}
    assert {row.template for row in task.examples.test} == {"A {{ input }}", "L {{ input }}"}
    assert turns_of(task.prompt, task.examples.test[0])[-1].text == f"A {task.examples.test[0].turns[0].text}"


def test_each_set_may_have_a_schema(sets: list[Set]) -> None:
    own = {"type": "object", "properties": {"short": {"type": "string"}}, "required": ["short"]}
    two = [replace(sets[0], target=("short", "even")), replace(sets[1], target=("short",), schema=own)]
    task, _ = made(two, kind="extract")
    assert (task.metric, task.prompt.parse) == ("entity_f1", "json")
    assert "JSON object" in task.prompt.instruction
    assert task.prompt.decoding.max_new_tokens > 20
    by_set = {row.set: row for row in task.examples.test}
    assert json.loads(by_set["large"].meta["schema"]) == own
    assert list(json.loads(by_set["small"].meta["schema"])["properties"]) == ["short", "even"]  # made from the rows
    assert set(json.loads(by_set["small"].references[0])) == {"short", "even"}
    shown = {name: turns_of(task.prompt, row)[0].text for name, row in by_set.items()}
    assert all(shown[name].endswith(f"JSON schema: {by_set[name].meta['schema']}") for name in shown)
    assert [json.loads(by_set[name].meta["schema"]) for name in ("small", "large")] == json.loads(task.prompt.schema)["anyOf"]


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("extract", {"target": ("short",)}, "set 'small' extracts objects, and set 'large' texts"),
        ("extract", {"target": ("short",), "schema": {"type": "array"}}, "set 'small': the schema is of 'array'"),
        ("generate", {"target": ("short",)}, "target of set 'small' is of objects that are extracted"),
        ("generate", {"schema": {"type": "object"}}, "schema of set 'small' is of objects that are extracted"),
    ],
)
def test_schemas_that_cannot_be(sets: list[Set], kind: str, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        made([replace(sets[0], **changed), sets[1]], kind=kind)
    assert said in refused.value.message
    assert refused.value.hint


def test_what_is_drawn(sets: list[Set]) -> None:
    assert made(sets, Mixing(temperature=2))[0].mixture == {"small": 113, "large": 227}
    assert made(sets, Mixing(at_most=68))[0].mixture == {"small": 170, "large": 170}
    assert made(sets, Mixing(epoch=100))[0].mixture == {"small": 20, "large": 80}
    heavy = [Set(**{**vars(sets[0]), "weight": 4.0}), sets[1]]
    task, findings = made(heavy)
    assert task.mixture == {"small": 170, "large": 170}
    assert "small: 170 of the 340 rows of an epoch (50.0%), so that each of its 68 is read 2.50 times" in findings.notes


def test_a_set_that_is_not_measured_gives_all_its_rows_to_train(sets: list[Set]) -> None:
    task, _ = made(sets, Mixing(measure="large"))
    assert {row.set for row in (*task.examples.dev, *task.examples.test)} == {"large"}
    assert sum(row.set == "small" for row in task.examples.train) == 100
    capped, _ = made([Set(**{**vars(sets[0]), "rows": {"train": 9}}), sets[1]], Mixing(measure=("large",)))
    assert capped.mixture["small"] == 9


def test_a_row_of_one_set_that_another_is_measured_on_is_not_learned(tmp_path: Path) -> None:
    test = table(tmp_path / "test.jsonl", 20)
    one = Set({"train": table(tmp_path / "a.jsonl", 100, first=100), "test": test}, name="one", input="text", target="short")
    two = Set(table(tmp_path / "b.jsonl", 60), name="two", input="text", target="even")
    task, findings = made([one, two], Mixing(measure="one"))
    tested = {row.turns[0].text for row in task.examples.test}
    assert len(tested) == 20
    assert sum(row.set == "two" for row in task.examples.train) == 40
    assert not tested & {row.turns[0].text for row in task.examples.train}
    assert any("20 rows were taken out" in note for note in findings.notes)


def test_where_keeps_the_rows_that_satisfy_it(sets: list[Set]) -> None:
    task, _ = made([Set(**{**vars(sets[0]), "where": "even and short != 'item 4'"}), sets[1]])
    kept = [row for part in vars(task.examples).values() for row in part if row.set == "small"]
    assert len(kept) == 49
    assert all(int(row.references[0].split()[1]) % 2 == 0 for row in kept)


@pytest.mark.parametrize(
    ("changed", "mixing", "options", "said"),
    [
        ({"name": "large"}, {}, {}, "two sets are called 'large'"),
        ({"name": "a:b"}, {}, {}, "a set cannot be called 'a:b'"),
        ({"weight": 0.0}, {}, {}, "weight 0.0 of set 'small' is not above 0"),
        ({"rows": {"trian": 3}}, {}, {}, "set 'small': no split 'trian'"),
        ({"template": "no row", "templates": None}, {}, {}, "set 'small': the template 'no row' never shows the row"),
        ({"template": "{{ input }}"}, {}, {}, "set 'small': `template` and `templates` are both given"),
        ({"where": "evn"}, {}, {}, "no column 'evn'"),
        ({"where": "((("}, {}, {}, "is not Jinja"),
        ({"where": "short == 'x'"}, {}, {}, "no row of"),
        ({"target": "shrt"}, {}, {}, "no column 'shrt'"),
        ({"rows": {"dev": 3}}, {"measure": "large"}, {}, "rows: dev means nothing"),
        ({}, {"measure": "lrge"}, {}, "no set to measure 'lrge': did you mean 'large'?"),
        ({}, {"temperature": 0.0}, {}, "temperature 0.0 of the mixture is not above 0"),
        ({}, {"epoch": -1}, {}, "epoch -1"),
        ({}, {"at_most": -1}, {}, "at_most -1"),
        ({}, {}, {"kind": "classify"}, "this task is of kind classify"),
    ],
)
def test_mixtures_that_cannot_be_meant(changed: Any, mixing: Any, options: Any, said: str, sets: list[Set]) -> None:
    with pytest.raises(BadInput) as refused:
        made([Set(**{**vars(sets[0]), **changed}), sets[1]], Mixing(**mixing), **options)
    assert said in refused.value.message
    assert refused.value.hint


def test_one_set_is_no_mixture(sets: list[Set]) -> None:
    with pytest.raises(BadInput, match="names 1 data sets"):
        made(sets[:1])


def test_check_shows_the_sets_and_a_row_of_each_template(sets: list[Set], tiny_folder: Path) -> None:
    task, findings = made(sets, Mixing(temperature=2))
    coder = Coder(AutoTokenizer.from_pretrained(tiny_folder), 512)
    report = lint(task, findings, coder, asked=lambda row: turns_of(task.prompt, row))
    small, large = report.sets
    assert (small.name, small.rows, small.drawn, small.weight) == ("small", 68, 113, 1.0)
    assert small.share + large.share == pytest.approx(1)
    assert small.readings == pytest.approx(113 / 68)
    own = [row for row in task.examples.train if row.set == "small"]
    tokens = sum(len(each.ids) for each in coder.encode_many([(turns_of(task.prompt, row), row.references[0]) for row in own]))
    assert small.tokens == round(tokens * 113 / 68)
    assert report.tallies["train"].kept == 340
    shown = ["".join(piece.text for piece in row)[0] for row in (report.row, *report.worded)]
    assert sorted(shown) == ["A", "B", "L"]
    assert "drawn an epoch" in "\n".join(tables(report))
    assert lint(task, findings, None).sets[0].tokens is None


def test_real_sets_in_one_mixture(shared: Path) -> None:
    """Data-to-text, dialogues to notes and questions: asked by our templates, weighed by the root of their sizes."""
    data = shared / "data"
    sets = [
        Set(f"{data}/generation/e2e_nlg/val.jsonl", name="e2e", input="mr", target="ref", templates="describe"),
        Set(f"{data}/generation/mts_dialog/train.jsonl", name="notes", input="dialogue", target="summary", templates="summarize"),
        Set(f"{data}/instruction/flan_cot.jsonl", name="cot", input="question", target="answer", templates="answer"),
    ]
    task, _ = made(sets, Mixing(temperature=2))
    train = {name: [row for row in task.examples.train if row.set == name] for name in task.mixture}
    roots = {name: len(rows) ** 0.5 for name, rows in train.items()}
    total = sum(map(len, train.values()))
    assert task.mixture == {name: pytest.approx(total * root / sum(roots.values()), abs=1) for name, root in roots.items()}
    assert {len({row.template for row in rows}) for rows in train.values()} == {7, 8}
    seen = {" ".join(row.turns[0].text.casefold().split()) for row in task.examples.train}
    held = (*task.examples.dev, *task.examples.test)
    assert {row.set for row in held} == {"e2e", "notes", "cot"}
    assert not [row for row in held if " ".join(row.turns[0].text.casefold().split()) in seen]
